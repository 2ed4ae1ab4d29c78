// SPDX-License-Identifier: MIT
/* writers: who may be writing what the daemon does not see?
 *
 * Natively: is anybody at it at this moment? Only the staging file's time of modification moves on; so who wants
 * to leave the disk to writers looks at those. Into pages of a cached open: stores into mappings, and with the
 * writeback cache all writes; the kernel has them alone until it sends them, so a sync asks for them.
 */
#ifndef FOLDFS_WRITERS_H
#define FOLDFS_WRITERS_H
#include "inode.h"

struct writers;

int writers_new(struct writers **ret_w);
void writers_free(struct writers *w); /* NULL is fine */
/* The inode has been opened for native writing, once more perhaps; if there is no memory, nobody looks at
 * it. Caller holds its lock exclusively. */
void writers_add(struct writers *w, struct inode *in);
/* It has been opened for writing through the page cache. The same; -ENOMEM. */
int writers_add_cached(struct writers *w, struct inode *in);
/* It is not open in this way any more. The same. */
void writers_remove(struct writers *w, struct inode *in);
/* Has somebody been writing without a pause the last few times that this looked? It does so every few
 * milliseconds at most, whoever asks how often. Any thread that holds no inode's lock. */
bool writers_at_work(struct writers *w);
/* The numbers of all inodes that are open for writing through the page cache; the caller frees them. -ENOMEM. */
int writers_cached(struct writers *w, uint64_t **ret_inos, size_t *ret_n);
#endif
