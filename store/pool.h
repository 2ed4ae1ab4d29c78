// SPDX-License-Identifier: MIT
/* pool: everything of one pool, opened in the right order and closed in the reverse one.
 *
 * Only one process has a pool open (POOL/lock); readers such as fsck -n take it too.
 */
#ifndef FOLDFS_POOL_H
#define FOLDFS_POOL_H
#include "config.h"
#include "destage.h"
#include "dumper.h"
#include "gc.h"
#include "mover.h"
#include "recoder.h"
#include "scrub.h"
#include "staging.h"
#include "super.h"

struct pool {
	char *path;
	int dirfd, lockfd, wal_lockfd; /* of the pool's directory, POOL/lock, the log's owner */
	struct super super;
	struct config config;
	struct kv *kv;
	int index_fd, wal_fd; /* the engine's directories, and the path of the first */
	char *index_path;
	struct kv_recovery recovery;
	struct extents *extents;
	struct digests *digests;
	struct tiers *tiers;
	struct access *access; /* NULL when read-only or without tiers, as the mover is */
	struct packs *packs;
	struct cache *cache;
	struct chunks *chunks;
	struct packer *packer;
	struct staging *staging; /* NULL when read-only and nothing is staged */
	struct destage *destage; /* NULL when read-only */
	struct gc *gc;		 /* NULL when read-only */
	struct rotten *rotten;	 /* NULL when read-only */
	struct scrub *scrub;	 /* NULL when read-only */
	struct mover *mover;	 /* its thread is the mount's */
	struct recoder *recoder; /* likewise; NULL without idle_level */
	struct ids *inode_ids;
	struct dumper *dumper; /* NULL when read-only */
	int packs_fd;	       /* for the dumps */
	bool read_only;
	bool follows;	   /* the index is for follower.h to change, though all else is read-only */
	bool reserve_lent; /* to be made again when it is closed */
	int failed;	   /* set by a metadata I/O error: -errno; the mount turns read-only */
	void (*on_failure)(void *arg, int err, const char *what);
	void *on_failure_arg;
};

struct pool_error {
	char text[512]; /* one sentence: what, where, why, what to do */
};

/* Makes a pool in an empty or missing directory. -EEXIST (a pool already or not empty), ... ;
 * on failure nothing that was not there before is left. Durable on return. */
int pool_create(const char *path, const struct config *config, struct pool_error *err);
/* wait_ms: for the lock (a daemon that is going away); 0 = not at all. The config given is what -o
 * said on top of the defaults: foldfs.conf is read here, `options` is applied after it.
 * -ENOENT no pool, -EBUSY in use, -EUCLEAN damaged, -EPROTONOSUPPORT newer format, -EINVAL option. */
int pool_open(const char *path, const char *options, bool read_only, unsigned wait_ms,
	      struct pool **ret_pool, struct pool_error *err);
/* The same of a pool that follows a replica, read-only, for who starts a follower; -EINVAL: it follows none.
 * pool_open() opens such a pool as it was left, and only read-only: -EROFS. */
int pool_open_follower(const char *path, const char *options, unsigned wait_ms,
		       struct pool **ret_pool, struct pool_error *err);
bool pool_is_follower(const char *path); /* false, too, when there is no pool */
/* Lets films be written down in strands from now on, which older programs can't read. -errno: the superblock can't be
 * written, and all goes on without. */
int pool_use_strands(struct pool *pool);
/* For who checks or repairs: superblock, lock, index and digests as above, packs for reading only, and
 * no more; nothing is swept, sealed or reserved, and damage in packs is passed over. */
int pool_open_bare(const char *path, bool read_only, struct pool **ret_pool,
		   struct pool_error *err);
/* Flushes destage, closes everything, releases the lock last. The first error, memory freed anyway. */
int pool_close(struct pool *pool);

/* Real space: of the backing filesystem and of the pool's own files. */
struct pool_space {
	uint64_t backing_total, backing_free, backing_avail; /* bytes, statvfs */
	uint64_t logical; /* sum of the files' mapped, inline and staged bytes */
	uint64_t packs, index, wal, staging, cache, reserve; /* bytes allocated on disk */
};
int pool_space(struct pool *pool, struct pool_space *ret_space);
/* Lets go of (or makes again) POOL/reserve, so that deletes and checkpoints work on a full disk. */
#define POOL_ROOM_FULL (16u << 20) /* less than this left beside the reserve: the disk is full */
/* The disk below is short of room while it has less than this left. */
uint64_t pool_short_of_room(const struct pool *pool);
int pool_reserve_release(struct pool *pool);
int pool_reserve_make(struct pool *pool);
bool pool_reserve_held(const struct pool *pool);
/* On a full disk lets go of that much of the reserve for what has to be written now, until pool_close(),
 * which makes it again if there is room for it. */
void pool_reserve_lend(struct pool *pool, uint64_t bytes);
#endif
