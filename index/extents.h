// SPDX-License-Identifier: MIT
/* extents: what a file's bytes are made of (inode_row.recipe, KV_EXTENT, KV_SEGMENT, KV_SEGREF).
 *
 * A long map is rows (ino, file offset) -> slice of a segment; a segment is an immutable recipe of
 * up to SEGMENT_PIECES pieces. Files share segments: a clone adds rows and counts references, one
 * per row. A map of at most INODE_RECIPE_MAX pieces without gaps lives in the inode row instead.
 *
 * Changes are gathered in a `struct change`: a kv batch plus the reference deltas it implies.
 * change_commit() applies the deltas and commits, under one short lock when there are any. The
 * caller holds its own lock on each inode whose row takes part, from reading the row to the commit.
 */
#ifndef FOLDFS_EXTENTS_H
#define FOLDFS_EXTENTS_H
#include "inode_row.h"

#define SEGMENT_PIECES 4096u

struct extents;

/* A stretch of a file: [at, at + piece.length * piece.repeat) reads as `piece`. */
struct mapped {
	uint64_t at;
	struct piece piece;
};
struct map_vec {
	struct mapped *v;
	size_t n, cap;
};
void map_vec_done(struct map_vec *m);

int extents_open(struct kv *kv, struct extents **ret_x);
void extents_close(struct extents *x);
struct kv *extents_kv(struct extents *x);
/* From now on rows are written that programs without SUPER_STRANDS can't read: the superblock has it, durably. */
void extents_use_strands(struct extents *x);

struct change;
/* Operations on one change see those before them; extents_map() and extents_seek() see only what is
 * committed. -EINVAL and -EFBIG refuse an operation; after any other failure the row given to it is
 * undefined and the change can only be dropped: committing it gives that error. */
struct change *change_new(struct extents *x); /* NULL: no memory */
struct kv_batch *change_batch(struct change *c);
/* Consumes the change. As kv_commit(). */
int change_commit(struct change *c, uint64_t *ret_lsn);
void change_drop(struct change *c); /* NULL is fine */

/* Runs of zeros (chunk 0) among the pieces put are holes: not mapped bytes, not data to a seek, not
 * reported to a reader. Maps end at INT64_MAX (-EFBIG beyond). */

/* Appends to *ret_map, in order, what of [at, at + len) is not a hole, clipped to that range.
 * O(log n) to find the first row, linear in the pieces returned. */
int extents_map(struct extents *x, const struct inode_row *row, uint64_t at, uint64_t len,
		struct map_vec *ret_map);
/* The first mapped byte at or after `at` / the first hole at or after `at` (row->size at the
 * latest, -ENXIO beyond it), as SEEK_DATA / SEEK_HOLE. */
int extents_seek(struct extents *x, const struct inode_row *row, uint64_t at, bool data,
		 uint64_t *ret_at);

/* Makes [at, at + len) read as these pieces, whose lengths add up to len; n = 0 makes a hole.
 * Updates row's map fields (flags, pieces, recipe, mapped_bytes); the caller puts the row into the
 * change and owns its size. len UINT64_MAX: to the end of the map (truncation, with n = 0).
 * Costs a few rows and segments of up to some hundred pieces besides what is put and removed. */
int extents_replace(struct change *c, struct inode_row *row, uint64_t at, uint64_t len,
		    const struct piece *pieces, size_t n);
/* Makes dst's [dst_at, +len) read as src's [src_at, +len) does now, holes included. src and dst may
 * be the same row when the ranges do not overlap. Touches only rows and counters. */
int extents_clone(struct change *c, const struct inode_row *src, uint64_t src_at,
		  struct inode_row *dst, uint64_t dst_at, uint64_t len);
/* Drops up to max_rows rows from the end of a dead file's map. 1: more is left, 0: all gone. */
int extents_free_some(struct change *c, struct inode_row *row, unsigned max_rows);

/* Marking for gc. While a mark function is set, every piece that a change makes newly reachable
 * (new segment, inline recipe) is reported before its commit, by the thread that commits. Set it, then
 * scan, then clear. A commit under way when it is set is visible to the scan. */
void extents_set_mark(struct extents *x, void (*mark)(void *arg, uint64_t chunk), void *arg);
/* Reports every chunk that any inode row or segment refers to, as they are while it runs. Ends with
 * -EUCLEAN at the first damaged row: then not all was reported. */
int extents_scan(struct extents *x, void (*mark)(void *arg, uint64_t chunk), void *arg);
/* The same of rows alone, while nothing changes them. */
int extents_scan_rows(struct kv *kv, void (*mark)(void *arg, uint64_t chunk), void *arg);
/* Calls fn for each (ino) whose map uses the chunk; for naming files in damage reports, so
 * damaged rows are skipped. Slow. */
int extents_owners(struct extents *x, uint64_t chunk, void (*fn)(void *arg, uint64_t ino),
		   void *arg);

/* Ids that are never given twice, across crashes too (reserved in blocks in KV_META). */
int extents_new_segment_id(struct extents *x, uint64_t *ret_id);
#endif
