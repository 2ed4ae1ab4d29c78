// SPDX-License-Identifier: MIT
/* takeover: a pool made anew from its replica, on a machine that takes the place of the one before, or follows it. */
#ifndef FOLDFS_TAKEOVER_H
#define FOLDFS_TAKEOVER_H
#include "pool.h"

struct takeover_options {
	const char *from;    /* the replica's place, an absolute path or s3://bucket/prefix */
	const char *options; /* of the pool, over those it had; comma-separated, may be NULL */
	bool follow; /* the other machine goes on: a pool for follower.h, read-only for ever */
	/* The lease of `host` may still run for `left_ms`. May be NULL; not 0 ends it, with that result. */
	int (*waiting)(void *arg, const char *host, uint64_t left_ms);
	/* Of so many bytes of metadata and staged files. May be NULL. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

struct takeover_result {
	char host[65]; /* that had the pool */
	uint64_t epoch, lsn;
	int64_t time; /* of the state that was taken over, seconds since 1970 */
	uint64_t packs, pack_bytes, staged;
};

/* Makes a pool in an empty or missing directory. Its packs stay where they are, as a tier. -EBUSY: the other machine is
 * alive; -ENOENT: there is no replica, or nothing in it; -EUCLEAN: it is damaged; as pool_create(). */
int takeover_run(const char *path, const struct takeover_options *opt,
		 struct takeover_result *ret_result, struct pool_error *err);
#endif
