// SPDX-License-Identifier: MIT
/* The chunker: what a pool relies on (cuts never change and depend on content alone), and limits. */
#include "chunker.h"
#include "digest.h"
#include "bytes.h"
#include "prng.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define MIB (1024u * 1024)
#define CUTS_MAX 65536
#define GEAR_SUM 0x0b4f6f957bf294f4u
#define CUTS_SUM 0xbfaad6bd1f28ba3eu

static const struct chunker_params shapes[] = {
	{ CHUNKER_FASTCDC, 1024, 2048, 4096 },	   { CHUNKER_FASTCDC, 2048, 8192, 65536 },
	{ CHUNKER_FASTCDC, 16384, 65536, 262144 }, { CHUNKER_FASTCDC, 7000, 8192, 8193 },
	{ CHUNKER_MINCDC, 2048, 8192, 65536 },	   { CHUNKER_MINCDC, 16384, 65536, 262144 },
	{ CHUNKER_MINCDC, 7000, 8192, 8193 },
};
#define SHAPES (sizeof shapes / sizeof *shapes)
#define FAST_SHAPES 4u
#define MIN_SHAPE 4u /* the counterpart of shape 1 */

struct cuts {
	size_t n, end[CUTS_MAX];
};

static uint8_t *random_bytes(size_t len, uint64_t seed)
{
	uint8_t *data = malloc(len);
	assert_non_null(data);
	prng_fill(&seed, data, len);
	return data;
}

static struct chunker chunker_of(const struct chunker_params *p)
{
	struct chunker c;
	assert_int_equal(chunker_init(&c, p), 0);
	return c;
}

/* Cuts everything, all data at hand. */
static struct cuts *cut_all(const struct chunker *c, const uint8_t *data, size_t len)
{
	struct cuts *cuts = calloc(1, sizeof *cuts);
	assert_non_null(cuts);
	for (size_t at = 0; at < len;) {
		size_t n = chunker_cut(c, data + at, len - at, true);
		assert_in_range(n, 1, c->params.max);
		at += n;
		if (at < len)
			assert_true(n >= c->params.min);
		assert_true(cuts->n < CUTS_MAX);
		cuts->end[cuts->n++] = at;
	}
	return cuts;
}

/* The definition, byte by byte, as fastcdc.c describes it. */
static size_t cut_by_definition(const struct fastcdc *f, const uint8_t *data, size_t len)
{
	const uint64_t *gear = fastcdc_gear();
	for (size_t n = f->min; n <= len && n <= f->max; n++) {
		uint64_t h = 0;
		for (size_t i = n - FASTCDC_WINDOW; i < n; i++)
			h = (h << 1) + gear[data[i]];
		if (!(h & (n < f->normal ? f->mask_hard : f->mask_easy)) || n == f->max)
			return n;
	}
	return 0;
}

static void test_parameters_are_checked(void **state)
{
	(void)state;
	const struct chunker_params bad[] = {
		{ CHUNKER_FASTCDC, 1023, 8192, 65536 },
		{ CHUNKER_FASTCDC, 8192, 8192, 65536 },
		{ CHUNKER_FASTCDC, 2048, 8192, 8192 },
		{ CHUNKER_FASTCDC, 2048, 8191, 65536 },
		{ CHUNKER_FASTCDC, 2048, 8192, 16 * MIB + 1 },
		{ CHUNKER_FASTCDC, 0, 0, 0 },
		{ CHUNKER_MINCDC, 8192, 8192, 65536 },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(chunker_check(&bad[i]), -EINVAL);
	const struct chunker_params unknown[] = { { (enum chunker_kind)0, 2048, 8192, 65536 },
						  { (enum chunker_kind)77, 0, 0, 0 } };
	assert_int_equal(chunker_check(&unknown[0]), -ENOTSUP);
	assert_int_equal(chunker_check(&unknown[1]), -ENOTSUP);
	struct chunker_params other = CHUNKER_DEFAULT;
	assert_int_equal(chunker_check(&other), 0);
	other.kind = other.kind == CHUNKER_MINCDC ? CHUNKER_FASTCDC : CHUNKER_MINCDC;
	assert_int_equal(chunker_check(&other), 0);
	const struct chunker_params widest = { CHUNKER_FASTCDC, 1024, 8 * MIB, 16 * MIB };
	assert_int_equal(chunker_check(&widest), 0);
}

/* Changing any of these makes every existing pool store its data again. */
static void test_gear_and_cuts_never_change(void **state)
{
	(void)state;
	uint8_t table[256 * 8];
	for (unsigned i = 0; i < 256; i++)
		put_le64(table + i * 8, fastcdc_gear()[i]);
	assert_int_equal(checksum64(table, sizeof table), GEAR_SUM);

	uint8_t *data = random_bytes(8 * MIB, 1);
	struct chunker c = chunker_of(&shapes[2]);
	struct cuts *cuts = cut_all(&c, data, 8 * MIB);
	uint64_t sum = 0;
	for (size_t i = 0; i < cuts->n; i++)
		sum = sum * 31 + cuts->end[i];
	assert_int_equal(sum, CUTS_SUM);
	free(cuts);
	free(data);
}

static void test_cuts_follow_the_definition(void **state)
{
	(void)state;
	const size_t len = 2 * MIB;
	uint8_t *data = random_bytes(len, 2);
	for (size_t s = 0; s < FAST_SHAPES; s++) {
		struct chunker c = chunker_of(&shapes[s]);
		for (size_t at = 0; at < len;) {
			size_t expected = cut_by_definition(&c.fastcdc, data + at, len - at);
			assert_int_equal(chunker_cut(&c, data + at, len - at, false), expected);
			at += expected ? expected : len - at;
		}
	}
	free(data);
}

/* Every short shape of low entropy, where hits are frequent and fall on every edge of the search. */
static void test_definition_holds_for_dull_data(void **state)
{
	(void)state;
	uint64_t seed = 3;
	struct chunker c = chunker_of(&shapes[1]);
	uint8_t *data = malloc(c.params.max);
	for (unsigned round = 0; round < 60; round++) {
		unsigned symbols = 1 + (unsigned)prng_below(&seed, 4);
		size_t len = c.params.min + prng_below(&seed, c.params.max - c.params.min + 1);
		for (size_t i = 0; i < len; i++)
			data[i] = (uint8_t)prng_below(&seed, symbols);
		assert_int_equal(chunker_cut(&c, data, len, false),
				 cut_by_definition(&c.fastcdc, data, len));
	}
	free(data);
}

static void test_cuts_do_not_depend_on_portions(void **state)
{
	(void)state;
	const size_t len = 3 * MIB;
	uint8_t *data = random_bytes(len, 4);
	uint64_t seed = 5;
	for (size_t s = 0; s < SHAPES; s++) {
		struct chunker c = chunker_of(&shapes[s]);
		struct cuts *cuts = cut_all(&c, data, len);
		size_t start = 0, have = 0, i = 0;
		while (start < len) {
			size_t n = chunker_cut(&c, data + start, have - start, have == len);
			if (n) {
				start += n;
				assert_int_equal(start, cuts->end[i++]);
				continue;
			}
			assert_true(have - start < c.params.max);
			have += 1 + prng_below(&seed, c.params.avg * 2);
			have = have < len ? have : len;
		}
		assert_int_equal(i, cuts->n);
		free(cuts);
	}
	free(data);
}

/* How many ends of `a`, moved by `shift`, are no ends of `b`. */
static size_t ends_lost(const struct cuts *a, const struct cuts *b, size_t from, size_t shift)
{
	size_t lost = 0, j = 0;
	for (size_t i = 0; i < a->n; i++) {
		size_t end = a->end[i] + (a->end[i] > from ? shift : 0);
		while (j < b->n && b->end[j] < end)
			j++;
		lost += j == b->n || b->end[j] != end;
	}
	return lost;
}

static void insert_bytes(const struct chunker_params *shape)
{
	const size_t len = 4 * MIB;
	uint8_t *data = random_bytes(len, 6), *other = malloc(len + 1);
	struct chunker c = chunker_of(shape);
	struct cuts *before = cut_all(&c, data, len);
	uint64_t seed = 7;
	size_t lost = 0;

	for (unsigned round = 0; round < 50; round++) {
		size_t at = prng_below(&seed, len);
		memcpy(other, data, at);
		other[at] = (uint8_t)round;
		memcpy(other + at + 1, data + at, len - at);
		struct cuts *after = cut_all(&c, other, len + 1);
		size_t here = ends_lost(before, after, at, 1);
		assert_true(here <= 24);
		lost += here;
		free(after);
	}
	assert_true(lost <= 50 * 3);
	free(before);
	free(other);
	free(data);
}

static void test_an_inserted_byte_moves_only_neighbours(void **state)
{
	(void)state;
	insert_bytes(&shapes[1]);
	insert_bytes(&shapes[MIN_SHAPE]);
}

static void test_mean_is_what_was_asked_for(void **state)
{
	(void)state;
	const size_t len = 48 * MIB;
	uint8_t *data = random_bytes(len, 8);
	for (size_t s = 0; s < SHAPES; s++) {
		if (shapes[s].max < 2 * shapes[s].avg) /* the mean is what the limits leave */
			continue;
		struct chunker c = chunker_of(&shapes[s]);
		struct cuts *cuts = cut_all(&c, data, len);
		double mean = (double)len / (double)cuts->n / c.params.avg;
		assert_true(mean > 0.9 && mean < 1.1);
		free(cuts);
	}
	free(data);
}

static void cut_monotonous_data(const struct chunker_params *shape, uint32_t expected)
{
	const size_t len = 2 * MIB;
	uint8_t *data = malloc(len);
	struct chunker c = chunker_of(shape);
	for (unsigned period = 1; period <= 64; period += 7) {
		for (size_t i = 0; i < len; i++)
			data[i] = (uint8_t)(i % period);
		struct cuts *cuts = cut_all(&c, data, len);
		/* The data look the same from every multiple of the period. */
		for (size_t i = 1; period == 1 && i + 1 < cuts->n; i++)
			assert_int_equal(cuts->end[i] - cuts->end[i - 1], cuts->end[0]);
		free(cuts);
	}
	memset(data, 0, len);
	assert_int_equal(chunker_cut(&c, data, len, false), expected);
	free(data);
}

static void test_monotonous_data_is_cut_at_equal_lengths(void **state)
{
	(void)state;
	cut_monotonous_data(&shapes[1], shapes[1].max);
	cut_monotonous_data(&shapes[MIN_SHAPE], shapes[MIN_SHAPE].min);
}

static void test_the_end_of_the_stream(void **state)
{
	(void)state;
	struct chunker c = chunker_of(&shapes[1]);
	uint8_t *data = random_bytes(c.params.max, 9);
	assert_int_equal(chunker_cut(&c, data, 0, true), 0);
	assert_int_equal(chunker_cut(&c, data, 0, false), 0);
	assert_int_equal(chunker_cut(&c, data, 1, true), 1);
	assert_int_equal(chunker_cut(&c, data, 1, false), 0);
	assert_int_equal(chunker_cut(&c, data, c.params.min - 1, true), c.params.min - 1);
	assert_int_equal(chunker_cut(&c, data, c.params.min - 1, false), 0);
	memset(data, 0, c.params.max);
	assert_int_equal(chunker_cut(&c, data, c.params.max - 1, false), 0);
	assert_int_equal(chunker_cut(&c, data, c.params.max - 1, true), c.params.max - 1);
	assert_int_equal(chunker_cut(&c, data, c.params.max, false), c.params.max);
	free(data);
}

static void test_zero_run(void **state)
{
	(void)state;
	uint8_t data[3 * 4096 + 64];
	memset(data, 0, sizeof data);
	assert_int_equal(zero_run(data, 0), 0);
	for (size_t len = 1; len <= sizeof data; len += 61)
		assert_int_equal(zero_run(data, len), len);
	for (size_t at = 0; at < sizeof data; at++) {
		data[at] = (uint8_t)(1 + at % 255);
		assert_int_equal(zero_run(data, sizeof data), at);
		assert_int_equal(zero_run(data, at), at);
		data[at] = 0;
	}
	data[100] = 9;
	assert_int_equal(zero_run(data + 33, 4096), 67);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parameters_are_checked),
		cmocka_unit_test(test_gear_and_cuts_never_change),
		cmocka_unit_test(test_cuts_follow_the_definition),
		cmocka_unit_test(test_definition_holds_for_dull_data),
		cmocka_unit_test(test_cuts_do_not_depend_on_portions),
		cmocka_unit_test(test_an_inserted_byte_moves_only_neighbours),
		cmocka_unit_test(test_mean_is_what_was_asked_for),
		cmocka_unit_test(test_monotonous_data_is_cut_at_equal_lengths),
		cmocka_unit_test(test_the_end_of_the_stream),
		cmocka_unit_test(test_zero_run),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
