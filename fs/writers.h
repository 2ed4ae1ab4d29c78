// SPDX-License-Identifier: MIT
/* writers: is anybody writing natively at this moment? The daemon sees no such write, only that the staging
 * file's time of modification moves on; so who wants to leave the disk to writers looks at those.
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
/* It is not open natively any more. The same. */
void writers_remove(struct writers *w, struct inode *in);
/* Has somebody been writing without a pause the last few times that this looked? It does so every few
 * milliseconds at most, whoever asks how often. Any thread that holds no inode's lock. */
bool writers_at_work(struct writers *w);
#endif
