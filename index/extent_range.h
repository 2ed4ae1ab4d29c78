// SPDX-License-Identifier: MIT
/* extent_range: ranges of a mapped file, as rows and slices of segments. Internal to index/. */
#ifndef FOLDFS_EXTENT_RANGE_H
#define FOLDFS_EXTENT_RANGE_H
#include "change.h"

/* [from, to) of a row, both within it: where it lies and how many of its bytes are zeros. Reads the
 * segment only if the row has zeros. */
int extent_slice(struct extents *x, const struct change *c, const struct extent_row *e,
		 uint64_t from, uint64_t to, struct extent_row *ret_part);
/* Makes [at, end) free of rows. */
int extent_range_clear(struct change *c, struct inode_row *row, uint64_t at, uint64_t end);
/* Puts the pieces into free space at `at`. */
int extent_range_fill(struct change *c, struct inode_row *row, uint64_t at,
		      const struct piece_vec *l);
#endif
