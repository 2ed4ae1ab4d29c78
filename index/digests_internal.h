// SPDX-License-Identifier: MIT
/* What digests.c, digests_load.c, digest_filters.c and filter_file.c share. */
#ifndef FOLDFS_DIGESTS_INTERNAL_H
#define FOLDFS_DIGESTS_INTERNAL_H
#include "digests.h"
#include "digests_format.h"
#include "filter.h"
#include "gather.h"
#include "workers.h"
#include <pthread.h>
#include <stdatomic.h>

struct digest_key {
	uint64_t hi, lo;
};

/* A 64th of the key range. */
struct digest_slice {
	pthread_mutex_t lock;	   /* guards all that follows but atomics */
	struct gather fresh;	   /* added since the last load began */
	struct gather loading;	   /* frozen: on its way into LMDB, or stuck there after an error */
	uint64_t loading_settled;  /* what the watermark becomes when that is done */
	uint64_t watermark, loads; /* as in KV_META */
	struct filter filter;	   /* holds every key of LMDB, fresh and loading */
	struct filter next;	   /* its successor while that is being built */
	_Atomic bool filter_wanted; /* missing or too full: to be built; needs no lock */
	bool filter_changed;	    /* differs from what the file holds */
	uint64_t lookups, filter_negative, false_positive, damaged;
};

struct digests {
	struct kv *kv;
	struct digests_options opt;
	uint8_t table_id[16];
	_Atomic uint64_t settled;
	_Atomic bool adding_again; /* until the first digests_settle() */
	_Atomic size_t memory;	   /* bytes of all slices' fresh and loading */
	pthread_mutex_t load_lock; /* one load at a time; taken before any slice's lock */
	_Atomic size_t retry_at;   /* after a failed load: the memory at which to try again */
	_Atomic uint64_t n_loads, n_loaded;

	/* digest_filters.c */
	struct workers *workers;
	struct job job;
	bool filter_file_read; /* the job's */
	_Atomic unsigned filter_slices_read;
	pthread_mutex_t job_lock;
	bool job_queued; /* guarded by job_lock */
	_Atomic bool closing;

	struct digest_slice slice[DIGEST_SLICES];
};

static inline uint64_t key_place(uint64_t hi)
{
	return hi << DIGEST_SLICE_BITS; /* the slice's own bits say nothing within it */
}
static inline const struct gather_entry *slice_find_locked(const struct digest_slice *s,
							   struct digest_key k)
{
	const struct gather_entry *e = gather_find(&s->fresh, k.hi, k.lo);
	return e ? e : gather_find(&s->loading, k.hi, k.lo);
}

/* digests_load.c */
int digests_read_row(struct digests *d);
/* Loads the fullest slice if memory is full. 0, or -errno when nothing more may be added. */
int digests_make_room(struct digests *d);

/* digest_filters.c: keeps each slice's filter present and large enough. */
int digest_filters_start(struct digests *d);
void digest_filters_stop(struct digests *d); /* reading the file is finished, a rebuild is not */
void digest_filters_want_locked(struct digests *d, struct digest_slice *s);
/* What the slice has in memory; its lock is held. */
void digest_filters_add_gathered(struct filter *f, const struct digest_slice *s);

/* filter_file.c: POOL/index/filter. */
void filter_file_read(struct digests *d);
int filter_file_write(struct digests *d); /* after everything has been loaded */
#endif
