// SPDX-License-Identifier: MIT
/* The cutter against a plain one that sees the whole stream at once. */
#include "cutter.h"
#include "cleanup.h"
#include "prng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define STREAM (3u << 20)

static const struct chunker_params small = { CHUNKER_FASTCDC, 1024, 4096, 16384 };

struct item {
	enum cut cut;
	size_t len;
};
struct items {
	struct item v[40000];
	size_t n;
};

static void items_add(struct items *items, enum cut cut, size_t len)
{
	struct item *last = items->n ? &items->v[items->n - 1] : NULL;
	if (last && cut == CUT_ZEROS && last->cut == CUT_ZEROS)
		last->len += len; /* a run may come in pieces */
	else
		items->v[items->n++] = (struct item){ cut, len };
}

/* Random bytes with runs of zeros of about the least length, anywhere. */
static void fill_stream(uint8_t *data, size_t len, uint64_t seed)
{
	prng_fill(&seed, data, len);
	for (size_t at = 0; at < len;) {
		size_t run = prng_below(&seed, 3) ? HOLE_MIN - 8 + prng_below(&seed, 16)
						  : prng_below(&seed, 100000);
		run = run < len - at ? run : len - at;
		memset(data + at, 0, run);
		at += run + prng_below(&seed, prng_below(&seed, 2) ? 50 : 60000);
	}
}

/* By definition: the longest runs of zeros are cut out, what is between them is chunked. */
static void cut_plainly(const struct chunker *c, const uint8_t *data, size_t len,
			struct items *items)
{
	for (size_t at = 0; at < len;) {
		size_t zeros = zero_run(data + at, len - at), end = at;
		if (zeros >= HOLE_MIN) {
			items_add(items, CUT_ZEROS, zeros);
			at += zeros;
			continue;
		}
		for (size_t run; end < len; end += run ? run : 1) {
			run = zero_run(data + end, len - end);
			if (run >= HOLE_MIN)
				break;
		}
		while (at < end) {
			size_t n = chunker_cut(c, data + at, end - at, true);
			items_add(items, CUT_CHUNK, n);
			at += n;
		}
	}
}

/* In portions of random size, as a reader with a buffer does. */
static void cut_in_portions(struct cutter *c, const uint8_t *data, size_t len, uint64_t seed,
			    struct items *items)
{
	size_t have = 0;
	for (size_t at = 0, n; at < len;) {
		size_t more = prng_below(&seed, 3 * cutter_lookahead(c));
		have = len - have < more ? len : have + more;
		enum cut cut;
		while ((cut = cutter_next(c, data + at, have - at, have == len, &n)) != CUT_MORE) {
			assert_true(n > 0 && n <= have - at);
			items_add(items, cut, n);
			at += n;
		}
		assert_true(at == len || have - at < cutter_lookahead(c));
	}
}

static void portions_do_not_matter(void **state)
{
	(void)state;
	CLEANUP_FREE uint8_t *data = malloc(STREAM);
	CLEANUP_FREE struct items *want = calloc(1, sizeof *want);
	CLEANUP_FREE struct items *got = calloc(1, sizeof *got);
	struct chunker chunker;
	assert_int_equal(chunker_init(&chunker, &small), 0);
	for (uint64_t seed = 0; seed < 30; seed++) {
		size_t len = STREAM - seed * 3001;
		struct cutter c = { .chunker = &chunker };
		fill_stream(data, len, seed);
		want->n = got->n = 0;
		cut_plainly(&chunker, data, len, want);
		cut_in_portions(&c, data, len, seed, got);
		assert_int_equal(got->n, want->n);
		for (size_t i = 0; i < want->n; i++) {
			assert_int_equal(got->v[i].cut, want->v[i].cut);
			assert_int_equal(got->v[i].len, want->v[i].len);
		}
	}
}

static void nothing_but_zeros(void **state)
{
	(void)state;
	CLEANUP_FREE uint8_t *data = calloc(1, STREAM);
	CLEANUP_FREE struct items *got = calloc(1, sizeof *got);
	struct chunker chunker;
	assert_int_equal(chunker_init(&chunker, &small), 0);
	struct cutter c = { .chunker = &chunker };
	cut_in_portions(&c, data, STREAM, 1, got);
	assert_int_equal(got->n, 1);
	assert_int_equal(got->v[0].cut, CUT_ZEROS);
	/* a short stream of zeros is data */
	struct cutter d = { .chunker = &chunker };
	size_t n;
	assert_int_equal(cutter_next(&d, data, HOLE_MIN - 1, true, &n), CUT_CHUNK);
	assert_int_equal(n, HOLE_MIN - 1);
	assert_int_equal(cutter_next(&d, data, 0, true, &n), CUT_MORE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(portions_do_not_matter),
		cmocka_unit_test(nothing_but_zeros),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
