// SPDX-License-Identifier: MIT
/* tail: what a staging file has past the end of its file, after the file was made shorter.
 *
 * Staged bytes that a map lies under may go only when no crash can bring the former size or map back.
 * So a cut of such a file leaves them; they are the tail. It goes when the shorter size is durable: then
 * the ticker cuts it, or who is about to make the file longer, or the next mount.
 *
 * The caller holds the inode's lock exclusively.
 */
#ifndef FOLDFS_TAIL_H
#define FOLDFS_TAIL_H
#include "inode.h"

/* The file is about to get this size, which is less: cuts the staging file, or has it keep a tail.
 * After the row with the new size was committed call tail_begun(). */
int tail_begin(struct fs *fs, struct inode *inode, uint64_t size);
void tail_begun(struct inode *inode);
/* There is no tail when this returns 0; it waits for the log if need be. Before a file becomes longer. */
int tail_cut(struct fs *fs, struct inode *inode);
/* The same if nothing has to be waited for; else it is tried again at the next tick. */
int tail_cut_later(struct fs *fs, struct inode *inode);
/* At mount: all that the row says is durable. */
int tail_cut_left(struct fs *fs, struct inode *inode);
/* Waits until a crash cannot bring a map back that was under the staging file a moment ago. */
int tail_wait_map_end(struct fs *fs, struct inode *inode);
#endif
