// SPDX-License-Identifier: MIT
/* change: what the functions of extents.h gather before one commit. Internal to index/.
 *
 * Rows and segments that a change makes are kept here, in memory, and put into the batch at commit:
 * so a second operation of the same change sees the first, and what the second undoes is never
 * written.
 */
#ifndef FOLDFS_CHANGE_H
#define FOLDFS_CHANGE_H
#include "extent_row.h"
#include "extents.h"
#include "ids.h"
#include "piece.h"
#include "segment.h"
#include <pthread.h>
#include <stdatomic.h>

struct extents {
	struct kv *kv;
	struct ids *segment_ids;
	atomic_bool strands; /* may be used */
	pthread_mutex_t
		ref_lock; /* from reading reference counts to the commit that changes them */
	/* Held for reading from the look at `mark` to the commit, so that a batch is either reported
	 * or visible to a scan that starts after extents_set_mark(). Taken before ref_lock. */
	pthread_rwlock_t mark_lock;
	void (*mark)(void *arg, uint64_t chunk);
	void *mark_arg;
};

struct change_segment {
	uint64_t id;
	int64_t refs;
	struct buf val;
};
struct change_delta {
	uint64_t segment;
	int64_t refs;
};

struct change {
	struct extents *x;
	struct kv_batch *batch;
	struct extent_edits edits;
	struct {
		struct change_segment *v; /* ascending ids */
		size_t n, cap;
	} made;
	struct {
		struct change_delta *v; /* of segments that others may know, in no order */
		size_t n, cap;
	} deltas;
	struct piece_vec recipes; /* pieces put into inode rows, for the mark */
	int err;		  /* the first failure: nothing may be committed after it */
};

/* Adds or removes a row of row->ino, with its reference and its share of row->mapped_bytes. */
int change_put_row(struct change *c, struct inode_row *row, const struct extent_row *e);
int change_drop_row(struct change *c, struct inode_row *row, const struct extent_row *e);
/* Makes a segment, with no reference yet. */
int change_make_segment(struct change *c, const struct piece *v, size_t n, uint64_t *ret_id);
/* Remembers that row->recipe is about to be put. */
int change_note_recipe(struct change *c, const struct inode_row *row);

/* An encoded segment and its header, of the tables or of a change. */
struct open_segment {
	struct segment seg;
	struct buf val; /* holds the bytes unless they are the change's */
};
/* c may be NULL. -EUCLEAN when it is missing: rows refer to it. */
int open_segment(struct extents *x, const struct change *c, uint64_t id, struct open_segment *ret);
void open_segment_done(struct open_segment *o);
#define CLEANUP_SEGMENT __attribute__((cleanup(open_segment_done)))
#endif
