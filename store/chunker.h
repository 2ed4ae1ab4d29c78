// SPDX-License-Identifier: MIT
/* chunker: where a stream of bytes is cut into chunks, by content.
 *
 * The same bytes give the same chunks wherever they stand in a stream (but for the first few after
 * a change), on every machine, in whatever portions they are fed. Kind and parameters are fixed for a
 * pool at mkfs: other ones would store everything anew.
 */
#ifndef FOLDFS_CHUNKER_H
#define FOLDFS_CHUNKER_H
#include "fastcdc.h"
#include "mincdc.h"
#include <stdbool.h>

/* On disk (superblock). */
enum chunker_kind { CHUNKER_FASTCDC = 1, CHUNKER_MINCDC = 2 };

#define CHUNKER_MIN_LEAST 1024u
#define CHUNKER_MAX_MOST (16u * 1024 * 1024)

struct chunker_params {
	enum chunker_kind kind;
	uint32_t min, avg, max; /* bytes */
};
#define CHUNKER_DEFAULT                                                                            \
	((struct chunker_params){ CHUNKER_FASTCDC, 16u * 1024, 64u * 1024, 256u * 1024 })

/* A plain value; read-only after chunker_init(), so threads may share it. */
struct chunker {
	struct chunker_params params;
	union {
		struct fastcdc fastcdc;
		struct mincdc mincdc;
	};
};

/* 0; -EINVAL unless CHUNKER_MIN_LEAST <= min < avg < max <= CHUNKER_MAX_MOST and avg is a power of
 * two; -ENOTSUP for a kind that this build does not know. */
int chunker_check(const struct chunker_params *p);
int chunker_init(struct chunker *c, const struct chunker_params *p); /* as chunker_check() */

/* Length of the next chunk, which starts at `data`: between min and max, less only for the last of
 * the stream. 0 when more data are needed: the len < max bytes hold no cut and are not the `last`
 * ones (or there are none). Give max bytes or more, or the same bytes are searched again. */
size_t chunker_cut(const struct chunker *c, const uint8_t *data, size_t len, bool last);

/* Length of the run of zeros that the data start with. At memory speed. */
size_t zero_run(const uint8_t *data, size_t len);
#endif
