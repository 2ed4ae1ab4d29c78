// SPDX-License-Identifier: MIT
/* follower: keeps a pool at the newest state of a replica that another machine ships to.
 *
 * The pool (mkfs.foldfs --follow) has an index, and files of what is not in packs of the replica, of its own. One thread
 * looks for a newer root every `follow_interval`, fetches what it lacks, and changes the index while nobody looks.
 */
#ifndef FOLDFS_FOLLOWER_H
#define FOLDFS_FOLLOWER_H
#include "follow_change.h"
#include "pool.h"

struct follower;

struct follower_options {
	struct pool *pool; /* of pool_open_follower() */
	/* From here to end() nobody may look at rows, packs in the pool, or staging files. */
	void (*begin)(void *arg);
	/* `anew`: what rows lead to may be other bytes than before, though the rows are the same: the pool was taken over
	 * at an earlier state. */
	void (*end)(void *arg, const struct follow_change *change, bool anew);
	void *arg;
};

struct follower_status {
	char place[256];
	uint64_t epoch, root, lsn; /* of the state that is shown */
	int64_t time,
		looked_time; /* it was published; it was looked for a newer one; seconds since 1970, 0: never */
	uint64_t states, bytes;		       /* followed, and fetched, since the mount */
	char error[sizeof(struct pool_error)]; /* of the last look; empty: none */
};

/* If the last change was interrupted, it is completed first, which needs the replica. -errno with a sentence. */
int follower_open(const struct follower_options *opt, struct follower **ret_f,
		  struct pool_error *err);
int follower_start(struct follower *f);
/* Looks now. As replicator_sync(). */
int follower_sync(struct follower *f, int (*go_on)(void *arg), void *arg);
void follower_close(struct follower *f); /* NULL is fine */
void follower_get_status(struct follower *f, struct follower_status *ret_status);

#define FOLLOWER_ROOT_FILE "followed" /* in the pool: the root of which its files are */
/* Notes which state index and files are: for who makes a pool that follows. */
struct replica_root;
int follower_note_state(struct pool *pool, const struct replica_root *root);
#endif
