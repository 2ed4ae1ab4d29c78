// SPDX-License-Identifier: MIT
/* kv_batch: a batch under construction, already in the form of a log frame's payload. */
#ifndef FOLDFS_KV_BATCH_H
#define FOLDFS_KV_BATCH_H
#include "kv.h"

struct kv_batch {
	struct buf ops; /* see wal_format.h */
	size_t n_ops;
	struct kv_barrier *barriers, **barriers_tail;
	bool reserve;
	int err;
};

struct kv_op {
	enum kv_table table;
	bool is_delete;
	struct slice key, val;
};

/* Takes the next operation off the payload. 1, 0 at the end, -EUCLEAN. */
int kv_op_take(struct slice *payload, struct kv_op *ret_op);
#endif
