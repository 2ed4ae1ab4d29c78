// SPDX-License-Identifier: MIT
/* Each thread has a `struct reader` with a counter that is odd while the thread is inside.
 *
 * The counter's store on entry and the loads that follow it (of the published memtables, of
 * `paused`) are sequentially consistent, and so are the writer's unpublishing store and its loads
 * of the counters: either the writer sees the reader inside and waits, or the reader sees what the
 * writer has published. A counter that changed means that the reader left at least once, and what
 * it sees on its next visit is the new state.
 */
#include "reader.h"
#include <errno.h>
#include <lmdb.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

/* Thread exit: the slot, with its parked transaction, waits for another thread. */
static void reader_orphan(void *p)
{
	struct reader *r = p;
	atomic_store(&r->owned, false);
}

int readers_init(struct readers *rs)
{
	*rs = (struct readers){ 0 };
	int r = pthread_key_create(&rs->mine, reader_orphan);
	if (r)
		return -r;
	pthread_mutex_init(&rs->lock, NULL);
	pthread_cond_init(&rs->resumed, NULL);
	return 0;
}

void readers_done(struct readers *rs)
{
	pthread_key_delete(rs->mine);
	for (struct reader *r = atomic_load(&rs->list), *next; r; r = next) {
		next = r->next;
		if (r->txn)
			mdb_txn_abort(r->txn);
		free(r);
	}
	pthread_mutex_destroy(&rs->lock);
	pthread_cond_destroy(&rs->resumed);
}

static struct reader *reader_adopt(struct readers *rs)
{
	for (struct reader *r = atomic_load(&rs->list); r; r = r->next) {
		bool owned = false;
		if (atomic_compare_exchange_strong(&r->owned, &owned, true))
			return r;
	}
	struct reader *r = aligned_alloc(_Alignof(struct reader), sizeof *r);
	if (!r)
		return NULL;
	*r = (struct reader){ .owned = true, .all = rs };
	pthread_mutex_lock(&rs->lock);
	r->next = atomic_load(&rs->list);
	atomic_store(&rs->list, r);
	pthread_mutex_unlock(&rs->lock);
	return r;
}

static struct reader *reader_first_visit(struct readers *rs)
{
	struct reader *r = reader_adopt(rs);
	if (r && pthread_setspecific(rs->mine, r)) {
		reader_orphan(r);
		return NULL;
	}
	return r;
}

struct reader *reader_enter(struct readers *rs)
{
	struct reader *r = pthread_getspecific(rs->mine);
	if (!r && !(r = reader_first_visit(rs)))
		return NULL;
	for (;;) {
		uint64_t v = atomic_load_explicit(&r->visits, memory_order_relaxed);
		atomic_store(&r->visits, v + 1);
		if (__builtin_expect(!atomic_load(&rs->paused), 1))
			return r;
		reader_leave(r);
		pthread_mutex_lock(&rs->lock);
		while (atomic_load(&rs->paused))
			pthread_cond_wait(&rs->resumed, &rs->lock);
		pthread_mutex_unlock(&rs->lock);
	}
}

void reader_leave(struct reader *r)
{
	uint64_t v = atomic_load_explicit(&r->visits, memory_order_relaxed);
	atomic_store_explicit(&r->visits, v + 1, memory_order_release);
}

static void wait_for(struct reader *r)
{
	uint64_t seen = atomic_load(&r->visits);
	for (unsigned tries = 0; seen & 1 && atomic_load(&r->visits) == seen; tries++) {
		if (tries < 100)
			sched_yield();
		else
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
}

void readers_wait(struct readers *rs)
{
	for (struct reader *r = atomic_load(&rs->list); r; r = r->next)
		wait_for(r);
}

void readers_pause(struct readers *rs)
{
	atomic_store(&rs->paused, true);
	readers_wait(rs);
}

void readers_resume(struct readers *rs)
{
	pthread_mutex_lock(&rs->lock);
	atomic_store(&rs->paused, false);
	pthread_cond_broadcast(&rs->resumed);
	pthread_mutex_unlock(&rs->lock);
}
