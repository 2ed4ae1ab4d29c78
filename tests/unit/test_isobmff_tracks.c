// SPDX-License-Identifier: MIT
/* MP4 and MOV from boxes made by hand: kinds of tracks, sound, codecs, and fragments. */
#include "isobmff_bed.h"

static void tracks_that_have_no_samples(void **state)
{
	struct bed t;
	(void)state;
	bed_begin(&t);
	size_t moov = box_begin(&t.b, "moov");
	static const char *const handlers[] = { "text", "tmcd", "hint" };
	for (uint32_t i = 0; i < 3; i++) {
		struct track_boxes track = track_begin(&t.b, i + 1, handlers[i]);
		put_video_entry(&t.b, "avc1");
		put_small_tables(&t);
		track_end(&t.b, track);
	}
	struct track_boxes track = track_begin(&t.b, 9, "vide");
	put_video_entry(&t.b, "avc1");
	put_small_tables(&t);
	size_t dref = track.minf + 16;
	assert_memory_equal(t.b.data + dref + 4, "dref", 4);
	assert_memory_equal(t.b.data + dref + 20, "url ", 4);
	t.b.data[dref + 27] = 0;
	track_end(&t.b, track);
	box_end(&t.b, moov);
	assert_int_equal(parse(&t), 0);
	assert_int_equal(t.f.n_tracks, 4);
	assert_int_equal(t.f.n, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(t.f.tracks[i].kind, i < 3 ? FILM_OTHER : FILM_VIDEO);
	bed_done(&t);
}

static void more_tracks_than_a_film_has(void **state)
{
	struct bed t;
	(void)state;
	bed_begin(&t);
	size_t moov = box_begin(&t.b, "moov");
	for (uint32_t i = 0; i < FILM_TRACKS_MAX + 9; i++) {
		struct track_boxes track = track_begin(&t.b, i + 1, "vide");
		put_video_entry(&t.b, "avc1");
		BOX32(&t.b, "stsz", 0, 50, 1);
		BOX32(&t.b, "stsc", 0, 1, 1, 1, 1);
		BOX32(&t.b, "stco", 0, 1, 50000 + 50 * i);
		track_end(&t.b, track);
	}
	box_end(&t.b, moov);
	assert_int_equal(parse(&t), 0);
	assert_int_equal(t.f.n_tracks, FILM_TRACKS_MAX);
	assert_int_equal(t.f.n, FILM_TRACKS_MAX);
	for (size_t i = 0; i < t.f.n; i++)
		assert_int_equal(t.f.samples[i].track, i);
	bed_done(&t);
}

/* Chunks of sound, whatever way QuickTime says how large their samples are. */
static void sound_is_taken_in_chunks(void **state)
{
	static const struct {
		const char *type;
		unsigned version;
		uint32_t packet_bytes, size, n, bytes;
	} cases[] = {
		{ "sowt", 1, 4, 4, 100, 400 },	      { "sowt", 1, 4, 1, 100, 400 },
		{ "ima4", 1, 68, 1, 640, 680 },	      { "ima4", 1, 68, 2, 640, 680 },
		{ "ima4", 1, 68, 68, 10, 680 },	      { "in24", 0, 0, 18, 100, 1800 },
		{ "in24", 0, 0, 1, 100, 1800 },	      { "lpcm", 2, 18, 18, 100, 1800 },
		{ "lpcm", 2, 18, 1, 100, 1800 },      { "MAC6", 0, 0, 1, 500, 500 },
		{ "sowt", 1, 0xfffffff0, 1, 640, 0 }, { "in24", 0, 0, UINT32_MAX, 9, 0 },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct bed t;
		struct one o = audio_begin(&t);
		if (cases[i].version == 1)
			put_packed_entry(&t.b, cases[i].type, cases[i].packet_bytes,
					 cases[i].packet_bytes == 68 ? 64 : 1);
		else
			put_linear_entry(&t.b, cases[i].type, cases[i].version,
					 cases[i].packet_bytes);
		BOX32(&t.b, "stsz", 0, cases[i].size, 2 * cases[i].n);
		BOX32(&t.b, "stsc", 0, 1, 1, cases[i].n, 1);
		BOX32(&t.b, "stco", 0, 3, 9000, 5000, 20000);
		one_end(&t, o);
		assert_int_equal(parse(&t), cases[i].bytes ? 0 : -E2BIG);
		if (cases[i].bytes)
			EXPECT(&t, { 9000, cases[i].bytes, 0, true },
			       { 5000, cases[i].bytes, 0, true });
		assert_false(t.f.tracks[0].whole);
		bed_done(&t);
	}
}

static void sound_in_a_file_cut_off_ends_there(void **state)
{
	struct bed t;
	(void)state;
	struct one o = audio_begin(&t);
	put_packed_entry(&t.b, "sowt", 4, 1);
	BOX32(&t.b, "stsz", 0, 4, 100000);
	BOX32(&t.b, "stsc", 0, 1, 1, 1000, 1);
	BOX32(&t.b, "stco", 0, 3, 5000, 9000, 13000);
	one_end(&t, o);
	t.hole = 10001 - t.b.len;
	assert_int_equal(parse(&t), 0);
	EXPECT(&t, { 5000, 4000, 0, true }, { 9000, 1001, 0, true });
	bed_done(&t);
}

static void codecs_are_known_by_their_descriptors(void **state)
{
	static const struct {
		uint8_t object;
		const char *codec;
	} cases[] = { { 0x40, "aac" }, { 0x67, "aac" },	 { 0x6b, "mp3" }, { 0x69, "mp3" },
		      { 0xa5, "ac3" }, { 0xad, "opus" }, { 0x01, "aac" } };
	(void)state;
	for (size_t i = 0; i < 2 * COUNT(cases); i++) {
		struct bed t;
		struct one o = audio_begin(&t);
		put_esds_entry(&t.b, cases[i / 2].object, i % 2);
		put_small_tables(&t);
		one_end(&t, o);
		assert_int_equal(parse(&t), 0);
		assert_string_equal(t.f.tracks[0].codec, cases[i / 2].codec);
		assert_true(t.f.tracks[0].whole);
		bed_done(&t);
	}
}

static void what_is_encrypted_is_not_whole(void **state)
{
	static const char *const second[] = { "avc1", "avc3", "encv", "hvc1" };
	(void)state;
	for (size_t i = 0; i < COUNT(second); i++) {
		struct bed t;
		bed_begin(&t);
		size_t moov = box_begin(&t.b, "moov");
		struct track_boxes track = track_begin(&t.b, 1, "vide");
		size_t stsd = box_begin(&t.b, "stsd");
		PUT32(&t.b, 0, 2);
		for (int k = 0; k < 2; k++) {
			size_t entry = box_begin(&t.b, k ? second[i] : "avc1");
			PUT32(&t.b, 0, 1);
			put_zeros(&t.b, 70);
			box_end(&t.b, entry);
		}
		box_end(&t.b, stsd);
		put_small_tables(&t);
		track_end(&t.b, track);
		box_end(&t.b, moov);
		assert_int_equal(parse(&t), 0);
		expect_small_tables(&t);
		assert_string_equal(t.f.tracks[0].codec, "h264");
		assert_int_equal(t.f.tracks[0].whole, i < 2);
		bed_done(&t);
	}
}

/* ISO's entries of version 1 have no fields of QuickTime's; stsd has the version 1 as well. */
static void a_newer_entry_has_no_packets(void **state)
{
	struct bed t;
	(void)state;
	struct one o = audio_begin(&t);
	size_t stsd = t.b.len;
	put_packed_entry(&t.b, "lpcm", 400, 100);
	t.b.data[stsd + 8] = 1;
	BOX32(&t.b, "stsz", 0, 4, 50);
	BOX32(&t.b, "stsc", 0, 1, 1, 50, 1);
	BOX32(&t.b, "stco", 0, 1, 5000);
	one_end(&t, o);
	assert_int_equal(parse(&t), 0);
	EXPECT(&t, { 5000, 200, 0, true });
	bed_done(&t);
}

/* QuickTime says in a second hdlr how data is read: nothing to do with what the track is. */
static void the_kind_is_what_mdia_says(void **state)
{
	(void)state;
	for (int second = 0; second < 2; second++) {
		struct bed t;
		struct one o = video_begin(&t);
		put_small_tables(&t);
		BOX32(&t.b, "hdlr", 0, second ? 0x64686c72 : 0x6d686c72, 0x616c6973, 0, 0, 0);
		one_end(&t, o);
		assert_int_equal(parse(&t), 0);
		assert_int_equal(t.f.tracks[0].kind, second ? FILM_VIDEO : FILM_OTHER);
		bed_done(&t);
	}
}

/* moov of a fragmented film: video track 1, audio track 2, text track 3. */
static void fragmented_begin(struct bed *t)
{
	bed_begin(t);
	size_t moov = box_begin(&t->b, "moov");
	size_t mvex = box_begin(&t->b, "mvex");
	BOX32(&t->b, "trex", 0, 1, 1, 1, 900, 0x10000);
	BOX32(&t->b, "trex", 0, 2, 1, 1, 300, 0);
	BOX32(&t->b, "trex", 0, 77, 1, 1, 300, 0);
	box_end(&t->b, mvex);
	static const char *const handlers[] = { "vide", "soun", "text" };
	for (uint32_t i = 0; i < 3; i++) {
		struct track_boxes track = track_begin(&t->b, i + 1, handlers[i]);
		put_video_entry(&t->b, "avc1");
		track_end(&t->b, track);
	}
	box_end(&t->b, moov);
}

static void fragments_begin_where_they_say(void **state)
{
	struct bed t;
	(void)state;
	fragmented_begin(&t);
	uint32_t moof = (uint32_t)box_begin(&t.b, "moof");
	/* a base of its own; the second trun goes on where the first has ended */
	size_t traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0x1, 1, 0, 20000);
	BOX32(&t.b, "trun", 0x205, 2, 100, 0, 10, 20);
	BOX32(&t.b, "trun", 0x200, 1, 30);
	box_end(&t.b, traf);
	/* no base: where the last one has ended; a track of text takes room, too */
	traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0, 3);
	BOX32(&t.b, "trun", 0x200, 2, 1000, 2000);
	box_end(&t.b, traf);
	traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0x10, 2, 40);
	BOX32(&t.b, "trun", 0x1, 2, 7);
	box_end(&t.b, traf);
	/* from the moof on; and backwards */
	traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0x20000, 2);
	BOX32(&t.b, "trun", 0x1, 1, 5000);
	BOX32(&t.b, "trun", 0x201, 1, (uint32_t)-50, 50);
	BOX32(&t.b, "trun", 0x201, 1, (uint32_t)-50 - moof, 50);
	box_end(&t.b, traf);
	box_end(&t.b, moof);
	/* the next moof is the base of its first traf */
	uint32_t next = (uint32_t)box_begin(&t.b, "moof");
	traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0, 2);
	BOX32(&t.b, "trun", 0x201, 1, 3000, 60);
	box_end(&t.b, traf);
	box_end(&t.b, next);
	assert_int_equal(parse(&t), 0);
	assert_int_equal(t.f.container, FILM_FRAGMENTED);
	EXPECT(&t, { 20100, 10, 0, true }, { 20110, 20, 0, false }, { 20130, 30, 0, false },
	       { 23167, 40, 1, true }, { 23207, 40, 1, true }, { moof + 5000, 300, 1, true },
	       { moof - 50, 50, 1, true }, { next + 3000, 60, 1, true });
	bed_done(&t);
}

static void fields_of_fragments(void **state)
{
	struct bed t;
	(void)state;
	bed_begin(&t);
	size_t moov = box_begin(&t.b, "moov");
	struct track_boxes track = track_begin(&t.b, 5, "vide");
	put_video_entry(&t.b, "avc1");
	/* a newer tkhd has times of 64 bits before the id */
	BOX32(&t.b, "tkhd", 1u << 24 | 3, 0, 0, 5, 6, 7, 0, 0);
	box_end(&t.b, track.stbl);
	box_end(&t.b, track.minf);
	box_end(&t.b, track.mdia);
	box_end(&t.b, track.trak);
	track = track_begin(&t.b, 8, "vide");
	t.b.data[track.minf + 16 + 27] = 0; /* in another file */
	put_video_entry(&t.b, "avc1");
	track_end(&t.b, track);
	box_end(&t.b, moov);
	size_t moof = box_begin(&t.b, "moof"), traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0x3b, 7, 0, 20000, 1, 2, 100, 0x10000);
	BOX32(&t.b, "tfhd", 0x3b, 8, 0, 10000, 1, 2, 200, 0);
	BOX32(&t.b, "trun", 0, 1);
	BOX32(&t.b, "trun", 0x404, 1, 0, 0x10000);
	box_end(&t.b, traf);
	traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0x3b, 8, 0, 10000, 1, 2, 200, 0);
	BOX32(&t.b, "trun", 0, 1);
	box_end(&t.b, traf);
	traf = box_begin(&t.b, "traf");
	/* wraps round: to byte 42 of the file if it were added up */
	BOX32(&t.b, "tfhd", 0x1, 7, UINT32_MAX, UINT32_MAX - 7);
	BOX32(&t.b, "trun", 0x200, 2, 50, 51);
	box_end(&t.b, traf);
	box_end(&t.b, moof);
	assert_int_equal(parse(&t), 0);
	EXPECT(&t, { 20000, 100, 0, false }, { 20100, 100, 0, true });
	bed_done(&t);
}

static void keys_of_fragments(void **state)
{
	struct bed t;
	(void)state;
	fragmented_begin(&t);
	size_t moof = box_begin(&t.b, "moof"), traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0x20030, 1, 100, 0x2000000);
	BOX32(&t.b, "trun", 0x1, 2, 5000);
	BOX32(&t.b, "trun", 0x4, 2, 0x1010000);
	BOX32(&t.b, "trun", 0x400, 4, 0, 0x10000, 0x1000000, 0x2000000);
	BOX32(&t.b, "trun", 0xf04, 2, 0x10000, 0, 7, 0, 0, 0, 8, 0, 0);
	box_end(&t.b, traf);
	traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0x20030, 2, 100, 0x10000);
	BOX32(&t.b, "trun", 0x1, 1, 9000);
	box_end(&t.b, traf);
	box_end(&t.b, moof);
	assert_int_equal(parse(&t), 0);
	static const bool keys[] = { true,  true, false, true, true, false,
				     false, true, false, true, true };
	assert_int_equal(t.f.n, COUNT(keys));
	for (size_t i = 0; i < t.f.n; i++)
		assert_int_equal(t.f.samples[i].key, keys[i]);
	assert_int_equal(t.f.samples[8].len, 7);
	assert_int_equal(t.f.samples[9].len, 8);
	bed_done(&t);
}

static void fragments_that_lie(void **state)
{
	struct bed t;
	(void)state;
	fragmented_begin(&t);
	size_t moof = box_begin(&t.b, "moof");
	static const uint32_t sizes[] = { 0, 1, 16, 20, UINT32_MAX };
	for (size_t i = 0; i < COUNT(sizes); i++) {
		size_t traf = box_begin(&t.b, "traf");
		BOX32(&t.b, "trun", 0x1, UINT32_MAX, 0); /* before tfhd: of no track */
		BOX32(&t.b, "tfhd", 0x11, 1, 0, 50000, sizes[i]);
		BOX32(&t.b, "tfhd", 0x10, 2);
		BOX32(&t.b, "trun", 0x1, UINT32_MAX, 0);
		BOX32(&t.b, "trun", 0x201, UINT32_MAX, 0x80000000, 5);
		BOX32(&t.b, "trun", 0xf00, UINT32_MAX, 1, 2, 3);
		BOX32(&t.b, "trun", 0x5, 1);
		BOX32(&t.b, "trun", 0);
		box_end(&t.b, traf);
	}
	size_t traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0x1, 1, UINT32_MAX, UINT32_MAX);
	BOX32(&t.b, "trun", 0x201, 2, 51, 10, 10);
	BOX32(&t.b, "tfhd", 0x1, 99);
	box_end(&t.b, traf);
	box_end(&t.b, moof);
	assert_int_equal(parse(&t), -E2BIG);
	uint64_t left = t.b.len + HOLE - 50000;
	/* 1 and 16 bytes: a stretch each; then the file has no bytes left for a third */
	assert_in_range(t.f.n, 1, 1 + left / 20);
	assert_int_equal(t.f.samples[0].at, 50000);
	assert_int_equal(t.f.samples[0].len, left);
	bed_done(&t);
}

/* One sample of 4 GiB, and over it some billions that overlap it. */
static void samples_that_are_passed_over_are_counted(void **state)
{
	struct bed t;
	(void)state;
	fragmented_begin(&t);
	size_t moof = box_begin(&t.b, "moof"), traf = box_begin(&t.b, "traf");
	BOX32(&t.b, "tfhd", 0x11, 1, 0, 8192, 17);
	BOX32(&t.b, "trun", 0x201, 1, 0, UINT32_MAX);
	for (int i = 0; i < 200; i++)
		BOX32(&t.b, "trun", 0x1, UINT32_MAX / 17, 0);
	box_end(&t.b, traf);
	box_end(&t.b, moof);
	t.hole = 1ull << 40;
	assert_int_equal(parse(&t), -E2BIG);
	EXPECT(&t, { 8192, UINT32_MAX, 0, false });
	bed_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tracks_that_have_no_samples),
		cmocka_unit_test(more_tracks_than_a_film_has),
		cmocka_unit_test(sound_is_taken_in_chunks),
		cmocka_unit_test(sound_in_a_file_cut_off_ends_there),
		cmocka_unit_test(codecs_are_known_by_their_descriptors),
		cmocka_unit_test(what_is_encrypted_is_not_whole),
		cmocka_unit_test(a_newer_entry_has_no_packets),
		cmocka_unit_test(the_kind_is_what_mdia_says),
		cmocka_unit_test(fragments_begin_where_they_say),
		cmocka_unit_test(fields_of_fragments),
		cmocka_unit_test(keys_of_fragments),
		cmocka_unit_test(fragments_that_lie),
		cmocka_unit_test(samples_that_are_passed_over_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
