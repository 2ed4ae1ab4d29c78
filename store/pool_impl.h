// SPDX-License-Identifier: MIT
/* pool_impl: what pool.c and pool_create.c share. */
#ifndef FOLDFS_POOL_IMPL_H
#define FOLDFS_POOL_IMPL_H
#include "pool.h"

extern const char *const pool_directories[]; /* NULL-terminated */

void pool_say(struct pool_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Opens pool->kv, on descriptors and a path that the pool keeps until pool_close_kv(). */
int pool_open_kv(struct pool *pool, bool read_only);
int pool_close_kv(struct pool *pool);
/* Only the descriptors and the path; closed by pool_close_kv() too. */
int pool_open_dirs(struct pool *pool);
/* Lock, superblock, configuration and directories; *ret_pool is to be given to pool_close(). */
int pool_open_parts(const char *path, const char *options, bool read_only, unsigned wait_ms,
		    struct pool **ret_pool, struct pool_error *err);
/* Why pool_open_dirs() or a look at the log failed, if it is for what lies in the log's directory;
 * false: for another reason. */
bool pool_say_log(const struct pool *pool, int r, struct pool_error *err);
/* A pool that is not made from nothing. */
struct pool_making {
	/* Makes index, log and whatever belongs to them in the pool's directories, which are empty. It may say why not. */
	int (*fill)(struct pool *pool, void *arg, struct pool_error *err);
	void *arg;
	const struct super *super;
};
int pool_make(const char *path, const struct config *config, const struct pool_making *how,
	      struct pool_error *err);
void pool_say_newer(const char *path, const char *pack, struct pool_error *err);
/* Index, log and superblock are not of the same pool. */
void pool_say_foreign(const struct pool *pool, struct pool_error *err);
struct dump_place pool_dump_place(const struct pool *pool);
#endif
