// SPDX-License-Identifier: MIT
/* Reading a map. Only what is committed is seen. */
#include "change.h"
#include "recipe.h"
#include <errno.h>
#include <stdlib.h>

void map_vec_done(struct map_vec *m)
{
	free(m->v);
	*m = (struct map_vec){ 0 };
}

static int map_vec_push(struct map_vec *m, uint64_t at, const struct piece *p)
{
	struct mapped *last = m->n ? &m->v[m->n - 1] : NULL;
	if (last && last->at + piece_bytes(&last->piece) == at && piece_merge(&last->piece, p))
		return 0;
	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 16;
		struct mapped *v = realloc(m->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		m->v = v;
		m->cap = cap;
	}
	m->v[m->n++] = (struct mapped){ .at = at, .piece = *p };
	return 0;
}

/* Appends bytes [skip, keep) of the piece, unless it is zeros; `at` is the file offset of `skip`. */
static int map_piece(struct map_vec *m, uint64_t at, const struct piece *p, uint64_t skip,
		     uint64_t keep)
{
	struct piece part[3];
	if (piece_is_zero(p))
		return 0;
	unsigned n = piece_slice(p, skip, keep, part);
	for (unsigned i = 0; i < n; i++) {
		int r = map_vec_push(m, at, &part[i]);
		if (r)
			return r;
		at += piece_bytes(&part[i]);
	}
	return 0;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}
static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static int map_recipe(const struct inode_row *row, uint64_t at, uint64_t end, struct map_vec *m)
{
	uint64_t piece_at = 0;
	for (uint32_t i = 0; i < row->pieces; i++) {
		const struct piece *p = &row->recipe[i];
		uint64_t piece_end = piece_at + piece_bytes(p);
		uint64_t from = max_u64(at, piece_at), to = min_u64(end, piece_end);
		int r = from < to ? map_piece(m, from, p, from - piece_at, to - piece_at) : 0;
		if (r)
			return r;
		piece_at = piece_end;
	}
	return 0;
}

/* Appends [from, to) of a row, both within it. */
static int map_row(struct extents *x, const struct extent_row *e, uint64_t from, uint64_t to,
		   struct map_vec *m)
{
	CLEANUP_SEGMENT struct open_segment o = { 0 };
	struct segment_iter it;
	uint64_t lo = e->offset + (from - e->at), hi = e->offset + (to - e->at);
	if (e->zeros == e->len)
		return 0;
	int r = open_segment(x, NULL, e->segment, &o);
	if (!r)
		r = segment_seek(&o.seg, lo, &it);
	while (!r && it.at < hi) {
		struct piece p;
		uint64_t at;
		r = segment_next(&it, &p, &at);
		if (r <= 0)
			return r ? r : -EUCLEAN;
		uint64_t skip = lo > at ? lo - at : 0;
		r = map_piece(m, from + (at + skip - lo), &p, skip, min_u64(it.at, hi) - at);
	}
	return r;
}

int extents_map(struct extents *x, const struct inode_row *row, uint64_t at, uint64_t len,
		struct map_vec *ret_map)
{
	if (at >= MAP_END_MAX)
		return 0;
	uint64_t end = at + min_u64(len, MAP_END_MAX - at);
	if (!(row->flags & INODE_MAPPED))
		return map_recipe(row, at, end, ret_map);
	CLEANUP_EXTENT_ITER struct extent_iter it = { 0 };
	struct extent_row e;
	int r = extent_iter_init(&it, x->kv, NULL, row->ino, at);
	while (!r && at < end && (r = extent_iter_next(&it, &e)) == 1 && e.at < end) {
		uint64_t stop = min_u64(end, extent_end(&e));
		r = map_row(x, &e, max_u64(at, e.at), stop, ret_map);
		at = stop;
	}
	return r < 0 ? r : 0;
}

/* The first byte of the row at or after `from` that is data (or zeros). 1, 0 when there is none,
 * -errno. */
static int seek_row(struct extents *x, const struct extent_row *e, uint64_t from, bool data,
		    uint64_t *ret_at)
{
	if (e->zeros == 0 || e->zeros == e->len) {
		*ret_at = from;
		return data == (e->zeros == 0);
	}
	CLEANUP_SEGMENT struct open_segment o = { 0 };
	struct segment_iter it;
	uint64_t lo = e->offset + (from - e->at), hi = e->offset + e->len;
	int r = open_segment(x, NULL, e->segment, &o);
	if (!r)
		r = segment_seek(&o.seg, lo, &it);
	while (!r && it.at < hi) {
		struct piece p;
		uint64_t at;
		r = segment_next(&it, &p, &at);
		if (r <= 0)
			return r ? r : -EUCLEAN;
		if (data != piece_is_zero(&p)) {
			*ret_at = from + (max_u64(at, lo) - lo);
			return 1;
		}
		r = 0;
	}
	return r;
}

static void seek_recipe(const struct inode_row *row, uint64_t at, bool data, uint64_t *ret_at)
{
	uint64_t piece_end = 0;
	for (uint32_t i = 0; i < row->pieces; i++) {
		uint64_t piece_at = piece_end;
		piece_end += piece_bytes(&row->recipe[i]);
		if (piece_end > at && data != piece_is_zero(&row->recipe[i])) {
			*ret_at = max_u64(at, piece_at);
			return;
		}
	}
	*ret_at = data ? UINT64_MAX : max_u64(at, piece_end);
}

static int seek_rows(struct extents *x, const struct inode_row *row, uint64_t at, bool data,
		     uint64_t *ret_at)
{
	CLEANUP_EXTENT_ITER struct extent_iter it = { 0 };
	struct extent_row e;
	int r = extent_iter_init(&it, x->kv, NULL, row->ino, at);
	while (!r && (r = extent_iter_next(&it, &e)) == 1) {
		if (e.at >= row->size || (!data && e.at > at))
			break;
		r = seek_row(x, &e, max_u64(at, e.at), data, ret_at);
		if (r == 1)
			return 0;
		at = extent_end(&e);
	}
	*ret_at = data ? UINT64_MAX : at;
	return r < 0 ? r : 0;
}

int extents_seek(struct extents *x, const struct inode_row *row, uint64_t at, bool data,
		 uint64_t *ret_at)
{
	uint64_t found;
	int r = 0;
	if (at >= row->size)
		return -ENXIO;
	if (row->flags & INODE_MAPPED)
		r = seek_rows(x, row, at, data, &found);
	else
		seek_recipe(row, at, data, &found);
	if (r)
		return r;
	if (data && found >= row->size)
		return -ENXIO;
	*ret_at = min_u64(found, row->size);
	return 0;
}
