// SPDX-License-Identifier: MIT
/* kv_internal: the engine's state, shared by kv.c, kv_checkpoint.c and kv_iter.c. */
#ifndef FOLDFS_KV_INTERNAL_H
#define FOLDFS_KV_INTERNAL_H
#include "kv.h"
#include "lmdb_base.h"
#include "memtable.h"
#include "reader.h"
#include "wal.h"
#include <pthread.h>

/* What readers look through, top down, before LMDB. Never changed once published. */
struct layers {
	struct memtable *active, *frozen; /* frozen may be NULL */
};

struct kv {
	uint64_t id; /* kv_id() */
	struct kv_options opt;
	struct readers readers;
	struct lmdb_base *base;
	struct wal *wal;		 /* NULL: read-only */
	struct base_state state;	 /* as in LMDB; checkpoint_lsn under the lock */
	_Atomic(struct layers *) layers; /* published under the lock */
	_Atomic uint64_t last_lsn;
	_Atomic int failed;

	pthread_mutex_t lock;	    /* commits, freezing, and what follows */
	pthread_cond_t changed;	    /* a checkpoint ended, or the engine failed */
	pthread_cond_t keeper_wake; /* for the checkpoint thread */
	pthread_t keeper;
	bool keeper_runs, stopping;
	struct layers *replaced; /* unpublished by a freeze, to be freed with the frozen table */
	uint64_t frozen_lsn;
	uint64_t wanted_lsn;  /* a checkpoint up to here has been asked for */
	uint64_t last_try_ms; /* end of the last checkpoint, good or bad */
	uint64_t checkpoints, checkpoint_fails;
	int checkpoint_err; /* of the last attempt: -ENOSPC or 0 */

	pthread_mutex_t base_lock; /* one LMDB write transaction at a time; never inside `lock` */
};

void kv_fail(struct kv *kv, int err, const char *what);
/* LMDB's structure cannot be as it is: no more writing. */
void kv_index_rotten(struct kv *kv);

/* Pins layers and an LMDB snapshot that is at least as new. */
int kv_enter(struct kv *kv, struct reader **ret_reader, struct layers **ret_layers);
void kv_leave(struct reader *r);

/* kv_checkpoint.c */
int kv_freeze_locked(struct kv *kv);
void *kv_keeper_main(void *arg);
int kv_write_state(struct kv *kv, const struct base_state *state);
#endif
