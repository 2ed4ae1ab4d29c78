// SPDX-License-Identifier: MIT
/* Walks over whole tables. A scan for gc ends at the first damaged row: chunks that nobody reports
 * are taken for garbage. A search for owners goes on: it is asked because something is damaged. */
#include "change.h"
#include "cleanup.h"
#include <errno.h>
#include <stdlib.h>

struct id_vec {
	uint64_t *v;
	size_t n, cap;
};

static int id_vec_push(struct id_vec *l, uint64_t id)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		uint64_t *v = realloc(l->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = id;
	return 0;
}

static void id_vec_done(struct id_vec *l)
{
	free(l->v);
}

static bool id_vec_has(const struct id_vec *l, uint64_t id)
{
	size_t lo = 0, hi = l->n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (l->v[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < l->n && l->v[lo] == id;
}

/* Calls row() for every row of a table, or until it gives an error. Damaged values end the walk
 * unless `past_damage`. */
static int walk_table(struct kv *kv, enum kv_table t, bool past_damage,
		      int (*row)(void *arg, struct slice key, struct slice val), void *arg)
{
	struct kv_iter *it = kv_iter_new(kv, t, "", 0, false);
	if (!it)
		return -ENOMEM;
	struct slice key = { 0 }, val;
	int r;
	while ((r = kv_iter_next(it, &key, &val)) != 0) {
		if (r == 1)
			r = row(arg, key, val);
		if (r && !(past_damage && r == -EUCLEAN && key.len))
			break;
		key.len = 0;
	}
	kv_iter_free(it);
	return r;
}

struct scan {
	void (*mark)(void *arg, uint64_t chunk);
	void *arg;
};

static int scan_inode(void *arg, struct slice key, struct slice val)
{
	const struct scan *scan = arg;
	struct inode_row row;
	int r = key.len == 8 ? inode_row_decode(get_be64(key.at), val, &row) : -EUCLEAN;
	for (uint32_t i = 0; !r && i < row.pieces; i++)
		if (!piece_is_zero(&row.recipe[i]))
			scan->mark(scan->arg, row.recipe[i].chunk);
	return r;
}

static int scan_segment(void *arg, struct slice key, struct slice val)
{
	const struct scan *scan = arg;
	struct segment seg;
	int r = key.len == 8 ? segment_open(val, &seg) : -EUCLEAN;
	return r ? r : segment_marks(&seg, scan->mark, scan->arg);
}

int extents_scan_rows(struct kv *kv, void (*mark)(void *arg, uint64_t chunk), void *arg)
{
	struct scan scan = { mark, arg };
	int r = walk_table(kv, KV_INODE, false, scan_inode, &scan);
	return r ? r : walk_table(kv, KV_SEGMENT, false, scan_segment, &scan);
}

int extents_scan(struct extents *x, void (*mark)(void *arg, uint64_t chunk), void *arg)
{
	return extents_scan_rows(x->kv, mark, arg);
}

struct owners {
	struct extents *x;
	uint64_t chunk, last_ino;
	struct id_vec segments; /* that use the chunk, ascending */
	void (*fn)(void *arg, uint64_t ino);
	void *arg;
};

static int owners_inode(void *arg, struct slice key, struct slice val)
{
	const struct owners *o = arg;
	struct inode_row row;
	int r = key.len == 8 ? inode_row_decode(get_be64(key.at), val, &row) : -EUCLEAN;
	for (uint32_t i = 0; !r && i < row.pieces; i++) {
		if (row.recipe[i].chunk == o->chunk) {
			o->fn(o->arg, row.ino);
			break;
		}
	}
	return r;
}

/* Does [at, at + len) of the segment use the chunk? Of a damaged one, as far as it can be read. */
static bool segment_uses(const struct segment *seg, uint64_t at, uint64_t len, uint64_t chunk)
{
	struct segment_iter it;
	struct piece p;
	uint64_t piece_at;
	if (segment_seek(seg, at, &it))
		return false;
	while (it.at < at + len && segment_next(&it, &p, &piece_at) == 1)
		if (p.chunk == chunk)
			return true;
	return false;
}

static int owners_segment(void *arg, struct slice key, struct slice val)
{
	struct owners *o = arg;
	struct segment seg;
	int r = key.len == 8 ? segment_open(val, &seg) : -EUCLEAN;
	if (!r && segment_uses(&seg, 0, MAP_END_MAX, o->chunk))
		r = id_vec_push(&o->segments, get_be64(key.at));
	return r;
}

static int owners_extent(void *arg, struct slice key, struct slice val)
{
	struct owners *o = arg;
	struct extent_row e;
	uint64_t ino;
	int r = extent_decode(key, val, &ino, &e);
	if (r || ino == o->last_ino || !id_vec_has(&o->segments, e.segment))
		return r;
	CLEANUP_SEGMENT struct open_segment s = { 0 };
	r = open_segment(o->x, NULL, e.segment, &s); /* may be gone by now, with its row */
	if (!r && segment_uses(&s.seg, e.offset, e.len, o->chunk)) {
		o->last_ino = ino;
		o->fn(o->arg, ino);
	}
	return r;
}

int extents_owners(struct extents *x, uint64_t chunk, void (*fn)(void *arg, uint64_t ino),
		   void *arg)
{
	struct owners o = { .x = x, .chunk = chunk, .fn = fn, .arg = arg };
	if (chunk == 0)
		return -EINVAL; /* every sparse file */
	int r = walk_table(x->kv, KV_INODE, true, owners_inode, &o);
	if (!r)
		r = walk_table(x->kv, KV_SEGMENT, true, owners_segment, &o);
	if (!r)
		r = walk_table(x->kv, KV_EXTENT, true, owners_extent, &o);
	id_vec_done(&o.segments);
	return r;
}
