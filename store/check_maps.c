// SPDX-License-Identifier: MIT
/* Segments first, as extents refer to them; the references that extents make are counted, and
 * compared with what is kept. */
#include "check_impl.h"
#include "cleanup.h"
#include "extent_row.h"
#include "piece.h"
#include "segment.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

static int add_segment(struct check *k, uint64_t id, uint64_t bytes, bool lost)
{
	if (k->n_segments == k->cap_segments) {
		size_t cap = k->cap_segments ? k->cap_segments * 2 : 1024;
		struct check_segment *v = realloc(k->segments, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		k->segments = v;
		k->cap_segments = cap;
	}
	k->segments[k->n_segments++] =
		(struct check_segment){ .id = id, .bytes = bytes, .stored = 1, .lost = lost };
	return 0;
}

static int take_segment(struct check *k, struct slice key, struct slice val)
{
	struct segment seg;
	struct segment_iter it;
	struct piece piece;
	uint64_t at = 0, end = 0;
	bool lost = false;
	if (key.len != 8)
		return -EUCLEAN;
	uint64_t id = get_be64(key.at);
	k->res.segments++;
	int r = segment_open(val, &seg);
	if (r == 0)
		r = segment_check(&seg);
	if (r == 0)
		r = segment_seek(&seg, 0, &it);
	while (r == 0 && (r = segment_next(&it, &piece, &at)) > 0) {
		lost |= lost ? check_piece_state(k, &piece) != PIECE_SOUND
			     : check_piece(k, &piece, "segment", id);
		end = at + piece_bytes(&piece);
		r = 0;
	}
	int added = add_segment(k, id, r < 0 ? 0 : end, lost);
	return added < 0 ? added : r < 0 ? r : 0;
}

static int take_reference(struct check *k, struct slice key, struct slice val)
{
	struct slice s = val;
	uint64_t count = take_varint(&s);
	if (key.len != 8 || s.bad || s.len || count < 2)
		return -EUCLEAN;
	struct check_segment *seg = check_find_segment(k, get_be64(key.at));
	if (!seg)
		check_error_safe(k,
				 "there is a reference count of segment %lu, which does not exist",
				 get_be64(key.at));
	else
		seg->stored = count;
	return 0;
}

int check_segments(struct check *k)
{
	int r = check_each(k, KV_SEGMENT, "segments", take_segment);
	return r < 0 ? r : check_each(k, KV_SEGREF, "reference counts", take_reference);
}

/* More bytes than the row says are a wrong sum. With fewer, rows of the map are missing. */
static void check_sum(struct check *k, uint64_t ino, uint64_t mapped, const struct inode_row *row)
{
	if (!(row->flags & INODE_MAPPED))
		return;
	if (row->mapped_bytes < mapped)
		check_error_safe(k, "inode %lu maps %lu bytes, and says %lu", ino, mapped,
				 row->mapped_bytes);
	else if (row->mapped_bytes > mapped)
		check_error(k, "inode %lu maps %lu bytes, and says %lu: a part of its map is gone",
			    ino, mapped, row->mapped_bytes);
}

static void end_map(struct check *k)
{
	struct inode_row row;
	struct check_inode *in = check_find_inode(k, k->map.ino);
	if (!k->map.ino || !in || inode_row_get(k->pool->kv, k->map.ino, &row) < 0)
		return;
	check_sum(k, k->map.ino, k->map.mapped, &row);
	if (k->map.end > row.size && !row.staging_gen && !(row.flags & INODE_INLINE))
		check_error(k, "the map of inode %lu is longer than the file", k->map.ino);
}

static void begin_map(struct check *k, uint64_t ino)
{
	struct check_inode *in = check_find_inode(k, ino);
	end_map(k);
	k->map.ino = ino;
	k->map.end = k->map.mapped = 0;
	if (!in)
		check_error(k, "there is a map of inode %lu, which does not exist", ino);
	else if (in->type != DT_REG || !(in->flags & INODE_MAPPED))
		check_error(k, "there is a map of inode %lu, which has none", ino);
	else
		in->marks |= CHECK_HAS_EXTENT;
}

/* Which bytes of the row's file are of chunks that are gone. */
static void remember_slice(struct check *k, const struct extent_row *e, const struct segment *seg)
{
	struct segment_iter it;
	struct piece piece;
	uint64_t at, end = e->offset + e->len;
	int r = segment_seek(seg, e->offset, &it);
	while (r == 0 && (r = segment_next(&it, &piece, &at)) > 0 && at < end) {
		uint64_t from = at > e->offset ? at : e->offset;
		uint64_t until = at + piece_bytes(&piece) < end ? at + piece_bytes(&piece) : end;
		if (check_piece_state(k, &piece) != PIECE_SOUND)
			check_remember_lost(k, k->map.ino, e->at + from - e->offset, until - from);
		r = 0;
	}
}

static void check_slice(struct check *k, const struct extent_row *e)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct check_segment *known = check_find_segment(k, e->segment);
	struct segment seg;
	uint64_t zeros;
	uint8_t key[8];
	if (!known) {
		check_error(k, "inode %lu refers to segment %lu, which does not exist", k->map.ino,
			    e->segment);
		return;
	}
	known->counted++;
	if (known->bytes && (e->offset > known->bytes || e->len > known->bytes - e->offset)) {
		check_error(k, "inode %lu shows bytes beyond the end of segment %lu", k->map.ino,
			    e->segment);
		return;
	}
	put_be64(key, e->segment);
	if (!known->bytes || !(k->opt->full || e->zeros || known->lost) ||
	    kv_get(k->pool->kv, KV_SEGMENT, key, sizeof key, &val) < 0 ||
	    segment_open(slice_of(val.data, val.len), &seg) < 0)
		return;
	if (segment_zeros(&seg, e->offset, e->len, &zeros) == 0 && zeros != e->zeros)
		check_error_safe(k, "inode %lu at %lu counts %lu zeros in segment %lu, not %lu",
				 k->map.ino, e->at, e->zeros, e->segment, zeros);
	if (known->lost)
		remember_slice(k, e, &seg);
}

static int take_extent(struct check *k, struct slice key, struct slice val)
{
	struct extent_row e;
	uint64_t ino;
	int r = extent_decode(key, val, &ino, &e);
	if (r < 0)
		return r;
	k->res.extents++;
	if (ino != k->map.ino)
		begin_map(k, ino);
	if (e.at < k->map.end)
		check_error(k, "the map of inode %lu says two things of the bytes at %lu", ino,
			    e.at);
	k->map.end = extent_end(&e);
	k->map.mapped += e.len - e.zeros;
	check_slice(k, &e);
	return 0;
}

static void check_empty_map(struct check *k, const struct check_inode *in)
{
	struct inode_row row;
	if (!(in->flags & INODE_MAPPED) || (in->marks & (CHECK_HAS_EXTENT | CHECK_ORPHAN)) ||
	    inode_row_get(k->pool->kv, in->ino, &row) < 0)
		return;
	check_sum(k, in->ino, 0, &row);
	check_note(k, "the map of inode %lu has no rows: it is one hole", in->ino);
}

int check_maps(struct check *k)
{
	int r = check_each(k, KV_EXTENT, "maps", take_extent);
	if (r < 0)
		return r;
	end_map(k);
	for (size_t i = 0; i < k->n_inodes; i++)
		check_empty_map(k, &k->inodes[i]);
	for (size_t i = 0; i < k->n_segments; i++) {
		const struct check_segment *s = &k->segments[i];
		if (!s->counted)
			check_error_safe(k, "nothing refers to segment %lu", s->id);
		else if (s->counted != s->stored)
			check_error_safe(k, "%lu rows refer to segment %lu, but its count is %lu",
					 s->counted, s->id, s->stored);
	}
	return 0;
}
