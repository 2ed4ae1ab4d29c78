// SPDX-License-Identifier: MIT
/* follow_change: what makes one state of a replica out of another, in rows; and whom that concerns.
 *
 * Rows are those of the pool that is followed, but sealed packs lie in the replica here, doomed ones are gone,
 * and digests, tiers and what this pool itself notes are left alone.
 */
#ifndef FOLDFS_FOLLOW_CHANGE_H
#define FOLDFS_FOLLOW_CHANGE_H
#include "kv.h"

#define FOLLOW_STATE_KEY "follow" /* KV_META, this pool's own */

struct follow_name { /* that leads elsewhere now, or nowhere, or did not lead anywhere */
	uint64_t parent;
	size_t at; /* in names */
};

struct follow_change { /* zero-initialise; the first field is the caller's to fill in */
	struct kv *kv; /* that has the state before; unchanged until follow_change_commit() */
	struct kv_batch **batches; /* in order; all but the last may be full */
	size_t n_batches, cap_batches, filled;
	/* inodes of which anything but names has changed; ascending, each once, after follow_change_sort() */
	uint64_t *inodes;
	size_t n_inodes, cap_inodes;
	int64_t grown; /* how many more of them there are now than before; set by the follower */
	struct follow_name *moved;
	size_t n_moved, cap_moved;
	uint64_t *packs; /* whose rows change; some more than once */
	size_t n_packs, cap_packs;
	struct buf names;    /* NUL-terminated */
	struct kv_iter *old; /* of the table that is compared */
	struct slice old_key, old_val;
	int old_left, table; /* 1: old_key is there */
	struct buf last;     /* key */
	uint32_t seen;	     /* tables */
};

/* One operation of a batch. 0, -EUCLEAN, -ENOMEM. */
int follow_change_put(struct follow_change *c, enum kv_table t, struct slice key, struct slice val);
int follow_change_delete(struct follow_change *c, enum kv_table t, struct slice key);
/* All rows of another state, table by table and each in key order, and then the end: what differs is put, what is
 * not among them goes. -EUCLEAN: they are in no order. */
int follow_change_compare(struct follow_change *c, enum kv_table t, struct slice key,
			  struct slice val);
int follow_change_compared(struct follow_change *c);
/* It has changed, whatever its rows say. */
int follow_change_note_inode(struct follow_change *c, uint64_t ino);
void follow_change_sort(struct follow_change *c);
/* How many of these inodes there are. */
int64_t follow_change_count(const struct follow_change *c);
int follow_change_commit(struct follow_change *c); /* not durable */
void follow_change_done(struct follow_change *c);
#endif
