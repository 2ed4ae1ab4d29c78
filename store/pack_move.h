// SPDX-License-Identifier: MIT
/* pack_move: takes a sealed pack from one tier to another, while it is read. */
#ifndef FOLDFS_PACK_MOVE_H
#define FOLDFS_PACK_MOVE_H
#include "cache.h"
#include "pack.h"
#include "rotten.h"

struct pack_move {
	struct packs *packs;
	struct rotten *rotten; /* its lock of rows */
	struct cache *cache;   /* forgets packs that are gone */
	int level; /* zstd: frames are compressed anew where that pays; 0: moved as they are */
	/* Called with what was read and written since; not 0 ends the move with that. May be NULL. */
	int (*pace)(void *arg, uint64_t bytes);
	void *arg;
};

/* With a level, if it gets smaller enough: see pack_recode.c; what is in it lies in a new pack then. Else it
 * copies the pack, reads the copy back, lets the row name the new tier, and removes the pack from the old
 * one; durable on return. 0; -EBUSY: it is being filled, or given up, or has changed meanwhile;
 * -ENOENT: no such pack; -ENOMEDIUM: a tier is absent; -EIO: the copy does not read back; -errno. On failure it
 * stays where it was, and nothing is left of the copy. */
int pack_move(const struct pack_move *m, uint64_t pack, uint8_t tier);
/* Compresses a pack of the pool's own disk anew with m->level; it lies in a new pack then, *ret_row. 1: it would
 * not get smaller enough, or has something in it that is damaged, and nothing was done. Else as above. */
int pack_squeeze(const struct pack_move *m, uint64_t pack, struct pack_row *ret_was,
		 struct pack_row *ret_row);
#endif
