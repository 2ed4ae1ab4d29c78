// SPDX-License-Identifier: MIT
/* pool_impl: what pool.c and pool_create.c share. */
#ifndef FOLDFS_POOL_IMPL_H
#define FOLDFS_POOL_IMPL_H
#include "pool.h"

extern const char *const pool_directories[]; /* NULL-terminated */

void pool_say(struct pool_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Options for kv_open(). The caller closes both descriptors and frees *ret_index_path. */
int pool_kv_options(struct pool *pool, bool read_only, struct kv_options *ret_opt,
		    char **ret_index_path);
#endif
