// SPDX-License-Identifier: MIT
/* far: writes at offsets that a staging file cannot have.
 *
 * Backing filesystems end files at 16 TiB (ext4) or elsewhere below the 8 EiB that an inode of ours
 * may span. Bytes beyond FAR_OFFSET never land: they are destaged at once, before the write returns.
 * Files that reach so far are always mediated. But who had the file open natively may have written there,
 * if the backing filesystem can: then the staging file has these bytes, and gets those that replace them.
 */
#ifndef FOLDFS_FAR_H
#define FOLDFS_FAR_H
#include "inode.h"

#define FAR_OFFSET (1ull << 43) /* 8 TiB */

/* Stores and commits [at, at+len). Blocks; takes the inode's lock itself. Not durable. */
int far_write(struct fs *fs, struct inode *inode, const void *buf, size_t len, uint64_t at);
#endif
