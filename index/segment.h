// SPDX-License-Identifier: MIT
/* segment: an immutable recipe of up to SEGMENT_PIECES pieces, as it lies in KV_SEGMENT.
 *
 * For index/ itself and for what reads all rows (du, fsck). Positions are bytes of the recipe, from 0. Groups of SEGMENT_GROUP pieces are
 * indexed, so that finding a position decodes one group and not all of them.
 */
#ifndef FOLDFS_SEGMENT_H
#define FOLDFS_SEGMENT_H
#include "extents.h"
#include "piece.h"
#include "rows_format.h"
#include "strands.h"

#define SEGMENT_GROUPS ((SEGMENT_PIECES + SEGMENT_GROUP - 1) / SEGMENT_GROUP)

struct segment_group {
	uint64_t at;	/* bytes, and */
	uint64_t zeros; /* how many of them are zeros, before this group */
	uint32_t coded; /* where its encoding starts */
};

/* An encoded segment whose header has been read; the bytes stay the caller's. */
struct segment {
	struct slice coded; /* the groups */
	uint64_t base;
	bool in_strands;
	uint32_t n, groups;
	struct segment_group group[SEGMENT_GROUPS];
};

struct segment_iter {
	const struct segment *seg;
	struct slice s;
	uint64_t at;
	struct strands strands; /* of pieces that are in none, `expected` alone */
	uint32_t index;
	bool has_next; /* read already */
	struct piece next;
};

/* 1 <= n <= SEGMENT_PIECES valid pieces of at most MAP_END_MAX bytes. `strands`: where pieces mostly go on
 * where one shortly before them ended. */
void segment_encode(const struct piece *v, size_t n, bool strands, struct buf *out);
int segment_open(struct slice val, struct segment *ret_seg); /* 0 or -EUCLEAN */

/* Makes segment_next() give the piece that holds byte `at` next. */
int segment_seek(const struct segment *seg, uint64_t at,
		 struct segment_iter *ret_it); /* of no use after a failure */
/* 1, the piece and the position of its first byte; 0 at the end; -EUCLEAN. */
int segment_next(struct segment_iter *it, struct piece *ret_piece, uint64_t *ret_at);

/* Appends [at, at + len) to the list; gives up early, but with 0, once it holds more than `max`.
 * -EUCLEAN when the segment is shorter. */
int segment_slice(const struct segment *seg, uint64_t at, uint64_t len, size_t max,
		  struct piece_vec *l);
/* How many bytes of [at, at + len) are zeros. */
int segment_zeros(const struct segment *seg, uint64_t at, uint64_t len, uint64_t *ret_zeros);
/* How many pieces [at, at + len) touches. */
int segment_count(const struct segment *seg, uint64_t at, uint64_t len, uint32_t *ret_n);
/* Calls mark for the chunk of each piece but zeros. */
int segment_marks(const struct segment *seg, void (*mark)(void *arg, uint64_t chunk), void *arg);
/* Reads all of it, and the index against it. 0 or -EUCLEAN. */
int segment_check(const struct segment *seg);
#endif
