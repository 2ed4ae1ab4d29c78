// SPDX-License-Identifier: MIT
/* extent_row: one row of KV_EXTENT, [at, at + len) of a file is a slice of a segment; and walks over
 * a file's rows as they will be after a change that is not committed yet.
 *
 * For index/ itself and for what reads all rows (du, fsck).
 */
#ifndef FOLDFS_EXTENT_ROW_H
#define FOLDFS_EXTENT_ROW_H
#include "kv.h"

#define EXTENT_KEY_SIZE 16
#define EXTENT_VALUE_MAX 40

struct extent_row {
	uint64_t at, len; /* in the file */
	uint64_t segment, offset;
	uint64_t zeros; /* bytes of the slice that are zeros, and so a hole for the file */
};

static inline uint64_t extent_end(const struct extent_row *row)
{
	return row->at + row->len;
}

void extent_key(uint64_t ino, uint64_t at, uint8_t key[EXTENT_KEY_SIZE]);
void extent_encode(const struct extent_row *row, struct buf *out);
int extent_decode(struct slice key, struct slice val, uint64_t *ret_ino,
		  struct extent_row *ret_row); /* 0 or -EUCLEAN */

/* Rows that a change puts or deletes, in key order: they hide what the tables have. */
struct extent_edit {
	uint64_t ino;
	struct extent_row row; /* only `at` when deleted */
	bool deleted;
};
struct extent_edits {
	struct extent_edit *v;
	size_t n, cap;
};
int extent_edits_set(struct extent_edits *e, uint64_t ino, const struct extent_row *row,
		     bool deleted); /* 0 or -ENOMEM */
void extent_edits_done(struct extent_edits *e);

/* The last row with row.at <= at. 1, 0 when there is none, -errno. `edits` may be NULL. */
int extent_floor(struct kv *kv, const struct extent_edits *edits, uint64_t ino, uint64_t at,
		 struct extent_row *ret_row);

/* Walks upwards over the rows that reach beyond `from`; rows edited on the way are seen as edited
 * if they are still ahead. A zeroed iterator may be done(), too. */
struct extent_iter {
	struct kv *kv;
	const struct extent_edits *edits;
	struct kv_iter *it; /* made when the first row was not enough */
	struct extent_row base, floor;
	uint64_t ino, next, last_end;
	bool have_base, base_ended, have_floor;
};
int extent_iter_init(struct extent_iter *it, struct kv *kv, const struct extent_edits *edits,
		     uint64_t ino, uint64_t from);
int extent_iter_next(struct extent_iter *it, struct extent_row *ret_row); /* 1, 0, -errno */
void extent_iter_done(struct extent_iter *it);
#define CLEANUP_EXTENT_ITER __attribute__((cleanup(extent_iter_done)))
#endif
