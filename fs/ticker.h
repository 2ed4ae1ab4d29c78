// SPDX-License-Identifier: MIT
/* ticker: a thread that, twice in each sync interval, commits what inodes have not committed yet and
 * lets partly filled frames go, so that nothing the daemon holds gets older than the interval. */
#ifndef FOLDFS_TICKER_H
#define FOLDFS_TICKER_H
#include "inode.h"

int ticker_start(struct fs *fs);
void ticker_stop(struct fs *fs);
/* One tick now. `all`: also what would be held back for a while (on the way out, or for a sync). The
 * first error: what it hit stays on the list. */
int ticker_commit_dirty(struct fs *fs, bool all);
#endif
