// SPDX-License-Identifier: MIT
/* MP4 and MOV from boxes made by hand, of what ffmpeg doesn't write and nobody should: boxes and the
 * tables of a movie. */
#include "isobmff_bed.h"
#include <stdlib.h>

static void tables_are_walked_in_step(void **state)
{
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	BOX32(&t.b, "stsz", 0, 0, 6, 500, 20, 30, 400, 10, 7);
	BOX32(&t.b, "stsc", 0, 2, 1, 2, 1, 3, 1, 1);
	BOX32(&t.b, "stco", 0, 4, 2000, 3000, 4000, 5000);
	BOX32(&t.b, "stss", 0, 1, 1);
	BOX32(&t.b, "stps", 0, 1, 4);
	one_end(&t, o);
	assert_int_equal(parse(&t), 0);
	EXPECT(&t, { 2000, 500, 0, true }, { 2500, 20, 0, false }, { 3000, 30, 0, false },
	       { 3030, 400, 0, true }, { 4000, 10, 0, false }, { 5000, 7, 0, false });
	assert_int_equal(t.f.container, FILM_MP4);
	assert_string_equal(t.f.tracks[0].codec, "h264");
	assert_true(t.f.tracks[0].whole);
	bed_done(&t);
}

static void a_run_counts_for_chunks_before_it(void **state)
{
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	BOX32(&t.b, "stsz", 0, 100, 20);
	/* the first run begins at chunk 2, then one goes back and has no effect but for chunk 4 */
	BOX32(&t.b, "stsc", 0, 4, 2, 2, 1, 4, 3, 1, 3, 1, 1, 9, 9, 1);
	BOX32(&t.b, "stco", 0, 4, 2000, 3000, 4000, 5000);
	one_end(&t, o);
	assert_int_equal(parse(&t), 0);
	EXPECT(&t, { 2000, 100, 0, true }, { 2100, 100, 0, true }, { 3000, 100, 0, true },
	       { 3100, 100, 0, true }, { 4000, 100, 0, true }, { 4100, 100, 0, true },
	       { 5000, 100, 0, true });
	bed_done(&t);
}

static void sizes_may_be_of_4_8_or_16_bits(void **state)
{
	static const uint32_t bits[] = { 4, 8, 16 }, words[][3] = { { 0x12300000 },
								    { 0x01020300 },
								    { 0x00010002, 0x00030000 } };
	(void)state;
	for (size_t i = 0; i < COUNT(bits); i++) {
		struct bed t;
		struct one o = video_begin(&t);
		BOX32(&t.b, "stz2", 0, bits[i], 3, words[i][0], words[i][1]);
		BOX32(&t.b, "stsc", 0, 1, 1, 3, 1);
		BOX32(&t.b, "stco", 0, 1, 2000);
		one_end(&t, o);
		assert_int_equal(parse(&t), 0);
		EXPECT(&t, { 2000, 1, 0, true }, { 2001, 2, 0, true }, { 2003, 3, 0, true });
		bed_done(&t);
	}
}

static void sizes_of_4_bits_may_be_cut_off(void **state)
{
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	BOX32(&t.b, "stz2", 0, 4, UINT32_MAX, 0x11111111);
	BOX32(&t.b, "stsc", 0, 1, 1, UINT32_MAX, 1);
	BOX32(&t.b, "stco", 0, 1, 2000);
	one_end(&t, o);
	assert_int_equal(parse(&t), 0);
	assert_int_equal(t.f.n, 8);
	bed_done(&t);
}

static void a_box_of_size_0_goes_to_the_end(void **state)
{
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	put_small_tables(&t);
	one_end(&t, o);
	memset(t.b.data + o.moov, 0, 4);
	assert_int_equal(parse(&t), 0);
	expect_small_tables(&t);
	memset(t.b.data + o.track.stbl, 0, 4);
	assert_int_equal(parse(&t), 0);
	expect_small_tables(&t);
	/* what comes first hides all else */
	memset(t.b.data, 0, 4);
	assert_int_equal(parse(&t), -EBADMSG);
	assert_int_equal(t.f.n, 0);
	bed_done(&t);
}

static void sizes_of_64_bits(void **state)
{
	static const struct {
		uint64_t size;
		bool good;
	} cases[] = { { 16, true },	     { 24, false /* into the next box */ },
		      { 15, false },	     { 0, false },
		      { UINT64_MAX, false }, { 1ull << 63, false } };
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct bed t;
		bed_begin(&t);
		PUT32(&t.b, 1);
		buf_put(&t.b, "free", 4);
		put_be(&t.b, cases[i].size, 8);
		size_t moov = box_begin(&t.b, "moov");
		struct track_boxes track = track_begin(&t.b, 1, "vide");
		put_video_entry(&t.b, "avc1");
		put_small_tables(&t);
		track_end(&t.b, track);
		box_end(&t.b, moov);
		assert_int_equal(parse(&t), cases[i].good ? 0 : -EBADMSG);
		assert_int_equal(t.f.n, cases[i].good ? 2 : 0);
		bed_done(&t);
	}
	/* smaller than what says so */
	struct bed t;
	bed_begin(&t);
	PUT32(&t.b, 1);
	buf_put(&t.b, "moov", 4);
	put_be(&t.b, 12, 8);
	assert_int_equal(parse(&t), -EBADMSG);
	bed_done(&t);
}

static void a_size_too_small_ends_it(void **state)
{
	(void)state;
	for (uint32_t size = 1; size < 8; size++) {
		struct bed t;
		struct one o = video_begin(&t);
		put_small_tables(&t);
		PUT32(&t.b, size);
		buf_put(&t.b, "stss", 4);
		PUT32(&t.b, 0, 0);
		BOX32(&t.b, "stss", 0, 0);
		one_end(&t, o);
		assert_int_equal(parse(&t), 0);
		expect_small_tables(&t);
		bed_done(&t);
	}
}

static void a_box_ends_where_the_outer_one_does(void **state)
{
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	BOX32(&t.b, "stsc", 0, 1, 1, 9, 1);
	BOX32(&t.b, "stco", 0, 1, 5000);
	size_t stsz = box_begin(&t.b, "stsz");
	PUT32(&t.b, 0, 0, 9, 100, 50);
	one_end(&t, o);
	PUT32(&t.b, 70, 80, 90);
	for (int wide = 0; wide < 2; wide++) {
		memset(t.b.data + stsz, wide ? 0x7f : 0, 4);
		t.b.data[stsz + 3] = 8 + 12 + 9 * 4;
		assert_int_equal(parse(&t), 0);
		expect_small_tables(&t);
	}
	bed_done(&t);
}

static void nested_boxes_end_somewhere(void **state)
{
	(void)state;
	for (size_t depth = 1; depth <= 100000; depth *= 10) {
		struct bed t;
		size_t *open = calloc(depth, sizeof *open);
		assert_non_null(open);
		struct one o = video_begin(&t);
		for (size_t i = 0; i < depth; i++)
			open[i] = box_begin(&t.b, i % 2 ? "minf" : "stbl");
		put_small_tables(&t);
		for (size_t i = depth; i--;)
			box_end(&t.b, open[i]);
		one_end(&t, o);
		assert_int_equal(parse(&t), 0);
		assert_int_equal(t.f.n_tracks, 1);
		assert_int_equal(t.f.n, depth == 1 ? 2 : 0);
		free(open);
		bed_done(&t);
	}
}

static void samples_out_of_the_file_are_passed_over(void **state)
{
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	BOX32(&t.b, "stsz", 0, 0, 10, 100, 0, 50, UINT32_MAX, 60, 61, 70, 80, 90, 20);
	BOX32(&t.b, "stsc", 0, 4, 1, 4, 1, 2, 2, 1, 3, 3, 1, 4, 1, 1);
	BOX32(&t.b, "co64", 0, 4, 0, 5000, UINT32_MAX, UINT32_MAX - 7, 0, HOLE, 0, 6000);
	one_end(&t, o);
	uint32_t end = (uint32_t)t.b.len + HOLE;
	memcpy(t.b.data + t.b.len - 12, &(uint32_t){ htobe32(end - 70 - 80) }, 4);
	assert_int_equal(parse(&t), 0);
	/* 60 and 61 are at 2^64 - 8; 90 begins where the file ends */
	EXPECT(&t, { 5000, 100, 0, true }, { 5100, 50, 0, true }, { end - 150, 70, 0, true },
	       { end - 80, 80, 0, true }, { 6000, 20, 0, true });
	bed_done(&t);
}

static void there_are_no_more_samples_than_stsz_says(void **state)
{
	(void)state;
	for (uint32_t size = 0; size <= 100; size += 100) {
		struct bed t;
		struct one o = video_begin(&t);
		BOX32(&t.b, "stsz", 0, size, 2, 100, 100, 100, 100, 100);
		BOX32(&t.b, "stsc", 0, 1, 1, 5, 1);
		BOX32(&t.b, "stco", 0, 2, 5000, 6000);
		one_end(&t, o);
		assert_int_equal(parse(&t), 0);
		EXPECT(&t, { 5000, 100, 0, true }, { 5100, 100, 0, true });
		bed_done(&t);
	}
}

static void a_sample_does_not_overlap_the_one_before_it(void **state)
{
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	BOX32(&t.b, "stsz", 0, 100, 6);
	BOX32(&t.b, "stsc", 0, 1, 1, 1, 1);
	BOX32(&t.b, "stco", 0, 6, 5000, 5099, 4901, 5000, 4900, 5000);
	one_end(&t, o);
	assert_int_equal(parse(&t), 0);
	EXPECT(&t, { 5000, 100, 0, true }, { 4900, 100, 0, true }, { 5000, 100, 0, true });
	bed_done(&t);
}

static void key_numbers_may_be_disorderly(void **state)
{
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	BOX32(&t.b, "stsz", 0, 100, 5);
	BOX32(&t.b, "stsc", 0, 1, 1, 5, 1);
	BOX32(&t.b, "stco", 0, 1, 5000);
	BOX32(&t.b, "stss", 0, 9, 0, 2, 2, 1, 4, 3, UINT32_MAX, 5, 0);
	one_end(&t, o);
	assert_int_equal(parse(&t), 0);
	assert_int_equal(t.f.n, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(t.f.samples[i].key, i == 1 || i == 3);
	bed_done(&t);
}

static void groups_of_random_access(void **state)
{
	(void)state;
	for (uint32_t version = 0; version < 2; version++) {
		struct bed t;
		struct one o = video_begin(&t);
		BOX32(&t.b, "stsz", 0, 100, 12);
		BOX32(&t.b, "stsc", 0, 1, 1, 12, 1);
		BOX32(&t.b, "stco", 0, 1, 5000);
		BOX32(&t.b, "stss", 0, 1, 3);
		if (version)
			BOX32(&t.b, "sbgp", 1u << 24, 0x72617020, 77, 6, 4, 0, 0, 5, 2, 1, 0, 1, 3,
			      0, 1, 2);
		else
			BOX32(&t.b, "sbgp", 0, 0x72617020, 6, 4, 0, 0, 5, 2, 1, 0, 1, 3, 0, 1, 2);
		BOX32(&t.b, "sbgp", 0, 0x726f6c6c, 1, 12, 1); /* roll */
		one_end(&t, o);
		assert_int_equal(parse(&t), 0);
		assert_int_equal(t.f.n, 12);
		for (size_t i = 0; i < 12; i++)
			assert_int_equal(t.f.samples[i].key, i == 2 || i == 4 || i == 5 || i == 9);
		bed_done(&t);
	}
}

/* All that is said of a hundred million samples in a few boxes: bounded by the bytes of the file. */
static void counts_that_lie(void **state)
{
	(void)state;
	for (uint32_t size = 17; size < 5000; size = size * 3 + 1) {
		struct bed t;
		struct one o = video_begin(&t);
		BOX32(&t.b, "stsz", 0, size, UINT32_MAX);
		BOX32(&t.b, "stsc", 0, UINT32_MAX, 1, UINT32_MAX / 5, 1);
		size_t stco = box_begin(&t.b, "stco");
		PUT32(&t.b, 0, UINT32_MAX);
		put_zeros(&t.b, 40000);
		box_end(&t.b, stco);
		one_end(&t, o);
		assert_int_equal(parse(&t), -E2BIG);
		assert_true(t.f.n <= (t.b.len + HOLE) / size);
		assert_true(t.f.n >= (t.b.len + HOLE) / size - 1);
		assert_true(t.file.read <= 3 * t.b.len);
		bed_done(&t);
	}
}

/* A sparse file costs nothing, but has room for all that anybody could claim. */
static void a_table_as_large_as_the_file_has_room_for(void **state)
{
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	BOX32(&t.b, "stsc", 0, 1, 1, UINT32_MAX, 1);
	BOX32(&t.b, "stco", 0, 1, 1);
	size_t stsz = box_begin(&t.b, "stsz");
	PUT32(&t.b, 0, 0, UINT32_MAX);
	for (size_t i = 0; i < 5; i++) /* all boxes end where the file does */
		memset(t.b.data + (const size_t[]){ o.moov, o.track.trak, o.track.mdia,
						    o.track.minf, o.track.stbl }[i],
		       0, 4);
	memset(t.b.data + stsz, 0, 4);
	t.hole = 1ull << 40;
	assert_int_equal(parse(&t), -E2BIG);
	assert_int_equal(t.f.n, 0);
	assert_true(t.file.read < 1ull << 30);
	bed_done(&t);
}

static void tables_without_room_for_an_entry(void **state)
{
	static const char *const types[] = { "stsz", "stz2", "stsc", "stco", "co64", "stss",
					     "stps", "sbgp", "stsd", "tkhd", "hdlr" };
	(void)state;
	for (size_t i = 0; i < COUNT(types); i++)
		for (uint32_t room = 0; room < 24; room++) {
			struct bed t;
			struct one o = video_begin(&t);
			put_small_tables(&t);
			size_t at = box_begin(&t.b, types[i]);
			for (uint32_t k = 0; k < room; k++)
				buf_put_u8(&t.b, 0xff);
			box_end(&t.b, at);
			one_end(&t, o);
			assert_int_equal(parse(&t), 0);
			assert_true(t.f.n <= 2);
			bed_done(&t);
		}
}

/* Every length of a film: what is found is what is found of the whole, and lies within it. */
static void a_film_may_end_anywhere(void **state)
{
	struct bed t, whole;
	(void)state;
	struct one o = video_begin(&t);
	put_small_tables(&t);
	one_end(&t, o);
	put_zeros(&t.b, 5200 - t.b.len);
	t.hole = 0;
	assert_int_equal(parse(&t), 0);
	expect_small_tables(&t);
	whole = t;
	t.f = (struct film){ 0 };
	for (t.b.len = 5200; t.b.len--;) {
		int r = parse(&t);
		assert_true(r == 0 || (r == -EBADMSG && t.b.len < o.moov + 8));
		assert_true(t.f.n <= whole.f.n);
		for (size_t i = 0; i < t.f.n; i++)
			assert_memory_equal(&t.f.samples[i], &whole.f.samples[i],
					    sizeof *t.f.samples);
		assert_int_equal(t.f.n, t.b.len >= 5150 ? 2 : t.b.len >= 5100 ? 1 : 0);
	}
	/* and one that becomes shorter while it is read */
	t.b.len = 5200;
	for (uint64_t there = 0; there < 5200; there++) {
		int r = parse_shrunk(&t, there);
		assert_true(r == 0 || r == -EBADMSG);
	}
	film_done(&t.f);
	bed_done(&whole);
}

/* Tables of 400,000 samples, some MB, through buffers of a few KB: each is read about once. */
static void large_tables_are_read_once(void **state)
{
	enum { N = 400000, PER_CHUNK = 4 };
	struct bed t;
	(void)state;
	struct one o = video_begin(&t);
	size_t box = box_begin(&t.b, "stsz");
	PUT32(&t.b, 0, 0, N);
	for (uint32_t i = 0; i < N; i++)
		put_be(&t.b, 20 + i % 7, 4);
	box_end(&t.b, box);
	box = box_begin(&t.b, "stsc");
	PUT32(&t.b, 0, N / PER_CHUNK);
	for (uint32_t i = 0; i < N / PER_CHUNK; i++)
		PUT32(&t.b, i + 1, PER_CHUNK, 1);
	box_end(&t.b, box);
	box = box_begin(&t.b, "co64");
	PUT32(&t.b, 0, N / PER_CHUNK);
	for (uint32_t i = 0; i < N / PER_CHUNK; i++)
		put_be(&t.b, 8000000 + 200 * i, 8);
	box_end(&t.b, box);
	box = box_begin(&t.b, "stss");
	PUT32(&t.b, 0, N / 5);
	for (uint32_t i = 0; i < N / 5; i++)
		put_be(&t.b, 1 + 5 * i, 4);
	box_end(&t.b, box);
	one_end(&t, o);
	assert_in_range(t.b.len, 3u << 20, 8000000);
	t.hole = 40000000;
	assert_int_equal(parse(&t), 0);
	assert_int_equal(t.f.n, N);
	uint64_t at = 0;
	for (uint32_t i = 0; i < N; i++) {
		at = i % PER_CHUNK ? at : 8000000 + 200 * (i / PER_CHUNK);
		assert_int_equal(t.f.samples[i].at, at);
		assert_int_equal(t.f.samples[i].len, 20 + i % 7);
		assert_int_equal(t.f.samples[i].key, i % 5 == 0);
		at += 20 + i % 7;
	}
	assert_true(t.file.read < t.b.len + (1u << 20));
	bed_done(&t);
}

struct failing {
	struct holed file;
	unsigned good; /* reads before the first that fails */
};

static ssize_t failing_read(void *arg, void *buf, size_t len, uint64_t at)
{
	struct failing *f = arg;
	if (!f->good)
		return -EIO;
	f->good--;
	return holed_read(&f->file, buf, len, at);
}

static void errors_of_reading_are_passed_on(void **state)
{
	struct bed t;
	unsigned good = 0;
	(void)state;
	struct one o = video_begin(&t);
	size_t free_box = box_begin(&t.b, "free");
	put_zeros(&t.b, 10000);
	box_end(&t.b, free_box);
	put_small_tables(&t);
	one_end(&t, o);
	for (int r = -EIO; r != 0; good++) {
		struct failing f = { .good = good };
		struct film_source s;
		f.file = (struct holed){ t.b.data, t.b.len, t.b.len, HOLE, UINT64_MAX, 0 };
		assert_int_equal(holed_open(&s, &f.file), 0);
		s.read = failing_read;
		s.arg = &f;
		r = film_isobmff.parse(&s, &t.f);
		assert_true(r == 0 || r == -EIO);
		assert_true(r == 0 ? t.f.n == 2 : t.f.n <= 2);
		film_source_done(&s);
		film_done(&t.f);
	}
	assert_in_range(good, 3, 20);
	bed_done(&t);
}

static void the_budget_is_respected(void **state)
{
	struct bed t;
	struct film_source s;
	(void)state;
	struct one o = video_begin(&t);
	size_t stsz = box_begin(&t.b, "stsz");
	PUT32(&t.b, 0, 0, 20000);
	put_zeros(&t.b, 80000);
	box_end(&t.b, stsz);
	BOX32(&t.b, "stsc", 0, 1, 1, 20000, 1);
	BOX32(&t.b, "stco", 0, 1, 0);
	one_end(&t, o);
	t.file = (struct holed){ t.b.data, t.b.len, t.b.len, HOLE, UINT64_MAX, 0 };
	assert_int_equal(holed_open(&s, &t.file), 0);
	s.budget = 30000;
	assert_int_equal(film_isobmff.parse(&s, &t.f), -EDQUOT);
	assert_true(t.file.read <= 30000);
	film_source_done(&s);
	bed_done(&t);
}

static void only_what_looks_like_it(void **state)
{
	static const struct {
		char head[17];
		bool good;
	} cases[] = {
		{ "\0\0\0\x18"
		  "ftypmp42\0\0\0\0",
		  true },
		{ "\0\0\0\x08"
		  "ftypmp42\0\0\0\0",
		  false },
		{ "\x10\0\0\x18"
		  "ftypmp42\0\0\0\0",
		  false },
		{ "\0\0\0\x08"
		  "wide\0\1\0\0mdat",
		  true },
		{ "\0\0\0\x08"
		  "wide\0\1\0\0moov",
		  false },
		{ "\0\1\0\0"
		  "mdat01234567",
		  true },
		{ "\0\0\0\1"
		  "mdat01234567",
		  true },
		{ "\0\0\0\3"
		  "mdat01234567",
		  false },
		{ "\0\1\0\0"
		  "moov\0\0\0\x6cmvhd",
		  true },
		{ "\0\1\0\0"
		  "moov\0\0\0\x6cxxxx",
		  false },
		{ "\0\1\0\0"
		  "skip01234567",
		  true },
		{ "RIFF0000AVI LIST", false },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const uint8_t *head = (const uint8_t *)cases[i].head;
		assert_int_equal(film_isobmff.looks(head, 16), cases[i].good);
		assert_false(film_isobmff.looks(head, 15));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_walked_in_step),
		cmocka_unit_test(a_run_counts_for_chunks_before_it),
		cmocka_unit_test(sizes_may_be_of_4_8_or_16_bits),
		cmocka_unit_test(sizes_of_4_bits_may_be_cut_off),
		cmocka_unit_test(a_box_of_size_0_goes_to_the_end),
		cmocka_unit_test(sizes_of_64_bits),
		cmocka_unit_test(a_size_too_small_ends_it),
		cmocka_unit_test(a_box_ends_where_the_outer_one_does),
		cmocka_unit_test(nested_boxes_end_somewhere),
		cmocka_unit_test(samples_out_of_the_file_are_passed_over),
		cmocka_unit_test(there_are_no_more_samples_than_stsz_says),
		cmocka_unit_test(a_sample_does_not_overlap_the_one_before_it),
		cmocka_unit_test(key_numbers_may_be_disorderly),
		cmocka_unit_test(groups_of_random_access),
		cmocka_unit_test(counts_that_lie),
		cmocka_unit_test(a_table_as_large_as_the_file_has_room_for),
		cmocka_unit_test(tables_without_room_for_an_entry),
		cmocka_unit_test(a_film_may_end_anywhere),
		cmocka_unit_test(large_tables_are_read_once),
		cmocka_unit_test(errors_of_reading_are_passed_on),
		cmocka_unit_test(the_budget_is_respected),
		cmocka_unit_test(only_what_looks_like_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
