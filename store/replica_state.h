// SPDX-License-Identifier: MIT
/* replica_state: which packs and staging files the rows of one moment name, whatever the pool's are by now.
 *
 * It is made of a dump's rows and the log since, as whoever takes the pool over will make the index of them; so both
 * know of the same files.
 */
#ifndef FOLDFS_REPLICA_STATE_H
#define FOLDFS_REPLICA_STATE_H
#include "chunk_row.h"
#include "inode_row.h"

struct replica_state { /* zero-initialise; both ascending */
	struct pack_row *packs;
	size_t n_packs, cap_packs;
	struct inode_row *staged; /* rows that name a staging file */
	size_t n_staged, cap_staged;
};

/* 0, -EUCLEAN, -ENOMEM. */
int replica_state_put(struct replica_state *s, enum kv_table t, struct slice key, struct slice val);
/* The operations of a batch. */
int replica_state_apply(struct replica_state *s, struct slice payload);
const struct inode_row *replica_state_staged(const struct replica_state *s, uint64_t ino);
void replica_state_reset(struct replica_state *s);
void replica_state_done(struct replica_state *s);

/* What a staging file was read over, was `had`: is it right over what a batch makes of that row, too? Not when
 * the map below it has changed, or the file has become shorter. */
bool replica_state_fits(const struct inode_row *had, const struct inode_row *now);
#endif
