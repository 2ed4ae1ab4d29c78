// SPDX-License-Identifier: MIT
/* MXF by hand: lengths of any form, frames and clips, damage, and bytes that nobody should write. */
#include "cleanup.h"
#include "film_memory.h"
#include "keyframe/klv.h"
#include "klv_bytes.h"
#include "prng.h"
#include "stream_bytes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static int parse(const struct buf *b, struct film *f)
{
	struct film_memory m = { .data = b->data, .len = b->len };
	int r = film_memory_parse(&m, &film_mxf, f);
	assert_true(film_is_sound(f, b->len));
	assert_true(film_is_in_order(f));
	assert_true(m.read <= 3 * (uint64_t)b->len + 65536);
	return r;
}

/* Keys at these places; the last run ends at `end`. */
static void expect_keys(const struct buf *b, const size_t *at, size_t n, size_t end)
{
	struct film f;
	assert_int_equal(parse(b, &f), 0);
	assert_int_equal(f.n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(f.samples[i].at, at[i]);
		assert_int_equal(f.samples[i].len, (i + 1 < n ? at[i + 1] : end) - at[i]);
		assert_true(f.samples[i].key);
	}
	film_done(&f);
}

static void put_front(struct buf *b)
{
	klv_put(b, KLV_HEADER_PARTITION, "header", 6);
	klv_put(b, KLV_FILL, "fill", 4);
}

static size_t put_frame(struct buf *b, const char *key, struct unit_bytes first, size_t len)
{
	size_t at = b->len;
	klv_put_head(b, key, first.len + len, 4);
	put_unit(b, first);
	put_payload(b, len);
	return at;
}

static void pictures_tell_what_they_are(void **state)
{
	static const struct {
		const char *codec;
		struct unit_bytes key, plain; /* plain without bytes: all are key */
	} rows[] = {
		{ "mpeg2", UNIT("\0\0\1\xb3zz\0\0\1\0\0\x0f\xff\xf8"),
		  UNIT("\0\0\1\0\0\xd7\xff\xfb\x80") },
		{ "h264", UNIT("\0\0\0\1\x09\xf0\0\0\1\x65\x88\x84"),
		  UNIT("\0\0\0\1\x09\xf0\0\0\1\x41\x9a\x24") },
		{ "h264", UNIT("\0\0\1\6\6\1\x80\x80\0\0\1\x41\x9a\x24"),
		  UNIT("\0\0\1\x41\x9a\x24") },
		{ "hevc", UNIT("\0\0\0\1\x40\1\0\0\1\x26\1\xaf"),
		  UNIT("\0\0\0\1\x46\1\0\0\1\2\1\xd0") },
		{ "dnxhd", UNIT("\0\0\2\x80\1\1\x80\xa0"), UNIT("") },
		{ "prores", UNIT("\0\0\1\x42icpf"), UNIT("") },
		{ "j2k", UNIT("\0\0\0\x0cjP  "), UNIT("") },
		{ "j2k", UNIT("\xff\x4f\xff\x51\0\0\0\0"), UNIT("") },
		{ "dv", UNIT("\x1f\7\0\xbf\xff\xff\xff\xff"), UNIT("") },
		{ "", UNIT("\x80\x10\x80\x10\x80\x10\x80\x10"), UNIT("") },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		size_t at[3];
		struct film f;
		put_front(&b);
		at[0] = put_frame(&b, KLV_MPEG_FRAME, rows[i].key, 5000);
		put_frame(&b, KLV_SOUND, UNIT("sound"), 100);
		if (rows[i].plain.len)
			put_frame(&b, KLV_MPEG_FRAME, rows[i].plain, 3000);
		put_frame(&b, KLV_ESSENCE "\x15\1\5\1", rows[i].key, 10); /* another track */
		at[1] = put_frame(&b, KLV_MPEG_FRAME, rows[i].key, 300000);
		klv_put(&b, KLV_BODY_PARTITION, "body", 4);
		at[2] = put_frame(&b, KLV_MPEG_FRAME, rows[i].key, 0);
		put_frame(&b, KLV_SOUND, UNIT("sound"), 100);
		size_t end = b.len;
		klv_put(&b, KLV_FILL, "fill", 4);
		expect_keys(&b, at, 3, end);
		assert_int_equal(parse(&b, &f), 0);
		assert_string_equal(f.tracks[0].codec, rows[i].codec);
		film_done(&f);
	}
}

/* A recovery point after more user data than a page has. */
static void a_beginning_may_be_long(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	CLEANUP_BUF struct buf p = { 0 };
	size_t at;
	(void)state;
	put_units(&p, H264_AUD, UNIT("\0\0\1\6\5"));
	for (unsigned i = 0; i < 100; i++)
		buf_put_u8(&p, 0xff);
	buf_put_u8(&p, 0);
	put_payload(&p, 25500);
	put_units(&p, UNIT("\x80"), H264_RECOVERY, H264_P);
	put_front(&b);
	at = b.len;
	klv_put(&b, KLV_MPEG_FRAME, p.data, p.len);
	expect_keys(&b, &at, 1, b.len);
	/* but not longer than the element, whatever follows it */
	buf_reset(&b);
	put_front(&b);
	klv_put_head(&b, KLV_MPEG_FRAME, H264_SPS.len, 3);
	put_unit(&b, H264_SPS);
	put_units(&b, H264_IDR);
	expect_keys(&b, &at, 0, 0);
}

static void lengths_of_any_form(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 8; n++) {
		CLEANUP_BUF struct buf b = { 0 };
		size_t at[2];
		put_front(&b);
		at[0] = b.len;
		klv_put_head(&b, KLV_RAW_FRAME, 100, n);
		put_payload(&b, 100);
		at[1] = b.len;
		klv_put_head(&b, KLV_RAW_FRAME, 100, 0);
		put_payload(&b, 100);
		expect_keys(&b, at, 2, b.len);
	}
}

static void no_lengths(void **state)
{
	/* without end, of 9 and more bytes, of none at all */
	static const uint8_t forms[] = { 0x80, 0x89, 0x8a, 0x90, 0xff };
	(void)state;
	for (size_t i = 0; i < sizeof forms; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		size_t at[2];
		put_front(&b);
		at[0] = put_frame(&b, KLV_RAW_FRAME, UNIT("raw picture"), 50);
		size_t end = b.len;
		klv_put_head(&b, KLV_RAW_FRAME, 50, 9);
		b.data[end + 16] = forms[i];
		put_payload(&b, 50);
		at[1] = put_frame(&b, KLV_RAW_FRAME, UNIT("raw picture"), 50);
		expect_keys(&b, at, 2, b.len);
		struct film f;
		buf_reset(&b);
		klv_put_head(&b, KLV_HEADER_PARTITION, 50, 9);
		b.data[16] = forms[i];
		assert_int_equal(parse(&b, &f), -EBADMSG);
		film_done(&f);
	}
}

/* An element that would go beyond the file ends with it. */
static void lengths_that_lie(void **state)
{
	static const uint64_t lens[] = { 101,	     UINT32_MAX,       INT64_MAX,
					 UINT64_MAX, UINT64_MAX - 130, UINT64_MAX - 16 };
	(void)state;
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
		for (unsigned clip = 0; clip < 2; clip++) {
			CLEANUP_BUF struct buf b = { 0 };
			put_front(&b);
			size_t at = b.len;
			klv_put_head(&b, clip ? KLV_RAW_CLIP : KLV_RAW_FRAME, lens[i], 8);
			at = clip ? b.len : at;
			put_payload(&b, 100);
			expect_keys(&b, &at, 1, b.len);
		}
	}
}

static void put_stream(struct buf *b, size_t at[3])
{
	at[0] = b->len;
	put_units(b, MPEG2_SEQUENCE, MPEG2_EXTENSION, MPEG2_GROUP, MPEG2_I, MPEG2_SLICE,
		  MPEG2_SLICE);
	put_units(b, MPEG2_P, MPEG2_SLICE, MPEG2_P, MPEG2_SLICE);
	at[1] = b->len;
	put_units(b, MPEG2_SEQUENCE, MPEG2_GROUP, MPEG2_I, MPEG2_SLICE, MPEG2_P, MPEG2_SLICE);
	at[2] = b->len;
	put_units(b, MPEG2_GROUP, MPEG2_I, MPEG2_SLICE, MPEG2_SEQUENCE, MPEG2_P);
}

static void pictures_within_a_clip(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	CLEANUP_BUF struct buf stream = { 0 };
	size_t at[3];
	(void)state;
	put_stream(&stream, at);
	put_front(&b);
	klv_put_head(&b, KLV_MPEG_CLIP, stream.len, 8);
	for (unsigned i = 0; i < 3; i++)
		at[i] += b.len;
	buf_put(&b, stream.data, stream.len);
	klv_put(&b, KLV_FILL, "\0\0\1\xb3\0\0\1\0\0\x0f\xff\xf8", 12); /* beyond its end */
	put_frame(&b, KLV_SOUND, UNIT("sound"), 20);
	expect_keys(&b, at, 3, b.len);
}

/* Of a codec whose pictures can't be told apart the clip is one run. */
static void a_clip_of_anything(void **state)
{
	static const char *const elements[] = { KLV_RAW_CLIP, KLV_ESSENCE "\x18\1\2\0" };
	(void)state;
	for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		put_front(&b);
		klv_put_head(&b, elements[i], 10000, 3);
		size_t at = b.len;
		put_unit(&b, UNIT("\x1f\7\0\xbf"));
		put_payload(&b, 9996);
		expect_keys(&b, &at, 1, b.len);
	}
}

/* Frames of VC-3: equally far from each other, then not, then the second fields between them. */
static void frames_of_vc3_within_a_clip(void **state)
{
	static const size_t gaps[] = { 9000, 9000, 9000, 9001, 9000, 100, 20000, 20000, 7 };
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[10], n = 0;
	(void)state;
	put_front(&b);
	klv_put_head(&b, KLV_VC3_CLIP, 0, 8);
	size_t from = b.len;
	for (size_t i = 0; i < sizeof gaps / sizeof *gaps; i++) {
		at[n++] = b.len;
		put_unit(&b, UNIT("\0\0\2\x80\1\2"));
		put_payload(&b, gaps[i] - 6);
		put_unit(&b, UNIT("\0\0\2\x80\1\3")); /* the second field */
	}
	at[n++] = b.len;
	put_unit(&b, UNIT("\0\0\2\x80\1\2"));
	put_payload(&b, 10);
	put_be64(b.data + from - 8, b.len - from);
	klv_put(&b, KLV_FILL, "\0\0\2\x80\1\2\0\0", 8); /* beyond its end */
	put_frame(&b, KLV_SOUND, UNIT("sound"), 20);
	expect_keys(&b, at, n, b.len);
}

static void heads_without_end(void **state)
{
	(void)state;
	/* as close to each other as may be, and so that each guess is wrong */
	for (unsigned kind = 0; kind < 2; kind++) {
		CLEANUP_BUF struct buf b = { 0 };
		struct film f;
		put_front(&b);
		klv_put_head(&b, KLV_VC3_CLIP, UINT32_MAX, 8);
		for (unsigned i = 0; b.len < (3u << 20); i++) {
			put_unit(&b, UNIT("\0\0\2\x80\1\1"));
			put_payload(&b, kind && i & 1 ? 9000 : 0);
		}
		assert_int_equal(parse(&b, &f), 0);
		assert_true(f.n > 100);
		film_done(&f);
	}
}

static void what_was_damaged_is_passed_over(void **state)
{
	(void)state;
	for (size_t junk = 1; junk < 10000; junk += 1 + junk / 3) {
		CLEANUP_BUF struct buf b = { 0 };
		size_t at[2];
		put_front(&b);
		at[0] = put_frame(&b, KLV_RAW_FRAME, UNIT("raw picture"), 50);
		for (size_t i = 0; i < junk; i++)
			buf_put_u8(&b, "\x06\x0e\x2b\x34\x07"[i % 5]);
		at[1] = put_frame(&b, KLV_RAW_FRAME, UNIT("raw picture"), 50);
		expect_keys(&b, at, 2, b.len);
	}
	/* a key on each side of where a window may end */
	for (size_t page = 1; page <= 16; page++) {
		for (size_t before = 0; before < 300; before++) {
			CLEANUP_BUF struct buf b = { 0 };
			size_t at[2];
			put_front(&b);
			at[0] = put_frame(&b, KLV_RAW_FRAME, UNIT("raw picture"), 50);
			put_payload(&b, page * 4096 - before);
			at[1] = put_frame(&b, KLV_RAW_FRAME, UNIT("raw picture"), 50);
			expect_keys(&b, at, 2, b.len);
		}
	}
}

/* Keys that begin everywhere and go nowhere; elements without a byte. */
static void keys_without_end(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		CLEANUP_BUF struct buf b = { 0 };
		struct film f;
		put_front(&b);
		while (b.len < (3u << 20)) {
			if (kind == 0)
				buf_put(&b, KLV_ESSENCE, 4);
			else
				klv_put_head(&b, KLV_RAW_FRAME, kind == 2 ? 8 : 0, 0);
			if (kind == 2)
				put_payload(&b, 8);
		}
		assert_int_equal(parse(&b, &f), 0);
		assert_int_equal(f.n > 0, kind == 2);
		film_done(&f);
	}
}

static void put_film(struct buf *b)
{
	size_t at[3];
	CLEANUP_BUF struct buf stream = { 0 };
	put_stream(&stream, at);
	put_front(b);
	put_frame(b, KLV_MPEG_FRAME, UNIT("\0\0\1\xb3zz\0\0\1\0\0\x0f\xff\xf8"), 50);
	put_frame(b, KLV_SOUND, UNIT("sound"), 20);
	put_frame(b, KLV_MPEG_FRAME, UNIT("\0\0\1\0\0\xd7\xff\xfb\x80"), 50);
	klv_put(b, KLV_MPEG_FRAME, stream.data, stream.len);
	b->data[b->len - stream.len - 20 + 14] = 6; /* a clip: same track no more */
	put_frame(b, KLV_MPEG_FRAME, UNIT("\0\0\1\xb3zz\0\0\1\0\0\x0f\xff\xf8"), 50);
}

static void a_film_may_end_anywhere(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	size_t before = 0;
	(void)state;
	put_film(&b);
	for (size_t len = 0; len <= b.len; len++) {
		CLEANUP_FREE uint8_t *copy = malloc(len + !len);
		memcpy(copy, b.data, len);
		struct buf part = { .data = copy, .len = len };
		struct film f;
		parse(&part, &f);
		assert_true(f.n >= before);
		before = f.n;
		film_done(&f);
	}
	assert_int_equal(before, 2);
}

static void bytes_that_are_flipped_do_no_harm(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	uint64_t seed = 23;
	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct film f;
		if (i % 20 == 0) {
			buf_reset(&b);
			put_film(&b);
		}
		b.data[prng_below(&seed, b.len)] = (uint8_t)prng_below(&seed, 256);
		parse(&b, &f);
		film_done(&f);
	}
}

static void other_files_do_not_look_like_it(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	(void)state;
	put_payload(&b, 5000);
	assert_int_equal(parse(&b, &f), -ENOMSG);
	klv_put(&b, KLV_HEADER_PARTITION, "late", 4); /* beyond what is looked at */
	assert_int_equal(parse(&b, &f), -ENOMSG);
	buf_reset(&b);
	klv_put(&b, KLV_BODY_PARTITION, "no header", 9);
	assert_int_equal(parse(&b, &f), -ENOMSG);
	buf_reset(&b);
	buf_put(&b, KLV_HEADER_PARTITION, 14); /* no more than that */
	assert_int_equal(parse(&b, &f), -EBADMSG);
	film_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pictures_tell_what_they_are),
		cmocka_unit_test(a_beginning_may_be_long),
		cmocka_unit_test(lengths_of_any_form),
		cmocka_unit_test(no_lengths),
		cmocka_unit_test(lengths_that_lie),
		cmocka_unit_test(pictures_within_a_clip),
		cmocka_unit_test(a_clip_of_anything),
		cmocka_unit_test(frames_of_vc3_within_a_clip),
		cmocka_unit_test(heads_without_end),
		cmocka_unit_test(what_was_damaged_is_passed_over),
		cmocka_unit_test(keys_without_end),
		cmocka_unit_test(a_film_may_end_anywhere),
		cmocka_unit_test(bytes_that_are_flipped_do_no_harm),
		cmocka_unit_test(other_files_do_not_look_like_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
