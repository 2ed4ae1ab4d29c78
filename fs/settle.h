// SPDX-License-Identifier: MIT
/* settle: when an inode's landed bytes are destaged, and how the result gets into the inode.
 *
 * After the last writer has closed, an inode waits (small content for half a sync interval, staged
 * content for destage_delay) and is then handed to destage, stretch by stretch. A write that comes
 * meanwhile calls it off; the next close starts again.
 */
#ifndef FOLDFS_SETTLE_H
#define FOLDFS_SETTLE_H
#include "inode.h"

struct settler;

int settler_start(struct fs *fs);
/* The mount is gone. Commits what inodes hold, also those whose release never came (a signal ended
 * the session), leaves staged files, synced, for the next mount; stops. */
void settler_stop(struct fs *fs);

/* The mount is about to end: who waits in settle_all() is let go. Destage itself goes on until
 * settler_stop(), as writers that wait for room may still need it. */
void settle_unwatch(struct fs *fs);

/* The inode may be destaged from now on. Caller holds its lock; nothing happens when it is waiting
 * already or there is nothing to do. */
void settle_schedule(struct fs *fs, struct inode *inode);
/* Content from `at` on is about to change, up to `end`: a destage of it is called off. Caller holds
 * the lock exclusively. */
void settle_disturb(struct inode *inode, uint64_t at, uint64_t end);
/* A mediated writer has come to `at`: when space is tight and enough lies behind it, that part is
 * destaged and its staged blocks are given back while the file is open. Caller holds the lock. */
void settle_behind(struct fs *fs, struct inode *inode, uint64_t at);
/* Waits a moment for destage to make room in staging and memory; false when nothing is under way. */
bool settle_wait_room(struct fs *fs);
/* It is in destage at this moment. */
bool settle_active(const struct inode *inode);
/* Starts all that wait now. With `wait`, returns when what was there at the call is in packs, whatever
 * is written meanwhile; files that are open for writing, still mapped or failing are left. */
void settle_all(struct fs *fs, bool wait);

struct settle_stats {
	uint64_t waiting, active, failed;
};
void settle_get_stats(struct fs *fs, struct settle_stats *ret_stats);
#endif
