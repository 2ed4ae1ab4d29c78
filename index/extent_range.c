// SPDX-License-Identifier: MIT
#include "extent_range.h"
#include <errno.h>

#define SLICES_MAX 512u /* of one segment, not counting whole chunks */

int extent_slice(struct extents *x, const struct change *c, const struct extent_row *e,
		 uint64_t from, uint64_t to, struct extent_row *ret_part)
{
	struct extent_row part = {
		.at = from,
		.len = to - from,
		.segment = e->segment,
		.offset = e->offset + (from - e->at),
	};
	if (part.len == e->len) {
		part.zeros = e->zeros;
	} else if (e->zeros == e->len) {
		part.zeros = part.len;
	} else if (e->zeros) {
		CLEANUP_SEGMENT struct open_segment o = { 0 };
		int r = open_segment(x, c, e->segment, &o);
		if (!r)
			r = segment_zeros(&o.seg, part.offset, part.len, &part.zeros);
		if (r)
			return r;
	}
	*ret_part = part;
	return 0;
}

/* Keeps [from, to) of a row that has been dropped. */
static int keep_part(struct change *c, struct inode_row *row, const struct extent_row *e,
		     uint64_t from, uint64_t to)
{
	struct extent_row part;
	int r = extent_slice(c->x, c, e, from, to, &part);
	if (r || part.zeros == part.len)
		return r;
	return change_put_row(c, row, &part);
}

int extent_range_clear(struct change *c, struct inode_row *row, uint64_t at, uint64_t end)
{
	CLEANUP_EXTENT_ITER struct extent_iter it = { 0 };
	struct extent_row e;
	int r = extent_iter_init(&it, c->x->kv, &c->edits, row->ino, at);
	while (!r && (r = extent_iter_next(&it, &e)) == 1 && e.at < end) {
		r = change_drop_row(c, row, &e);
		if (!r && e.at < at)
			r = keep_part(c, row, &e, e.at, at);
		if (!r && extent_end(&e) > end) {
			/* The last one; a walk on would meet the part kept. */
			return keep_part(c, row, &e, end, extent_end(&e));
		}
	}
	return r < 0 ? r : 0;
}

/* Puts v[0..n) at `at` as one new segment and row. */
static int put_segment(struct change *c, struct inode_row *row, uint64_t at, const struct piece *v,
		       size_t n)
{
	struct extent_row e = { .at = at };
	for (size_t i = 0; i < n; i++) {
		e.len += piece_bytes(&v[i]);
		e.zeros += piece_is_zero(&v[i]) ? piece_bytes(&v[i]) : 0;
	}
	int r = change_make_segment(c, v, n, &e.segment);
	return r ? r : change_put_row(c, row, &e);
}

/* How many of the pieces become one segment. Whoever reads a few bytes reads a segment whole; slices within
 * chunks, as a film consists of, take more bytes each and lie closer: a page of them is enough. */
static size_t segment_share(const struct piece *v, size_t n)
{
	size_t max = n < SEGMENT_PIECES ? n : SEGMENT_PIECES, slices = 0;
	for (size_t i = 0; i < max; i++)
		if (v[i].offset && ++slices == SLICES_MAX)
			return i + 1;
	return max;
}

int extent_range_fill(struct change *c, struct inode_row *row, uint64_t at,
		      const struct piece_vec *l)
{
	size_t i = 0;
	while (i < l->n) {
		if (piece_is_zero(&l->v[i])) {
			at += piece_bytes(&l->v[i++]);
			continue;
		}
		size_t n = segment_share(l->v + i, l->n - i);
		while (piece_is_zero(&l->v[i + n - 1]))
			n--;
		int r = put_segment(c, row, at, l->v + i, n);
		if (r)
			return r;
		for (size_t end = i + n; i < end; i++)
			at += piece_bytes(&l->v[i]);
	}
	return 0;
}
