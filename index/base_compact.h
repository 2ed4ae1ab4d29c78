// SPDX-License-Identifier: MIT
/* base_compact: LMDB's file without the pages that are free in it, which LMDB keeps for itself for ever. */
#ifndef FOLDFS_BASE_COMPACT_H
#define FOLDFS_BASE_COMPACT_H
#include "lmdb_base.h"

/* Puts a copy of what is in use in the place of index/data.mdb, if that is worth it: at least half of
 * the file and COMPACT_MIN are free, and what is in use is soon copied. Nobody may be reading or writing,
 * and all that may be done with `b` after it is to close it. Durable on return; at a failure or power
 * cut the old file or the new one is there, whole. 1: it was done; 0: it was not worth it; -errno. */
int base_compact(struct lmdb_base *b, int index_fd);
/* Removes what one left that was cut. 0 or -errno. */
int base_compact_sweep(int index_fd);
#endif
