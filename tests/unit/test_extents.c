// SPDX-License-Identifier: MIT
/* extents against a model: for each file an array that says, byte for byte, which byte of which chunk
 * it reads as. After every commit maps, counts, seeks and references are compared. */
#include "extents.h"
#include "cleanup.h"
#include "fake_kv.h"
#include "prng.h"
#include "segment.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define FILES 5
#define FILE_MAX 60000

struct model {
	uint64_t byte[FILE_MAX]; /* 0: hole; otherwise chunk << 24 | offset */
	uint64_t size;
};

struct world {
	struct kv *kv;
	struct extents *x;
	struct inode_row row[FILES];
	struct model *model; /* of each file */
	uint64_t seed, next_chunk;
	uint64_t max_size, max_pieces, max_length;
};

static void world_open(struct world *w, uint64_t seed)
{
	*w = (struct world){ .kv = fake_kv_new(), .seed = seed, .next_chunk = 1 };
	assert_int_equal(extents_open(w->kv, &w->x), 0);
	w->model = calloc(FILES, sizeof *w->model);
	for (unsigned f = 0; f < FILES; f++)
		w->row[f] =
			(struct inode_row){ .ino = 100 + f, .mode = S_IFREG | 0644, .nlink = 1 };
}

static void world_close(struct world *w)
{
	extents_close(w->x);
	fake_kv_free(w->kv);
	free(w->model);
}

/* --- What the model says ------------------------------------------------------------------- */

static void model_grow(struct model *m, uint64_t size)
{
	if (size > m->size)
		m->size = size;
}

static void model_pieces(struct model *m, uint64_t at, const struct piece *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < v[i].repeat; k++)
			for (uint64_t b = 0; b < v[i].length; b++)
				m->byte[at++] =
					v[i].chunk ? v[i].chunk << 24 | (v[i].offset + b) : 0;
	model_grow(m, at);
}

static void check_map(struct world *w, unsigned f, uint64_t at, uint64_t len)
{
	const struct model *m = &w->model[f];
	struct map_vec map = { 0 };
	uint64_t end = at + len < m->size ? at + len : m->size;
	assert_int_equal(extents_map(w->x, &w->row[f], at, len, &map), 0);
	for (size_t i = 0; i < map.n; i++) {
		const struct piece *p = &map.v[i].piece;
		assert_true(map.v[i].at >= at && p->chunk && p->length && p->repeat);
		for (; at < map.v[i].at; at++)
			assert_int_equal(m->byte[at], 0);
		for (uint64_t b = 0; b < p->length * p->repeat; b++, at++) {
			assert_true(at < end);
			assert_int_equal(m->byte[at], p->chunk << 24 | (p->offset + b % p->length));
		}
	}
	for (; at < end; at++)
		assert_int_equal(m->byte[at], 0);
	map_vec_done(&map);
}

static void check_seek(struct world *w, unsigned f, uint64_t at)
{
	const struct model *m = &w->model[f];
	for (int data = 0; data < 2; data++) {
		uint64_t want = at, got;
		while (want < m->size && (m->byte[want] != 0) != data)
			want++;
		int r = extents_seek(w->x, &w->row[f], at, data, &got);
		if (at >= m->size || (data && want == m->size)) {
			assert_int_equal(r, -ENXIO);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(got, want);
	}
}

static void check_row(struct world *w, unsigned f)
{
	const struct inode_row *row = &w->row[f];
	uint64_t mapped = 0;
	for (uint64_t b = 0; b < w->model[f].size; b++)
		mapped += w->model[f].byte[b] != 0;
	assert_int_equal(row->mapped_bytes, mapped);
	struct inode_row back;
	CLEANUP_BUF struct buf val = { 0 };
	inode_row_encode(row, &val);
	assert_int_equal(inode_row_decode(row->ino, slice_of(val.data, val.len), &back), 0);
	assert_int_equal(back.mapped_bytes, mapped);
	if (!(row->flags & INODE_MAPPED))
		return;
	/* What fits an inode row has to be there. */
	struct map_vec map = { 0 };
	uint64_t end = 0, pieces = 0;
	assert_int_equal(extents_map(w->x, row, 0, UINT64_MAX, &map), 0);
	for (size_t i = 0; i < map.n; i++) {
		pieces += 1 + (map.v[i].at > end);
		end = map.v[i].at + map.v[i].piece.length * map.v[i].piece.repeat;
	}
	assert_true(pieces > INODE_RECIPE_MAX);
	map_vec_done(&map);
}

/* Every segment has as many references as rows, and every row a segment that is long enough. */
static void check_references(struct world *w)
{
	struct slice key, val;
	struct kv_iter *it = kv_iter_new(w->kv, KV_SEGMENT, "", 0, false);
	uint64_t rows = 0, shared = 0;
	while (kv_iter_next(it, &key, &val) == 1) {
		struct segment seg;
		assert_int_equal(segment_open(val, &seg), 0);
		assert_int_equal(segment_check(&seg), 0);
		uint64_t refs = 0;
		struct slice ekey, eval;
		struct kv_iter *eit = kv_iter_new(w->kv, KV_EXTENT, "", 0, false);
		while (kv_iter_next(eit, &ekey, &eval) == 1) {
			if (take_varint(&eval) != get_be64(key.at))
				continue;
			uint64_t at = take_varint(&eval), len = take_varint(&eval), zeros;
			assert_int_equal(segment_zeros(&seg, at, len, &zeros), 0);
			assert_int_equal(zeros, take_varint(&eval));
			refs++;
		}
		kv_iter_free(eit);
		assert_true(refs > 0);
		CLEANUP_BUF struct buf count = { 0 };
		int r = kv_get(w->kv, KV_SEGREF, key.at, 8, &count);
		assert_int_equal(r, refs == 1 ? -ENOENT : 0);
		struct slice s = slice_of(count.data, count.len);
		if (refs > 1)
			assert_int_equal(take_varint(&s), refs);
		shared += refs > 1;
		rows += refs;
	}
	kv_iter_free(it);
	assert_int_equal(rows, fake_kv_rows(w->kv, KV_EXTENT));
	assert_int_equal(shared, fake_kv_rows(w->kv, KV_SEGREF));
}

static void check_file(struct world *w, unsigned f)
{
	uint64_t size = w->model[f].size;
	w->row[f].size = size;
	check_row(w, f);
	check_map(w, f, 0, UINT64_MAX);
	for (int i = 0; i < 4; i++) {
		check_map(w, f, prng_below(&w->seed, size + 2), 1 + prng_below(&w->seed, 300));
		check_seek(w, f, prng_below(&w->seed, size + 2));
	}
	check_seek(w, f, 0);
}

/* --- What is done to both ------------------------------------------------------------------ */

/* Up to `max` pieces of random kinds, of at most `limit` bytes: fresh chunks, repeats, slices, old
 * chunks, zeros. */
static size_t random_pieces(struct world *w, struct piece *v, size_t max, uint64_t limit,
			    uint64_t *ret_bytes)
{
	uint64_t sum = 0;
	size_t n = 0;
	while (n < max && sum < limit) {
		struct piece p = { .length = 1 + prng_below(&w->seed, w->max_length), .repeat = 1 };
		unsigned kind = (unsigned)prng_below(&w->seed, 10);
		if (kind > 0)
			p.chunk = kind < 7 ? w->next_chunk++
					   : 1 + prng_below(&w->seed, w->next_chunk);
		if (kind > 5)
			p.offset = (uint32_t)prng_below(&w->seed, 20);
		if (kind == 4 || kind == 9)
			p.repeat = 1 + (uint32_t)prng_below(&w->seed, 5);
		if (p.length * p.repeat > limit - sum)
			p = (struct piece){ .length = limit - sum, .repeat = 1, .chunk = 7 };
		v[n++] = p;
		sum += p.length * p.repeat;
	}
	*ret_bytes = sum;
	return n;
}

static int do_replace(struct world *w, struct change *c, unsigned f, uint64_t at)
{
	size_t max = 1 + prng_below(&w->seed, w->max_pieces);
	struct piece *v = calloc(max, sizeof *v);
	uint64_t len;
	size_t n = random_pieces(w, v, max, w->max_size - at, &len);
	int r = extents_replace(c, &w->row[f], at, len, v, n);
	model_pieces(&w->model[f], at, v, n);
	free(v);
	return r;
}

static int do_hole(struct world *w, struct change *c, unsigned f, uint64_t at)
{
	struct model *m = &w->model[f];
	uint64_t len = prng_below(&w->seed, w->max_size - at + 1);
	for (uint64_t b = at; b < at + len; b++)
		m->byte[b] = 0;
	model_grow(m, at + len);
	return extents_replace(c, &w->row[f], at, len, NULL, 0);
}

static int do_truncate(struct world *w, struct change *c, unsigned f, uint64_t at)
{
	struct model *m = &w->model[f];
	for (uint64_t b = at; b < m->size; b++)
		m->byte[b] = 0;
	m->size = at;
	return extents_replace(c, &w->row[f], at, UINT64_MAX, NULL, 0);
}

static int do_clone(struct world *w, struct change *c, unsigned f, uint64_t at)
{
	unsigned src = (unsigned)prng_below(&w->seed, FILES);
	uint64_t src_at = prng_below(&w->seed, w->model[src].size + 1);
	uint64_t limit = w->max_size - (at > src_at ? at : src_at);
	uint64_t len = prng_below(&w->seed, limit + 1);
	if (src == f && src_at < at + len && at < src_at + len)
		return 0;
	uint64_t *bytes = calloc(len + 1, sizeof *bytes);
	memcpy(bytes, w->model[src].byte + src_at, len * sizeof *bytes);
	memcpy(w->model[f].byte + at, bytes, len * sizeof *bytes);
	free(bytes);
	model_grow(&w->model[f], at + len);
	return extents_clone(c, &w->row[src], src_at, &w->row[f], at, len);
}

static int do_free(struct world *w, struct change *c, unsigned f)
{
	struct model *m = &w->model[f];
	int r;
	while ((r = extents_free_some(c, &w->row[f], 1 + (unsigned)prng_below(&w->seed, 3))) == 1)
		;
	memset(m->byte, 0, sizeof m->byte);
	m->size = 0;
	assert_int_equal(w->row[f].flags, 0);
	assert_int_equal(w->row[f].mapped_bytes, 0);
	return r;
}

static int do_something(struct world *w, struct change *c, unsigned f)
{
	uint64_t at = prng_below(&w->seed, w->max_size);
	if (prng_below(&w->seed, 3) == 0)
		at = w->model[f].size < w->max_size ? w->model[f].size : 0;
	unsigned kind = (unsigned)prng_below(&w->seed, 40);
	if (kind < 20)
		return do_replace(w, c, f, at);
	if (kind < 27)
		return do_hole(w, c, f, at);
	if (kind < 37)
		return do_clone(w, c, f, at);
	return kind < 39 ? do_truncate(w, c, f, at) : do_free(w, c, f);
}

static void do_change(struct world *w)
{
	struct inode_row rows[FILES];
	struct model *models = NULL;
	bool drop = prng_below(&w->seed, 10) == 0;
	if (drop) {
		memcpy(rows, w->row, sizeof rows);
		models = malloc(FILES * sizeof *models);
		memcpy(models, w->model, FILES * sizeof *models);
	}
	struct change *c = change_new(w->x);
	for (uint64_t i = 1 + prng_below(&w->seed, 3); i > 0; i--) {
		unsigned f = (unsigned)prng_below(&w->seed, FILES);
		assert_int_equal(do_something(w, c, f), 0);
	}
	if (!drop) {
		assert_int_equal(change_commit(c, NULL), 0);
		return;
	}
	change_drop(c);
	memcpy(w->row, rows, sizeof rows);
	memcpy(w->model, models, FILES * sizeof *models);
	free(models);
}

static void free_all(struct world *w)
{
	struct change *c = change_new(w->x);
	for (unsigned f = 0; f < FILES; f++)
		assert_int_equal(do_free(w, c, f), 0);
	assert_int_equal(change_commit(c, NULL), 0);
	assert_int_equal(fake_kv_rows(w->kv, KV_EXTENT), 0);
	assert_int_equal(fake_kv_rows(w->kv, KV_SEGMENT), 0);
	assert_int_equal(fake_kv_rows(w->kv, KV_SEGREF), 0);
}

static void run_model(uint64_t seed, unsigned changes, uint64_t size, uint64_t pieces,
		      uint64_t length)
{
	struct world w;
	world_open(&w, seed);
	w.max_size = size;
	w.max_pieces = pieces;
	w.max_length = length;
	for (unsigned i = 0; i < changes; i++) {
		do_change(&w);
		check_references(&w);
		for (unsigned f = 0; f < FILES; f++)
			check_file(&w, f);
	}
	free_all(&w);
	world_close(&w);
}

static void test_small_files(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++)
		run_model(seed, 100, 120, 5, 20);
}

static void test_files_of_some_segments(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 110; seed++)
		run_model(seed, 120, 3000, 300, 12);
}

static void test_files_of_full_segments(void **state)
{
	(void)state;
	for (uint64_t seed = 200; seed < 203; seed++)
		run_model(seed, 40, FILE_MAX, 10000, 6);
}

/* --- Situations ---------------------------------------------------------------------------- */

static void append_window(struct world *w, unsigned f, uint64_t at, size_t n, uint64_t length)
{
	struct piece *v = calloc(n, sizeof *v);
	for (size_t i = 0; i < n; i++)
		v[i] = (struct piece){ .chunk = w->next_chunk++, .length = length, .repeat = 1 };
	struct change *c = change_new(w->x);
	assert_int_equal(extents_replace(c, &w->row[f], at, n * length, v, n), 0);
	assert_int_equal(change_commit(c, NULL), 0);
	free(v);
}

static void test_appending_costs_the_window(void **state)
{
	(void)state;
	struct world w;
	uint64_t gets, iters, gets_before, iters_before, at = 0;
	world_open(&w, 1);
	for (unsigned i = 0; i < 50; i++, at += 4096 * 65536ull) {
		fake_kv_counts(w.kv, &gets_before, &iters_before);
		append_window(&w, 0, at, 4096, 65536);
		fake_kv_counts(w.kv, &gets, &iters);
		assert_true(iters - iters_before <= 4 && gets - gets_before <= 1);
	}
	assert_int_equal(fake_kv_rows(w.kv, KV_EXTENT), 50);
	size_t bytes = fake_kv_bytes(w.kv, KV_SEGMENT);
	print_message("segment: %.2f bytes per sequential piece; extent row: %zu with its key\n",
		      (double)bytes / (50 * 4096), fake_kv_bytes(w.kv, KV_EXTENT) / 50);
	assert_true(bytes < 50 * 4096 * 4);
	world_close(&w);
}

static void test_small_appends_fill_segments(void **state)
{
	(void)state;
	struct world w;
	world_open(&w, 1);
	for (unsigned i = 0; i < 2000; i++)
		append_window(&w, 0, i * 5000ull, 1, 5000);
	assert_true(fake_kv_rows(w.kv, KV_EXTENT) <= 2000 / 60);
	assert_int_equal(w.row[0].mapped_bytes, 2000 * 5000);
	world_close(&w);
}

static void test_overwrites_stay_small(void **state)
{
	(void)state;
	struct world w;
	uint64_t gets, iters, gets_before, iters_before;
	world_open(&w, 5);
	for (unsigned i = 0; i < 16; i++)
		append_window(&w, 0, i * 4096 * 65536ull, 4096, 65536);
	size_t before = fake_kv_bytes(w.kv, KV_SEGMENT);
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t at = prng_below(&w.seed, 16 * 4096 * 16 - 1) * 4096;
		fake_kv_counts(w.kv, &gets_before, &iters_before);
		append_window(&w, 0, at, 1, 4096);
		fake_kv_counts(w.kv, &gets, &iters);
		assert_true(iters - iters_before <= 6 && gets - gets_before <= 6);
	}
	print_message("3000 overwrites: %zu rows, segments %zu -> %zu bytes\n",
		      fake_kv_rows(w.kv, KV_EXTENT), before, fake_kv_bytes(w.kv, KV_SEGMENT));
	assert_int_equal(w.row[0].mapped_bytes, 16 * 4096 * 65536ull);
	check_references(&w);
	world_close(&w);
}

static void test_a_copy_in_steps_is_one_row(void **state)
{
	(void)state;
	struct world w;
	world_open(&w, 1);
	append_window(&w, 0, 0, 4096, 1000);
	for (uint64_t at = 0; at < 4096000; at += 128000) {
		struct change *c = change_new(w.x);
		assert_int_equal(extents_clone(c, &w.row[0], at, &w.row[1], at, 128000), 0);
		assert_int_equal(change_commit(c, NULL), 0);
	}
	assert_int_equal(fake_kv_rows(w.kv, KV_EXTENT), 2);
	assert_int_equal(fake_kv_rows(w.kv, KV_SEGMENT), 1);
	world_close(&w);
}

static void test_the_largest_offsets(void **state)
{
	(void)state;
	struct world w;
	uint64_t top = INT64_MAX, at;
	struct piece p = { .chunk = 9, .length = 1000, .repeat = 1 };
	world_open(&w, 1);
	w.row[0].size = top;
	struct change *c = change_new(w.x);
	assert_int_equal(extents_replace(c, &w.row[0], top - 1000, 1000, &p, 1), 0);
	assert_int_equal(w.row[0].pieces, 2);
	assert_int_equal(extents_replace(c, &w.row[0], top - 999, 1000, &p, 1), -EFBIG);
	assert_int_equal(extents_clone(c, &w.row[0], 1, &w.row[1], 0, top), -EFBIG);
	assert_int_equal(extents_clone(c, &w.row[0], 0, &w.row[1], 0, top), 0);
	assert_int_equal(extents_replace(c, &w.row[0], 5, UINT64_MAX, &p, 1), -EFBIG);
	assert_int_equal(extents_replace(c, &w.row[0], 5, 999, &p, 1), -EINVAL);
	assert_int_equal(extents_replace(c, &w.row[0], 5, 1001, &p, 1), -EINVAL);
	assert_int_equal(extents_clone(c, &w.row[0], 0, &w.row[0], 9, 10), -EINVAL);
	assert_int_equal(change_commit(c, NULL), 0);
	assert_int_equal(extents_seek(w.x, &w.row[0], 0, true, &at), 0);
	assert_int_equal(at, top - 1000);
	assert_int_equal(extents_seek(w.x, &w.row[0], top - 1, false, &at), 0);
	assert_int_equal(at, top);
	append_window(&w, 0, 0, 100, 10);
	assert_int_equal(extents_seek(w.x, &w.row[0], 2000, true, &at), 0);
	assert_int_equal(at, top - 1000);
	assert_int_equal(w.row[1].mapped_bytes, 1000);
	world_close(&w);
}

static void test_a_failed_change_commits_nothing(void **state)
{
	(void)state;
	struct world w;
	world_open(&w, 1);
	append_window(&w, 0, 0, 10, 10);
	fake_kv_damage(w.kv, KV_EXTENT, "\0\0\0\0\0\0\0\x64\0\0\0\0\0\0\0\0", 16);
	struct change *c = change_new(w.x);
	struct inode_row row = w.row[0];
	struct piece p = { .chunk = 9, .length = 5, .repeat = 1 };
	assert_int_equal(extents_replace(c, &row, 2, 5, &p, 1), -EUCLEAN);
	assert_int_equal(extents_clone(c, &row, 50, &w.row[1], 0, 5), -EUCLEAN);
	assert_int_equal(change_commit(c, NULL), -EUCLEAN);
	c = change_new(w.x);
	assert_int_equal(extents_free_some(c, &row, 5), -EUCLEAN);
	change_drop(c);
	assert_int_equal(fake_kv_rows(w.kv, KV_EXTENT), 1);
	assert_int_equal(fake_kv_rows(w.kv, KV_SEGMENT), 1);
	world_close(&w);
}

/* Changes every byte of every extent, segment and reference row, and looks at the map: whatever is
 * said then, it is said without reading past anything. */
static void test_damaged_rows(void **state)
{
	(void)state;
	struct world w;
	world_open(&w, 3);
	w.max_size = FILE_MAX;
	w.max_pieces = 400;
	w.max_length = 30;
	for (unsigned i = 0; i < 6; i++)
		do_change(&w);
	append_window(&w, 0, 0, 10, 10);
	static const enum kv_table tables[] = { KV_EXTENT, KV_SEGMENT, KV_SEGREF };
	for (unsigned t = 0; t < 3; t++) {
		struct slice key, val;
		struct kv_iter *it = kv_iter_new(w.kv, tables[t], "", 0, false);
		while (kv_iter_next(it, &key, &val) == 1) {
			uint8_t bytes[8192], good[8192];
			size_t len = val.len;
			assert_true(len <= sizeof bytes);
			memcpy(good, val.at, len);
			for (size_t i = 0; i < len && i < 500; i++) {
				memcpy(bytes, good, len);
				bytes[i] ^= (uint8_t)(1 + prng_below(&w.seed, 255));
				fake_kv_set(w.kv, tables[t], key.at, key.len, bytes, len);
				for (unsigned f = 0; f < FILES; f++) {
					struct map_vec map = { 0 };
					struct inode_row row = w.row[f];
					int r = extents_map(w.x, &row, 0, UINT64_MAX, &map);
					assert_true(r == 0 || r == -EUCLEAN);
					map_vec_done(&map);
					struct change *c = change_new(w.x);
					r = extents_replace(c, &row, 5, 20, NULL, 0);
					assert_true(r == 0 || r == -EUCLEAN);
					r = extents_free_some(c, &row, 1000);
					assert_true(r == 0 || r == -EUCLEAN);
					change_drop(c);
				}
			}
			fake_kv_set(w.kv, tables[t], key.at, key.len, good, len);
		}
		kv_iter_free(it);
	}
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_files),
		cmocka_unit_test(test_files_of_some_segments),
		cmocka_unit_test(test_files_of_full_segments),
		cmocka_unit_test(test_appending_costs_the_window),
		cmocka_unit_test(test_small_appends_fill_segments),
		cmocka_unit_test(test_overwrites_stay_small),
		cmocka_unit_test(test_a_copy_in_steps_is_one_row),
		cmocka_unit_test(test_the_largest_offsets),
		cmocka_unit_test(test_a_failed_change_commits_nothing),
		cmocka_unit_test(test_damaged_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
