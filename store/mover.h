// SPDX-License-Identifier: MIT
/* mover: keeps packs in the tiers they belong to, online, at a bounded rate.
 *
 * Every `interval_s` it looks at all sealed packs and moves
 *   - where their files ask them to be (tier_wishes.h);
 *   - of the others those not read for a tier's age to that tier, the coldest that fits;
 *   - those in colder tiers of which more was read lately than they are long back to hot, while the
 *     pool's disk is below its low watermark;
 *   - while more of the pool's disk is in use than the high watermark, those not read for longest, to
 *     the first tier that has room for them, until it is at the low one.
 * A pack whose files ask for hot never leaves. Dumps of the index are no packs and stay, too.
 *
 * A pass may end at any time: the next one begins with what it finds.
 */
#ifndef FOLDFS_MOVER_H
#define FOLDFS_MOVER_H
#include "access.h"
#include "pack.h"
#include "rotten.h"
#include "tiers.h"

struct mover;

struct mover_options {
	struct kv *kv;
	struct packs *packs;
	struct tiers *tiers;
	struct access *access;
	struct rotten *rotten;
	struct cache *cache;
	unsigned high_watermark, low_watermark; /* percent */
	uint64_t rate_bytes_per_s;		/* 0 = unlimited */
	uint64_t interval_s;
	uint64_t short_bytes; /* so much of the pool's disk is left free */
};

struct mover_status {
	bool moving; /* a pack, now: */
	uint64_t pack;
	unsigned to;
	uint64_t packs_moved, bytes_moved; /* since the mount */
	uint64_t bytes_waiting;		   /* of the pass at hand */
	uint64_t passes;
	char last_error[160]; /* one sentence; empty: the last pass had none */
};

/* What moving some files has come to. */
struct mover_result {
	uint64_t packs, bytes; /* that were to move */
	uint64_t packs_moved, bytes_moved;
	uint64_t packs_shared, bytes_shared; /* left, as most of them is other files' */
	uint64_t packs_failed;
	int error; /* the first, if packs failed */
};

int mover_open(const struct mover_options *opt, struct mover **ret_m);
int mover_start(struct mover *m); /* its thread */
void mover_stop(struct mover *m); /* ends what is under way; NULL is fine */
void mover_close(struct mover *m);
void mover_wake(struct mover *m);	   /* looks now */
void mover_packs_renamed(struct mover *m); /* by others: what files ask for is looked up anew */
/* One pass. -ECANCELED: it was stopped. */
int mover_run(struct mover *m);
/* Moves the packs that hold the bytes of these files, now and as fast as it goes. To hot all of them; to
 * another tier those of which at least half is theirs. `progress` gives 0 to go on. -ENOENT: there is no
 * such file. */
int mover_move_files(struct mover *m, const uint64_t *inos, size_t n, unsigned tier,
		     int (*progress)(void *arg, const struct mover_result *so_far), void *arg,
		     struct mover_result *ret_result);
const char *mover_reason(int err); /* why a pack could not be moved */
void mover_get_status(struct mover *m, struct mover_status *ret_status);
#endif
