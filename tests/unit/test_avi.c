// SPDX-License-Identifier: MIT
/* AVI by hand: the ways to index it, and indexes that lie. */
#include "avi_bytes.h"
#include "cleanup.h"
#include "film_memory.h"
#include "io.h"
#include "prng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

enum { KEY = 0x10, SAMPLES = 6 };

static int parse(const struct buf *b, struct film *f)
{
	struct film_memory m = { .data = b->data, .len = b->len };
	int r = film_memory_parse(&m, &film_avi, f);
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

/* What put_movi() has put. */
struct put {
	size_t movi; /* of the letters */
	size_t at[SAMPLES];
};

static const char *const ids[SAMPLES] = { "00dc", "01wb", "00dc", "00dc", "01wb", "00dc" };
static const size_t lens[SAMPLES] = { 100, 21, 33, 34, 20, 101 };
static const bool keys[SAMPLES] = { true, true, false, false, true, true };

static void put_movi(struct buf *b, struct put *put)
{
	size_t list = avi_begin(b, "LIST", "movi");
	put->movi = b->len - 4;
	for (size_t i = 0; i < SAMPLES; i++)
		put->at[i] = avi_put_sample(b, ids[i], lens[i]);
	avi_end(b, list);
}

/* idx1 whose offsets are from `base`. */
static void put_idx1(struct buf *b, const struct put *put, size_t base)
{
	size_t at = avi_begin(b, "idx1", NULL);
	for (size_t i = 0; i < SAMPLES; i++)
		avi_put_row(b, ids[i], keys[i] ? KEY : 0, put->at[i] - 8 - base, lens[i]);
	avi_end(b, at);
}

/* All samples, their keys known or not. */
static void expect_samples(const struct film *f, size_t from, const struct put *put, bool known)
{
	for (size_t i = 0; i < SAMPLES; i++)
		expect_sample(f, from + i, put->at[i], lens[i], *ids[i] != '0' || ids[i][1] - '0',
			      ids[i][1] == '1' || (known && keys[i]));
}

static void expect_all(const struct buf *b, const struct put *put, bool known)
{
	struct film f;
	assert_int_equal(parse(b, &f), 0);
	assert_int_equal(f.container, FILM_AVI);
	assert_int_equal(f.n_tracks, 2);
	assert_string_equal(f.tracks[0].codec, "mpeg4");
	assert_string_equal(f.tracks[1].codec, "mp3");
	assert_int_equal(f.n, SAMPLES);
	expect_samples(&f, 0, put, known);
	film_done(&f);
}

static void offsets_of_idx1_from_wherever(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		struct put put;
		avi_put_front(&b);
		put_movi(&b, &put);
		put_idx1(&b, &put, i == 0 ? put.movi : i == 1 ? 0 : put.movi + 4);
		expect_all(&b, &put, true);
	}
}

static void offsets_that_are_of_no_chunk_are_not_believed(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put;
	(void)state;
	avi_put_front(&b);
	put_movi(&b, &put);
	put_idx1(&b, &put, put.movi + 2);
	expect_all(&b, &put, false);
}

static void without_an_index_no_key_is_known(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put;
	(void)state;
	avi_put_front(&b);
	put_movi(&b, &put);
	expect_all(&b, &put, false);
	put_le32(b.data + put.movi - 4, 0); /* a writer that was stopped */
	expect_all(&b, &put, false);
	put_le32(b.data + put.movi - 4, UINT32_MAX);
	expect_all(&b, &put, false);
	put_le32(b.data + 4, (uint32_t)b.len - 8); /* the size of RIFF */
	expect_all(&b, &put, false);
}

static void an_index_after_a_list_of_unknown_size(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put;
	(void)state;
	avi_put_front(&b);
	put_movi(&b, &put);
	put_le32(b.data + put.movi - 4, 0);
	put_idx1(&b, &put, put.movi);
	expect_all(&b, &put, true);
}

static void a_stream_that_is_in_no_index_is_walked(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put;
	(void)state;
	avi_put_front(&b);
	put_movi(&b, &put);
	size_t at = avi_begin(&b, "idx1", NULL);
	for (size_t i = 0; i < SAMPLES; i++)
		if (ids[i][1] == '0')
			avi_put_row(&b, ids[i], keys[i] ? KEY : 0, put.at[i] - 8 - put.movi,
				    lens[i]);
	avi_end(&b, at);
	expect_all(&b, &put, true);
}

static void samples_in_lists_and_between_junk(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put;
	(void)state;
	avi_put_front(&b);
	size_t movi = avi_begin(&b, "LIST", "movi");
	avi_put_chunk(&b, "JUNK", "junk", 3);
	for (size_t i = 0; i < SAMPLES; i++) {
		size_t rec = i % 3 ? 0 : avi_begin(&b, "LIST", "rec ");
		put.at[i] = avi_put_sample(&b, ids[i], lens[i]);
		avi_put_chunk(&b, "00pc", "palette", 7);
		avi_put_chunk(&b, "07dc", "of no stream", 12);
		avi_put_chunk(&b, "00wb", "of no sound", 11);
		avi_put_chunk(&b, "00dc", "", 0);
		avi_put_chunk(&b, "LIST", "what", 4);
		avi_put_chunk(&b, "LIST", "", 0); /* shorter than its head */
		buf_put(&b, "none", 4);
		if (rec)
			avi_end(&b, rec);
	}
	avi_end(&b, movi);
	expect_all(&b, &put, false);
}

/* -- OpenDML --------------------------------------------------------------------------------- */

/* The ix## of a stream over what put_movi() has put; returns where it is. */
static size_t put_ix(struct buf *b, const struct put *put, const char *id, unsigned longs,
		     unsigned bias)
{
	char name[5] = { 'i', 'x', id[0], id[1], 0 };
	uint32_t n = 0;
	for (size_t i = 0; i < SAMPLES; i++)
		n += !memcmp(ids[i], id, 4);
	size_t start = b->len, at = avi_begin(b, name, NULL);
	avi_put_index(b, longs, 1, n, id, put->movi);
	for (size_t i = 0; i < SAMPLES; i++) {
		if (memcmp(ids[i], id, 4) != 0)
			continue;
		buf_put_le32(b, (uint32_t)(put->at[i] - bias - put->movi));
		buf_put_le32(b, (uint32_t)lens[i] | (keys[i] ? 0 : 1u << 31));
		for (unsigned k = 2; k < longs; k++)
			buf_put_le32(b, 77);
	}
	avi_end(b, at);
	return start;
}

/* A stream with an index of indexes of two rows; returns where the first stands. */
static size_t put_super_stream(struct buf *b, const char *type, const char *code, const char *id)
{
	size_t strl = avi_begin(b, "LIST", "strl");
	avi_put_format(b, type, code);
	size_t indx = avi_begin(b, "indx", NULL);
	avi_put_index(b, 4, 0, 2, id, 0);
	size_t rows = b->len;
	memset(buf_extend(b, 32), 0, 32);
	avi_end(b, indx);
	avi_end(b, strl);
	return rows;
}

/* Two RIFFs; `longs` of the rows and the offsets' bias as given. */
static void put_opendml(struct buf *b, struct put put[2], size_t rows[2], unsigned longs,
			unsigned bias)
{
	avi_begin(b, "RIFF", "AVI ");
	size_t hdrl = avi_begin(b, "LIST", "hdrl");
	rows[0] = put_super_stream(b, "vids", "XVID", "00dc");
	rows[1] = put_super_stream(b, "auds", "\x55\0", "01wb");
	avi_end(b, hdrl);
	for (size_t i = 0; i < 2; i++) {
		if (i)
			avi_begin(b, "RIFF", "AVIX");
		put_movi(b, &put[i]);
		for (size_t k = 0; k < 2; k++) {
			size_t at = put_ix(b, &put[i], k ? "01wb" : "00dc", longs, bias);
			put_le64(b->data + rows[k] + 16 * i, at);
			put_le32(b->data + rows[k] + 16 * i + 8, (uint32_t)(b->len - at));
		}
	}
}

static void opendml_of_two_lists(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		struct put put[2];
		size_t rows[2];
		struct film f;
		put_opendml(&b, put, rows, i & 1 ? 3 : 2, i & 2 ? 8 : 0);
		assert_int_equal(parse(&b, &f), 0);
		assert_int_equal(f.n, 2 * SAMPLES);
		expect_samples(&f, 0, &put[0], true);
		expect_samples(&f, SAMPLES, &put[1], true);
		film_done(&f);
	}
}

static void a_list_of_which_there_is_no_index_yet(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put[2];
	size_t rows[2];
	struct film f;
	(void)state;
	put_opendml(&b, put, rows, 2, 0);
	for (size_t k = 0; k < 2; k++)
		memset(b.data + rows[k] + 16, 0, 16);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, 2 * SAMPLES);
	expect_samples(&f, 0, &put[0], true);
	expect_samples(&f, SAMPLES, &put[1], false);
	film_done(&f);
}

static void rows_of_opendml_that_lie(void **state)
{
	static const uint64_t lies[] = { 1, 8, 300, UINT64_MAX, UINT64_MAX - 7, INT64_MAX };
	(void)state;
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		struct put put[2];
		size_t rows[2];
		struct film f;
		put_opendml(&b, put, rows, 2, 0);
		for (size_t k = 0; k < 2; k++)
			put_le64(b.data + rows[k], lies[i]);
		assert_int_equal(parse(&b, &f), 0);
		/* what the second table names is there; the first stretch is not walked then */
		assert_int_equal(f.n, SAMPLES);
		expect_samples(&f, 0, &put[1], true);
		film_done(&f);
	}
}

/* Every row names the same table: it is read once. */
static void tables_named_more_than_once(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put[2];
	size_t rows[2];
	struct film f;
	(void)state;
	put_opendml(&b, put, rows, 2, 0);
	for (size_t k = 0; k < 2; k++)
		memcpy(b.data + rows[k] + 16, b.data + rows[k], 16);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, 2 * SAMPLES);
	expect_samples(&f, 0, &put[0], true);
	film_done(&f);
}

/* A table's number of rows, or an index of indexes whose rows have another size, are not believed; nor
 * is one table for two streams. */
static void tables_that_lie(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		struct put put[2];
		size_t rows[2];
		struct film f;
		put_opendml(&b, put, rows, 2, 0);
		size_t table = (size_t)get_le64(b.data + rows[0]);
		if (i == 0)
			put_le32(b.data + table + 8 + 4, UINT32_MAX);
		else if (i == 1)
			put_le16(b.data + rows[0] - 24, 2);
		else
			memcpy(b.data + rows[0], b.data + rows[1], 32);
		assert_int_equal(parse(&b, &f), 0);
		assert_int_equal(f.n, 2 * SAMPLES);
		expect_samples(&f, 0, &put[0], i == 0);
		expect_samples(&f, SAMPLES, &put[1], i == 0);
		film_done(&f);
	}
}

/* The first of a hundred rows name nothing, the others all the same large table. */
static void many_rows_cost_one_table(void **state)
{
	enum { ROWS = 100, IN_VAIN = 70, CHUNKS = 2000 };
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	(void)state;
	avi_begin(&b, "RIFF", "AVI ");
	size_t hdrl = avi_begin(&b, "LIST", "hdrl"), strl = avi_begin(&b, "LIST", "strl");
	avi_put_format(&b, "vids", "XVID");
	size_t indx = avi_begin(&b, "indx", NULL);
	avi_put_index(&b, 4, 0, ROWS, "00dc", 0);
	size_t rows = b.len;
	memset(buf_extend(&b, 16 * ROWS), 0, 16 * ROWS);
	avi_end(&b, indx);
	avi_end(&b, strl);
	avi_end(&b, hdrl);
	size_t movi = avi_begin(&b, "LIST", "movi"), first = b.len;
	for (unsigned i = 0; i < CHUNKS; i++)
		avi_put_sample(&b, "00dc", 8);
	for (unsigned i = 0; i < ROWS; i++)
		put_le64(b.data + rows + 16 * i, i < IN_VAIN ? 1 : b.len);
	size_t ix = avi_begin(&b, "ix00", NULL);
	avi_put_index(&b, 2, 1, CHUNKS, "00dc", first);
	for (unsigned i = 0; i < CHUNKS; i++) {
		buf_put_le32(&b, 16 * i + 8);
		buf_put_le32(&b, 8);
	}
	avi_end(&b, ix);
	avi_end(&b, movi);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, CHUNKS);
	assert_true(f.samples[CHUNKS - 1].key);
	assert_true(f.max <= 2 * CHUNKS);
	film_done(&f);
}

/* A second RIFF beyond 4 GiB, the chunks between not being there. */
static void offsets_beyond_32_bits(void **state)
{
	const uint64_t far = UINT64_C(5) << 30;
	CLEANUP_CLOSE int fd = memfd_create("film", MFD_CLOEXEC);
	CLEANUP_BUF struct buf b = { 0 };
	struct put put[2];
	size_t rows[2];
	struct film_source s;
	struct film f = { 0 };
	(void)state;
	put_opendml(&b, put, rows, 2, 0);
	size_t second = (size_t)get_le64(b.data + rows[1]);
	second += 8 + get_le32(b.data + second + 4); /* RIFF AVIX */
	for (size_t k = 0; k < 2; k++) {
		size_t table = (size_t)get_le64(b.data + rows[k] + 16);
		put_le64(b.data + rows[k] + 16, table + far);
		put_le64(b.data + table + 8 + 12, put[1].movi + far);
	}
	assert_int_equal(io_write(fd, b.data, second, 0), 0);
	assert_int_equal(io_write(fd, b.data + second, b.len - second, (off_t)(second + far)), 0);
	assert_int_equal(film_source_open(&s, &fd, b.len + far), 0);
	assert_int_equal(film_find(&s, &f), 0);
	assert_int_equal(f.container, FILM_AVI);
	assert_int_equal(f.n, 2 * SAMPLES);
	expect_samples(&f, 0, &put[0], true);
	for (size_t i = 0; i < SAMPLES; i++)
		put[1].at[i] += far;
	expect_samples(&f, SAMPLES, &put[1], true);
	film_source_done(&s);
	film_done(&f);
}

static void an_index_of_chunks_in_the_head(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	(void)state;
	avi_begin(&b, "RIFF", "AVI ");
	size_t hdrl = avi_begin(&b, "LIST", "hdrl"), strl = avi_begin(&b, "LIST", "strl");
	avi_put_format(&b, "vids", "H264");
	size_t indx = avi_begin(&b, "indx", NULL);
	avi_put_index(&b, 2, 1, 2, "00dc", 0);
	size_t rows = b.len;
	memset(buf_extend(&b, 16), 0, 16);
	avi_end(&b, indx);
	avi_end(&b, strl);
	avi_end(&b, hdrl);
	size_t movi = avi_begin(&b, "LIST", "movi");
	for (size_t i = 0; i < 2; i++) {
		put_le32(b.data + rows + 8 * i, (uint32_t)avi_put_sample(&b, "00dc", 40));
		put_le32(b.data + rows + 8 * i + 4, i ? 40 | 1u << 31 : 40);
	}
	avi_end(&b, movi);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, 2);
	assert_true(f.samples[0].key);
	assert_false(f.samples[1].key);
	assert_true(f.tracks[0].whole);
	film_done(&f);
	memcpy(b.data + get_le32(b.data + rows), "\0\0\0\1", 4); /* a start code */
	assert_int_equal(parse(&b, &f), 0);
	assert_false(f.tracks[0].whole);
	film_done(&f);
}

/* -- hostile --------------------------------------------------------------------------------- */

static void samples_that_overlap_or_lie_outside(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put;
	struct film f;
	(void)state;
	avi_put_front(&b);
	put_movi(&b, &put);
	size_t at = avi_begin(&b, "idx1", NULL);
	avi_put_row(&b, "00dc", KEY, put.at[2] - 8 - put.movi, 33);
	avi_put_row(&b, "00dc", KEY, put.at[0] + 42 - put.movi, 10); /* in the next */
	avi_put_row(&b, "01wb", KEY, put.at[1] - 8 - put.movi, 21);
	avi_put_row(&b, "00dc", 0, put.at[0] - 8 - put.movi, 100);
	avi_put_row(&b, "00dc", 0, put.at[0] - 8 - put.movi, 100);
	avi_put_row(&b, "00dc", KEY, UINT32_MAX, 5);
	avi_put_row(&b, "00dc", KEY, put.at[5] - 8 - put.movi, UINT32_MAX);
	avi_put_row(&b, "00dc", KEY | 1, put.at[4] - 8 - put.movi, 3);
	avi_put_row(&b, "00dc", KEY, put.at[3] - 8 - put.movi, 0);
	avi_end(&b, at);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n, SAMPLES);
	expect_sample(&f, 0, put.at[0], 100, 0, false);
	expect_sample(&f, 1, put.at[1], 21, 1, true);
	expect_sample(&f, 2, put.at[2], 33, 0, true);
	expect_sample(&f, 3, put.at[3], 34, 0, false); /* from here on it is walked */
	film_done(&f);
}

static void more_streams_than_there_are_numbers(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct film f;
	(void)state;
	avi_begin(&b, "RIFF", "AVI ");
	size_t hdrl = avi_begin(&b, "LIST", "hdrl");
	for (unsigned i = 0; i < 150; i++)
		avi_put_stream(&b, i % 2 ? "vids" : "txts", "MJPG");
	avi_end(&b, hdrl);
	avi_begin(&b, "LIST", "movi");
	avi_put_sample(&b, "00dc", 5);
	avi_put_sample(&b, "01dc", 6);
	avi_put_sample(&b, "99dc", 7);
	assert_int_equal(parse(&b, &f), 0);
	assert_int_equal(f.n_tracks, 50);
	assert_int_equal(f.n, 2);
	assert_true(f.samples[0].key); /* Motion JPEG */
	assert_int_equal(f.samples[1].track, 49);
	film_done(&f);
}

static void lists_in_lists(void **state)
{
	static const char *const kinds[] = { "hdrl", "strl", "movi", "rec ", "AVIX", "what" };
	(void)state;
	for (unsigned size = 0; size < 3; size++)
		for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
			CLEANUP_BUF struct buf b = { 0 };
			struct film f;
			avi_put_front(&b);
			for (unsigned i = 0; i < 30000; i++) {
				size_t at = avi_begin(&b, "LIST", kinds[k]);
				put_le32(b.data + at, size == 0 ? 0 : size == 1 ? 3 : 1u << 28);
			}
			assert_int_equal(parse(&b, &f), 0);
			assert_int_equal(f.n, 0);
			film_done(&f);
		}
}

static void put_all(struct buf *b, struct put put[2])
{
	size_t rows[2];
	put_opendml(b, put, rows, 2, 0);
	put_idx1(b, &put[0], put[0].movi);
}

static void truncation_anywhere(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put[2];
	struct film f;
	(void)state;
	put_all(&b, put);
	for (size_t len = b.len; len; len--) {
		CLEANUP_FREE uint8_t *copy = malloc(len);
		size_t n = 0;
		memcpy(copy, b.data, len);
		int r = parse(&(struct buf){ .data = copy, .len = len }, &f);
		assert_true(r == 0 || r == -EBADMSG || r == -ENOMSG);
		for (size_t i = 0; i < 2 * SAMPLES; i++)
			n += put[i / SAMPLES].at[i % SAMPLES] + lens[i % SAMPLES] <= len;
		assert_int_equal(f.n, n);
		film_done(&f);
	}
}

static void any_byte_changed(void **state)
{
	CLEANUP_BUF struct buf b = { 0 };
	struct put put[2];
	uint64_t seed = 5;
	struct film f;
	(void)state;
	put_all(&b, put);
	for (size_t at = 0; at < b.len; at++) {
		uint8_t old = b.data[at];
		for (unsigned v = 0; v < 256; v += 1 + (at > put[0].movi) * 16) {
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
	avi_begin(&b, "RIFF", "WAVE");
	assert_int_equal(parse(&b, &f), -ENOMSG);
	buf_reset(&b);
	avi_begin(&b, "RIFF", "AVI ");
	assert_false(film_avi.looks(b.data, b.len - 1));
	assert_true(film_avi.looks(b.data, b.len));
	assert_int_equal(parse(&b, &f), -EBADMSG);
	memset(buf_extend(&b, 3000), 0x33, 3000);
	assert_int_equal(parse(&b, &f), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offsets_of_idx1_from_wherever),
		cmocka_unit_test(offsets_that_are_of_no_chunk_are_not_believed),
		cmocka_unit_test(without_an_index_no_key_is_known),
		cmocka_unit_test(an_index_after_a_list_of_unknown_size),
		cmocka_unit_test(a_stream_that_is_in_no_index_is_walked),
		cmocka_unit_test(samples_in_lists_and_between_junk),
		cmocka_unit_test(opendml_of_two_lists),
		cmocka_unit_test(a_list_of_which_there_is_no_index_yet),
		cmocka_unit_test(rows_of_opendml_that_lie),
		cmocka_unit_test(tables_named_more_than_once),
		cmocka_unit_test(tables_that_lie),
		cmocka_unit_test(many_rows_cost_one_table),
		cmocka_unit_test(offsets_beyond_32_bits),
		cmocka_unit_test(an_index_of_chunks_in_the_head),
		cmocka_unit_test(samples_that_overlap_or_lie_outside),
		cmocka_unit_test(more_streams_than_there_are_numbers),
		cmocka_unit_test(lists_in_lists),
		cmocka_unit_test(truncation_anywhere),
		cmocka_unit_test(any_byte_changed),
		cmocka_unit_test(other_files_are_not_taken_for_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
