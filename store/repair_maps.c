// SPDX-License-Identifier: MIT
/* Maps file by file: the rows of one are gathered, made to fit each other and their segments, and
 * written back where they changed. Bytes that some row said, and nobody knows where they are, become
 * lost ones: a piece of a chunk that does not exist, so that they read as an error and never as
 * zeros. A segment that rows refer to and that is damaged or gone is made anew under its number, of
 * such pieces; so its rows and references stay as they are.
 *
 * Where rows of a map are missing altogether (the file says that it maps more bytes than its rows do)
 * nobody can tell which holes were holes: all of them are taken as lost.
 */
#include "repair_impl.h"
#include "cleanup.h"
#include "extent_row.h"
#include "segment.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

struct map_row {
	struct extent_row e;
	bool rotten, changed, dropped, fresh;
	bool lost; /* made by this repair */
};

/* A segment that has to be made anew, and how long it has to be at least. */
struct missing {
	uint64_t id, bytes;
};

struct maps {
	uint64_t ino; /* whose rows are in v */
	struct map_row *v;
	size_t n, cap;
	struct missing *missing;
	size_t n_missing, cap_missing;
};

static struct map_row *add_row(struct maps *m)
{
	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 64;
		struct map_row *v = realloc(m->v, cap * sizeof *v);
		if (!v)
			return NULL;
		m->v = v;
		m->cap = cap;
	}
	m->v[m->n] = (struct map_row){ 0 };
	return &m->v[m->n++];
}

static int need_segment(struct maps *m, uint64_t id, uint64_t bytes)
{
	struct missing *last = m->n_missing ? &m->missing[m->n_missing - 1] : NULL;
	if (last && last->id == id) {
		last->bytes = last->bytes > bytes ? last->bytes : bytes;
		return 0;
	}
	if (m->n_missing == m->cap_missing) {
		size_t cap = m->cap_missing ? m->cap_missing * 2 : 64;
		struct missing *v = realloc(m->missing, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		m->missing = v;
		m->cap_missing = cap;
	}
	m->missing[m->n_missing++] = (struct missing){ id, bytes };
	return 0;
}

static int put_lost_segment(struct repair *r, uint64_t id, uint64_t bytes)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct piece v[LOST_PIECES_MAX];
	uint8_t key[8];
	int n = repair_lost_pieces(r, bytes, v);
	if (n < 0)
		return n;
	put_be64(key, id);
	segment_encode(v, (size_t)n, false, &val);
	if (val.failed)
		return -ENOMEM;
	repair_put(r, KV_SEGMENT, slice_of(key, sizeof key), slice_of(val.data, val.len));
	return 0;
}

/* A row of lost bytes, in the place of `row` (one of the map's, or a copy to be added). */
static int lose_range(struct repair *r, struct map_row *row, uint64_t at, uint64_t len)
{
	uint64_t id;
	int e = repair_new_segment(r, &id);
	if (e == 0)
		e = put_lost_segment(r, id, len);
	*row = (struct map_row){ .e = { .at = at, .len = len, .segment = id },
				 .changed = true,
				 .lost = true };
	repair_say(r, "a part of the map of a file is gone: %lu bytes from %lu on are lost", len,
		   at);
	return e;
}

static int count_zeros(struct repair *r, const struct extent_row *e, uint64_t *ret_zeros)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct segment seg;
	uint8_t key[8];
	put_be64(key, e->segment);
	int got = kv_get(r->pool->kv, KV_SEGMENT, key, sizeof key, &val);
	if (got == 0)
		got = segment_open(slice_of(val.data, val.len), &seg);
	return got < 0 ? got : segment_zeros(&seg, e->offset, e->len, ret_zeros);
}

/* One row against its segment; what of it the segment does not have is appended as lost. */
static int fit_to_segment(struct repair *r, struct maps *m, size_t i)
{
	struct extent_row *e = &m->v[i].e;
	const struct check_segment *seg = check_find_segment(&r->k, e->segment);
	uint64_t zeros = e->zeros;
	if (m->v[i].lost)
		return 0;
	if (!seg || !seg->bytes) {
		m->v[i].changed |= e->zeros != 0;
		e->zeros = 0;
		return need_segment(m, e->segment, e->offset + e->len);
	}
	uint64_t has = e->offset < seg->bytes ? seg->bytes - e->offset : 0;
	if (has < e->len) {
		uint64_t at = e->at + has, len = e->len - has;
		m->v[i].changed = true;
		e->len = has;
		m->v[i].dropped = has == 0;
		struct map_row *tail = add_row(m);
		int err = tail ? lose_range(r, tail, at, len) : -ENOMEM;
		if (err < 0)
			return err;
		m->v[m->n - 1].fresh = true;
	}
	e = &m->v[i].e;
	if (!m->v[i].dropped && (r->look.full || e->zeros || m->v[i].changed) &&
	    count_zeros(r, e, &zeros) == 0 && zeros != e->zeros) {
		e->zeros = zeros;
		m->v[i].changed = true;
		repair_say(r, "inode %lu at %lu counts its zeros again", m->ino, e->at);
	}
	return 0;
}

static int row_order(const void *a, const void *b)
{
	uint64_t x = ((const struct map_row *)a)->e.at, y = ((const struct map_row *)b)->e.at;
	return (x > y) - (x < y);
}

/* Rows that cannot be read reach to the next one, or to the end; rows that overlap end where the next
 * begins. */
static int fit_to_each_other(struct repair *r, struct maps *m, uint64_t size)
{
	int e = 0;
	for (size_t i = 0; e == 0 && i < m->n; i++) {
		struct map_row *row = &m->v[i];
		uint64_t next = i + 1 < m->n ? m->v[i + 1].e.at : size;
		if (row->rotten && next > row->e.at) {
			e = lose_range(r, row, row->e.at, next - row->e.at);
		} else if (row->rotten) {
			row->dropped = row->changed = true;
		} else if (i + 1 < m->n && extent_end(&row->e) > next) {
			row->e.len = next - row->e.at;
			row->changed = true;
			repair_say(r, "the map of inode %lu said two things of the bytes at %lu",
				   m->ino, next);
		}
	}
	return e;
}

static uint64_t mapped_of(const struct maps *m)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < m->n; i++)
		sum += m->v[i].dropped ? 0 : m->v[i].e.len - m->v[i].e.zeros;
	return sum;
}

/* All that no row covers is lost. */
static int fill_gaps(struct repair *r, struct maps *m, uint64_t size)
{
	size_t n = m->n;
	uint64_t at = 0;
	int e = 0;
	for (size_t i = 0; e == 0 && i <= n; i++) {
		uint64_t until = i < n ? m->v[i].e.at : size;
		if (i < n && m->v[i].dropped)
			continue;
		if (until > at) {
			struct map_row *gap = add_row(m);
			e = gap ? lose_range(r, gap, at, until - at) : -ENOMEM;
		}
		at = i < n ? extent_end(&m->v[i].e) : at;
	}
	return e;
}

static int write_back(struct repair *r, struct maps *m, struct inode_row *row)
{
	struct inode_row was = *row;
	uint64_t end = 0;
	for (size_t i = 0; i < m->n; i++) {
		const struct map_row *v = &m->v[i];
		uint8_t key[EXTENT_KEY_SIZE];
		extent_key(m->ino, v->e.at, key);
		if (!v->dropped && extent_end(&v->e) > end)
			end = extent_end(&v->e);
		if (v->dropped && !v->fresh)
			repair_delete(r, KV_EXTENT, slice_of(key, sizeof key));
	}
	for (size_t i = 0; i < m->n; i++) { /* a row may take the place of a dropped one */
		const struct map_row *v = &m->v[i];
		CLEANUP_BUF struct buf val = { 0 };
		uint8_t key[EXTENT_KEY_SIZE];
		extent_key(m->ino, v->e.at, key);
		extent_encode(&v->e, &val);
		if (val.failed)
			return -ENOMEM;
		if (v->changed && !v->dropped)
			repair_put(r, KV_EXTENT, slice_of(key, sizeof key),
				   slice_of(val.data, val.len));
	}
	row->mapped_bytes = mapped_of(m);
	row->flags |= INODE_MAPPED;
	if (end > row->size && !row->staging_gen && !(row->flags & INODE_INLINE))
		row->size = end;
	if (row->mapped_bytes == was.mapped_bytes && row->size == was.size &&
	    row->flags == was.flags)
		return 0;
	repair_put_inode(r, row);
	repair_say(r, "inode %lu has %lu bytes, and maps %lu", m->ino, row->size,
		   row->mapped_bytes);
	return 0;
}

static int drop_map(struct repair *r, const struct maps *m)
{
	for (size_t i = 0; i < m->n; i++) {
		uint8_t key[EXTENT_KEY_SIZE];
		extent_key(m->ino, m->v[i].e.at, key);
		repair_delete(r, KV_EXTENT, slice_of(key, sizeof key));
	}
	if (m->n)
		repair_say(r, "rows of a map of inode %lu, which has none, are removed", m->ino);
	return 0;
}

static int mend_map(struct repair *r, struct maps *m)
{
	struct inode_row row;
	int e = inode_row_get(r->pool->kv, m->ino, &row);
	if (e < 0 && e != -ENOENT && e != -EUCLEAN)
		return e;
	bool none = e < 0 || !S_ISREG(row.mode);
	bool other = !none && !(row.flags & INODE_MAPPED) &&
		     (row.pieces || row.staging_gen || (row.flags & INODE_INLINE));
	if (none || other)
		return drop_map(r, m);
	uint64_t said = row.flags & INODE_MAPPED ? row.mapped_bytes : 0;
	e = fit_to_each_other(r, m, row.size);
	size_t n = m->n;
	for (size_t i = 0; e == 0 && i < n; i++)
		if (!m->v[i].dropped)
			e = fit_to_segment(r, m, i);
	if (m->n)
		qsort(m->v, m->n, sizeof *m->v, row_order);
	if (e == 0 && said > mapped_of(m))
		e = fill_gaps(r, m, row.size);
	return e < 0 ? e : write_back(r, m, &row);
}

static int end_map(struct repair *r, struct maps *m)
{
	int e = m->ino ? mend_map(r, m) : 0;
	m->n = 0;
	return e < 0 ? e : repair_point(r);
}

static int mend_maps(struct repair *r, struct maps *m)
{
	struct slice key, val;
	int more, e = 0;
	struct kv_iter *it = kv_iter_new(r->pool->kv, KV_EXTENT, NULL, 0, false);
	if (!it)
		return -ENOMEM;
	while (e == 0 && (more = kv_iter_next(it, &key, &val)) != 0) {
		struct map_row row = { 0 };
		uint64_t ino;
		if (more < 0 && (more != -EUCLEAN || !key.len)) {
			e = more;
			break;
		}
		if (key.len != EXTENT_KEY_SIZE) {
			repair_delete(r, KV_EXTENT, key);
			repair_say(r, "a row of a map was damaged, and is removed");
			continue;
		}
		ino = get_be64(key.at);
		row.rotten = more < 0 || extent_decode(key, val, &ino, &row.e) < 0;
		row.e.at = get_be64(key.at + 8);
		if (ino != m->ino) {
			e = end_map(r, m);
			m->ino = ino;
			struct check_inode *in = check_find_inode(&r->k, ino);
			if (in)
				in->marks |= CHECK_HAS_EXTENT;
		}
		struct map_row *place = e == 0 ? add_row(m) : NULL;
		if (e == 0 && !place)
			e = -ENOMEM;
		if (e == 0)
			*place = row;
	}
	kv_iter_free(it);
	return e < 0 ? e : end_map(r, m);
}

/* Files whose rows are all gone were not met on the way. */
static int mend_empty_maps(struct repair *r, struct maps *m)
{
	struct inode_row row;
	int e = 0;
	for (size_t i = 0; e == 0 && i < r->k.n_inodes; i++) {
		const struct check_inode *in = &r->k.inodes[i];
		if (!(in->flags & INODE_MAPPED) || (in->marks & CHECK_HAS_EXTENT) ||
		    inode_row_get(r->pool->kv, in->ino, &row) < 0 || !row.mapped_bytes)
			continue;
		m->ino = in->ino;
		e = end_map(r, m);
	}
	return e;
}

static int missing_order(const void *a, const void *b)
{
	const struct missing *x = a, *y = b;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return (x->bytes < y->bytes) - (x->bytes > y->bytes); /* the longest first */
}

static int make_missing(struct repair *r, const struct maps *m)
{
	int e = 0;
	if (m->n_missing)
		qsort(m->missing, m->n_missing, sizeof *m->missing, missing_order);
	for (size_t i = 0; e == 0 && i < m->n_missing; i++) {
		if (i && m->missing[i].id == m->missing[i - 1].id)
			continue;
		e = put_lost_segment(r, m->missing[i].id, m->missing[i].bytes);
		repair_say(r, "segment %lu was lost, and so are the bytes it described",
			   m->missing[i].id);
		if (e == 0)
			e = repair_point(r);
	}
	return e;
}

int repair_maps(struct repair *r)
{
	struct maps m = { 0 };
	int e = repair_look(r);
	if (e == 0)
		e = mend_maps(r, &m);
	if (e == 0)
		e = mend_empty_maps(r, &m);
	if (e == 0)
		e = make_missing(r, &m);
	free(m.v);
	free(m.missing);
	return e;
}
