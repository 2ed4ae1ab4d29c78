// SPDX-License-Identifier: MIT
/* stream_keys: parsing of streams in memory, whose samples are runs of pictures from key picture to key picture. */
#ifndef FOLDFS_TEST_STREAM_KEYS_H
#define FOLDFS_TEST_STREAM_KEYS_H
#include "film_memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* As film_memory_parse(), and what is found is in order, at the cost of reading the stream so many `times`. */
static inline int stream_parse(const struct film_parser *parser, const struct buf *b,
			       unsigned times, struct film *f)
{
	struct film_memory m = { .data = b->data, .len = b->len };
	int r = film_memory_parse(&m, parser, f);
	assert_true(film_is_sound(f, b->len));
	assert_true(film_is_in_order(f));
	assert_true(m.read <= times * (uint64_t)b->len + 65536);
	return r;
}

/* The film's runs begin there, and each ends where the next begins. Ends the film. */
static inline void stream_expect_runs(struct film *f, size_t len, const size_t *at, size_t n)
{
	assert_int_equal(f->n, n);
	for (size_t i = 0; i < n; i++) {
		size_t end = i + 1 < n ? at[i + 1] : len;
		assert_int_equal(f->samples[i].at, at[i]);
		assert_int_equal(f->samples[i].len, end - at[i]);
		assert_true(f->samples[i].key);
		assert_true(f->tracks[f->samples[i].track].runs);
	}
	film_done(f);
}
#endif
