// SPDX-License-Identifier: MIT
/* NAL units of streams by hand: where they lie, and which begin a picture. */
#include "keyframe/units.h"
#include "cleanup.h"
#include "prng.h"
#include "stream_bytes.h"
#include "stream_keys.h"

/* What is found in a stream that is taken for H.264: a film with one track, or none. */
static void find(const struct buf *b, struct film *f)
{
	struct film_memory m = { .data = b->data, .len = b->len };
	struct film_source s = { .read = film_memory_read,
				 .arg = &m,
				 .size = m.len,
				 .budget = 4 * (uint64_t)m.len + (64u << 20),
				 .window = film_memory_window };
	*f = (struct film){ .container = FILM_H264 };
	assert_int_equal(units_find(&s, f), 0);
	assert_true(film_is_sound(f, b->len) && film_is_in_order(f));
	assert_true(m.read <= 2 * (uint64_t)b->len + 65536);
	assert_true(f->n_tracks == 0 || f->tracks[0].units);
}

/* Appends a unit; `kept` ones are expected, with the flags. */
static void add(struct buf *b, struct film *expected, struct unit_bytes unit, const char *how)
{
	size_t at = b->len + (unit.at[2] ? 3 : 4);
	put_units(b, unit);
	struct film_sample s = { .at = at,
				 .len = (uint32_t)(b->len - at),
				 .begins = strchr(how, 'b') != NULL,
				 .key = strchr(how, 'k') != NULL };
	if (!strchr(how, '-'))
		film_add_sample(expected, &s);
}

static void compare(struct film *found, struct film *expected)
{
	assert_int_equal(found->n, expected->n);
	for (size_t i = 0; i < found->n; i++) {
		const struct film_sample *a = &found->samples[i], *b = &expected->samples[i];
		assert_int_equal(a->at, b->at);
		assert_int_equal(a->len, b->len);
		assert_int_equal(a->begins, b->begins);
		assert_int_equal(a->key, b->key);
	}
	film_done(found);
	film_done(expected);
}

/* b: begins a picture; k: a key picture; -: a parameter set, which is left out. */
static void put_pictures(struct buf *b, struct film *expected)
{
	add(b, expected, H264_SPS, "-");
	add(b, expected, H264_PPS, "-");
	add(b, expected, H264_SEI, "bk");
	add(b, expected, H264_IDR, "");
	add(b, expected, H264_IDR_MORE, "");
	add(b, expected, H264_P, "b");
	add(b, expected, H264_P_MORE, "");
	add(b, expected, H264_AUD, "b");
	add(b, expected, H264_SEI, "");
	add(b, expected, H264_P, "");
	add(b, expected, H264_AUD, "bk");
	add(b, expected, H264_RECOVERY, "");
	add(b, expected, H264_P, "");
	add(b, expected, H264_SPS, "-");
	add(b, expected, H264_PPS, "-");
	add(b, expected, H264_IDR, "bk");
	add(b, expected, H264_P, "b");
}

static void units_belong_to_pictures(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = { 0 };
	struct film found, expected = { 0 };
	put_pictures(&b, &expected);
	put_payload(&b, 1); /* the last unit goes on */
	expected.samples[expected.n - 1].len++;
	buf_put(&b, "\0\0\0", 3);
	find(&b, &found);
	compare(&found, &expected);
}

/* Units of all lengths, with up to three zeros between them, over the borders of windows. */
static void lengths_are_right_everywhere(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = { 0 };
	struct film found, expected = { 0 };
	uint64_t seed = 3;
	while (b.len < 5 * FILM_WINDOW) {
		add(&b, &expected, H264_P, "b");
		size_t more = prng_below(&seed, 8) ? prng_below(&seed, 9000)
						   : prng_below(&seed, 2 * FILM_WINDOW);
		put_payload(&b, more);
		expected.samples[expected.n - 1].len += (uint32_t)more;
		buf_put(&b, "\0\0\0", prng_below(&seed, 4));
	}
	find(&b, &found);
	compare(&found, &expected);
}

/* Each unit is taken once, also of those between the last one and the end of its window. */
static void small_units_are_found_once(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = { 0 };
	struct film found, expected = { 0 };
	while (b.len < 3 * FILM_WINDOW) {
		add(&b, &expected, UNIT("\0\0\1\x61\x11"), ""); /* no first slice */
		add(&b, &expected, H264_SEI, "b");
		add(&b, &expected, H264_P, "");
	}
	find(&b, &found);
	compare(&found, &expected);
}

static void a_stream_may_end_anywhere(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = { 0 };
	struct film found, expected = { 0 };
	put_pictures(&b, &expected);
	film_done(&expected);
	for (size_t whole = b.len; b.len; b.len--) {
		find(&b, &found);
		assert_true(found.n <= 13 && (b.len < whole || found.n == 13));
		film_done(&found);
	}
}

static void other_films_have_none(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf b = { 0 };
	struct film expected = { 0 }, f = { .container = FILM_HEVC };
	struct film_memory m = { 0 };
	struct film_source s = { .read = film_memory_read,
				 .arg = &m,
				 .window = film_memory_window };
	put_pictures(&b, &expected);
	film_done(&expected);
	m = (struct film_memory){ .data = b.data, .len = b.len };
	s.size = s.budget = b.len;
	assert_int_equal(units_find(&s, &f), 0);
	assert_int_equal(f.n_tracks, 0);
	f.container = FILM_H264;
	s.budget = 10; /* can't be read to its end */
	assert_int_equal(units_find(&s, &f), 0);
	assert_int_equal(f.n_tracks + f.n, 0);
	film_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_belong_to_pictures),
		cmocka_unit_test(lengths_are_right_everywhere),
		cmocka_unit_test(small_units_are_found_once),
		cmocka_unit_test(a_stream_may_end_anywhere),
		cmocka_unit_test(other_films_have_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
