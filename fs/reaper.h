// SPDX-License-Identifier: MIT
/* reaper: deletes, in the background and in bounded batches, inodes that have no name left. */
#ifndef FOLDFS_REAPER_H
#define FOLDFS_REAPER_H
#include "inode.h"

int reaper_start(struct fs *fs); /* also takes up the orphans of an earlier mount */
void reaper_stop(struct fs *fs); /* finishes what is queued; what is left waits in KV_ORPHAN */
/* The inode has no name, no open and no lookup any more; deleted if that is (still) so. */
void reaper_queue(struct fs *fs, uint64_t ino);
void reaper_drain(struct fs *fs); /* returns when the queue is empty */
#endif
