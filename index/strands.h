// SPDX-License-Identifier: MIT
/* strands: pieces written down for maps that take turns between a few chunks, as those of films do.
 *
 * A film's map goes from the pictures' chunk to the sound's, to the container's own bytes and back, and in each
 * goes on where it was. So a piece is told by its length and by which chunk is gone on with: two or
 * three bytes instead of ten. The bytes are in rows_format.h.
 */
#ifndef FOLDFS_STRANDS_H
#define FOLDFS_STRANDS_H
#include "piece.h"
#include "rows_format.h"

struct strands {
	uint64_t expected; /* 1 + the chunk that was begun last */
	unsigned n;
	uint32_t order; /* of v[0, n): places, four bits each, the one used last lowest */
	/* Chunks, and up to where they have been used. */
	struct strand {
		uint64_t chunk, end;
	} v[STRANDS_MAX];
};

static inline struct strands strands_begin(uint64_t expected)
{
	return (struct strands){ .expected = expected };
}
void strands_encode(struct strands *s, struct buf *out, const struct piece *p);
/* Decoding gives a valid piece, or false. */
bool strands_decode(struct strands *s, struct slice *in, struct piece *ret);
#endif
