// SPDX-License-Identifier: MIT
/* recoder: while the machine has nothing else to do, compresses what lies on the pool's own disk harder than
 * there was time for when it was written.
 *
 * Whole packs, sealed and of some age, each once for a level (pack_recode.h). What was tried is remembered in the
 * index, whatever came of it.
 */
#ifndef FOLDFS_RECODER_H
#define FOLDFS_RECODER_H
#include "mover.h"

/* KV_META: this and be64 pack id / RECODER_PER_ROW -> RECODER_PER_ROW times u8, the level tried last, 0: none. */
#define RECODER_KEY "idle_level."
#define RECODER_PER_ROW 256u

struct recoder;

struct recoder_options {
	struct kv *kv;
	struct packs *packs;
	struct tiers *tiers;
	struct rotten *rotten;
	struct cache *cache;
	struct mover *mover;   /* is told that packs have other numbers; may be NULL */
	int level;	       /* zstd */
	uint64_t age_s;	       /* younger packs are left alone */
	unsigned load_percent; /* of all processors, which others may take meanwhile */
	uint64_t short_bytes;  /* so much of the pool's disk is left free */
};

struct recoder_status {
	bool working;
	uint64_t packs_left; /* of the pass at hand, or the last one */
	/* since the mount: */
	uint64_t looks, passes; /* was it quiet; which packs are there */
	uint64_t packs_tried, packs_made;
	uint64_t bytes_before, bytes_after; /* of the packs made */
};

int recoder_open(const struct recoder_options *opt, struct recoder **ret_d);
int recoder_start(struct recoder *d); /* its thread */
void recoder_stop(struct recoder *d); /* ends what is under way, within a frame; NULL is fine */
void recoder_close(struct recoder *d);
void recoder_get_status(struct recoder *d, struct recoder_status *ret_status);
#endif
