// SPDX-License-Identifier: MIT
/* pack_copy: which of two files of a pack is sound, when it lies twice? */
#ifndef FOLDFS_PACK_COPY_H
#define FOLDFS_PACK_COPY_H
#include "pool.h"

/* A descriptor for reading of the file in this tier. An object is fetched into a file without a name in
 * the directory tmp_dirfd. */
int pack_copy_open(struct tiers *t, unsigned tier, uint64_t pack, int tmp_dirfd);
/* Reads all of it. More is sounder: frames that rows of the index name there and that decode, above all,
 * then header, then footer. */
int pack_copy_weigh(struct pool *pool, int fd, uint64_t pack, uint64_t *ret_weight);
#endif
