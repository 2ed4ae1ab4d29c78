// SPDX-License-Identifier: MIT
/* follow: a mount of a pool that follows a replica (follower.h): nobody looks while the index changes, and nobody
 * goes on with what it was before, neither here nor in the kernel.
 *
 * Handlers run within a gate that is closed meanwhile. What they leave to other threads runs outside of it, since it
 * may wait for the network: a read that was under way during a change is done again.
 */
#ifndef FOLDFS_FOLLOW_H
#define FOLDFS_FOLLOW_H
#include "follower.h"
#include "fs.h"

struct follow;

/* For mounts of pools that follow. *ret_f stays NULL for all others. Before the session, which follow_begin() needs. */
int follow_open(struct fs *fs, struct follow **ret_f, struct pool_error *err);
int follow_begin(struct follow *f);
/* No changes any more from here on. NULL is fine, as for all below. */
void follow_end(struct follow *f);
void follow_free(struct follow *f);

void follow_enter(struct follow *f);
void follow_leave(struct follow *f);
/* Waits while a change is under way; what it gives is for follow_again(). */
uint64_t follow_seen(struct follow *f);
/* The index has changed since: what was read may be of neither state. */
bool follow_again(struct follow *f, uint64_t seen);

int follow_sync(struct follow *f, int (*go_on)(void *arg), void *arg);
void follow_get_status(struct follow *f, struct follower_status *ret_status);
#endif
