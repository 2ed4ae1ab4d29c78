// SPDX-License-Identifier: MIT
/* A clone of few pieces is written like new ones; a longer one adds slices of the source's segments,
 * each of which continues the row before it if it can, so that a copy in steps is one row in the end.
 */
#include "change.h"
#include "extent_range.h"
#include "recipe.h"
#include <errno.h>
#include <stdlib.h>

struct row_vec {
	struct extent_row *v;
	size_t n, cap;
};

static int row_vec_push(struct row_vec *l, const struct extent_row *e)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct extent_row *v = realloc(l->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = *e;
	return 0;
}

static void row_vec_done(struct row_vec *l)
{
	free(l->v);
}

/* The source's rows in [at, end), clipped. */
static int source_rows(struct change *c, uint64_t ino, uint64_t at, uint64_t end,
		       struct row_vec *ret_rows)
{
	CLEANUP_EXTENT_ITER struct extent_iter it = { 0 };
	struct extent_row e, part;
	int r = extent_iter_init(&it, c->x->kv, &c->edits, ino, at);
	while (!r && (r = extent_iter_next(&it, &e)) == 1 && e.at < end) {
		uint64_t stop = extent_end(&e);
		r = extent_slice(c->x, c, &e, e.at > at ? e.at : at, stop < end ? stop : end,
				 &part);
		if (!r && part.zeros < part.len)
			r = row_vec_push(ret_rows, &part);
	}
	return r < 0 ? r : 0;
}

/* The rows as pieces that fill [at, end), unless they are more than a recipe holds. 1 if they fit. */
static int few_pieces(struct change *c, const struct row_vec *rows, uint64_t at, uint64_t end,
		      struct piece_vec *l)
{
	if (rows->n > INODE_RECIPE_MAX)
		return 0;
	for (size_t i = 0; i < rows->n; i++) {
		const struct extent_row *e = &rows->v[i];
		CLEANUP_SEGMENT struct open_segment o = { 0 };
		int r = open_segment(c->x, c, e->segment, &o);
		if (!r)
			r = piece_vec_push_zeros(l, e->at - at);
		if (!r)
			r = segment_slice(&o.seg, e->offset, e->len, INODE_RECIPE_MAX, l);
		if (r)
			return r;
		if (l->n > INODE_RECIPE_MAX)
			return 0;
		at = extent_end(e);
	}
	int r = piece_vec_push_zeros(l, end - at);
	return r ? r : 1;
}

/* Joins e, not put yet, with the row that ends where it starts if it continues that one. */
static int join_before(struct change *c, struct inode_row *row, struct extent_row *e)
{
	struct extent_row other;
	int r = e->at ? extent_floor(c->x->kv, &c->edits, row->ino, e->at - 1, &other) : 0;
	if (r != 1 || extent_end(&other) != e->at || other.segment != e->segment ||
	    other.offset + other.len != e->offset)
		return r < 0 ? r : 0;
	e->at = other.at;
	e->offset = other.offset;
	e->len += other.len;
	e->zeros += other.zeros;
	return change_drop_row(c, row, &other);
}

/* The same with the row that starts where it ends. */
static int join_after(struct change *c, struct inode_row *row, struct extent_row *e)
{
	struct extent_row other;
	int r = extent_floor(c->x->kv, &c->edits, row->ino, extent_end(e), &other);
	if (r != 1 || other.at != extent_end(e) || other.segment != e->segment ||
	    other.offset != e->offset + e->len)
		return r < 0 ? r : 0;
	e->len += other.len;
	e->zeros += other.zeros;
	return change_drop_row(c, row, &other);
}

static int share_rows(struct change *c, const struct row_vec *rows, uint64_t src_at,
		      struct inode_row *dst, uint64_t dst_at, uint64_t len)
{
	int r = recipe_to_rows(c, dst);
	if (!r)
		r = extent_range_clear(c, dst, dst_at, dst_at + len);
	for (size_t i = 0; i < rows->n && !r; i++) {
		struct extent_row e = rows->v[i];
		e.at = e.at - src_at + dst_at;
		if (i == 0)
			r = join_before(c, dst, &e);
		if (i == rows->n - 1 && !r)
			r = join_after(c, dst, &e);
		if (!r)
			r = change_put_row(c, dst, &e);
	}
	if (!r && rows->n <= INODE_RECIPE_MAX)
		r = recipe_from_rows(c, dst);
	return r;
}

static int clone_mapped(struct change *c, const struct inode_row *src, uint64_t src_at,
			struct inode_row *dst, uint64_t dst_at, uint64_t len)
{
	CLEANUP_PIECES struct piece_vec l = { 0 };
	__attribute__((cleanup(row_vec_done))) struct row_vec rows = { 0 };
	int r = source_rows(c, src->ino, src_at, src_at + len, &rows);
	if (!r)
		r = few_pieces(c, &rows, src_at, src_at + len, &l);
	if (r == 1)
		return extents_replace(c, dst, dst_at, len, l.v, l.n);
	return r ? r : share_rows(c, &rows, src_at, dst, dst_at, len);
}

static int clone_inline(struct change *c, const struct inode_row *src, uint64_t src_at,
			struct inode_row *dst, uint64_t dst_at, uint64_t len)
{
	CLEANUP_PIECES struct piece_vec l = { 0 };
	int r = recipe_slice(src, src_at, src_at + len, &l);
	return r ? r : extents_replace(c, dst, dst_at, len, l.v, l.n);
}

int extents_clone(struct change *c, const struct inode_row *src, uint64_t src_at,
		  struct inode_row *dst, uint64_t dst_at, uint64_t len)
{
	if (c->err)
		return c->err;
	if (src_at > MAP_END_MAX || len > MAP_END_MAX - src_at || dst_at > MAP_END_MAX ||
	    len > MAP_END_MAX - dst_at)
		return -EFBIG;
	if (src->ino == dst->ino && src_at < dst_at + len && dst_at < src_at + len)
		return -EINVAL;
	if (len == 0)
		return 0;
	int r = src->flags & INODE_MAPPED ? clone_mapped(c, src, src_at, dst, dst_at, len)
					  : clone_inline(c, src, src_at, dst, dst_at, len);
	if (r)
		c->err = r;
	return r;
}
