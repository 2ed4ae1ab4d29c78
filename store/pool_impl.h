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
#endif
