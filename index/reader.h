// SPDX-License-Identifier: MIT
/* reader: what pins memtables and LMDB pages while a thread looks at them.
 *
 * Entering costs one store to memory of the thread's own, no lock. Whoever takes something away
 * (a memtable, the LMDB map) first unpublishes it and then waits with readers_wait() until every
 * reader that might have seen it has left. Readers never stay: no I/O but page faults, no locks.
 */
#ifndef FOLDFS_READER_H
#define FOLDFS_READER_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct MDB_txn;

struct reader {
	_Atomic uint64_t visits; /* odd while inside */
	_Atomic bool owned;	 /* by a living thread */
	struct MDB_txn *txn;	 /* parked (reset) while outside */
	struct readers *all;
	struct reader *next;
} __attribute__((aligned(64)));

struct readers {
	pthread_key_t mine;
	_Atomic(struct reader *) list;
	_Atomic bool paused;
	pthread_mutex_t lock; /* list growth, and the wait for a pause to end */
	pthread_cond_t resumed;
};

int readers_init(struct readers *rs);
void readers_done(struct readers *rs); /* frees parked transactions; no reader is inside */

struct reader *reader_enter(struct readers *rs); /* NULL: no memory */
void reader_leave(struct reader *r);

void readers_wait(struct readers *rs);	/* all readers inside at the call have left */
void readers_pause(struct readers *rs); /* waits until none is inside, keeps new ones out */
void readers_resume(struct readers *rs);
#endif
