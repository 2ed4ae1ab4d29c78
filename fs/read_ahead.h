// SPDX-License-Identifier: MIT
/* read_ahead: how far the kernel reads ahead in this mount's files, which only root may tell it. */
#ifndef FOLDFS_READ_AHEAD_H
#define FOLDFS_READ_AHEAD_H
#include "fs.h"

/* The mount is there: finds where its read-ahead is set. */
void read_ahead_find(struct fs *fs);
/* Sets it, the first time. INIT has been answered, and no file is open yet. Never waits. */
void read_ahead_tell(struct fs *fs);
#endif
