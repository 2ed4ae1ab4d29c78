// SPDX-License-Identifier: MIT
/* The filter and the table that gathers digests: each alone, on one thread. */
#include "filter.h"
#include "gather.h"
#include "prng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* Keys fall into blocks as a Poisson process; a question is answered "maybe" if in all eight words
 * its bit of 64 was hit by one of the block's keys. */
static double expected_rate(double keys, double blocks)
{
	double mean = keys / blocks, p = exp(-mean), sum = 0;
	for (unsigned k = 0; k < 1000; k++) {
		sum += p * pow(1 - pow(63.0 / 64, k), FILTER_BLOCK_WORDS);
		p *= mean / (k + 1);
	}
	return sum;
}

static void check_rate(uint64_t keys, unsigned bits, size_t max_bytes)
{
	struct filter f;
	uint64_t seed = bits, maybe = 0, asked = 400000;
	assert_int_equal(filter_init(&f, keys, bits, max_bytes), 0);
	assert_true(!max_bytes || filter_bytes(&f) <= max_bytes);
	for (uint64_t i = 0; i < keys; i++) {
		uint64_t place = prng_next(&seed);
		filter_add(&f, place, prng_next(&seed));
	}
	seed = bits;
	for (uint64_t i = 0; i < keys; i++) {
		uint64_t place = prng_next(&seed);
		assert_true(filter_has(&f, place, prng_next(&seed)));
	}
	for (uint64_t i = 0; i < asked; i++) {
		uint64_t place = prng_next(&seed);
		maybe += filter_has(&f, place, prng_next(&seed));
	}
	double rate = (double)maybe / (double)asked;
	double theory = expected_rate((double)keys, (double)f.blocks);
	assert_true(rate < 2 * theory + 1e-5);
	assert_true(rate > theory / 2 - 1e-5);
	filter_done(&f);
}

static void test_false_positives_are_as_many_as_theory_says(void **state)
{
	(void)state;
	for (unsigned bits = 8; bits <= 20; bits += 4)
		check_rate(200000, bits, 0);
	check_rate(200000, 12, 100000);
	assert_true(expected_rate(512, 12) < 0.006);
}

static void test_repeated_keys_are_not_counted(void **state)
{
	(void)state;
	struct filter f;
	assert_int_equal(filter_init(&f, 100, 12, 0), 0);
	assert_true(filter_add(&f, 1, 2));
	assert_false(filter_add(&f, 1, 2));
	assert_int_equal(f.n, 1);
	for (uint64_t seed = 1; !filter_full(&f);)
		filter_add(&f, prng_next(&seed), prng_next(&seed));
	assert_int_equal(f.n, 100);
	filter_done(&f);
	filter_done(&f);
	assert_int_equal(filter_bytes(&f), 0);
}

static void test_edges(void **state)
{
	(void)state;
	struct filter f;
	assert_int_equal(filter_init(&f, 0, 12, 0), 0);
	filter_add(&f, UINT64_MAX, UINT64_MAX);
	assert_true(filter_has(&f, UINT64_MAX, UINT64_MAX));
	assert_false(filter_has(&f, 0, 0));
	filter_done(&f);
}

static void test_gather_against_a_plain_list(void **state)
{
	(void)state;
	enum { KEYS = 5000 };
	static uint64_t hi[KEYS], lo[KEYS], id[KEYS];
	struct gather g = { .shift = 6 };
	uint64_t seed = 3;

	for (unsigned i = 0; i < KEYS; i++) {
		/* Some collide in their upper half, some everywhere but the last bit. */
		hi[i] = i % 10 ? prng_next(&seed) >> 6 : 77;
		lo[i] = i % 20 ? prng_next(&seed) : i;
		id[i] = 0;
	}
	assert_null(gather_find(&g, 1, 2));
	for (unsigned round = 0; round < 20000; round++) {
		unsigned i = (unsigned)prng_below(&seed, KEYS);
		const struct gather_entry *e = gather_find(&g, hi[i], lo[i]);
		assert_int_equal(e ? e->id : 0, id[i]);
		id[i] = 1 + prng_below(&seed, 1000);
		assert_int_equal(gather_put(&g, hi[i], lo[i], id[i]), 0);
	}
	struct gather_entry *sorted = malloc(g.n * sizeof *sorted);
	gather_sorted(&g, sorted);
	for (size_t i = 1; i < g.n; i++)
		assert_true(sorted[i - 1].hi < sorted[i].hi ||
			    (sorted[i - 1].hi == sorted[i].hi && sorted[i - 1].lo < sorted[i].lo));
	free(sorted);
	gather_done(&g);
	assert_null(gather_find(&g, hi[0], lo[0]));
	assert_int_equal(gather_bytes(&g), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_false_positives_are_as_many_as_theory_says),
		cmocka_unit_test(test_repeated_keys_are_not_counted),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_gather_against_a_plain_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
