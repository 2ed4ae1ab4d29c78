// SPDX-License-Identifier: MIT
/* namespace_impl: what namespace.c and rename.c share. */
#ifndef FOLDFS_NAMESPACE_IMPL_H
#define FOLDFS_NAMESPACE_IMPL_H
#include "inode.h"

/* A directory that still exists, locked exclusively and referenced. */
int dir_lock(struct fs *fs, uint64_t ino, struct inode **ret_dir);
void unlock_put(struct fs *fs, struct inode *in); /* NULL is fine */
void orphan_put(struct kv_batch *b, uint64_t ino);
/* The last name of a locked inode went: it is reaped now, or when nothing holds it any more. */
void orphan_note(struct fs *fs, struct inode *in);
/* A new name never shows an empty or mixed file. What the inode holds goes into this change,
 * or its staged data has to be durable before it. After a successful commit, call
 * inode_hold_released() if *ret_released. */
int stage_data_first(struct fs *fs, struct inode *in, struct change *c, bool *ret_released);
#endif
