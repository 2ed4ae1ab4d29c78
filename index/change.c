// SPDX-License-Identifier: MIT
/* Reference counting. A row's reference is counted in KV_SEGREF unless the count is 1, so a segment
 * of one file costs no row there, and rows are read only for segments that were there before the
 * change. Reading a count and committing its successor happens under ref_lock; the caller's lock on
 * the inode that a row is copied from keeps the count above zero until then.
 *
 * Deltas are collected unsorted and summed up at commit: cutting a row in two and overwriting one
 * half costs nothing then.
 */
#include "change.h"
#include "cleanup.h"
#include <errno.h>
#include <stdlib.h>

#define REFS_MAX (INT64_MAX / 2)

/* Makes room for one more element of an array. */
static int array_grow(void **v, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 8;
	void *p = realloc(*v, more * size);
	if (!p)
		return -ENOMEM;
	*v = p;
	*cap = more;
	return 0;
}

struct change *change_new(struct extents *x)
{
	struct change *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->x = x;
	c->batch = kv_batch_new();
	if (!c->batch) {
		free(c);
		return NULL;
	}
	return c;
}

struct kv_batch *change_batch(struct change *c)
{
	return c->batch;
}

void change_drop(struct change *c)
{
	if (!c)
		return;
	kv_batch_free(c->batch);
	extent_edits_done(&c->edits);
	for (size_t i = 0; i < c->made.n; i++)
		buf_done(&c->made.v[i].val);
	free(c->made.v);
	free(c->deltas.v);
	piece_vec_done(&c->recipes);
	free(c);
}

static struct change_segment *made_find(const struct change *c, uint64_t id)
{
	size_t lo = 0, hi = c->made.n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (c->made.v[mid].id == id)
			return &c->made.v[mid];
		if (c->made.v[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static int change_ref(struct change *c, uint64_t segment, int64_t refs)
{
	struct change_segment *made = made_find(c, segment);
	if (made) {
		made->refs += refs;
		return 0;
	}
	int r = array_grow((void **)&c->deltas.v, c->deltas.n, &c->deltas.cap, sizeof *c->deltas.v);
	if (!r)
		c->deltas.v[c->deltas.n++] = (struct change_delta){ segment, refs };
	return r;
}

int change_put_row(struct change *c, struct inode_row *row, const struct extent_row *e)
{
	int r = extent_edits_set(&c->edits, row->ino, e, false);
	if (!r)
		r = change_ref(c, e->segment, 1);
	row->mapped_bytes += e->len - e->zeros;
	return r;
}

int change_drop_row(struct change *c, struct inode_row *row, const struct extent_row *e)
{
	if (row->mapped_bytes < e->len - e->zeros)
		return -EUCLEAN;
	int r = extent_edits_set(&c->edits, row->ino, e, true);
	if (!r)
		r = change_ref(c, e->segment, -1);
	row->mapped_bytes -= e->len - e->zeros;
	return r;
}

int change_make_segment(struct change *c, const struct piece *v, size_t n, uint64_t *ret_id)
{
	struct change_segment made = { 0 };
	int r = array_grow((void **)&c->made.v, c->made.n, &c->made.cap, sizeof *c->made.v);
	if (!r)
		r = extents_new_segment_id(c->x, &made.id);
	if (r)
		return r;
	segment_encode(v, n, atomic_load(&c->x->strands), &made.val);
	if (made.val.failed) {
		buf_done(&made.val);
		return -ENOMEM;
	}
	*ret_id = made.id;
	c->made.v[c->made.n++] = made; /* ids only grow, so the array stays sorted */
	return 0;
}

int change_note_recipe(struct change *c, const struct inode_row *row)
{
	int r = 0;
	for (uint32_t i = 0; i < row->pieces && !r; i++)
		r = piece_vec_push(&c->recipes, &row->recipe[i]);
	return r;
}

int open_segment(struct extents *x, const struct change *c, uint64_t id, struct open_segment *ret)
{
	const struct change_segment *made = c ? made_find(c, id) : NULL;
	ret->val = (struct buf){ 0 };
	if (made)
		return segment_open(slice_of(made->val.data, made->val.len), &ret->seg);
	uint8_t key[8];
	put_be64(key, id);
	int r = kv_get(x->kv, KV_SEGMENT, key, sizeof key, &ret->val);
	if (!r)
		r = segment_open(slice_of(ret->val.data, ret->val.len), &ret->seg);
	if (r)
		buf_done(&ret->val);
	return r == -ENOENT ? -EUCLEAN : r;
}

void open_segment_done(struct open_segment *o)
{
	buf_done(&o->val);
}

static int refs_get(struct kv *kv, uint64_t segment, int64_t *ret_refs)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t key[8];
	put_be64(key, segment);
	int r = kv_get(kv, KV_SEGREF, key, sizeof key, &val);
	if (r == -ENOENT) {
		*ret_refs = 1;
		return 0;
	}
	if (r)
		return r;
	struct slice s = slice_of(val.data, val.len);
	uint64_t refs = take_varint(&s);
	if (s.bad || s.len || refs < 2 || refs > REFS_MAX)
		return -EUCLEAN;
	*ret_refs = (int64_t)refs;
	return 0;
}

static void refs_put(struct kv_batch *b, uint64_t segment, int64_t refs)
{
	uint8_t key[8], room[10];
	struct buf val = { .data = room, .cap = sizeof room };
	put_be64(key, segment);
	buf_put_varint(&val, (uint64_t)refs);
	kv_batch_put(b, KV_SEGREF, key, sizeof key, val.data, val.len);
}

/* Gives a segment that others know its new count, or removes it. */
static int refs_apply(struct change *c, uint64_t segment, int64_t delta)
{
	int64_t refs;
	int r = refs_get(c->x->kv, segment, &refs);
	if (r)
		return r;
	int64_t after = refs + delta;
	if (after < 0 || after > REFS_MAX)
		return -EUCLEAN;
	if (after > 1) {
		refs_put(c->batch, segment, after);
		return 0;
	}
	uint8_t key[8];
	put_be64(key, segment);
	if (refs > 1)
		kv_batch_delete(c->batch, KV_SEGREF, key, sizeof key);
	if (after == 0)
		kv_batch_delete(c->batch, KV_SEGMENT, key, sizeof key);
	return 0;
}

static int delta_compare(const void *a, const void *b)
{
	const struct change_delta *x = a, *y = b;
	return x->segment < y->segment ? -1 : x->segment > y->segment;
}

/* Sums the deltas up, one per segment, without those that come to nothing. */
static void deltas_fold(struct change *c)
{
	struct change_delta *v = c->deltas.v;
	size_t n = 0;
	if (c->deltas.n)
		qsort(v, c->deltas.n, sizeof *v, delta_compare);
	for (size_t i = 0; i < c->deltas.n;) {
		struct change_delta sum = v[i++];
		while (i < c->deltas.n && v[i].segment == sum.segment)
			sum.refs += v[i++].refs;
		if (sum.refs)
			v[n++] = sum;
	}
	c->deltas.n = n;
}

static void batch_rows(struct change *c)
{
	for (size_t i = 0; i < c->edits.n; i++) {
		const struct extent_edit *e = &c->edits.v[i];
		uint8_t key[EXTENT_KEY_SIZE], room[EXTENT_VALUE_MAX];
		struct buf val = { .data = room, .cap = sizeof room };
		extent_key(e->ino, e->row.at, key);
		if (e->deleted) {
			kv_batch_delete(c->batch, KV_EXTENT, key, sizeof key);
			continue;
		}
		extent_encode(&e->row, &val);
		kv_batch_put(c->batch, KV_EXTENT, key, sizeof key, val.data, val.len);
	}
}

static int batch_segments(struct change *c)
{
	for (size_t i = 0; i < c->made.n; i++) {
		const struct change_segment *made = &c->made.v[i];
		if (made->refs < 0)
			return -EUCLEAN;
		if (made->refs == 0)
			continue;
		uint8_t key[8];
		put_be64(key, made->id);
		kv_batch_put(c->batch, KV_SEGMENT, key, sizeof key, made->val.data, made->val.len);
		if (made->refs > 1)
			refs_put(c->batch, made->id, made->refs);
	}
	return 0;
}

/* Reports the chunks of what this change makes reachable; mark_lock is held. */
static int mark_pieces_locked(struct change *c)
{
	struct extents *x = c->x;
	if (!x->mark)
		return 0;
	for (size_t i = 0; i < c->recipes.n; i++)
		if (!piece_is_zero(&c->recipes.v[i]))
			x->mark(x->mark_arg, c->recipes.v[i].chunk);
	for (size_t i = 0; i < c->made.n; i++) {
		struct segment seg;
		struct slice val = slice_of(c->made.v[i].val.data, c->made.v[i].val.len);
		int r = c->made.v[i].refs ? segment_open(val, &seg) : 0;
		if (!r && c->made.v[i].refs)
			r = segment_marks(&seg, x->mark, x->mark_arg);
		if (r)
			return r;
	}
	return 0;
}

static int commit_batch(struct change *c, uint64_t *ret_lsn)
{
	return kv_commit(c->x->kv, TAKE_PTR(c->batch), ret_lsn);
}

static int commit_with_refs(struct change *c, uint64_t *ret_lsn)
{
	SCOPED_LOCK(&c->x->ref_lock);
	for (size_t i = 0; i < c->deltas.n; i++) {
		int r = refs_apply(c, c->deltas.v[i].segment, c->deltas.v[i].refs);
		if (r)
			return r;
	}
	return commit_batch(c, ret_lsn);
}

int change_commit(struct change *c, uint64_t *ret_lsn)
{
	struct extents *x = c->x;
	deltas_fold(c);
	batch_rows(c);
	int r = c->err ? c->err : batch_segments(c);
	if (!r) {
		pthread_rwlock_rdlock(&x->mark_lock);
		r = mark_pieces_locked(c);
		if (!r)
			r = c->deltas.n ? commit_with_refs(c, ret_lsn) : commit_batch(c, ret_lsn);
		pthread_rwlock_unlock(&x->mark_lock);
	}
	change_drop(c);
	return r;
}
