// SPDX-License-Identifier: MIT
/* cutter: a stream of bytes as runs of zeros and chunks.
 *
 * Runs of HOLE_MIN zeros or more, wherever they begin, are cut out, and chunks end where one begins;
 * the chunker cuts what lies between. Chunks and runs depend on the bytes alone, not on the portions
 * in which they arrive.
 */
#ifndef FOLDFS_CUTTER_H
#define FOLDFS_CUTTER_H
#include "chunker.h"

#define HOLE_MIN 4096u

enum cut { CUT_MORE, CUT_ZEROS, CUT_CHUNK };

/* State between two calls for one stream: initialise with chunker set, the rest zero. */
struct cutter {
	const struct chunker *chunker;
	bool in_zeros; /* the run cut last reached the end of its bytes: more zeros belong to it */
};

/* The kind and length of what `data` start with, at least 1 byte long. CUT_MORE only when these are
 * not the `last` bytes of the stream and fewer than cutter_lookahead(). */
enum cut cutter_next(struct cutter *c, const uint8_t *data, size_t len, bool last, size_t *ret_len);
static inline size_t cutter_lookahead(const struct cutter *c)
{
	return c->chunker->params.max + HOLE_MIN;
}
#endif
