// SPDX-License-Identifier: MIT
/* Replacing a range of a long map:
 *
 *     cut      every row that overlaps the range goes; what of it lies outside stays as a slice of
 *              the same segment, so a cut moves rows and never pieces;
 *     absorb   the neighbours of the range that are short slices (ABSORB_PIECES) are taken into the
 *              new segment. Random overwrites thus leave rows of some hundred pieces and not of one,
 *              small appends fill a segment before they start the next, and a segment of which
 *              only a small rest is used is let go, so that gc can have its chunks;
 *     put      the new pieces, as segments of up to SEGMENT_PIECES;
 *     inline   if few pieces were put, the whole map may fit into the inode row again.
 *
 * Each step reads and writes O(1) rows and segments besides those it removes or adds. An append of
 * a full window touches nothing of what is there.
 *
 * Runs of zeros are holes: they keep their place within a segment or a recipe, but are cut off at a
 * segment's ends, and never count as mapped bytes.
 */
#include "extents.h"
#include "change.h"
#include "cleanup.h"
#include "extent_range.h"
#include "recipe.h"
#include <errno.h>
#include <stdlib.h>

#define ABSORB_PIECES 64u

int extents_open(struct kv *kv, struct extents **ret_x)
{
	struct extents *x = calloc(1, sizeof *x);
	if (!x)
		return -ENOMEM;
	x->kv = kv;
	int r = ids_open(kv, "segment", 1, &x->segment_ids);
	if (r) {
		free(x);
		return r;
	}
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	/* Commits never pause long enough for a writer otherwise. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&x->mark_lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&x->ref_lock, NULL);
	*ret_x = x;
	return 0;
}

void extents_use_strands(struct extents *x)
{
	atomic_store(&x->strands, true);
}

void extents_close(struct extents *x)
{
	if (!x)
		return;
	ids_close(x->segment_ids);
	pthread_mutex_destroy(&x->ref_lock);
	pthread_rwlock_destroy(&x->mark_lock);
	free(x);
}

struct kv *extents_kv(struct extents *x)
{
	return x->kv;
}

int extents_new_segment_id(struct extents *x, uint64_t *ret_id)
{
	return ids_next(x->segment_ids, ret_id);
}

void extents_set_mark(struct extents *x, void (*mark)(void *arg, uint64_t chunk), void *arg)
{
	pthread_rwlock_wrlock(&x->mark_lock);
	x->mark = mark;
	x->mark_arg = arg;
	pthread_rwlock_unlock(&x->mark_lock);
}

/* The row that ends at `at` (below) or starts there. 1, 0 or -errno. */
static int neighbour(struct change *c, uint64_t ino, uint64_t at, bool below,
		     struct extent_row *ret_e)
{
	if (below && at == 0)
		return 0;
	int r = extent_floor(c->x->kv, &c->edits, ino, below ? at - 1 : at, ret_e);
	return r == 1 ? (below ? extent_end(ret_e) : ret_e->at) == at : r;
}

/* Takes the neighbouring row's pieces into the list and drops the row, if they are few; with
 * `pinned` only if its segment has many more. 1 if so, 0 or -errno. */
static int absorb(struct change *c, struct inode_row *row, const struct extent_row *e, bool pinned,
		  struct piece_vec *l)
{
	CLEANUP_SEGMENT struct open_segment o = { 0 };
	uint32_t n;
	int r = open_segment(c->x, c, e->segment, &o);
	if (!r)
		r = segment_count(&o.seg, e->offset, e->len, &n);
	if (r)
		return r;
	if (n > ABSORB_PIECES || (pinned && o.seg.n < 2 * n))
		return 0;
	r = segment_slice(&o.seg, e->offset, e->len, SIZE_MAX, l);
	if (!r)
		r = change_drop_row(c, row, e);
	return r ? r : 1;
}

/* Puts the pieces into the gap [at, end), together with its neighbours where that pays. */
static int put_absorbing(struct change *c, struct inode_row *row, uint64_t at, uint64_t end,
			 const struct piece_vec *fresh)
{
	CLEANUP_PIECES struct piece_vec l = { 0 };
	struct extent_row e;
	if (fresh->n > SEGMENT_PIECES - 2 * ABSORB_PIECES)
		return extent_range_fill(c, row, at, fresh);
	int r = neighbour(c, row->ino, at, true, &e);
	if (r == 1)
		r = absorb(c, row, &e, false, &l);
	if (r == 1)
		at = e.at;
	for (size_t i = 0; i < fresh->n && r >= 0; i++)
		r = piece_vec_push(&l, &fresh->v[i]);
	if (r >= 0)
		r = neighbour(c, row->ino, end, false, &e);
	if (r == 1)
		r = absorb(c, row, &e, false, &l);
	return r < 0 ? r : extent_range_fill(c, row, at, &l);
}

/* Copies what a hole has left of the row at its side, if that is a small rest of a big segment. */
static int release_rest(struct change *c, struct inode_row *row, uint64_t at, bool below)
{
	CLEANUP_PIECES struct piece_vec l = { 0 };
	struct extent_row e;
	int r = neighbour(c, row->ino, at, below, &e);
	if (r == 1)
		r = absorb(c, row, &e, true, &l);
	return r == 1 ? extent_range_fill(c, row, e.at, &l) : r;
}

static int replace_mapped(struct change *c, struct inode_row *row, uint64_t at, uint64_t end,
			  struct piece_vec *fresh)
{
	int r = extent_range_clear(c, row, at, end);
	if (r)
		return r;
	if (fresh->n == 0 || (fresh->n == 1 && piece_is_zero(&fresh->v[0]))) {
		r = release_rest(c, row, at, true);
		if (!r)
			r = release_rest(c, row, end, false);
	} else {
		r = put_absorbing(c, row, at, end, fresh);
	}
	/* Zeros at the end, and what continues a neighbour, may go. */
	if (!r && fresh->n <= 2 * INODE_RECIPE_MAX)
		r = recipe_from_rows(c, row);
	return r;
}

static int replace_inline(struct change *c, struct inode_row *row, uint64_t at, uint64_t end,
			  const struct piece_vec *fresh)
{
	CLEANUP_PIECES struct piece_vec l = { 0 };
	uint64_t old_end = recipe_end(row);
	int r = recipe_slice(row, 0, at, &l);
	for (size_t i = 0; i < fresh->n && !r; i++)
		r = piece_vec_push(&l, &fresh->v[i]);
	if (!r && fresh->n == 0)
		r = piece_vec_push_zeros(&l, end - at);
	if (!r && old_end > end)
		r = recipe_slice(row, end, old_end, &l);
	if (r)
		return r;
	piece_vec_trim(&l);
	if (l.n <= INODE_RECIPE_MAX)
		return recipe_set(c, row, &l);
	row->flags |= INODE_MAPPED;
	row->pieces = 0;
	row->mapped_bytes = 0;
	return extent_range_fill(c, row, 0, &l);
}

/* The new pieces, merged where they continue each other. They have to fill `len`. */
static int gather(const struct piece *v, size_t n, uint64_t len, struct piece_vec *ret)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++) {
		if (!piece_valid(&v[i]) || piece_bytes(&v[i]) > len - sum)
			return -EINVAL;
		sum += piece_bytes(&v[i]);
		int r = piece_vec_push(ret, &v[i]);
		if (r)
			return r;
	}
	return n && sum != len ? -EINVAL : 0;
}

int extents_replace(struct change *c, struct inode_row *row, uint64_t at, uint64_t len,
		    const struct piece *pieces, size_t n)
{
	CLEANUP_PIECES struct piece_vec fresh = { 0 };
	if (c->err)
		return c->err;
	if (len == UINT64_MAX && n == 0)
		len = at < MAP_END_MAX ? MAP_END_MAX - at : 0;
	else if (at > MAP_END_MAX || len > MAP_END_MAX - at)
		return -EFBIG;
	if (len == 0)
		return n ? -EINVAL : 0;
	int r = gather(pieces, n, len, &fresh);
	if (r)
		return r;
	if (row->flags & INODE_MAPPED)
		r = replace_mapped(c, row, at, at + len, &fresh);
	else
		r = replace_inline(c, row, at, at + len, &fresh);
	if (r)
		c->err = r;
	return r;
}

int extents_free_some(struct change *c, struct inode_row *row, unsigned max_rows)
{
	struct extent_row e = { .at = UINT64_MAX };
	int r = c->err;
	if (!r && !(row->flags & INODE_MAPPED)) {
		row->pieces = 0;
		row->mapped_bytes = 0;
		return 0;
	}
	for (unsigned i = 0; i <= max_rows && !r; i++) {
		/* Rows do not start below the one before, so what was dropped is not seen again. */
		r = e.at ? extent_floor(c->x->kv, &c->edits, row->ino, e.at - (i > 0), &e) : 0;
		if (r == 0) {
			row->flags &= ~(uint32_t)INODE_MAPPED;
			row->mapped_bytes = 0;
			return 0;
		}
		if (r == 1 && i == max_rows)
			return 1;
		if (r == 1)
			r = change_drop_row(c, row, &e);
	}
	c->err = r;
	return r;
}
