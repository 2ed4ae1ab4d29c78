// SPDX-License-Identifier: MIT
/* gc: gives back the space of chunks that no file refers to, online.
 *
 * Marks live chunks in a bitmap by one scan of inode rows and segments; chunks newer than the mark,
 * references made while it runs (extents_set_mark) and duplicates hit while it runs
 * (packer_set_mark) count as live. Then packs with nothing live are dropped, and the emptiest of the
 * rest are rewritten in id order, at a bounded rate, until `min_live_percent` holds. A pack's rows
 * and digests go in the batch that dooms it; its file when that batch is durable.
 *
 * When the disk is short of room a pass takes all it can get, as fast as it can, and needs none to begin
 * with: frames in which all is dead become holes in their packs, then packs are rewritten bit by bit.
 */
#ifndef FOLDFS_GC_H
#define FOLDFS_GC_H
#include "destage.h"

struct gc;

struct gc_options {
	struct extents *extents;
	struct packs *packs;
	struct chunks *chunks;
	struct digests *digests;
	struct packer *packer;
	struct destage *destage;
	struct cache *cache;
	struct rotten *rotten; /* its lock of rows; NULL: nobody else changes them */
	int level;
	unsigned min_live_percent; /* packs below are rewritten; 0 = 75 */
	uint64_t rate_bytes_per_s; /* of rewriting; 0 = unlimited */
	uint64_t short_bytes;	   /* the disk is short of room when it has less left */
	unsigned recall_percent;   /* what lives in colder tiers is written only to a disk of which
				    * less is in use; 0: to any */
};

struct gc_result {
	uint64_t chunks_live, chunks_dead, bytes_live, bytes_dead; /* decoded bytes */
	/* of pack files: */
	uint64_t packs_dropped, packs_rewritten, packs_trimmed, bytes_freed, bytes_rewritten;
};

int gc_open(const struct gc_options *opt, struct gc **ret_gc);
/* A running pass ends at the next pack, with -ECANCELED, and no other begins. Does not wait. */
void gc_stop(struct gc *gc);
void gc_close(struct gc *gc); /* the same, and waits for it */
/* One pass, whose packs are gone from the disk on return; -EBUSY when one is running. `progress` (may
 * be NULL) is called now and then. */
int gc_run(struct gc *gc, void (*progress)(void *arg, const struct gc_result *so_far), void *arg,
	   struct gc_result *ret_result);
#endif
