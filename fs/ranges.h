// SPDX-License-Identifier: MIT
/* ranges: what of a staged file has to be destaged: where its staging file has data, widened to the
 * boundaries of the pieces that this touches.
 */
#ifndef FOLDFS_RANGES_H
#define FOLDFS_RANGES_H
#include "inode.h"

struct range {
	uint64_t from, to; /* offsets in bytes */
};

struct ranges {
	struct range *v; /* in order, apart from each other */
	size_t n, cap;
};

/* Replaces what *ret_ranges has. The staging file is open; the caller holds the inode's lock. On
 * failure *ret_ranges is incomplete, and still to be given to ranges_done(). */
int ranges_find(struct fs *fs, const struct inode *in, struct ranges *ret_ranges);
void ranges_done(struct ranges *ranges);
#endif
