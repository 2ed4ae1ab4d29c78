// SPDX-License-Identifier: MIT
/* matroska_block: the head of a block of Matroska and how long the frames in it are.
 *
 * A block is its track's number, two bytes of time, a byte of flags, then one frame, or several
 * ("lacing"): their number less one, then the lengths of all but the last frame, unless all are equal.
 */
#ifndef FOLDFS_MATROSKA_BLOCK_H
#define FOLDFS_MATROSKA_BLOCK_H
#include "film_source.h"

#define MATROSKA_FRAMES_MAX 256u

struct matroska_block {
	uint64_t track; /* number that TrackEntry gives */
	bool key;	/* the flag; it means something in a SimpleBlock only */
	uint64_t at;	/* of the first frame in the file; the others follow */
	unsigned n;
	uint64_t len[MATROSKA_FRAMES_MAX]; /* together they end where the block does */
};

/* The block whose payload is [at, at + len). -EBADMSG: its lengths don't add up; -ENODATA: the file ends
 * within its head; errors of film_source_get(). The frames may lie beyond the end of the file. */
int matroska_block_read(struct film_source *s, uint64_t at, uint64_t len,
			struct matroska_block *ret);
#endif
