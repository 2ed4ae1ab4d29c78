// SPDX-License-Identifier: MIT
/* wal_home: whose log a directory holds. A log that was closed cleanly is empty, so its directory says
 * by a file of its own which pool it belongs to: "owner", with the pool's uuid in hex and a newline.
 */
#ifndef FOLDFS_WAL_HOME_H
#define FOLDFS_WAL_HOME_H
#include <stdint.h>

#define WAL_HOME_OWNER "owner"

/* 0: this pool's. -ENOENT: nobody's yet. -ENOTEMPTY: nobody's log, but somebody's files.
 * -ESTALE: another pool's, or not to be understood. */
int wal_home_check(int dirfd, const uint8_t pool_uuid[16]);
/* Keeps every other process, with a copy of the pool, too, away from the log for as long as the
 * descriptor it returns is open. -EBUSY: another has it. -ENOENT: nobody has claimed it. */
int wal_home_lock(int dirfd);
int wal_home_claim(int dirfd, const uint8_t pool_uuid[16]); /* durable on return */
#endif
