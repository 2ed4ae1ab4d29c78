// SPDX-License-Identifier: MIT
/* replicator: ships the pool to its replica, every `replicate`, and keeps the lease of its epoch.
 *
 * One thread ships, one renews the lease and finds out when it is gone. What fails is told once, and caught up with
 * when the place is back.
 */
#ifndef FOLDFS_REPLICATOR_H
#define FOLDFS_REPLICATOR_H
#include "pool.h"

#define REPLICA_OWNER_FILE "replica" /* in the pool: who it is in epochs */

struct replicator;

struct replicator_options {
	struct pool *pool;
	void (*destage)(void *arg);		   /* what can be stored is; before each ship */
	void (*lost)(void *arg, const char *host); /* once: that machine has taken over */
	void *arg;
};

struct replicator_status {
	char place[256];
	uint64_t epoch, root;	      /* 0: none yet */
	uint64_t shipped_lsn;	      /* of the root */
	int64_t shipped_time;	      /* when it was published, seconds since 1970; 0: never */
	uint64_t ships, packs, bytes; /* since the mount */
	bool lost;
	char error[200]; /* of the last try; empty: none */
};

/* NULL in *ret_r: the pool's options want no replica. Begins an epoch, if the place answers. -EEXIST: it is another
 * pool's; -EROFS: another machine has taken the pool over; -errno. Each with a sentence. */
int replicator_start(const struct replicator_options *opt, struct replicator **ret_r,
		     struct pool_error *err);
/* Ships now what is there, and returns when it is there. `go_on` (may be NULL) is called now and then, and ends the waiting
 * with what it gives other than 0. */
int replicator_sync(struct replicator *r, int (*go_on)(void *arg), void *arg);
/* The mount ends: destage() is not called any more, and the thread that ships has ended. NULL is fine. */
void replicator_pause(struct replicator *r);
/* Ships what is left, if the last ship was a success and this takes no longer than some seconds; gives the lease back; frees. */
void replicator_close(struct replicator *r);
void replicator_get_status(struct replicator *r, struct replicator_status *ret_status);

/* Where packs lie in a replica: its tier's place. */
struct place_options;
int replica_open_tier(const struct place_options *opt, bool make, struct place **ret_place,
		      char *why, size_t size);
/* Who the pool is in epochs; made up if nobody has asked before. */
int replica_owner(int pool_dirfd, uint8_t ret_owner[16]);
int replica_owner_write(int pool_dirfd, const uint8_t owner[16]);
void replica_host(char *host, size_t size);
#endif
