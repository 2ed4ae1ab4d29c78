// SPDX-License-Identifier: MIT
/* wal_internal: what wal.c, wal_writer.c and wal_space.c share. */
#ifndef FOLDFS_WAL_INTERNAL_H
#define FOLDFS_WAL_INTERNAL_H
#include "wal.h"
#include "wal_flush.h"
#include "wal_segment.h"
#include <pthread.h>
#include <stdatomic.h>

/* Frames of one segment within a queue. */
struct wal_part {
	struct wal_segment *segment;
	size_t begin, end; /* in the queue's bytes */
	uint64_t last_lsn;
};

/* Accepted frames on their way into the file, headers still to be filled in. */
struct wal_queue {
	struct buf bytes;
	struct wal_part *parts;
	size_t n_parts, max_parts;
	uint64_t first_lsn;
	struct kv_barrier *barriers, **barriers_tail;
	uint64_t since_ms; /* when the first frame came */
};

struct wal_waiter {
	uint64_t lsn;
	void (*fn)(void *arg, int err);
	void *arg;
	struct wal_waiter *next;
};

struct wal {
	struct wal_options opt;
	pthread_mutex_t lock; /* everything below, except the writer's own; innermost lock */
	pthread_cond_t writer_wake, maker_wake, made, advanced;
	pthread_t writer, maker;
	bool stopping;
	int failed;

	struct wal_queue queue;
	_Atomic uint64_t last_lsn; /* appended; written under the lock */
	uint64_t hurry_lsn;
	_Atomic uint64_t durable_lsn; /* written under the lock */
	_Atomic uint64_t newest;      /* seq; wal_newest(); the log writer's to set */
	struct wal_waiter *waiters, **waiters_tail;

	struct wal_segment *oldest, *tail; /* the log, in order; the tail is being filled */
	struct wal_segment *spare;	   /* prepared, in order of creation */
	unsigned spares, spares_wanted;
	struct wal_segment *big; /* prepared for one frame that no ordinary segment holds */
	struct wal_segment *doomed;
	uint64_t last_seq;
	size_t wanted; /* smallest segment that would do for the waiting commit; 0: nobody waits */
	uint64_t make_tries;
	int make_result;
	uint64_t trimmed_lsn;		 /* all up to here is in the base */
	uint64_t keep_after, keep_least; /* wal_keep() */

	uint64_t bytes_written, syncs;
	size_t bytes_on_disk;

	/* The log writer's own: */
	struct wal_segment *current; /* the last one that it has written to */
	bool note_owed;		     /* batches were written since the last note */
	struct wal_queue writing;
	struct wal_flush flush;
	struct buf packed, scratch;
	void *zstd;
};

#define WAL_SPARES 2		    /* ready ones, the last of them only for marked batches */
#define WAL_SPARES_MAX 6	    /* of a log that was once filled faster than they are made */
#define WAL_HURRY_BYTES (8u << 20)  /* queued frames that are written before their time */
#define WAL_QUEUE_BYTES (64u << 20) /* queued frames that make committers wait */

/* wal_space.c: room for accepted frames. With the lock held. */
int wal_place_locked(struct wal *w, size_t frame_size, bool may_use_reserve);
void *wal_maker_main(void *arg);
void wal_trim_locked(struct wal *w);
bool wal_give_room_locked(struct wal *w);

/* wal_writer.c */
void *wal_writer_main(void *arg);
void wal_fail(struct wal *w, int err, const char *what); /* without the lock */
void wal_queue_done(struct wal_queue *q);
struct wal_waiter *wal_take_due_locked(struct wal *w, uint64_t lsn);
void wal_call_waiters(struct wal_waiter *due, int err);
#endif
