// SPDX-License-Identifier: MIT
/* Matroska by hand: what ffmpeg doesn't write, and what nobody should. */
#include "cleanup.h"
#include "ebml_bytes.h"
#include "film_memory.h"
#include "io.h"
#include "keyframe/ebml.h"
#include "keyframe/vfw.h"
#include "prng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

enum { NO_LACING = 0, XIPH = 2, FIXED = 4, EBML = 6, KEY = 0x80 };

/* Parses all bytes of b, and checks what holds of any film. */
static int parse(const struct buf *b, struct film *f)
{
	struct film_memory m = { .data = b->data, .len = b->len };
	int r = film_memory_parse(&m, &film_matroska, f);
	assert_true(film_is_sound(f, b->len));
	assert_true(film_is_in_order(f));
	assert_true(m.read <= 4 * b->len + (64u << 20));
	return r;
}

static void expect_sample(const struct film *f, size_t i, size_t at, size_t len, unsigned track,
			  bool key)
{
	assert_true(i < f->n);
	assert_int_equal(f->samples[i].at, at);
	assert_int_equal(f->samples[i].len, len);
	assert_int_equal(f->samples[i].track, track);
	assert_int_equal(f->samples[i].key, key);
}

/* EBML head, Segment of unknown size, Tracks. */
static void put_front(struct buf *b)
{
	ebml_put_start(b, "matroska");
	ebml_put_head(b, EL_SEGMENT, EBML_UNKNOWN, 8);
	ebml_put_tracks(b);
}

static size_t put_cluster(struct buf *b)
{
	size_t at = ebml_begin(b, EL_CLUSTER);
	ebml_put_uint(b, EL_TIME, 0);
	return at;
}

static void blocks_and_groups_tell_keys_differently(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	size_t at[6];
	(void)state;
	put_front(&b);
	size_t cluster = put_cluster(&b);
	at[0] = ebml_put_block(&b, EL_SIMPLE, 1, KEY, 100);
	at[1] = ebml_put_block(&b, EL_SIMPLE, 1, 0, 50);
	at[2] = ebml_put_group(&b, 1, true, 51);
	at[3] = ebml_put_group(&b, 1, false, 52);
	ebml_put_block(&b, EL_SIMPLE, 7, KEY, 10); /* of no track */
	ebml_put(&b, EL_VOID, "what", 4);
	at[4] = ebml_put_group(&b, 2, false, 1);
	ebml_put_block(&b, EL_SIMPLE, 2, KEY, 0); /* has no bytes */
	at[5] = ebml_put_block(&b, EL_SIMPLE, 2, KEY, 2);
	ebml_end(&b, cluster);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.container, FILM_MATROSKA);
	assert_int_equal(f.n_tracks, 2);
	assert_int_equal(f.n, 6);
	expect_sample(&f, 0, at[0], 100, 0, true);
	expect_sample(&f, 1, at[1], 50, 0, false);
	expect_sample(&f, 2, at[2], 51, 0, false);
	expect_sample(&f, 3, at[3], 52, 0, true);
	expect_sample(&f, 4, at[4], 1, 1, true);
	expect_sample(&f, 5, at[5], 2, 1, true);
	film_done(&f);
}

/* One block of that lacing whose payload, table included, are these bytes and `fill` more; returns
 * where the fill begins. */
static size_t put_laced(struct buf *b, uint8_t lacing, const struct buf *table, size_t fill)
{
	ebml_put_head(b, EL_SIMPLE, 4 + table->len + fill, 4);
	ebml_put_number(b, 2, 1);
	ebml_put_be(b, 0, 2);
	buf_put_u8(b, lacing | KEY);
	buf_put(b, table->data, table->len);
	ebml_put_fill(b, fill);
	return b->len - fill;
}

static void expect_frames(uint8_t lacing, struct buf *table, size_t fill, const size_t *lens,
			  size_t n)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	put_front(&b);
	size_t cluster = put_cluster(&b), at = put_laced(&b, lacing, table, fill);
	size_t last = ebml_put_block(&b, EL_SIMPLE, 1, 0, 5);
	ebml_end(&b, cluster);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, n + 1);
	for (size_t i = 0; i < n; at += lens[i++])
		expect_sample(&f, i, at, lens[i], 1, true);
	expect_sample(&f, n, last, 5, 0, false);
	film_done(&f);
	buf_done(table);
}

static void xiph_lacing(void **state)
{
	struct buf t = { 0 };
	(void)state;
	buf_put(&t, "\3\xff\xff\x05\xff\0\1", 7);
	expect_frames(XIPH, &t, 515 + 255 + 1 + 40, (size_t[]){ 515, 255, 1, 40 }, 4);
	buf_put(&t, "\0", 1);
	expect_frames(XIPH, &t, 33, (size_t[]){ 33 }, 1);
	buf_put(&t, "\1\x20", 2); /* longer than there is */
	expect_frames(XIPH, &t, 31, NULL, 0);
	buf_put(&t, "\2\xff\xff\xff", 4); /* the lengths go on into what comes after the block */
	expect_frames(XIPH, &t, 0, NULL, 0);
	buf_put(&t, "\5", 1);
	expect_frames(XIPH, &t, 0, NULL, 0);
	expect_frames(XIPH, &t, 0, NULL, 0); /* not even their number */
}

static void ebml_lacing(void **state)
{
	struct buf t = { 0 };
	(void)state;
	buf_put_u8(&t, 4);
	ebml_put_number(&t, 800, 2);
	ebml_put_number(&t, 8191 - 300, 2); /* 500 */
	ebml_put_number(&t, 8191 + 1, 2);   /* 501 */
	ebml_put_number(&t, 63 + 60, 1);    /* 561 */
	expect_frames(EBML, &t, 800 + 500 + 501 + 561 + 9, (size_t[]){ 800, 500, 501, 561, 9 }, 5);
	buf_put_u8(&t, 2);
	ebml_put_number(&t, 5, 8);
	ebml_put_number(&t, (UINT64_C(1) << 27) - 1, 4);
	expect_frames(EBML, &t, 11, (size_t[]){ 5, 5, 1 }, 3);
	buf_put_u8(&t, 2);
	ebml_put_number(&t, 5, 1);
	ebml_put_number(&t, 63 - 6, 1); /* less than nothing */
	expect_frames(EBML, &t, 100, NULL, 0);
	buf_put_u8(&t, 2);
	ebml_put_number(&t, (UINT64_C(1) << 56) - 2, 8); /* much */
	ebml_put_number(&t, (UINT64_C(1) << 56) - 2, 8);
	expect_frames(EBML, &t, 100, NULL, 0);
	buf_put(&t, "\2\0\0\0", 4); /* no numbers */
	expect_frames(EBML, &t, 0, NULL, 0);
	buf_put(&t, "\2\x10", 2); /* the number goes on after the block */
	expect_frames(EBML, &t, 0, NULL, 0);
}

static void fixed_lacing(void **state)
{
	struct buf t = { 0 };
	size_t lens[256];
	(void)state;
	for (size_t i = 0; i < 256; i++)
		lens[i] = 3;
	buf_put_u8(&t, 255);
	expect_frames(FIXED, &t, 768, lens, 256);
	buf_put_u8(&t, 2);
	expect_frames(FIXED, &t, 9, lens, 3);
	buf_put_u8(&t, 2);
	expect_frames(FIXED, &t, 10, NULL, 0);
	buf_put_u8(&t, 2);
	expect_frames(FIXED, &t, 0, NULL, 0);
}

/* Everything that can be of unknown size is: each ends where something begins that can't be in it. */
static void unknown_sizes_within_unknown_sizes(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	size_t at[4];
	(void)state;
	ebml_put_start(&b, "webm");
	ebml_put_head(&b, EL_SEGMENT, EBML_UNKNOWN, 1);
	ebml_put_head(&b, EL_TRACKS, EBML_UNKNOWN, 2);
	for (uint8_t i = 1; i <= 2; i++) {
		ebml_put_head(&b, EL_ENTRY, EBML_UNKNOWN, 3);
		ebml_put_uint(&b, EL_NUMBER, i);
		ebml_put_head(&b, EL_ENCODINGS, EBML_UNKNOWN, 4);
		if (i == 2)
			ebml_put_head(&b, EL_ENCODING, EBML_UNKNOWN, 5);
		ebml_put_uint(&b, EL_TYPE, i);
		ebml_put_text(&b, EL_CODEC, i == 1 ? "V_VP9" : "A_OPUS");
	}
	for (unsigned i = 0; i < 4; i += 2) {
		ebml_put_head(&b, EL_CLUSTER, EBML_UNKNOWN, 6 + i / 2);
		ebml_put_uint(&b, EL_TIME, 1);
		ebml_put_head(&b, EL_GROUP, EBML_UNKNOWN, 8);
		at[i] = ebml_put_block(&b, EL_BLOCK, 1, 0, 10);
		ebml_put_head(&b, EL_GROUP, EBML_UNKNOWN, 8);
		at[i + 1] = ebml_put_block(&b, EL_BLOCK, 2, 0, 20);
		ebml_put_uint(&b, EL_REFERENCE, 1);
	}
	ebml_put_text(&b, EL_CUES, "what Cues hold");
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n_tracks, 2);
	assert_string_equal(f.tracks[0].codec, "vp9");
	assert_string_equal(f.tracks[1].codec, "opus");
	assert_true(f.tracks[0].whole);
	assert_false(f.tracks[1].whole);
	assert_int_equal(f.n, 4);
	for (unsigned i = 0; i < 4; i++)
		expect_sample(&f, i, at[i], i % 2 ? 20 : 10, i % 2, i % 2 == 0);
	film_done(&f);
}

static void encodings_leave_samples_that_are_not_whole(void **state)
{
	static const struct {
		int scope; /* -1: not said */
		bool whole;
	} cases[] = { { -1, false }, { 1, false }, { 2, true }, { 3, false } };
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		struct film f;
		ebml_put_start(&b, "matroska");
		size_t segment = ebml_begin(&b, EL_SEGMENT), tracks = ebml_begin(&b, EL_TRACKS);
		size_t entry = ebml_begin(&b, EL_ENTRY), all = ebml_begin(&b, EL_ENCODINGS);
		size_t one = ebml_begin(&b, EL_ENCODING);
		if (cases[i].scope >= 0)
			ebml_put_uint(&b, EL_SCOPE, (uint8_t)cases[i].scope);
		ebml_end(&b, one);
		ebml_end(&b, all);
		ebml_put_uint(&b, EL_NUMBER, 1);
		ebml_put_uint(&b, EL_TYPE, 1);
		ebml_put_text(&b, EL_CODEC, "V_AV1");
		ebml_end(&b, entry);
		ebml_end(&b, tracks);
		size_t cluster = put_cluster(&b);
		ebml_put_block(&b, EL_SIMPLE, 1, 0, 10);
		ebml_end(&b, cluster);
		ebml_end(&b, segment);
		assert_int_equal(parse(&b, &f), 0);
		assert_int_equal(f.tracks[0].whole, cases[i].whole);
		assert_int_equal(f.n, 1);
		film_done(&f);
	}
}

static void put_private_entry(struct buf *b, const char *codec, const uint8_t *p, size_t len)
{
	size_t entry = ebml_begin(b, EL_ENTRY);
	ebml_put(b, EL_PRIVATE, p, len);
	ebml_put_uint(b, EL_NUMBER, 9);
	ebml_put_uint(b, EL_TYPE, *codec == 'V' ? 1 : 2);
	ebml_put_text(b, EL_CODEC, codec);
	ebml_end(b, entry);
}

static void codecs_by_their_ids(void **state)
{
	static const char *const ids[][2] = {
		{ "V_MPEG4/ISO/AVC", "h264" },
		{ "V_MPEGH/ISO/HEVC", "hevc" },
		{ "V_MPEG4/ISO/ASP", "mpeg4" },
		{ "V_MPEG4/MS/V3", "msmpeg4" },
		{ "V_PRORES", "prores" },
		{ "V_REAL/RV40", "" },
		{ "A_AAC/MPEG4/LC/SBR", "aac" },
		{ "A_PCM/INT/BIG", "pcm" },
		{ "A_EAC3", "eac3" },
		{ "A_MPEG/L3", "mp3" },
		{ "V_MS/VFW/FOURCC", "" },
		{ "A_MS/ACM", "" },
	};
	CLEANUP_BUF struct buf b = { 0 };
	uint8_t header[300] = { 0x55 };
	struct film f;
	const size_t n = sizeof ids / sizeof *ids;
	(void)state;
	memcpy(header + 16, "xvid", 4);
	ebml_put_start(&b, "matroska");
	size_t segment = ebml_begin(&b, EL_SEGMENT), tracks = ebml_begin(&b, EL_TRACKS);
	for (size_t i = 0; i < n; i++)
		ebml_put_entry(&b, (uint8_t)(20 + i), ids[i][0][0] == 'V' ? 1 : 2, ids[i][0]);
	put_private_entry(&b, "V_MS/VFW/FOURCC", header, sizeof header);
	put_private_entry(&b, "A_MS/ACM", header, 18);
	put_private_entry(&b, "V_MS/VFW/FOURCC", header, 19);
	ebml_put_entry(&b, 3, 17, "S_TEXT/UTF8");
	ebml_end(&b, tracks);
	ebml_end(&b, segment);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n_tracks, n + 3);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(f.tracks[i].codec, ids[i][1]);
		/* Matroska leaves out the head of ProRes' frames */
		assert_int_equal(f.tracks[i].whole, strcmp(ids[i][1], "prores") != 0);
	}
	assert_string_equal(f.tracks[n].codec, "mpeg4");
	assert_string_equal(f.tracks[n + 1].codec, "mp3");
	assert_string_equal(f.tracks[n + 2].codec, "");
	film_done(&f);
}

/* A cluster of two blocks; its size becomes what is said. */
static void put_lying_cluster(struct buf *b, uint64_t size, size_t at[2])
{
	ebml_put_head(b, EL_CLUSTER, size, 8);
	ebml_put_uint(b, EL_TIME, 1);
	at[0] = ebml_put_block(b, EL_SIMPLE, 1, KEY, 70);
	at[1] = ebml_put_block(b, EL_SIMPLE, 1, 0, 80);
}

static void sizes_of_clusters_that_lie(void **state)
{
	static const uint64_t sizes[] = { 0, 1, 3, 100, 200, 5000, (UINT64_C(1) << 56) - 2 };
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		size_t at[2], after[2];
		struct film f;
		put_front(&b);
		put_lying_cluster(&b, sizes[i], at);
		put_lying_cluster(&b, 3 + 4 * 2 + 5 * 2 + 150, after);
		assert_int_equal(parse(&b, &f), 0);
		assert_true(f.n >= 2 && f.n <= 4);
		expect_sample(&f, f.n - 2, after[0], 70, 0, true);
		expect_sample(&f, f.n - 1, after[1], 80, 0, false);
		if (sizes[i] == 0 || sizes[i] >= 200) {
			expect_sample(&f, 0, at[0], 70, 0, true);
			expect_sample(&f, 1, at[1], 80, 0, false);
		}
		film_done(&f);
	}
}

static void a_segment_that_is_longer_than_it_says(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[2];
	struct film f;
	(void)state;
	ebml_put_start(&b, "matroska");
	size_t segment = ebml_begin(&b, EL_SEGMENT);
	ebml_put_tracks(&b);
	ebml_end(&b, segment);
	put_lying_cluster(&b, EBML_UNKNOWN, at);
	ebml_put_text(&b, EL_TAGS, "tags");
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, 2);
	film_done(&f);
}

/* It ends within Info, and Tracks come after it. */
static void a_segment_that_ends_within_an_element(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[2];
	struct film f;
	(void)state;
	ebml_put_start(&b, "matroska");
	ebml_put_head(&b, EL_SEGMENT, 10, 8);
	ebml_put_text(&b, EL_INFO, "longer than the segment");
	ebml_put_tracks(&b);
	put_lying_cluster(&b, EBML_UNKNOWN, at);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n_tracks, 2);
	assert_int_equal(f.n, 2);
	film_done(&f);
}

/* After an element that can't be what it says, the next cluster counts. */
static void elements_that_lie_in_a_cluster(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		size_t at[2], after[2];
		struct film f;
		put_front(&b);
		put_lying_cluster(&b, EBML_UNKNOWN, at);
		if (i == 0)
			ebml_put_head(&b, EL_VOID, EBML_UNKNOWN, 1);
		else
			ebml_put_head(&b, i == 1 ? EL_SIMPLE : EL_TIME, UINT64_C(1) << 40, 8);
		ebml_put_block(&b, EL_SIMPLE, 1, KEY, 9);
		put_lying_cluster(&b, EBML_UNKNOWN, after);
		assert_int_equal(parse(&b, &f), 0);
		assert_int_equal(f.n, 4);
		expect_sample(&f, 1, at[1], 80, 0, false);
		expect_sample(&f, 2, after[0], 70, 0, true);
		film_done(&f);
	}
}

static void a_cluster_after_zeros_of_any_number(void **state)
{
	(void)state;
	for (size_t zeros = 4000; zeros < 4200; zeros++) {
		CLEANUP_BUF struct buf b = { 0 };
		size_t at[2];
		struct film f;
		put_front(&b);
		memset(buf_extend(&b, zeros), 0, zeros);
		put_lying_cluster(&b, EBML_UNKNOWN, at);
		assert_int_equal(parse(&b, &f), 0);
		assert_int_equal(f.n, 2);
		expect_sample(&f, 0, at[0], 70, 0, true);
		film_done(&f);
	}
}

static void a_track_takes_nothing_over_from_the_one_before(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	(void)state;
	put_front(&b);
	size_t tracks = ebml_begin(&b, EL_TRACKS), entry = ebml_begin(&b, EL_ENTRY);
	ebml_put_uint(&b, EL_NUMBER, 3);
	ebml_put_uint(&b, EL_TYPE, 1);
	ebml_end(&b, entry);
	entry = ebml_begin(&b, EL_ENTRY); /* without a number */
	ebml_put_uint(&b, EL_TYPE, 2);
	ebml_end(&b, entry);
	entry = ebml_begin(&b, EL_ENTRY); /* without a type */
	ebml_put_uint(&b, EL_NUMBER, 4);
	ebml_end(&b, entry);
	ebml_end(&b, tracks);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n_tracks, 3);
	assert_string_equal(f.tracks[2].codec, "");
	film_done(&f);
}

static void a_group_at_the_end_of_the_file(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	(void)state;
	put_front(&b);
	put_cluster(&b);
	ebml_put_head(&b, EL_GROUP, EBML_UNKNOWN, 8);
	size_t at = ebml_put_block(&b, EL_BLOCK, 1, 0, 9);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, 1);
	expect_sample(&f, 0, at, 9, 0, true);
	film_done(&f);
}

static void heads_of_elements(void **state)
{
	struct ebml e;
	(void)state;
	for (unsigned len = 1; len <= 8; len++) {
		CLEANUP_BUF struct buf b = { 0 };
		ebml_put_head(&b, EL_CUES, EBML_UNKNOWN, len);
		ebml_put_head(&b, EL_VOID, (UINT64_C(1) << 7 * len) - 2, len);
		for (size_t n = 0; n < 4 + len; n++)
			assert_int_equal(ebml_parse(b.data, n, 0, &e), -ENODATA);
		assert_int_equal(ebml_parse(b.data, b.len, 1000, &e), 4 + len);
		assert_int_equal(e.id, EL_CUES);
		assert_int_equal(e.payload, 1004 + len);
		assert_true(e.unknown);
		assert_int_equal(ebml_parse(b.data + 4 + len, 1 + len, 0, &e), 1 + len);
		assert_int_equal(e.id, EL_VOID);
		assert_false(e.unknown);
		assert_int_equal(e.size, (UINT64_C(1) << 7 * len) - 2);
	}
	/* an id of five bytes; none; a size of nine */
	assert_int_equal(ebml_parse((const uint8_t *)"\x08\1\1\1\1\x81", 6, 0, &e), -EBADMSG);
	assert_int_equal(ebml_parse((const uint8_t *)"\0\x81\x81\x81\x81", 5, 0, &e), -EBADMSG);
	assert_int_equal(ebml_parse((const uint8_t *)"\x81\0\1\1\1\1\1\1\1\1", 10, 0, &e),
			 -EBADMSG);
}

static void what_lies_between_clusters_is_passed_over(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[2], after[2];
	uint64_t seed = 3;
	struct film f;
	(void)state;
	put_front(&b);
	put_lying_cluster(&b, EBML_UNKNOWN, at);
	memset(buf_extend(&b, 10000), 0, 10000);
	prng_fill(&seed, buf_extend(&b, 50000), 50000);
	b.data[b.len - 50000] = 0;   /* no element by chance */
	ebml_put_id(&b, EL_CLUSTER); /* no cluster either, nor the next */
	ebml_put_be(&b, 0, 8);
	ebml_put_head(&b, EL_CLUSTER, EBML_UNKNOWN, 1);
	ebml_put_text(&b, EL_CODEC, "no child of one");
	ebml_put_block(&b, EL_SIMPLE, 1, KEY, 10);
	buf_put_u8(&b, 0);
	put_lying_cluster(&b, EBML_UNKNOWN, after);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, 4);
	expect_sample(&f, 0, at[0], 70, 0, true);
	expect_sample(&f, 2, after[0], 70, 0, true);
	expect_sample(&f, 3, after[1], 80, 0, false);
	film_done(&f);
}

static void numbers_of_every_length(void **state)
{
	static const uint32_t ids[] = { 0xbb, 0x4abc, 0x2abcde, 0x1abcdef0 };
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[9];
	struct film f;
	(void)state;
	put_front(&b);
	size_t cluster = put_cluster(&b);
	for (unsigned len = 1; len <= 8; len++) {
		ebml_put_head(&b, EL_SIMPLE, len + 3 + 40, len);
		ebml_put_number(&b, 1, len);
		ebml_put_be(&b, KEY, 3);
		ebml_put_fill(&b, 40);
		at[len] = b.len - 40;
		ebml_put_head(&b, ids[len % 4], 0, len);
	}
	ebml_end(&b, cluster);
	assert_int_equal(parse(&b, &f), 0);
	for (unsigned len = 1; len <= 8; len++)
		expect_sample(&f, len - 1, at[len], 40, 0, true);
	assert_int_equal(f.n, 8);
	film_done(&f);
}

/* Elements without end in one another cost as many steps as there are bytes, and no depth. */
static void deep_nesting(void **state)
{
	static const uint32_t ids[] = { EL_SEGMENT, EL_CLUSTER,	  EL_GROUP,    EL_TRACKS,
					EL_ENTRY,   EL_ENCODINGS, EL_ENCODING, 0xbb };
	uint64_t seed = 11;
	(void)state;
	for (unsigned round = 0; round < 2 * sizeof ids / sizeof *ids; round++) {
		CLEANUP_BUF struct buf b = { 0 };
		struct film f;
		put_front(&b);
		for (unsigned i = 0; i < 30000; i++)
			ebml_put_head(&b,
				      ids[(round / 2 + prng_below(&seed, 1 + round % 2 * 7)) % 8],
				      round % 2 ? EBML_UNKNOWN : 1u << 20, 4);
		assert_int_equal(parse(&b, &f), 0);
		assert_true(f.n_tracks <= FILM_TRACKS_MAX);
		assert_int_equal(f.n, 0);
		film_done(&f);
	}
}

static void more_tracks_than_a_film_has(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	(void)state;
	ebml_put_start(&b, "matroska");
	size_t segment = ebml_begin(&b, EL_SEGMENT), tracks = ebml_begin(&b, EL_TRACKS);
	for (unsigned i = 0; i < 250; i++)
		ebml_put_entry(&b, (uint8_t)(i / 2), 1 + i % 2, "V_VP8");
	ebml_end(&b, tracks);
	size_t cluster = put_cluster(&b);
	for (uint8_t i = 1; i < 125; i++)
		ebml_put_block(&b, EL_SIMPLE, i, KEY, 3);
	ebml_end(&b, cluster);
	ebml_end(&b, segment);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n_tracks, FILM_TRACKS_MAX);
	assert_true(f.n >= 32 && f.n <= FILM_TRACKS_MAX);
	film_done(&f);
}

/* A film with one of everything. */
static void put_all(struct buf *b)
{
	struct buf t = { 0 };
	put_front(b);
	ebml_put(b, EL_VOID, "void", 4);
	size_t cluster = put_cluster(b);
	ebml_put_block(b, EL_SIMPLE, 1, KEY, 30);
	buf_put(&t, "\2\4\5", 3);
	put_laced(b, XIPH, &t, 20);
	buf_done(&t);
	ebml_put_group(b, 1, true, 9);
	ebml_end(b, cluster);
	ebml_put_head(b, EL_CLUSTER, EBML_UNKNOWN, 8);
	ebml_put_uint(b, EL_TIME, 1);
	buf_put(&t, "\3\x84\xbe\xc1", 4);
	put_laced(b, EBML, &t, 20);
	buf_done(&t);
	buf_put_u8(&t, 3);
	put_laced(b, FIXED, &t, 20);
	buf_done(&t);
	ebml_put_group(b, 1, false, 9);
	ebml_put_text(b, EL_CUES, "cues");
}

static void truncation_anywhere(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film whole, f;
	(void)state;
	put_all(&b);
	assert_int_equal(parse(&b, &whole), 0);
	assert_int_equal(whole.n, 1 + 3 + 1 + 4 + 4 + 1);
	for (size_t len = b.len; len > 48; len--) {
		CLEANUP_FREE uint8_t *copy = malloc(len);
		size_t n = 0;
		memcpy(copy, b.data, len);
		assert_int_equal(parse(&(struct buf){ .data = copy, .len = len }, &f), 0);
		while (n < whole.n && whole.samples[n].at + whole.samples[n].len <= len)
			n++;
		assert_int_equal(f.n, n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(f.samples[i].at, whole.samples[i].at);
		film_done(&f);
	}
	film_done(&whole);
}

/* The frames that are there of a block that ends early hold what looks like a cluster. */
static void a_cluster_within_a_block_that_ends_early(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	size_t at[2];
	struct film f;
	(void)state;
	put_front(&b);
	put_cluster(&b); /* of unknown size */
	ebml_put_head(&b, EL_SIMPLE, 4 + 2 + 600, 4);
	ebml_put_number(&b, 2, 1);
	ebml_put_be(&b, XIPH, 3);
	buf_put(&b, "\1\xfa", 2);
	size_t frame = b.len;
	put_lying_cluster(&b, EBML_UNKNOWN, at);
	ebml_put_fill(&b, 250 + 300 - (b.len - frame));
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, 1);
	expect_sample(&f, 0, frame, 250, 1, false);
	film_done(&f);
}

static void any_byte_changed(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	uint64_t seed = 5;
	(void)state;
	put_all(&b);
	for (size_t at = 0; at < b.len; at++) {
		uint8_t old = b.data[at];
		for (unsigned v = 0; v < 256; v++) {
			b.data[at] = (uint8_t)v;
			parse(&b, &f);
			film_done(&f);
		}
		b.data[at] = old;
	}
	for (unsigned round = 0; round < 20000; round++) {
		CLEANUP_BUF struct buf copy = { 0 };
		buf_put(&copy, b.data, b.len);
		for (unsigned i = 0; i < 4; i++)
			copy.data[prng_below(&seed, copy.len)] = (uint8_t)prng_below(&seed, 256);
		parse(&copy, &f);
		film_done(&f);
	}
}

static void other_files_are_not_taken_for_one(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	(void)state;
	ebml_put_start(&b, "matriks");
	assert_int_equal(parse(&b, &f), -ENOMSG);
	buf_reset(&b);
	ebml_put_start(&b, "webm");
	for (size_t len = 0; len < b.len; len++)
		assert_false(film_matroska.looks(b.data, len));
	assert_true(film_matroska.looks(b.data, b.len));
	assert_int_equal(parse(&b, &f), -EBADMSG);
	ebml_put_fill(&b, 3000); /* no element of a segment */
	assert_int_equal(parse(&b, &f), -EBADMSG);
	assert_false(film_matroska.looks((const uint8_t *)"\x1a\x45\xdf\xa3\xff\xff\xff", 7));
}

/* Counts what is read of a file that consists of large payloads. */
static ssize_t read_counted(void *arg, void *buf, size_t len, uint64_t at)
{
	uint64_t *v = arg;
	v[1] += len;
	return io_read((int)v[0], buf, len, (off_t)at);
}

static void large_payloads_are_not_read(void **state)
{
	enum { CLUSTERS = 2100, PAYLOAD = 1 << 21 };
	CLEANUP_CLOSE int fd = memfd_create("film", MFD_CLOEXEC);
	CLEANUP_BUF struct buf b = { 0 };
	struct film_source s;
	struct film f = { 0 };
	uint64_t counted[2] = { (uint64_t)fd };
	off_t at = 0;
	(void)state;
	put_front(&b);
	for (unsigned i = 0; i < CLUSTERS; i++) {
		ebml_put_head(&b, EL_CLUSTER, EBML_UNKNOWN, 8);
		ebml_put_head(&b, EL_SIMPLE, 4 + PAYLOAD, 4);
		ebml_put_number(&b, 1, 1);
		ebml_put_be(&b, KEY, 3);
		assert_int_equal(io_write(fd, b.data, b.len, at), 0);
		at += (off_t)b.len + PAYLOAD;
		buf_reset(&b);
	}
	assert_int_equal(ftruncate(fd, at), 0);
	assert_int_equal(film_source_open(&s, &fd, (uint64_t)at), 0);
	s.read = read_counted;
	s.arg = counted;
	assert_int_equal(film_find(&s, &f), 0);
	assert_int_equal(f.n, CLUSTERS);
	assert_int_equal(f.samples[f.n - 1].at, (uint64_t)at - PAYLOAD);
	assert_true((uint64_t)at >> 32); /* beyond what 32 bits hold, too */
	assert_true(counted[1] < (uint64_t)at / 250);
	film_source_done(&s);
	film_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_and_groups_tell_keys_differently),
		cmocka_unit_test(xiph_lacing),
		cmocka_unit_test(ebml_lacing),
		cmocka_unit_test(fixed_lacing),
		cmocka_unit_test(unknown_sizes_within_unknown_sizes),
		cmocka_unit_test(encodings_leave_samples_that_are_not_whole),
		cmocka_unit_test(codecs_by_their_ids),
		cmocka_unit_test(sizes_of_clusters_that_lie),
		cmocka_unit_test(a_segment_that_is_longer_than_it_says),
		cmocka_unit_test(a_segment_that_ends_within_an_element),
		cmocka_unit_test(elements_that_lie_in_a_cluster),
		cmocka_unit_test(a_cluster_after_zeros_of_any_number),
		cmocka_unit_test(a_track_takes_nothing_over_from_the_one_before),
		cmocka_unit_test(a_group_at_the_end_of_the_file),
		cmocka_unit_test(heads_of_elements),
		cmocka_unit_test(what_lies_between_clusters_is_passed_over),
		cmocka_unit_test(numbers_of_every_length),
		cmocka_unit_test(deep_nesting),
		cmocka_unit_test(more_tracks_than_a_film_has),
		cmocka_unit_test(truncation_anywhere),
		cmocka_unit_test(a_cluster_within_a_block_that_ends_early),
		cmocka_unit_test(any_byte_changed),
		cmocka_unit_test(other_files_are_not_taken_for_one),
		cmocka_unit_test(large_payloads_are_not_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
