// SPDX-License-Identifier: MIT
/* ahead: who reads a file in order from a place that answers late shall not wait for each answer. */
#ifndef FOLDFS_AHEAD_H
#define FOLDFS_AHEAD_H
#include "inode.h"

/* [at, at+len) has just been read through the daemon. May queue work, never waits. */
void ahead_note(struct fs *fs, struct inode *in, uint64_t at, uint64_t len);
#endif
