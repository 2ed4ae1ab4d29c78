// SPDX-License-Identifier: MIT
/* film_plan: how the bytes of a film are dealt out to streams of which chunks are made.
 *
 * Every byte of the file belongs to exactly one stream, and a stream is stretches of the file in
 * ascending order. Chunks are cut from the streams, not from the file: of a stream of pictures from one
 * `cut` to the next, whatever lies in between in the file; of the others, as the pool's chunker says. So what
 * containers do with the same tracks makes no difference to the chunks.
 *
 * Without gathering there is one stream of pictures, whose stretches reach from key picture to key
 * picture, all that is interleaved included; the other stream is what lies before and behind.
 */
#ifndef FOLDFS_FILM_PLAN_H
#define FOLDFS_FILM_PLAN_H
#include "keyframe/film.h"

#define PLAN_STREAMS 8u

struct plan_stretch {
	uint64_t at; /* in the file */
	uint32_t len;
	bool cut; /* a chunk begins here */
	/* The chunk has PLAN_LEAD bytes before it that are in no file: its length, most significant byte
	 * first. So a stream's units are what they are in containers. */
	bool lead;
};
#define PLAN_LEAD 4u

struct plan_stream {
	bool by_content; /* the chunker cuts, and no chunk goes on over a `cut` */
	struct plan_stretch *v;
	size_t n, cap;
};

struct film_plan {
	uint64_t size; /* of the file */
	bool gathered;
	unsigned n;
	struct plan_stream streams[PLAN_STREAMS]; /* the last is what is in no track */
};

struct plan_limits {
	uint64_t min, target, max; /* bytes of a chunk of pictures; max <= CHUNK_LENGTH_MAX */
	bool gather;		   /* of tracks that are `whole` */
};

/* *ret_plan is NULL where the general chunker does as well. -ENOMEM. */
int film_plan_make(const struct film *f, uint64_t size, const struct plan_limits *limits,
		   struct film_plan **ret_plan);
void film_plan_free(struct film_plan *plan); /* NULL is fine */
#endif
