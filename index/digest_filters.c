// SPDX-License-Identifier: MIT
/* One filter per slice, so that one can be rebuilt alone: growing costs the memory of a 64th twice and
 * a scan of a 64th of the table, not all of it at once. One background job reads the file after open,
 * then builds what is missing or has outgrown its room; a slice's old filter answers meanwhile, and
 * without one the answer is "maybe".
 *
 * A filter must never deny a key that is there. While a successor is built, adders put keys into
 * both. It starts with what is in memory, under the slice's lock, then takes the rows of LMDB: a key
 * that was in memory at the start is in, one added later too, and all others were in LMDB when
 * the scan began. Loads move keys from the former to the latter, never back.
 *
 * Removals stay in a filter until it is rebuilt. They use up its room, as `n` counts every new key,
 * and the successor is sized by what there really is: so it cleans itself.
 */
#include "digests_internal.h"
#include "cleanup.h"
#include "log.h"
#include <errno.h>
#include <inttypes.h>

#define LEAST_ROOM 1024u
#define SCAN_BATCH 256u

struct scan {
	struct digests *d;
	struct digest_slice *s;
	struct kv_iter *it;
	struct digest_key keys[SCAN_BATCH];
	unsigned n;
	bool end;
};

static uint64_t with_slack(uint64_t keys)
{
	keys += keys / 2;
	return keys < LEAST_ROOM ? LEAST_ROOM : keys;
}

/* Room for half as many again as the slice has, as far as that is known before the scan. */
static uint64_t expected_room(struct digests *d, struct digest_slice *s)
{
	struct kv_stats st;
	kv_get_stats(d->kv, &st);
	uint64_t keys = st.rows[KV_DIGEST] / DIGEST_SLICES;
	SCOPED_LOCK(&s->lock);
	return with_slack(keys + s->fresh.n + s->loading.n);
}

static void add_keys(struct filter *f, const struct gather *g)
{
	for (size_t i = 0; i < g->cap; i++)
		if (g->slots[i].id && !(g->slots[i].id & GATHER_REMOVED))
			filter_add(f, key_place(g->slots[i].hi), g->slots[i].lo);
}

void digest_filters_add_gathered(struct filter *f, const struct digest_slice *s)
{
	add_keys(f, &s->fresh);
	add_keys(f, &s->loading);
}

static int begin_next(struct digests *d, struct digest_slice *s, uint64_t room)
{
	struct filter f;
	int r = filter_init(&f, room, d->opt.filter_bits_per_key,
			    d->opt.filter_bytes_max / DIGEST_SLICES);
	if (r < 0)
		return r;
	SCOPED_LOCK(&s->lock);
	filter_done(&s->next);
	s->next = f;
	digest_filters_add_gathered(&s->next, s);
	return 0;
}

/* Reads up to SCAN_BATCH keys. */
static int scan_some(struct scan *c, unsigned slice)
{
	c->n = 0;
	while (c->n < SCAN_BATCH) {
		struct slice key = { 0 }, val;
		int r = kv_iter_next(c->it, &key, &val);
		bool row = r == 1 || (r == -EUCLEAN && key.len); /* a damaged value's key is good */
		if (r < 0 && !row)
			return r;
		if (!row || (key.len && key.at[0] >> 2 != slice)) {
			c->end = true;
			return 0;
		}
		if (key.len == DIGEST_KEY_BYTES)
			c->keys[c->n++] =
				(struct digest_key){ get_be64(key.at), get_be64(key.at + 8) };
	}
	return 0;
}

/* 0 when the successor holds every row, -ERANGE when there are too many, -ECANCELED, -errno. */
static int scan_rows(struct digests *d, unsigned slice)
{
	struct scan c = { .d = d, .s = &d->slice[slice] };
	const uint8_t from = (uint8_t)(slice << 2);
	int r = 0;

	c.it = kv_iter_new(d->kv, KV_DIGEST, &from, 1, false);
	if (!c.it)
		return -ENOMEM;
	while (r == 0 && !c.end) {
		r = atomic_load(&d->closing) ? -ECANCELED : scan_some(&c, slice);
		SCOPED_LOCK(&c.s->lock);
		for (unsigned i = 0; r == 0 && i < c.n; i++)
			filter_add(&c.s->next, key_place(c.keys[i].hi), c.keys[i].lo);
		if (r == 0 && filter_full(&c.s->next))
			r = -ERANGE;
	}
	kv_iter_free(c.it);
	return r;
}

/* The successor takes over, or is given up. */
static void end_next(struct digest_slice *s, int r)
{
	struct filter old;
	pthread_mutex_lock(&s->lock);
	if (r == 0) {
		old = s->filter;
		s->filter = s->next;
		s->filter_changed = true;
	} else {
		old = s->next;
	}
	s->next = (struct filter){ 0 };
	s->filter_wanted = false;
	pthread_mutex_unlock(&s->lock);
	filter_done(&old);
}

static int build(struct digests *d, unsigned slice)
{
	struct digest_slice *s = &d->slice[slice];
	uint64_t room = expected_room(d, s);
	int r;

	do {
		r = begin_next(d, s, room);
		if (r == 0)
			r = scan_rows(d, slice);
		room *= 2;
	} while (r == -ERANGE);
	end_next(s, r);
	return r;
}

/* The next slice to build a filter for; DIGEST_SLICES when there is none, and the job is over. */
static unsigned next_wanted(struct digests *d)
{
	unsigned i = 0;
	SCOPED_LOCK(&d->job_lock);
	while (i < DIGEST_SLICES && !atomic_load(&d->slice[i].filter_wanted))
		i++;
	if (atomic_load(&d->closing))
		i = DIGEST_SLICES;
	d->job_queued = i < DIGEST_SLICES;
	return i;
}

static void run_job(struct job *job)
{
	struct digests *d = (struct digests *)((char *)job - offsetof(struct digests, job));

	if (!d->filter_file_read) {
		filter_file_read(d);
		d->filter_file_read = true;
	}
	for (unsigned i; (i = next_wanted(d)) < DIGEST_SLICES;) {
		int r = build(d, i);
		if (r < 0 && r != -ECANCELED)
			log_warn("digests: no filter for slice %u, lookups there are slower: %s", i,
				 strerror(-r));
	}
}

static void queue_job(struct digests *d)
{
	SCOPED_LOCK(&d->job_lock);
	if (!d->job_queued && !atomic_load(&d->closing)) {
		d->job_queued = true;
		workers_queue(d->workers, &d->job);
	}
}

void digest_filters_want_locked(struct digests *d, struct digest_slice *s)
{
	if (!atomic_exchange(&s->filter_wanted, true))
		queue_job(d);
}

int digest_filters_start(struct digests *d)
{
	int r = workers_start("digests", 1, &d->workers);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < DIGEST_SLICES; i++)
		d->slice[i].filter_wanted = true;
	d->job.run = run_job;
	queue_job(d);
	return 0;
}

void digest_filters_stop(struct digests *d)
{
	atomic_store(&d->closing, true);
	workers_stop(d->workers);
	d->workers = NULL;
}
