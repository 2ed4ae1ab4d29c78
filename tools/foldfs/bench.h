// SPDX-License-Identifier: MIT
/* bench: foldfs bench, what this machine can do for a pool. */
#ifndef FOLDFS_BENCH_H
#define FOLDFS_BENCH_H
#include <jansson.h>

/* Measures with the pool's own options, and in the directory `path` if that lies in its mount. NULL
 * after a complaint. */
json_t *bench_pool(const char *pool, const char *path);
void show_bench(const json_t *bench);
#endif
