// SPDX-License-Identifier: MIT
/* Pieces and segments: arithmetic on repeats, the encoding, and lookups through its index. */
#include "segment.h"
#include "chunk_row.h"
#include "cleanup.h"
#include "damage.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* Which byte of which chunk is byte `at` of the piece? */
static uint64_t byte_of(const struct piece *p, uint64_t at)
{
	return p->chunk ? p->chunk << 32 | (p->offset + at % p->length) : 0;
}

static void test_slices_of_a_repeat(void **state)
{
	(void)state;
	struct piece p = { .chunk = 5, .length = 7, .offset = 3, .repeat = 4 };
	for (uint64_t from = 0; from < 28; from++) {
		for (uint64_t to = from + 1; to <= 28; to++) {
			struct piece part[3];
			unsigned n = piece_slice(&p, from, to, part);
			uint64_t at = from;
			assert_true(n >= 1 && n <= 3);
			for (unsigned i = 0; i < n; i++) {
				assert_true(piece_valid(&part[i]));
				for (uint64_t b = 0; b < piece_bytes(&part[i]); b++, at++)
					assert_int_equal(byte_of(&part[i], b), byte_of(&p, at));
			}
			assert_int_equal(at, to);
		}
	}
}

static void test_lists_merge_what_continues(void **state)
{
	(void)state;
	CLEANUP_PIECES struct piece_vec l = { 0 };
	struct piece p = { .chunk = 5, .length = 7, .offset = 3, .repeat = 9 };
	/* A repeat that is cut anywhere is itself again. */
	for (uint64_t cut = 1; cut < 63; cut++) {
		l.n = 0;
		assert_int_equal(piece_vec_push_slice(&l, &p, 0, cut), 0);
		assert_int_equal(piece_vec_push_slice(&l, &p, cut, 63), 0);
		assert_int_equal(l.n, 1);
		assert_memory_equal(&l.v[0], &p, sizeof p);
	}
	l.n = 0;
	assert_int_equal(piece_vec_push_zeros(&l, 0), 0);
	assert_int_equal(l.n, 0);
	assert_int_equal(piece_vec_push_zeros(&l, 5), 0);
	assert_int_equal(piece_vec_push_zeros(&l, 6), 0);
	assert_int_equal(l.n, 1);
	assert_int_equal(l.v[0].length, 11);
	piece_vec_trim(&l);
	assert_int_equal(l.n, 0);
	struct piece full = { .chunk = 5, .length = 1, .repeat = UINT32_MAX };
	assert_int_equal(piece_vec_push(&l, &full), 0);
	assert_int_equal(piece_vec_push(&l, &full), 0);
	assert_int_equal(l.n, 2);
}

static size_t random_segment(uint64_t *seed, struct piece *v, size_t n)
{
	uint64_t chunk = 1 + prng_below(seed, 1 << 20);
	for (size_t i = 0; i < n; i++) {
		struct piece p = { .chunk = chunk++,
				   .length = 1 + prng_below(seed, 300),
				   .repeat = 1 };
		switch (prng_below(seed, 8)) {
		case 0:
			p.chunk = 0;
			break;
		case 1:
			p.chunk = 1 + prng_below(seed, INT64_MAX);
			break;
		case 2:
			p.offset = (uint32_t)prng_below(seed, CHUNK_LENGTH_MAX - 300);
			break;
		case 3:
			p.repeat = 2 + (uint32_t)prng_below(seed, 100);
			break;
		default:
			break;
		}
		v[i] = p;
	}
	return n;
}

/* The map of a film: its own bytes, a picture of some KB, its own bytes, a packet of sound, and so on. */
static size_t film_segment(uint64_t *seed, struct piece *v, size_t n)
{
	struct piece at[3] = { { .chunk = 700 }, { .chunk = 701 }, { .chunk = 3 } };
	uint64_t newest = 702;
	for (size_t i = 0; i < n; i++) {
		unsigned t = i % 2 ? 0 : prng_below(seed, 3) ? 1 : 2;
		struct piece *p = &at[t];
		p->length = t == 0 ? 7 + prng_below(seed, 3)
				   : 200 + prng_below(seed, t == 1 ? 3000 : 200);
		p->repeat = 1;
		if (p->offset + p->length > 200000) {
			p->chunk = newest++;
			p->offset = 0;
		}
		v[i] = *p;
		p->offset += (uint32_t)p->length;
		if (prng_below(seed, 100) == 0)
			v[i] = piece_zeros(100);
	}
	return n;
}

static void check_slice(const struct segment *seg, const struct piece *v, size_t n, uint64_t at,
			uint64_t len)
{
	CLEANUP_PIECES struct piece_vec got = { 0 };
	CLEANUP_PIECES struct piece_vec want = { 0 };
	uint64_t piece_at = 0, zeros = 0, got_zeros;
	uint32_t touched = 0, got_touched;
	for (size_t i = 0; i < n; i++) {
		uint64_t end = piece_at + piece_bytes(&v[i]);
		uint64_t from = at > piece_at ? at : piece_at;
		uint64_t to = at + len < end ? at + len : end;
		if (from < to) {
			assert_int_equal(
				piece_vec_push_slice(&want, &v[i], from - piece_at, to - piece_at),
				0);
			zeros += v[i].chunk ? 0 : to - from;
			touched++;
		}
		piece_at = end;
	}
	assert_int_equal(segment_slice(seg, at, len, SIZE_MAX, &got), 0);
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.v, want.v, got.n * sizeof *got.v);
	assert_int_equal(segment_zeros(seg, at, len, &got_zeros), 0);
	assert_int_equal(got_zeros, zeros);
	assert_int_equal(segment_count(seg, at, len, &got_touched), 0);
	assert_int_equal(got_touched, touched);
}

static void test_encoding_and_lookup(void **state)
{
	(void)state;
	static struct piece v[SEGMENT_PIECES];
	static const size_t sizes[] = { 1, 2, 127, 128, 129, 256, 257, 1000, 4095, 4096 };
	uint64_t seed = 1;
	for (size_t s = 0; s < 2 * sizeof sizes / sizeof *sizes; s++) {
		CLEANUP_BUF struct buf val = { 0 };
		CLEANUP_PIECES struct piece_vec none = { 0 };
		struct segment seg;
		uint64_t total = 0;
		bool film = s % 2;
		size_t n = (film ? film_segment : random_segment)(&seed, v, sizes[s / 2]);
		for (size_t i = 0; i < n; i++)
			total += piece_bytes(&v[i]);
		segment_encode(v, n, film, &val);
		assert_int_equal(segment_open(slice_of(val.data, val.len), &seg), 0);
		assert_int_equal(seg.in_strands, film && n > 2);
		assert_int_equal(segment_check(&seg), 0);
		check_slice(&seg, v, n, 0, total);
		for (unsigned i = 0; i < 200; i++) {
			uint64_t at = prng_below(&seed, total);
			check_slice(&seg, v, n, at, 1 + prng_below(&seed, total - at));
		}
		check_slice(&seg, v, n, total - 1, 1);
		assert_int_equal(segment_slice(&seg, total - 1, 2, SIZE_MAX, &none), -EUCLEAN);
		none.n = 0;
		assert_int_equal(segment_slice(&seg, total, 1, SIZE_MAX, &none), -EUCLEAN);
		assert_int_equal(segment_slice(&seg, INT64_MAX - 1, 1, SIZE_MAX, &none), -EUCLEAN);
	}
}

static void test_usual_pieces_are_short(void **state)
{
	(void)state;
	static struct piece v[SEGMENT_PIECES];
	CLEANUP_BUF struct buf val = { 0 };
	for (unsigned i = 0; i < SEGMENT_PIECES; i++)
		v[i] = (struct piece){ .chunk = 1000000 + i, .length = 60000 + i, .repeat = 1 };
	segment_encode(v, SEGMENT_PIECES, false, &val);
	print_message("segment of 4096 sequential pieces: %zu bytes\n", val.len);
	assert_true(val.len < 3.2 * SEGMENT_PIECES);
	buf_reset(&val);
	for (unsigned i = 0; i < SEGMENT_PIECES; i += 2) /* every other one a duplicate */
		v[i].chunk = 1000 + 7 * i;
	segment_encode(v, SEGMENT_PIECES, false, &val);
	print_message("every second one a duplicate elsewhere: %zu bytes\n", val.len);
	assert_true(val.len < 7 * SEGMENT_PIECES);
	struct segment seg;
	assert_int_equal(segment_open(slice_of(val.data, val.len), &seg), 0);
	assert_int_equal(segment_check(&seg), 0);
}

static void test_films_are_short(void **state)
{
	(void)state;
	static struct piece v[SEGMENT_PIECES];
	uint64_t seed = 5;
	CLEANUP_BUF struct buf val = { 0 };
	CLEANUP_BUF struct buf plain = { 0 };
	film_segment(&seed, v, SEGMENT_PIECES);
	segment_encode(v, SEGMENT_PIECES, true, &val);
	segment_encode(v, SEGMENT_PIECES, false, &plain);
	print_message("4096 slices of a film: %zu bytes, plain %zu\n", val.len, plain.len);
	assert_true(val.len < 2 * SEGMENT_PIECES && plain.len > 2 * val.len);
}

/* Each code, where it says something else than it may. */
static void test_strands_that_lead_nowhere(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
		int result;
	} rows[] = {
#define ROW(s, r) { s, sizeof s - 1, r }
		ROW("\0\1\12\15", 0),		    /* one byte of chunk 10 */
		ROW("\0\2\12\15\10", 0),	    /* and the next */
		ROW("\0\1\12\10", -EUCLEAN),	    /* goes on with what was not begun */
		ROW("\0\2\12\15\11", -EUCLEAN),	    /* only one was */
		ROW("\0\1\12\5", -EUCLEAN),	    /* no length */
		ROW("\0\1\0\15", -EUCLEAN),	    /* chunk 0 */
		ROW("\0\1\12\7\144", 0),	    /* 100 zeros */
		ROW("\0\1\12\17\144", -EUCLEAN),    /* with a length before it, too */
		ROW("\0\1\12\7\0", -EUCLEAN),	    /* no zeros */
		ROW("\0\1\12\16\0\0\1", 0),	    /* as the first */
		ROW("\0\1\12\16\0\0\0", -EUCLEAN),  /* no times */
		ROW("\0\1\12\16\23\0\1", -EUCLEAN), /* chunk 0: ten before 10 */
		ROW("\0\1\12\16\0\377\377\377\17\1", -EUCLEAN),	    /* beyond any chunk */
		ROW("\0\1\12\16\0\0\200\200\200\200\20", -EUCLEAN), /* too many times */
		ROW("\0\0\12\15", -EUCLEAN),			    /* no pieces */
		ROW("\0\1\12\15\10", -EUCLEAN),			    /* more of them than said */
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct segment seg;
		int r = segment_open(slice_of(rows[i].bytes, rows[i].len), &seg);
		r = r ? r : segment_check(&seg);
		if (r != rows[i].result)
			print_message("row %zu\n", i);
		assert_int_equal(r, rows[i].result);
	}
}

static void test_the_longest_segment(void **state)
{
	(void)state;
	CLEANUP_BUF struct buf val = { 0 };
	CLEANUP_PIECES struct piece_vec l = { 0 };
	struct segment seg;
	struct piece v[] = { { .chunk = 1, .length = 1, .repeat = 1 },
			     piece_zeros(INT64_MAX - 2),
			     { .chunk = INT64_MAX, .length = 1, .repeat = 1 } };
	segment_encode(v, 3, false, &val);
	assert_int_equal(segment_open(slice_of(val.data, val.len), &seg), 0);
	assert_int_equal(segment_check(&seg), 0);
	assert_int_equal(segment_slice(&seg, INT64_MAX - 1, 1, SIZE_MAX, &l), 0);
	assert_int_equal(l.v[0].chunk, INT64_MAX);
	buf_reset(&val);
	v[1].length++;
	segment_encode(v, 3, false, &val);
	assert_int_equal(segment_open(slice_of(val.data, val.len), &seg), 0);
	assert_int_equal(segment_check(&seg), -EUCLEAN);
	assert_int_equal(segment_seek(&seg, INT64_MAX, &(struct segment_iter){ 0 }), -EUCLEAN);
}

static void ignore_chunk(void *arg, uint64_t chunk)
{
	(void)arg;
	assert_true(chunk > 0 && chunk <= INT64_MAX);
}

static void decode_damaged(struct slice val)
{
	struct segment seg;
	CLEANUP_PIECES struct piece_vec l = { 0 };
	uint64_t zeros;
	uint32_t n;
	int r = segment_open(val, &seg);
	assert_true(r == 0 || r == -EUCLEAN);
	if (r)
		return;
	r = segment_check(&seg);
	assert_true(r == 0 || r == -EUCLEAN);
	assert_true(segment_marks(&seg, ignore_chunk, NULL) == 0 || r);
	for (uint64_t at = 0; at < 60000; at += 19999) {
		l.n = 0;
		r = segment_slice(&seg, at, 5000, SIZE_MAX, &l);
		assert_true(r == 0 || r == -EUCLEAN);
		for (size_t i = 0; i < l.n; i++)
			assert_true(piece_valid(&l.v[i]));
		r = segment_zeros(&seg, at, 5000, &zeros);
		assert_true(r == -EUCLEAN || (r == 0 && zeros <= 5000));
		r = segment_count(&seg, at, 5000, &n);
		assert_true(r == -EUCLEAN || (r == 0 && n <= SEGMENT_PIECES));
	}
}

static void test_damaged_segments(void **state)
{
	(void)state;
	static struct piece v[300];
	uint64_t seed = 8;
	CLEANUP_BUF struct buf val = { 0 };
	random_segment(&seed, v, 6);
	segment_encode(v, 6, false, &val);
	damage_each(val.data, val.len, decode_damaged);
	buf_reset(&val);
	random_segment(&seed, v, 140);
	segment_encode(v, 140, false, &val);
	damage_each(val.data, val.len, decode_damaged);
	buf_reset(&val);
	film_segment(&seed, v, 140);
	segment_encode(v, 140, true, &val);
	damage_each(val.data, val.len, decode_damaged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slices_of_a_repeat),
		cmocka_unit_test(test_lists_merge_what_continues),
		cmocka_unit_test(test_encoding_and_lookup),
		cmocka_unit_test(test_usual_pieces_are_short),
		cmocka_unit_test(test_films_are_short),
		cmocka_unit_test(test_strands_that_lead_nowhere),
		cmocka_unit_test(test_the_longest_segment),
		cmocka_unit_test(test_damaged_segments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
