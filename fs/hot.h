// SPDX-License-Identifier: MIT
/* hot: files that are read again and again get a whole copy as a native file, which the kernel reads
 * itself. The rules are at the top of hot.c and in ARCHITECTURE.md.
 *
 * Unless said otherwise the caller holds the inode's lock exclusively.
 */
#ifndef FOLDFS_HOT_H
#define FOLDFS_HOT_H
#include "inode.h"

struct hotter;
struct hot;

int hotter_start(struct fs *fs);
/* Ends the work and removes every copy. Nothing is open any more. */
void hotter_stop(struct fs *fs);

/* The file was opened to be read. Counts it, and has it copied when it is time. */
void hot_note_open(struct fs *fs, struct inode *inode);
/* There is a copy that may be opened in the file's place. A shared lock is enough. */
bool hot_ready(const struct inode *inode);
/* The copy's descriptor, opened if it is not; it is the daemon's only one. -errno. */
int hot_fd(struct fs *fs, struct inode *inode);
/* Closes it, if nobody has the copy open. */
void hot_rest(struct inode *inode);

/* The file may be changed from now on. A copy that somebody has open or mapped becomes its staging file,
 * natively written, so that all see the same bytes; another one is left until something changes. */
int hot_give_way(struct fs *fs, struct inode *inode);
/* The content is about to change, or the file to go: the copy is removed, or its making called off. */
void hot_forget(struct fs *fs, struct inode *inode);

/* The disk below has `avail` bytes of `total`: removes copies when that is little. No lock held. */
void hot_press(struct fs *fs, uint64_t avail, uint64_t total);
/* Removes all that are not in use; what the copying thread is about to remove has gone, too. No inode's
 * lock is waited for. */
void hot_drop_all(struct fs *fs);

struct hot_stats {
	uint64_t limit, files, bytes; /* copies there are */
	uint64_t opens;		      /* that were served by one */
	uint64_t made, made_bytes, called_off, failed;
	uint64_t dropped;    /* for another, for want of space, or because of a change */
	uint64_t taken_over; /* became a staging file */
	uint64_t waiting;    /* to be copied, or being copied */
};
void hot_get_stats(struct fs *fs, struct hot_stats *ret_stats);
/* Bytes on the disk below that copies take. */
uint64_t hot_bytes(struct fs *fs);
#endif
