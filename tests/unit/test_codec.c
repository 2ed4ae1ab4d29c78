// SPDX-License-Identifier: MIT
/* The codec: round trips, the choice between raw and compressed, and hostile input. */
#include "codec.h"
#include "prng.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define FRAME (256u * 1024)

static void fill_text(uint64_t *seed, uint8_t *data, size_t len)
{
	static const char words[] =
		"the file system keeps ordinary bytes once and shows them often ";
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)words[(i + (i % 97 == 0 ? prng_below(seed, 60) : 0)) % 63];
}

/* Symbols of about 7 bits without any repetition: only the entropy stage can shrink these. */
static void fill_skewed(uint64_t *seed, uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)((prng_below(seed, 128) + prng_below(seed, 128)) / 2);
}

/* Encodes, decodes what the caller would store, compares. Returns the stored length. */
static size_t round_trip(int level, const uint8_t *in, size_t len, enum codec *ret_codec)
{
	uint8_t *out = malloc(len + 1), *back = malloc(len + 1);
	size_t n = SIZE_MAX;
	assert_int_equal(codec_encode(level, in, len, out, len, ret_codec, &n), 0);
	if (*ret_codec == CODEC_RAW)
		assert_int_equal(n, len);
	else
		assert_true(n <= len - len / 16);
	const void *stored = *ret_codec == CODEC_RAW ? in : out;
	back[len] = 0xa5;
	assert_int_equal(codec_decode(*ret_codec, stored, n, back, len), 0);
	assert_memory_equal(back, in, len);
	assert_int_equal(back[len], 0xa5);
	free(out);
	free(back);
	return n;
}

static void test_round_trip_at_every_length(void **state)
{
	(void)state;
	uint64_t seed = 1;
	uint8_t *data = malloc(FRAME);
	enum codec codec;
	const size_t lengths[] = { 0, 1, 2, 15, 16, 17, 63, 64, 4095, 4096, 32767, 32768, FRAME };
	const int levels[] = { -5, 1, 3, 12 };
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		for (size_t k = 0; k < 4; k++) {
			fill_text(&seed, data, lengths[i]);
			round_trip(levels[k], data, lengths[i], &codec);
			assert_true(lengths[i] < 4095 || codec == CODEC_ZSTD);
			prng_fill(&seed, data, lengths[i]);
			round_trip(levels[k], data, lengths[i], &codec);
			assert_int_equal(codec, CODEC_RAW);
		}
	}
	free(data);
}

static void test_it_compresses_what_pays(void **state)
{
	(void)state;
	uint64_t seed = 2;
	uint8_t *data = malloc(FRAME);
	enum codec codec;

	fill_skewed(&seed, data, FRAME);
	assert_true(round_trip(3, data, FRAME, &codec) < FRAME / 100 * 92);
	prng_fill(&seed, data, FRAME); /* half noise, half text */
	fill_text(&seed, data + FRAME / 2, FRAME / 2);
	assert_true(round_trip(3, data, FRAME, &codec) < FRAME / 100 * 65);
	prng_fill(&seed, data, FRAME); /* noise, but each kilobyte stands twice */
	for (size_t i = 0; i < FRAME; i += 2048)
		memcpy(data + i + 1024, data + i, 1024);
	assert_true(round_trip(3, data, FRAME, &codec) < FRAME / 100 * 55);
	memset(data, 0, FRAME);
	assert_true(round_trip(1, data, FRAME, &codec) < 100);
	round_trip(0, data, FRAME, &codec);
	assert_int_equal(codec, CODEC_RAW);
	free(data);
}

static void test_a_small_buffer_means_raw(void **state)
{
	(void)state;
	uint64_t seed = 3;
	uint8_t data[8192], out[64];
	enum codec codec = CODEC_ZSTD;
	size_t n = 0;
	fill_text(&seed, data, sizeof data);
	assert_int_equal(codec_encode(3, data, sizeof data, out, sizeof out, &codec, &n), 0);
	assert_int_equal(codec, CODEC_RAW);
	assert_int_equal(n, sizeof data);
	assert_int_equal(codec_encode(1000, data, sizeof data, out, sizeof out, &codec, &n),
			 -EINVAL);
}

static void test_wrong_lengths_are_damage(void **state)
{
	(void)state;
	uint64_t seed = 4;
	uint8_t data[8192], out[8192], back[8192 + 1];
	enum codec codec;
	size_t n;
	fill_text(&seed, data, sizeof data);
	assert_int_equal(codec_encode(3, data, sizeof data, out, sizeof out, &codec, &n), 0);
	assert_int_equal(codec, CODEC_ZSTD);
	assert_int_equal(codec_decode(codec, out, n, back, sizeof data), 0);
	assert_int_equal(codec_decode(codec, out, n, back, sizeof data - 1), -EUCLEAN);
	assert_int_equal(codec_decode(codec, out, n, back, sizeof data + 1), -EUCLEAN);
	assert_int_equal(codec_decode(codec, out, n - 1, back, sizeof data), -EUCLEAN);
	assert_int_equal(codec_decode(codec, out, 0, back, sizeof data), -EUCLEAN);
	assert_int_equal(codec_decode(codec, out, n, back, 0), -EUCLEAN);
	assert_int_equal(codec_decode(CODEC_RAW, data, 10, back, 11), -EUCLEAN);
	assert_int_equal(codec_decode((enum codec)9, out, n, back, sizeof data), -EUCLEAN);

	/* Two frames whose contents add up to the right length. */
	size_t half = 0, other = 0;
	assert_int_equal(codec_encode(3, data, 4096, out, 4096, &codec, &half), 0);
	assert_int_equal(codec_encode(3, data + 4096, 4096, out + half, 4096, &codec, &other), 0);
	assert_int_equal(codec_decode(CODEC_ZSTD, out, half + other, back, 8192), -EUCLEAN);
}

static void test_damaged_input_stays_in_bounds(void **state)
{
	(void)state;
	uint64_t seed = 5;
	uint8_t data[4096], out[4096], bad[4096], *back = malloc(sizeof data);
	enum codec codec;
	size_t n;
	fill_text(&seed, data, sizeof data);
	assert_int_equal(codec_encode(3, data, sizeof data, out, sizeof out, &codec, &n), 0);
	for (unsigned round = 0; round < 20000; round++) {
		memcpy(bad, out, n);
		for (unsigned k = 0; k <= round % 3; k++)
			bad[prng_below(&seed, n)] = (uint8_t)prng_next(&seed);
		int r = codec_decode(CODEC_ZSTD, bad, n, back, sizeof data);
		assert_true(r == 0 || r == -EUCLEAN);
	}
	for (unsigned round = 0; round < 5000; round++) {
		prng_fill(&seed, bad, sizeof bad);
		memcpy(bad, out, round % 12); /* magic and part of the frame header */
		int r = codec_decode(CODEC_ZSTD, bad, 1 + prng_below(&seed, sizeof bad), back,
				     sizeof data);
		assert_true(r == 0 || r == -EUCLEAN);
	}
	free(back);
}

static void *thread_main(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;
	uint8_t *data = malloc(65536);
	enum codec codec;
	for (unsigned i = 0; i < 20; i++) {
		if (i & 1)
			fill_text(&seed, data, 65536);
		else
			prng_fill(&seed, data, 65536);
		round_trip(i % 4 < 2 ? 1 : 3, data, 65536, &codec);
	}
	free(data);
	return NULL;
}

static void test_threads_have_contexts_of_their_own(void **state)
{
	(void)state;
	pthread_t threads[4];
	uint64_t seeds[4] = { 11, 12, 13, 14 };
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &seeds[i]), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip_at_every_length),
		cmocka_unit_test(test_it_compresses_what_pays),
		cmocka_unit_test(test_a_small_buffer_means_raw),
		cmocka_unit_test(test_wrong_lengths_are_damage),
		cmocka_unit_test(test_damaged_input_stays_in_bounds),
		cmocka_unit_test(test_threads_have_contexts_of_their_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
