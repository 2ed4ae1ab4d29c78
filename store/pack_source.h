// SPDX-License-Identifier: MIT
/* pack_source: reads a pack from the place it lies in, from front to back, whatever that place is. */
#ifndef FOLDFS_PACK_SOURCE_H
#define FOLDFS_PACK_SOURCE_H
#include "place.h"

#define PACK_SOURCE_STEPS 8u

struct pack_source_step {
	struct place_read v;
	struct place_fetch *under_way; /* NULL: v.result tells */
};

struct pack_source {
	struct place *pl;
	uint64_t pack, bytes; /* of the file */
	int fd;		      /* -1: to be read through the place, */
	uint8_t *ahead;	      /* these steps of it, one after the other, in a ring */
	struct pack_source_step steps[PACK_SOURCE_STEPS];
	unsigned first, n;
	uint64_t at, end; /* [at, end) is asked for */
};

/* 0 or -errno; what there is then is closed in either case. */
int pack_source_open(struct pack_source *s, struct place *pl, uint64_t pack);
/* Exactly these bytes; 0, -EUCLEAN when the file ends before, -errno. */
int pack_source_read(struct pack_source *s, void *buf, size_t len, uint64_t at);
/* The same of a range that stands alone: nothing is read ahead. */
int pack_source_peek(struct pack_source *s, void *buf, size_t len, uint64_t at);
/* As pack_source_peek(), of what lies there: nothing that was kept of it in memory is asked. */
int pack_source_again(struct pack_source *s, void *buf, size_t len, uint64_t at);
void pack_source_close(struct pack_source *s);
#endif
