// SPDX-License-Identifier: MIT
/* Transport streams by hand: tables that come in pieces, move and lie, pictures that tell themselves
 * what they are, and bytes that nobody should write. */
#include "cleanup.h"
#include "keyframe/psi.h"
#include "prng.h"
#include "stream_bytes.h"
#include "stream_keys.h"
#include "ts_bytes.h"

enum { PMT = 0x1000, VIDEO = 0x100, H264 = 0x1b, HEVC = 0x24, MPEG2 = 2, VC1 = 0xea };

static int parse(const struct buf *b, struct film *f)
{
	return stream_parse(&film_mpegts, b, 4, f);
}

static void expect_keys(const struct buf *b, const size_t *at, size_t n)
{
	struct film f;
	assert_int_equal(parse(b, &f), 0);
	stream_expect_runs(&f, b->len, at, n);
}

static void put_front(struct ts_bytes *t, unsigned type)
{
	ts_put_pat(t, 1, PMT);
	ts_put_pmt(t, PMT, 1, type, VIDEO);
}

/* A picture that is so long that its beginning is only part of it. */
static size_t put_picture(struct ts_bytes *t, unsigned flags, struct unit_bytes a,
			  struct unit_bytes b)
{
	CLEANUP_BUF struct buf p = { 0 };
	size_t at = t->b.len;
	put_units(&p, a, b);
	put_payload(&p, 500);
	ts_put_picture(t, VIDEO, flags, 5, slice_of(p.data, p.len));
	return at;
}

static void the_indicator_tells(void **state)
{
	struct ts_bytes t = { 0 };
	size_t at[2];
	(void)state;
	put_front(&t, 0x42); /* of which nothing else is known */
	put_picture(&t, 0, H264_AUD, H264_IDR);
	at[0] = put_picture(&t, TS_RANDOM_ACCESS, H264_AUD, H264_P);
	put_picture(&t, 0, H264_AUD, H264_P);
	at[1] = put_picture(&t, TS_RANDOM_ACCESS | TS_SCRAMBLED, H264_AUD, H264_P);
	expect_keys(&t.b, at, 2);
	buf_done(&t.b);
}

static void pictures_tell_themselves(void **state)
{
	static const struct {
		unsigned type;
		struct unit_bytes key[2], plain[2];
	} rows[] = {
		{ H264, { H264_AUD, H264_IDR }, { H264_AUD, H264_P } },
		{ H264, { H264_RECOVERY, H264_P }, { H264_SEI, H264_P } },
		{ HEVC, { HEVC_AUD, HEVC_IDR }, { HEVC_AUD, HEVC_P } },
		{ HEVC, { HEVC_VPS, HEVC_CRA }, { HEVC_SEI, HEVC_P } },
		{ MPEG2, { MPEG2_SEQUENCE, MPEG2_I }, { MPEG2_SEQUENCE, MPEG2_P } },
		{ 0x10,
		  { UNIT("\0\0\1\xb0"), UNIT("\0\0\1\xb6\x10\1") },
		  { UNIT("\0\0\1\xb3"), UNIT("\0\0\1\xb6\x50\1") } },
		{ VC1,
		  { UNIT("\0\0\1\x0e\1"), UNIT("\0\0\1\x0d\1") },
		  { UNIT("\0\0\1\x0f\1"), UNIT("\0\0\1\x0d\1") } },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (unsigned m2ts = 0; m2ts < 2; m2ts++) {
			struct ts_bytes t = { .m2ts = m2ts };
			size_t at[2];
			put_front(&t, rows[i].type);
			put_picture(&t, 0, rows[i].plain[0], rows[i].plain[1]);
			at[0] = put_picture(&t, 0, rows[i].key[0], rows[i].key[1]);
			put_picture(&t, 0, rows[i].plain[0], rows[i].plain[1]);
			put_picture(&t, TS_SCRAMBLED, rows[i].key[0], rows[i].key[1]);
			at[1] = put_picture(&t, 0, rows[i].key[0], rows[i].key[1]);
			expect_keys(&t.b, at, 2);
			buf_done(&t.b);
		}
	}
}

/* The recovery point comes packets later, after user data, and the PES header is long. */
static void a_beginning_takes_many_packets(void **state)
{
	(void)state;
	for (size_t len = 1; len < 600; len += 7) {
		struct ts_bytes t = { 0 };
		CLEANUP_BUF struct buf p = { 0 };
		put_front(&t, H264);
		put_picture(&t, 0, H264_AUD, H264_P);
		put_picture(&t, 0, H264_AUD, H264_P);
		put_units(&p, H264_AUD, UNIT("\0\0\1\6\5"));
		for (size_t left = len; left >= 255; left -= 255)
			buf_put_u8(&p, 0xff);
		buf_put_u8(&p, (uint8_t)(len % 255));
		put_payload(&p, len);
		put_units(&p, UNIT("\6\1\x80\x80"), H264_P);
		put_payload(&p, 700);
		size_t at = t.b.len;
		ts_put_picture(&t, VIDEO, 0, 255, slice_of(p.data, p.len));
		put_picture(&t, 0, H264_AUD, H264_P);
		expect_keys(&t.b, &at, 1);
		buf_done(&t.b);
	}
}

static void a_beginning_is_not_sought_for_ever(void **state)
{
	struct ts_bytes t = { 0 };
	CLEANUP_BUF struct buf p = { 0 };
	(void)state;
	put_front(&t, H264);
	put_payload(&p, 20000);
	put_unit(&p, H264_IDR);
	ts_put_picture(&t, VIDEO, 0, 0, slice_of(p.data, p.len));
	expect_keys(&t.b, NULL, 0);
	buf_done(&t.b);
}

static void what_is_no_picture_is_no_key(void **state)
{
	struct ts_bytes t = { 0 };
	size_t at;
	(void)state;
	put_front(&t, H264);
	for (unsigned i = 0; i < 20; i++)
		put_picture(&t, 0, H264_AUD, H264_P);
	/* the first packet was damaged on its way */
	put_picture(&t, TS_RANDOM_ACCESS | TS_DAMAGED, H264_AUD, H264_IDR);
	/* no PES */
	ts_put(&t, VIDEO, TS_START | TS_RANDOM_ACCESS, slice_of("\0\0\2\xe0 some other thing", 20));
	/* an adaptation field that takes all there is, and one that takes more */
	at = t.b.len;
	ts_put(&t, VIDEO, TS_START | TS_RANDOM_ACCESS, slice_of("", 0));
	ts_put(&t, VIDEO, TS_START | TS_RANDOM_ACCESS, slice_of("", 0));
	t.b.data[t.b.len - TS_PACKET + 4] = 255;
	assert_int_equal(t.b.data[at + 4], 183);
	/* no payload */
	ts_put(&t, VIDEO, TS_START | TS_RANDOM_ACCESS, slice_of("\0\0\1\xe0", 4));
	t.b.data[t.b.len - TS_PACKET + 3] &= 0xef;
	at = put_picture(&t, 0, H264_AUD, H264_IDR);
	expect_keys(&t.b, &at, 1);
	buf_done(&t.b);
}

static void a_packet_may_come_twice(void **state)
{
	struct ts_bytes t = { 0 };
	size_t at[2];
	(void)state;
	put_front(&t, H264);
	for (unsigned i = 0; i < 20; i++)
		put_picture(&t, 0, H264_AUD, H264_P);
	at[0] = t.b.len;
	uint8_t copy[TS_PACKET];
	ts_put_packet(&t, VIDEO, TS_START | TS_RANDOM_ACCESS,
		      slice_of("\0\0\1\xe0\0\0\x80\0\0", 9));
	memcpy(copy, t.b.data + at[0], sizeof copy);
	buf_put(&t.b, copy, sizeof copy);
	at[1] = put_picture(&t, 0, H264_AUD, H264_IDR);
	expect_keys(&t.b, at, 2);
	buf_done(&t.b);
}

/* Pictures that came before the tables count: a recording may begin anywhere. */
static void tables_may_come_late(void **state)
{
	struct ts_bytes t = { 0 };
	size_t at[2];
	(void)state;
	at[0] = put_picture(&t, 0, H264_AUD, H264_IDR);
	for (unsigned i = 0; i < 100; i++)
		put_picture(&t, 0, H264_AUD, H264_P);
	put_front(&t, H264);
	at[1] = put_picture(&t, 0, H264_AUD, H264_IDR);
	expect_keys(&t.b, at, 2);
	buf_done(&t.b);
}

static void no_tables_no_film(void **state)
{
	struct ts_bytes t = { 0 };
	struct film f;
	(void)state;
	for (unsigned i = 0; i < 20; i++)
		put_picture(&t, TS_RANDOM_ACCESS, H264_AUD, H264_IDR);
	assert_int_equal(parse(&t.b, &f), -EBADMSG);
	film_done(&f);
	ts_put_pat(&t, 1, PMT); /* but no PMT */
	assert_int_equal(parse(&t.b, &f), 0);
	assert_int_equal(f.container, FILM_TS);
	assert_int_equal(f.n_tracks, 0);
	film_done(&f);
	ts_put_pmt(&t, PMT, 1, 0, 0); /* without video */
	assert_int_equal(parse(&t.b, &f), 0);
	assert_int_equal(f.n, 0);
	film_done(&f);
	buf_done(&t.b);
}

static void the_video_may_move(void **state)
{
	struct ts_bytes t = { 0 };
	CLEANUP_BUF struct buf p = { 0 };
	size_t at[3];
	struct film f;
	(void)state;
	put_units(&p, HEVC_AUD, HEVC_IDR);
	put_payload(&p, 400);
	struct slice hevc = slice_of(p.data, p.len);
	put_front(&t, H264);
	at[0] = put_picture(&t, 0, H264_AUD, H264_IDR);
	ts_put_pmt(&t, PMT, 7, HEVC, 0x101); /* of another programme */
	ts_put_picture(&t, 0x101, 0, 0, hevc);
	put_picture(&t, 0, H264_AUD, H264_P);
	ts_put_pmt(&t, PMT, 1, HEVC, 0x102); /* of ours */
	put_picture(&t, 0, H264_AUD, H264_IDR);
	at[1] = t.b.len;
	ts_put_picture(&t, 0x102, 0, 0, hevc);
	ts_put_pat(&t, 9, 0x50); /* another programme altogether */
	ts_put_picture(&t, 0x102, 0, 0, hevc);
	ts_put_pmt(&t, 0x50, 9, H264, VIDEO);
	at[2] = put_picture(&t, 0, H264_AUD, H264_IDR);
	while (t.b.len < DETECT_HEAD)
		put_picture(&t, 0, H264_AUD, H264_P);
	expect_keys(&t.b, at, 3);
	assert_int_equal(parse(&t.b, &f), 0);
	assert_int_equal(f.n_tracks, 1);
	assert_string_equal(f.tracks[0].codec, "h264");
	film_done(&f);
	buf_done(&t.b);
}

struct taken {
	unsigned n;
	size_t len[8];
};

static void take(void *arg, const uint8_t *section, size_t len)
{
	struct taken *t = arg;
	assert_int_equal(section[0], 2);
	assert_true(t->n < 8);
	t->len[t->n++] = len;
}

/* Three sections, cut into payloads of any size; the pointer says where the first begins. */
static void sections_are_put_together(void **state)
{
	CLEANUP_BUF struct buf s = { 0 }, pieces = { 0 };
	uint8_t body[900] = { 0 };
	size_t begins[3];
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		begins[i] = s.len;
		ts_section(&s, 2, i, slice_of(body, i == 1 ? 900 : 9));
	}
	for (size_t step = 20; step < 200; step++) {
		struct psi_section p = { 0 };
		struct taken t = { 0 };
		unsigned next = 0;
		for (size_t at = 0, n = 0; at < s.len; at += step, n++) {
			size_t len = s.len - at < step ? s.len - at : step;
			bool start = next < 3 && begins[next] < at + len;
			buf_reset(&pieces);
			if (start)
				buf_put_u8(&pieces, (uint8_t)(begins[next] - at));
			buf_put(&pieces, s.data + at, len);
			while (next < 3 && begins[next] < at + len)
				next++;
			struct psi_payload in = { pieces.data, pieces.len, start, n & 15 };
			psi_feed(&p, in, (struct psi_sink){ take, &t });
			if (!start) /* a packet may come twice, except that it would begin anew */
				psi_feed(&p, in, (struct psi_sink){ take, &t });
		}
		assert_int_equal(t.n, 3);
		assert_int_equal(t.len[1], 912);
	}
}

static void sections_with_faults_are_dropped(void **state)
{
	CLEANUP_BUF struct buf s = { 0 };
	uint8_t body[100] = { 0 };
	struct psi_section p = { 0 };
	struct taken t = { 0 };
	struct psi_sink to = { take, &t };
	(void)state;
	buf_put_u8(&s, 0);
	ts_section(&s, 2, 1, slice_of(body, sizeof body));
	psi_feed(&p, (struct psi_payload){ s.data, s.len, true, 0 }, to);
	assert_int_equal(t.n, 1);
	for (size_t i = 0; i < s.len; i++) { /* nothing else is like it */
		s.data[i] ^= 0x10;
		psi_feed(&p, (struct psi_payload){ s.data, s.len, true, 1 }, to);
		s.data[i] ^= 0x10;
	}
	assert_int_equal(t.n, 1);
	/* a packet is missing between the halves */
	psi_feed(&p, (struct psi_payload){ s.data, 60, true, 2 }, to);
	psi_feed(&p, (struct psi_payload){ s.data + 60, s.len - 60, false, 4 }, to);
	assert_int_equal(t.n, 1);
	/* a section begins where the former hasn't ended */
	psi_feed(&p, (struct psi_payload){ s.data, 60, true, 5 }, to);
	psi_feed(&p, (struct psi_payload){ s.data, s.len, true, 6 }, to);
	assert_int_equal(t.n, 2);
	/* the pointer points beyond the packet; nothing comes at all */
	psi_feed(&p,
		 (struct psi_payload){ (const uint8_t *)"\xff"
							"abc",
				       4, true, 7 },
		 to);
	psi_feed(&p, (struct psi_payload){ s.data, 0, true, 8 }, to);
	psi_feed(&p, (struct psi_payload){ s.data, 0, false, 9 }, to);
	/* longer than any may be */
	psi_feed(&p,
		 (struct psi_payload){ (const uint8_t *)"\0\2\xbf\xff"
							"abcdef",
				       10, true, 10 },
		 to);
	assert_false(p.open);
	assert_int_equal(t.n, 2);
}

static int pmt_of(struct slice body, struct psi_video *ret)
{
	CLEANUP_BUF struct buf s = { 0 };
	ts_section(&s, 2, 5, body);
	return psi_pmt(s.data, s.len, ret);
}

static void a_pmt_whose_lengths_lie(void **state)
{
	/* PCR, length of descriptors, then type, PID, length of descriptors for each */
	uint8_t body[] = { 0xe1, 0, 0xf0, 0, 3, 0xe1, 0, 0xf0, 0, H264, 0xe1, 0x11, 0xf0, 0 };
	struct psi_video v = { 0 };
	(void)state;
	assert_int_equal(pmt_of(slice_of(body, sizeof body), &v), 0);
	assert_int_equal(v.type, H264);
	assert_int_equal(v.pid, 0x111);
	assert_int_equal(v.programme, 5);
	for (unsigned len = 1; len < 4096; len++) {
		body[7] = (uint8_t)(0xf0 | len >> 8);
		body[8] = (uint8_t)len;
		assert_int_equal(pmt_of(slice_of(body, sizeof body), &v), 0);
		assert_int_equal(v.type, 0);
	}
	body[7] = 0xf0;
	body[8] = 0;
	for (unsigned len = 6; len < 4096; len++) {
		body[2] = (uint8_t)(0xf0 | len >> 8);
		body[3] = (uint8_t)len;
		assert_int_equal(pmt_of(slice_of(body, sizeof body), &v), 0);
		assert_int_equal(v.type, 0);
	}
	for (size_t len = 0; len < 4; len++)
		assert_int_equal(pmt_of(slice_of(body, len), &v), -1);
	body[3] = 0;
	body[2] = 0xf0;
	for (size_t len = 4; len < 14; len++) {
		assert_int_equal(pmt_of(slice_of(body, len), &v), 0);
		assert_int_equal(v.type, 0);
	}
}

/* A PMT that is its own video, the PAT's, or that of all programmes. */
static void tables_that_go_round(void **state)
{
	(void)state;
	for (unsigned pmt = 0; pmt < 0x2000; pmt += 0x55) {
		struct ts_bytes t = { 0 };
		CLEANUP_BUF struct buf body = { 0 };
		struct film f;
		for (unsigned i = 0; i < 45; i++) {
			uint8_t row[4] = { 0, (uint8_t)i, (uint8_t)(pmt >> 8), (uint8_t)pmt };
			buf_put(&body, row, sizeof row);
		}
		ts_put_section(&t, 0, 0, 1, slice_of(body.data, body.len));
		for (unsigned i = 1; i < 45; i++)
			ts_put_pmt(&t, pmt, i, H264, i & 1 ? pmt : 0);
		put_picture(&t, TS_RANDOM_ACCESS, H264_AUD, H264_IDR);
		assert_int_equal(parse(&t.b, &f), 0);
		film_done(&f);
		buf_done(&t.b);
	}
}

static void put_film(struct ts_bytes *t)
{
	put_front(t, H264);
	for (unsigned i = 0; i < 4; i++) {
		put_picture(t, 0, H264_RECOVERY, H264_P);
		put_picture(t, 0, H264_AUD, H264_P);
		ts_put_pat(t, 1, PMT);
		put_picture(t, TS_RANDOM_ACCESS, H264_AUD, H264_IDR);
	}
}

static void a_film_may_end_anywhere(void **state)
{
	(void)state;
	for (unsigned m2ts = 0; m2ts < 2; m2ts++) {
		struct ts_bytes t = { .m2ts = m2ts };
		size_t before = 0;
		put_film(&t);
		for (size_t len = 0; len <= t.b.len; len++) {
			/* of exactly that length, so that one byte too many is seen */
			CLEANUP_FREE uint8_t *copy = malloc(len + !len);
			memcpy(copy, t.b.data, len);
			struct buf b = { .data = copy, .len = len };
			struct film f;
			parse(&b, &f);
			assert_true(f.n >= before);
			before = f.n;
			film_done(&f);
		}
		assert_int_equal(before, 8);
		buf_done(&t.b);
	}
}

static void junk_costs_only_what_it_covers(void **state)
{
	(void)state;
	for (size_t junk = 1; junk < 600; junk += 13) {
		struct ts_bytes t = { 0 };
		size_t at[3];
		put_front(&t, H264);
		at[0] = put_picture(&t, 0, H264_AUD, H264_IDR);
		while (t.b.len < DETECT_HEAD)
			put_picture(&t, 0, H264_AUD, H264_P);
		at[1] = put_picture(&t, 0, H264_AUD, H264_IDR);
		for (size_t i = 0; i < junk; i++)
			buf_put_u8(&t.b, i % 3 ? 0x47 : 0);
		put_picture(&t, 0, H264_AUD, H264_P);
		put_picture(&t, 0, H264_AUD, H264_P);
		at[2] = put_picture(&t, 0, H264_AUD, H264_IDR);
		expect_keys(&t.b, at, 3);
		buf_done(&t.b);
	}
}

/* One packet among what came in between is none, whatever it says. */
static void a_lone_packet_is_not_believed(void **state)
{
	struct ts_bytes t = { 0 };
	size_t at[2];
	(void)state;
	put_front(&t, H264);
	at[0] = put_picture(&t, 0, H264_AUD, H264_IDR);
	while (t.b.len < DETECT_HEAD)
		put_picture(&t, 0, H264_AUD, H264_P);
	buf_put(&t.b, "some bytes", 10);
	ts_put(&t, VIDEO, TS_START | TS_RANDOM_ACCESS, slice_of("\0\0\1\xe0\0\0\x80\0\0", 9));
	buf_put(&t.b, "more bytes", 10);
	at[1] = put_picture(&t, 0, H264_AUD, H264_IDR);
	expect_keys(&t.b, at, 2);
	buf_done(&t.b);
}

/* Sync is lost after each packet, for as long as the file is. */
static void a_file_that_is_never_in_step_for_long(void **state)
{
	struct ts_bytes t = { 0 };
	struct film f;
	(void)state;
	put_front(&t, H264);
	while (t.b.len < DETECT_HEAD)
		put_picture(&t, 0, H264_AUD, H264_P);
	while (t.b.len < (4u << 20)) {
		for (unsigned i = 0; i < 3; i++)
			ts_put(&t, 0x1fff, 0, slice_of("null", 4));
		buf_put(&t.b, "GGG", 3);
	}
	assert_int_equal(parse(&t.b, &f), 0);
	film_done(&f);
	buf_done(&t.b);
}

static void bytes_that_are_flipped_do_no_harm(void **state)
{
	struct ts_bytes t = { 0 };
	uint64_t seed = 11;
	(void)state;
	put_film(&t);
	for (unsigned i = 0; i < 5000; i++) {
		size_t at = prng_below(&seed, t.b.len);
		struct film f;
		t.b.data[at] = (uint8_t)prng_below(&seed, 256);
		parse(&t.b, &f);
		film_done(&f);
		if (i % 50 == 0) {
			buf_reset(&t.b);
			put_film(&t);
		}
	}
	buf_done(&t.b);
}

static void other_files_do_not_look_like_it(void **state)
{
	uint8_t head[DETECT_HEAD];
	uint64_t seed = 3;
	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		for (size_t j = 0; j < sizeof head; j++)
			head[j] = (uint8_t)prng_below(&seed, 256);
		head[0] = head[188] = head[376] = 'G';
		assert_false(film_mpegts.looks(head, sizeof head));
	}
	memset(head, 0, sizeof head);
	assert_false(film_mpegts.looks(head, sizeof head));
	head[0] = 'G';
	assert_false(film_mpegts.looks(head, 1));
	assert_false(film_mpegts.looks(head, 188));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_indicator_tells),
		cmocka_unit_test(pictures_tell_themselves),
		cmocka_unit_test(a_beginning_takes_many_packets),
		cmocka_unit_test(a_beginning_is_not_sought_for_ever),
		cmocka_unit_test(what_is_no_picture_is_no_key),
		cmocka_unit_test(a_packet_may_come_twice),
		cmocka_unit_test(tables_may_come_late),
		cmocka_unit_test(no_tables_no_film),
		cmocka_unit_test(the_video_may_move),
		cmocka_unit_test(sections_are_put_together),
		cmocka_unit_test(sections_with_faults_are_dropped),
		cmocka_unit_test(a_pmt_whose_lengths_lie),
		cmocka_unit_test(tables_that_go_round),
		cmocka_unit_test(a_film_may_end_anywhere),
		cmocka_unit_test(junk_costs_only_what_it_covers),
		cmocka_unit_test(a_lone_packet_is_not_believed),
		cmocka_unit_test(a_file_that_is_never_in_step_for_long),
		cmocka_unit_test(bytes_that_are_flipped_do_no_harm),
		cmocka_unit_test(other_files_do_not_look_like_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
