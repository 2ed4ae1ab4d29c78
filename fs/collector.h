// SPDX-License-Identifier: MIT
/* collector: runs gc by itself: every gc_interval in which something was deleted or overwritten, and
 * within seconds when the disk is full or nearly so. */
#ifndef FOLDFS_COLLECTOR_H
#define FOLDFS_COLLECTOR_H
#include "fs.h"

int collector_start(struct fs *fs);
void collector_stop(struct fs *fs); /* a running pass ends with the pool's gc */
void collector_wake(struct fs *fs); /* a pass now */
#endif
