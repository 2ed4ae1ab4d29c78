// SPDX-License-Identifier: MIT
/* tier_wishes: which packs hold the bytes of which files, for those who want files in one tier.
 *
 * Files share packs. What is asked of a pack by its files is told by how many of its stored bytes each
 * asks it for; what becomes of it is the caller's to decide. Needs a byte of memory per chunk and per
 * segment of the pool, a bit per inode number, and reads all rows of frames.
 */
#ifndef FOLDFS_TIER_WISHES_H
#define FOLDFS_TIER_WISHES_H
#include "kv.h"
#include "tiers.h"

/* A file's or directory's own wish, for what is in it, too: a tier's name, or pin (the same as hot). */
#define TIER_XATTR "user.foldfs.tier"

struct wish_tally {
	uint64_t pack;
	uint64_t stored;	/* bytes of its frames */
	uint64_t wished;	/* of these by anybody, */
	uint64_t by[TIERS_MAX]; /* for each tier, by its place in the order from hot to cold */
};

struct wishes {
	struct wish_tally *v; /* by pack; only packs that are asked for something */
	size_t n;
};

/* Asked now and then; true ends the search with -ECANCELED. */
struct wishes_stop {
	bool (*asked)(void *arg);
	void *arg;
};

/* All attributes. `stop` may be NULL. */
int wishes_by_policy(struct kv *kv, const struct tiers *t, const struct wishes_stop *stop,
		     struct wishes *ret_w);
/* These files, and what is in these directories, for the first tier. -ENOENT: one has no row. */
int wishes_of_files(struct kv *kv, const uint64_t *inos, size_t n, const struct wishes_stop *stop,
		    struct wishes *ret_w);
void wishes_done(struct wishes *w);
const struct wish_tally *wishes_find(const struct wishes *w, uint64_t pack);
#endif
