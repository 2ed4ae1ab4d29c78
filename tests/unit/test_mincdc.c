// SPDX-License-Identifier: MIT
/* mincdc: every instruction set finds what the plain code finds, and cuts are where they are defined. */
#include "mincdc.h"
#include "bytes.h"
#include "prng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define KIB 1024u
#define MIB (1024u * KIB)
#define CUTS_SUM 0x3e203a93cdb2fc18u
#define WIDEST 64u /* bytes of the widest vector */
#define BLOCK (16 * WIDEST)

/* Kinds of bytes, from what has no order to what has too much. */
static void fill_random(uint64_t *seed, uint8_t *data, size_t len)
{
	prng_fill(seed, data, len);
}

static void fill_constant(uint64_t *seed, uint8_t *data, size_t len)
{
	memset(data, (int)prng_below(seed, 256), len);
}

static void fill_zeros(uint64_t *seed, uint8_t *data, size_t len)
{
	(void)seed;
	memset(data, 0, len);
}

static void fill_periodic(uint64_t *seed, uint8_t *data, size_t len)
{
	size_t period = 1 + prng_below(seed, 150);
	for (size_t i = 0; i < len; i++)
		data[i] = i < period ? (uint8_t)prng_next(seed) : data[i - period];
}

static void fill_two_symbols(uint64_t *seed, uint8_t *data, size_t len)
{
	uint8_t symbols[2] = { (uint8_t)prng_next(seed), (uint8_t)prng_next(seed) };
	for (size_t i = 0; i < len; i++)
		data[i] = symbols[prng_below(seed, 2)];
}

/* Nearly constant: what differs is rare, and falls anywhere in a vector. */
static void fill_sparse(uint64_t *seed, uint8_t *data, size_t len)
{
	fill_constant(seed, data, len);
	for (size_t i = 0; i < 1 + len / 300; i++)
		data[prng_below(seed, len)] = (uint8_t)prng_next(seed);
}

/* The program itself: machine code, tables, texts and padding. */
static void fill_program(uint64_t *seed, uint8_t *data, size_t len)
{
	FILE *f = fopen("/proc/self/exe", "rb");
	assert_non_null(f);
	assert_int_equal(fseek(f, (long)prng_below(seed, 8 * KIB), SEEK_SET), 0);
	size_t have = fread(data, 1, len, f);
	fclose(f);
	assert_true(have > 0);
	for (size_t i = have; i < len; i++)
		data[i] = data[i - have];
}

/* Windows whose products grow from each to the next one, as far as four bytes can: each is a new record. */
static void fill_records(uint64_t *seed, uint8_t *data, size_t len)
{
	size_t step = 4 + prng_below(seed, 3);
	uint32_t inverse = MINCDC_FACTOR;
	for (unsigned i = 0; i < 5; i++)
		inverse *= 2 - MINCDC_FACTOR * inverse;
	memset(data, 0, len);
	for (size_t i = 0, n = 0; i + 4 <= len; i += step, n++)
		put_le32(data + i, inverse * (uint32_t)(n * (UINT32_MAX / (len / step + 1))));
}

static void (*const fills[])(uint64_t *, uint8_t *, size_t) = {
	fill_random,	  fill_constant, fill_zeros,   fill_periodic,
	fill_two_symbols, fill_sparse,	 fill_program, fill_records,
};
#define FILLS (sizeof fills / sizeof *fills)

/* By 64 bits, in case the code under test shares a mistake of 32. */
static size_t find_by_definition(const uint8_t *data, size_t n)
{
	size_t at = 0;
	uint32_t least = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t x = data[i] + 256ull * data[i + 1] + 65536ull * data[i + 2] +
			     16777216ull * data[i + 3];
		uint32_t hash = UINT32_MAX - (uint32_t)(x * MINCDC_FACTOR % 4294967296ull);
		if (i == 0 || hash < least) {
			least = hash;
			at = i;
		}
	}
	return at;
}

/* The bytes end where the allocation ends, so that the address sanitizer sees a read beyond. */
static void all_find(const uint8_t *bytes, size_t n, size_t misaligned)
{
	uint8_t *data = malloc(misaligned + n + 3);
	struct mincdc_finder finder;
	assert_non_null(data);
	memcpy(data + misaligned, bytes, n + 3);
	size_t expected = find_by_definition(data + misaligned, n);
	for (unsigned i = 0; (finder = mincdc_finder(i)).name; i++) {
		size_t found = finder.find(data + misaligned, n);
		if (found != expected)
			fail_msg("%s: %zu of %zu windows, not %zu", finder.name, found, n,
				 expected);
	}
	free(data);
}

static void test_the_plain_finder_comes_first(void **state)
{
	(void)state;
	struct mincdc m;
	unsigned n = 0;
	assert_string_equal(mincdc_finder(0).name, "plain");
	while (mincdc_finder(n).name)
		n++;
	mincdc_init(&m, 16 * KIB, 64 * KIB, 256 * KIB);
	assert_true(m.find == mincdc_finder(n - 1).find);
#ifdef __x86_64__
	assert_int_equal(n, 1 + !!__builtin_cpu_supports("sse4.1") +
				    !!__builtin_cpu_supports("avx2") +
				    !!__builtin_cpu_supports("avx512bw"));
#endif
}

static void test_every_length_around_vectors_and_blocks(void **state)
{
	(void)state;
	static uint8_t data[3 * BLOCK + 3];
	uint64_t seed = 1;
	for (size_t kind = 0; kind < FILLS; kind++) {
		for (size_t n = 1; n <= 5 * WIDEST + 2; n++) {
			fills[kind](&seed, data, n + 3);
			all_find(data, n, prng_below(&seed, WIDEST));
		}
		for (size_t blocks = 1; blocks <= 2; blocks++)
			for (size_t n = blocks * BLOCK - 6; n <= blocks * BLOCK + 70; n++) {
				fills[kind](&seed, data, n + 3);
				all_find(data, n, prng_below(&seed, WIDEST));
			}
	}
}

static void test_every_misalignment(void **state)
{
	(void)state;
	static uint8_t data[3 * BLOCK + 3];
	uint64_t seed = 2;
	for (size_t kind = 0; kind < FILLS; kind++)
		for (size_t misaligned = 0; misaligned <= WIDEST; misaligned++) {
			size_t n = 1 + prng_below(&seed, 3 * BLOCK);
			fills[kind](&seed, data, n + 3);
			all_find(data, n, misaligned);
		}
}

/* The best window at each place in turn, alone and followed by others that equal it. */
static void test_every_place_of_the_smallest(void **state)
{
	(void)state;
	uint8_t data[BLOCK + 2 * WIDEST + 3], best[4];
	uint64_t seed = 3;
	const size_t n = sizeof data - 3;
	put_le32(best, 0x9e36ffffu);
	assert_int_equal(get_le32(best) * MINCDC_FACTOR, UINT32_MAX);
	for (size_t at = 0; at < n; at++) {
		memset(data, (int)(at & 1), sizeof data);
		memcpy(data + at, best, 4);
		all_find(data, n, 0);
		size_t again = prng_below(&seed, n);
		memcpy(data + again, best, 4);
		all_find(data, n, 1);
	}
}

static void test_long_searches(void **state)
{
	(void)state;
	const size_t most = 300 * KIB;
	uint8_t *data = malloc(most + 3);
	uint64_t seed = 4;
	assert_non_null(data);
	for (size_t kind = 0; kind < FILLS; kind++)
		for (unsigned round = 0; round < 6; round++) {
			size_t n = most - prng_below(&seed, most / 2);
			fills[kind](&seed, data, n + 3);
			all_find(data, n, prng_below(&seed, WIDEST));
		}
	free(data);
}

/* As mincdc.h describes it, for 64-bit sums. */
static size_t cut_by_definition(uint32_t min, uint32_t avg, uint32_t max, const uint8_t *data,
				size_t len, bool last)
{
	size_t half = avg - min < max - avg ? avg - min : max - avg;
	if (!last && len < avg + half)
		return 0;
	if (len <= avg)
		return len;
	size_t end = len < avg + half ? len : avg + half;
	return avg - half + find_by_definition(data + avg - half - 4, end - (avg - half) + 1);
}

static void test_cuts_follow_the_definition(void **state)
{
	(void)state;
	static const uint32_t shapes[][3] = {
		{ 1024, 2048, 4096 },
		{ 1024, 2048, 2500 },
		{ 16384, 65536, 262144 },
		{ 7000, 8192, 8193 },
	};
	const size_t len = MIB;
	uint8_t *data = malloc(len);
	uint64_t seed = 5;
	assert_non_null(data);
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
		for (size_t kind = 0; kind < FILLS; kind++) {
			const uint32_t *p = shapes[s];
			struct mincdc m;
			mincdc_init(&m, p[0], p[1], p[2]);
			assert_true(m.low >= p[0] && m.high <= p[2] && m.low + m.high == 2 * p[1]);
			fills[kind](&seed, data, len);
			for (size_t at = 0, n; at < len; at += n) {
				size_t rest = len - at;
				n = cut_by_definition(p[0], p[1], p[2], data + at, rest, true);
				assert_int_equal(mincdc_cut(&m, data + at, rest, true), n);
				assert_int_equal(mincdc_cut(&m, data + at, rest, false),
						 rest < m.high ? 0 : n);
			}
		}
	free(data);
}

/* Changing them makes every existing pool store its data again. */
static void test_cuts_never_change(void **state)
{
	(void)state;
	uint8_t *data = malloc(8 * MIB);
	uint64_t seed = 6, sum = 0;
	struct mincdc m;
	assert_non_null(data);
	prng_fill(&seed, data, 8 * MIB);
	mincdc_init(&m, 16 * KIB, 64 * KIB, 256 * KIB);
	for (size_t at = 0; at < 8 * MIB;) {
		at += mincdc_cut(&m, data + at, 8 * MIB - at, true);
		sum = sum * 31 + at;
	}
	assert_int_equal(sum, CUTS_SUM);
	free(data);
}

static void test_the_end_of_the_stream(void **state)
{
	(void)state;
	struct mincdc m;
	uint8_t *data = malloc(64 * KIB);
	uint64_t seed = 7;
	assert_non_null(data);
	prng_fill(&seed, data, 64 * KIB);
	mincdc_init(&m, 2 * KIB, 8 * KIB, 64 * KIB);
	assert_int_equal(mincdc_cut(&m, data, 0, true), 0);
	assert_int_equal(mincdc_cut(&m, data, 0, false), 0);
	assert_int_equal(mincdc_cut(&m, data, 1, true), 1);
	assert_int_equal(mincdc_cut(&m, data, 1, false), 0);
	assert_int_equal(mincdc_cut(&m, data, m.avg, true), m.avg);
	assert_in_range(mincdc_cut(&m, data, m.avg + 1, true), m.low, m.avg + 1);
	assert_int_equal(mincdc_cut(&m, data, m.high - 1, false), 0);
	assert_in_range(mincdc_cut(&m, data, m.high, false), m.low, m.high);
	assert_int_equal(mincdc_cut(&m, data, m.high, false), mincdc_cut(&m, data, 64 * KIB, true));
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_plain_finder_comes_first),
		cmocka_unit_test(test_every_length_around_vectors_and_blocks),
		cmocka_unit_test(test_every_misalignment),
		cmocka_unit_test(test_every_place_of_the_smallest),
		cmocka_unit_test(test_long_searches),
		cmocka_unit_test(test_cuts_follow_the_definition),
		cmocka_unit_test(test_cuts_never_change),
		cmocka_unit_test(test_the_end_of_the_stream),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
