// SPDX-License-Identifier: MIT
/* Elementary streams by hand, and what their parser is made of: start codes, bits, parameter sets,
 * runs. */
#include "cleanup.h"
#include "keyframe/film_run.h"
#include "keyframe/parameter_set.h"
#include "keyframe/rbsp.h"
#include "keyframe/startcode.h"
#include "prng.h"
#include "stream_bytes.h"
#include "stream_keys.h"

static int parse(const struct buf *b, struct film *f)
{
	return stream_parse(&film_annexb, b, 2, f);
}

static void expect_keys(const struct buf *b, const size_t *at, size_t n)
{
	struct film f;
	assert_int_equal(parse(b, &f), 0);
	stream_expect_runs(&f, b->len, at, n);
}

static bool is_film(const struct buf *b)
{
	struct film f;
	int r = parse(b, &f);
	assert_true(r == 0 || r == -ENOMSG || r == -EBADMSG);
	film_done(&f);
	return r == 0;
}

static void start_codes_are_found_anywhere(void **state)
{
	uint8_t bytes[400];
	uint64_t seed = 1;
	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		size_t len = prng_below(&seed, sizeof bytes + 1);
		size_t from = prng_below(&seed, len + 1);
		uint64_t kinds = 2 + prng_below(&seed, 40);
		for (size_t j = 0; j < len; j++)
			bytes[j] = (uint8_t)prng_below(&seed, kinds);
		size_t expected = from;
		while (expected + 3 <= len && memcmp(bytes + expected, "\0\0\1", 3) != 0)
			expected++;
		if (expected + 3 > len)
			expected = len;
		/* of exactly that length, so that one byte too many is seen */
		CLEANUP_FREE uint8_t *copy = malloc(len + !len);
		memcpy(copy, bytes, len);
		assert_int_equal(startcode_find(copy, from, len), expected);
	}
}

static void bits_and_numbers(void **state)
{
	/* 1 010 011 00100 00101, 0 zeros 3: emulation, then 1 */
	static const uint8_t bytes[] = { 0xa6, 0x42, 0x80, 0, 0, 3, 1, 0xff };
	struct rbsp r = rbsp_of(bytes, sizeof bytes);
	(void)state;
	assert_int_equal(rbsp_ue(&r), 0);
	assert_int_equal(rbsp_ue(&r), 1);
	assert_int_equal(rbsp_ue(&r), 2);
	assert_int_equal(rbsp_se(&r), 2);  /* 3 */
	assert_int_equal(rbsp_se(&r), -2); /* 4 */
	assert_int_equal(rbsp_byte(&r), 0);
	assert_int_equal(rbsp_byte(&r), 0);
	assert_int_equal(rbsp_bits(&r, 12), 0x1f);
	assert_int_equal(rbsp_bits(&r, 4), 0xf);
	assert_false(r.bad);
	assert_int_equal(rbsp_bits(&r, 1), 0);
	assert_true(r.bad);
	assert_int_equal(rbsp_ue(&r), 0);
	assert_int_equal(rbsp_byte(&r), 0);
	/* the next start code is the end, whatever length is claimed */
	r = rbsp_of((const uint8_t *)"\xff\0\0\1\xff", 5);
	rbsp_skip(&r, 24);
	assert_false(r.bad);
	rbsp_skip(&r, 1);
	assert_true(r.bad);
	/* a number of more bits than there are numbers */
	r = rbsp_of((const uint8_t *)"\0\0\3\0\0\3\0\0\3\0\xff\xff\xff\xff\xff\xff\xff", 17);
	rbsp_ue(&r);
	assert_true(r.bad);
	r = rbsp_of((const uint8_t *)"\0\0\3\0\1\xff\xff\xff\xfe\x55", 10);
	assert_int_equal(rbsp_ue(&r), UINT32_MAX - 1);
	assert_int_equal(rbsp_bits(&r, 8), 0x2a); /* one bit later */
}

static void runs_are_divided(void **state)
{
	struct film f = { 0 };
	struct film_run r = { .film = &f };
	(void)state;
	assert_int_equal(film_run_end(&r, 100), 0); /* nothing has begun */
	assert_int_equal(f.n, 0);
	assert_int_equal(film_run_key(&r, 10), 0);
	assert_int_equal(film_run_key(&r, 10), 0);
	assert_int_equal(film_run_key(&r, 9), 0);
	assert_int_equal(film_run_key(&r, 30), 0);
	assert_int_equal(film_run_end(&r, UINT64_C(5) << 30), 0);
	assert_int_equal(film_run_end(&r, UINT64_C(6) << 30), 0);
	assert_int_equal(f.n, 4);
	assert_int_equal(f.samples[0].len, 20);
	assert_true(f.samples[0].key && f.samples[1].key);
	assert_false(f.samples[2].key || f.samples[3].key);
	for (size_t i = 1; i < 4; i++)
		assert_int_equal(f.samples[i].at, f.samples[i - 1].at + f.samples[i - 1].len);
	assert_int_equal(f.samples[3].at + f.samples[3].len, UINT64_C(5) << 30);
	film_done(&f);
}

static void put_h264(struct buf *b, size_t at[4])
{
	at[0] = b->len;
	put_units(b, H264_SPS, H264_PPS, H264_SEI, H264_IDR, H264_IDR_MORE, H264_P, H264_P_MORE);
	put_units(b, H264_AUD, H264_SEI, H264_P, H264_AUD, H264_P);
	at[1] = b->len;
	put_units(b, H264_AUD, H264_SPS, H264_RECOVERY, H264_P, H264_P_MORE, H264_P);
	at[2] = b->len;
	put_units(b, H264_IDR, H264_IDR_MORE, H264_P);
	put_payload(b, 30);
	at[3] = b->len; /* the zero byte before the start code goes with it */
	put_units(b, UNIT("\0"), H264_RECOVERY, H264_PPS, H264_P);
}

static void a_picture_begins_with_what_leads_to_it(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[4];
	(void)state;
	put_h264(&b, at);
	expect_keys(&b, at, 4);
	buf_reset(&b);
	at[0] = 0;
	put_units(&b, HEVC_AUD, HEVC_VPS, HEVC_SPS, HEVC_PPS, HEVC_SEI, HEVC_IDR, HEVC_P, HEVC_P);
	at[1] = b.len;
	put_units(&b, HEVC_CRA, HEVC_CRA_MORE, HEVC_P);
	at[2] = b.len + 1; /* here it goes with what precedes */
	put_units(&b, HEVC_AUD, HEVC_SEI, HEVC_CRA, HEVC_P);
	expect_keys(&b, at, 3);
}

/* Pictures of enhancement layers are no pictures of their own. */
static void layers_are_let_go(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[1] = { 0 };
	(void)state;
	put_units(&b, HEVC_VPS, HEVC_SPS, HEVC_PPS, HEVC_IDR, UNIT("\0\0\1\x27\1\xaf\x16\x4c"));
	put_units(&b, UNIT("\0\0\1\x26\x09\xaf\x16\x4c"), HEVC_P,
		  UNIT("\0\0\1\x26\x81\xaf\x16\x4c"));
	expect_keys(&b, at, 1);
}

/* Units lie across the windows that a file is read by, whatever is in them. */
static void windows_have_no_borders(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[400], n = 0;
	uint64_t seed = 9;
	(void)state;
	put_units(&b, H264_SPS, H264_PPS);
	at[n++] = 0;
	put_unit(&b, H264_IDR);
	while (n < 400) {
		put_payload(&b, prng_below(&seed, 20000));
		at[n++] = b.len;
		put_units(&b, H264_AUD, H264_RECOVERY, H264_P);
		put_payload(&b, prng_below(&seed, 5000));
		put_units(&b, H264_AUD, H264_SEI, H264_P);
	}
	assert_true(b.len > 4 * FILM_WINDOW);
	expect_keys(&b, at, n);
	/* and a start code on each side of where they may be */
	for (size_t page = 1; page <= 16; page++) {
		for (size_t before = 0; before < 8; before++) {
			buf_reset(&b);
			put_units(&b, H264_SPS, H264_PPS, H264_IDR);
			put_payload(&b, page * 4096 - before - b.len);
			at[1] = b.len;
			put_unit(&b, H264_IDR);
			put_payload(&b, 50000);
			expect_keys(&b, at, 2);
		}
	}
}

/* A recovery point counts wherever it is among the messages, if the unit is not endless. */
static void messages_are_walked(void **state)
{
	static const struct {
		struct unit_bytes sei;
		bool key;
	} rows[] = {
		{ UNIT("\0\0\1\6\6\1\x80\x80"), true },
		{ UNIT("\0\0\1\6\1\3\6\6\6\6\1\x80\x80"), true },
		{ UNIT("\0\0\1\6\1\3\6\6\6\x80"), false },
		{ UNIT("\0\0\1\6\1\4\0\0\3\0\6\6\1\x80\x80"), true }, /* 4 bytes, one kept out */
		{ UNIT("\0\0\1\6\xff\6\1\x80\x80"), false },	      /* type 261 */
		{ UNIT("\0\0\1\6\6"), false },			      /* ends before the length */
		{ UNIT("\0\0\1\6\5\xff\xff\xff\xff\6\1\x80"), false },
		{ UNIT("\0\0\1\6\5\x09\6\1\x80\x80"), false },
		{ UNIT("\0\0\1\6"), false },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		size_t at[2] = { 0 };
		put_units(&b, H264_SPS, H264_PPS, H264_IDR, H264_P);
		at[1] = b.len;
		put_units(&b, rows[i].sei, H264_P, H264_P);
		expect_keys(&b, at, rows[i].key ? 2 : 1);
	}
}

static void what_is_needed_to_be_believed(void **state)
{
	static const struct unit_bytes all[] = { H264_SPS, H264_PPS, H264_IDR };
	static const struct unit_bytes hevc[] = { HEVC_SPS, HEVC_PPS, HEVC_IDR };
	(void)state;
	for (unsigned mask = 0; mask < 8; mask++) {
		CLEANUP_BUF struct buf b = { 0 };
		CLEANUP_BUF struct buf c = { 0 };
		for (unsigned i = 0; i < 3; i++) {
			if (!(mask & 1u << i))
				continue;
			put_unit(&b, all[i]);
			put_unit(&c, hevc[i]);
		}
		put_payload(&b, 5000);
		put_payload(&c, 5000);
		assert_int_equal(is_film(&b), mask == 7);
		assert_int_equal(is_film(&c), mask == 7);
	}
}

/* Units that no stream begins with, between those that make one. */
static void nonsense_is_not_believed(void **state)
{
	static const struct unit_bytes bad[] = {
		UNIT("\0\0\1\xe7\x64\0\x0c\xac"),		      /* forbidden bit */
		UNIT("\0\0\1\0\1"),				      /* type 0 */
		UNIT("\0\0\1\x1e"),				      /* type 30 */
		UNIT("\0\0\1\x27"),				      /* nothing in it */
		UNIT("\0\0\1\x67\x65\0\x0c\xac\xd9\x41\x41\x9f"),     /* no such profile */
		UNIT("\0\0\1\x67\x64\1\x0c\xac\xd9\x41\x41\x9f"),     /* reserved bits */
		UNIT("\0\0\1\x67\x64\0\xfc\xac\xd9\x41\x41\x9f"),     /* no such level */
		UNIT("\0\0\1\x67\x64\0\x0c\1\1\1\1\1"),		      /* id too large */
		UNIT("\0\0\1\x67\x64\0\x0c\xac"),		      /* ends early */
		UNIT("\0\0\1\7\x64\0\x0c\xac\xd9\x41\x41\x9f\x9f\1"), /* a reference no one needs */
		UNIT("\0\0\1\x68\xa7\xe3"),	/* refers to no parameter set */
		UNIT("\0\0\1\x46\5\4text"),	/* a message to refer to */
		UNIT("\0\0\1\x09\xff"),		/* a delimiter of something */
		UNIT("\0\0\1\x41\x1a\x24\x6c"), /* not the first slice */
		UNIT("\0\0\1\5\x88\x84\x15"),	/* IDR that nothing refers to */
		UNIT("\0\0\1\x65\x88\x15\x15"), /* refers to no parameter set */
	};
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		put_units(&b, H264_AUD, H264_SPS, H264_PPS, bad[i], H264_IDR, H264_P);
		assert_false(is_film(&b));
	}
	for (unsigned first = 0; first < 256; first++) { /* a stream begins with its first byte */
		CLEANUP_BUF struct buf b = { 0 };
		buf_put_u8(&b, (uint8_t)first);
		buf_put(&b, H264_SPS.at + 1, H264_SPS.len - 1);
		put_units(&b, H264_PPS, H264_IDR, H264_P);
		assert_int_equal(is_film(&b), first == 0);
	}
}

static void a_stream_may_end_anywhere(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[4], before = 0;
	(void)state;
	put_h264(&b, at);
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
	assert_int_equal(before, 4);
}

/* A start code every fourth byte, and messages that would be as long as the file. */
static void units_cost_what_they_take(void **state)
{
	static const struct unit_bytes rows[] = {
		UNIT("\0\0\1\6"),	UNIT("\0\0\1\6\5\xff\xff\xff"),
		UNIT("\0\0\1\x65\x80"), UNIT("\0\0\0\0\0\0"),
		UNIT("\1\1\1\1"),
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		put_units(&b, H264_SPS, H264_PPS, H264_IDR);
		while (b.len < (3u << 20))
			put_unit(&b, rows[i]);
		assert_true(is_film(&b));
	}
}

static void bytes_that_are_flipped_do_no_harm(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	uint64_t seed = 17;
	size_t at[4];
	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		if (i % 20 == 0) {
			buf_reset(&b);
			put_h264(&b, at);
		}
		b.data[prng_below(&seed, b.len)] = (uint8_t)prng_below(&seed, i & 1 ? 256 : 4);
		is_film(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_codes_are_found_anywhere),
		cmocka_unit_test(bits_and_numbers),
		cmocka_unit_test(runs_are_divided),
		cmocka_unit_test(a_picture_begins_with_what_leads_to_it),
		cmocka_unit_test(layers_are_let_go),
		cmocka_unit_test(windows_have_no_borders),
		cmocka_unit_test(messages_are_walked),
		cmocka_unit_test(what_is_needed_to_be_believed),
		cmocka_unit_test(nonsense_is_not_believed),
		cmocka_unit_test(a_stream_may_end_anywhere),
		cmocka_unit_test(units_cost_what_they_take),
		cmocka_unit_test(bytes_that_are_flipped_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
