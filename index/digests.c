// SPDX-License-Identifier: MIT
/* The idea is that of a log-structured merge with one large sorted level: new entries gather in
 * memory and are merged into LMDB once there are enough of them per leaf page. Loading a slice
 * of the key range at a time, the fullest first, keeps memory in use: the slices' fill levels end up
 * spread evenly, so a slice goes when it holds twice the average.
 *
 * What one leaf page of LMDB costs: with M entries in memory and P leaf pages, a load writes P/64
 * pages for 2M/64 entries. 64 MiB (1.7 M entries) and 50 M rows (600 k pages of 83 rows): 6 entries
 * per page written.
 *
 * A slice's entries stand in up to three places: `fresh`, `loading` (frozen, sorted into a
 * transaction at the moment) and LMDB, and are looked for in that order; its filter knows the keys
 * of all three. Each slice has a lock. It is never held while LMDB is read: what was in neither table
 * then is either in LMDB already or was not there when the question was asked.
 *
 * Watermarks. A slice's may rise to W when every entry below W is in LMDB or removed. W is
 * `settled` as read before the slice is frozen; whoever settled it had added everything below
 * by then. Watermark and rows change in one transaction (digests_row). A removal that is lost leaves
 * an entry that leads nowhere; a lost replacement leaves the old one: hits are verified.
 *
 * Lock order: load_lock, a slice's lock, job_lock.
 */
#include "digests_internal.h"
#include "cleanup.h"
#include "log.h"
#include <errno.h>
#include <stdlib.h>

#define MEMORY_DEFAULT ((size_t)64 << 20)
#define MEMORY_LEAST ((size_t)256 << 10)
#define BITS_PER_KEY_DEFAULT 12u

static struct digest_key key_of(const struct digest *digest)
{
	return (struct digest_key){ get_be64(digest->bytes), get_be64(digest->bytes + 8) };
}

static struct digest_slice *slice_for(struct digests *d, struct digest_key k)
{
	return &d->slice[k.hi >> (64 - DIGEST_SLICE_BITS)];
}

static void digests_free(struct digests *d)
{
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		struct digest_slice *s = &d->slice[i];
		gather_done(&s->fresh);
		gather_done(&s->loading);
		filter_done(&s->filter);
		filter_done(&s->next);
		pthread_mutex_destroy(&s->lock);
	}
	pthread_mutex_destroy(&d->load_lock);
	pthread_mutex_destroy(&d->job_lock);
	free(d);
}

int digests_open(struct kv *kv, const struct digests_options *opt, struct digests **ret_d)
{
	struct digests *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->kv = kv;
	d->opt = *opt;
	if (!d->opt.memory_bytes)
		d->opt.memory_bytes = MEMORY_DEFAULT;
	if (d->opt.memory_bytes < MEMORY_LEAST)
		d->opt.memory_bytes = MEMORY_LEAST;
	if (!d->opt.filter_bits_per_key)
		d->opt.filter_bits_per_key = BITS_PER_KEY_DEFAULT;
	d->adding_again = true;
	pthread_mutex_init(&d->load_lock, NULL);
	pthread_mutex_init(&d->job_lock, NULL);
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		pthread_mutex_init(&d->slice[i].lock, NULL);
		d->slice[i].fresh.shift = d->slice[i].loading.shift = DIGEST_SLICE_BITS;
	}
	int r = digests_read_row(d);
	if (r == 0)
		r = digest_filters_start(d);
	if (r < 0) {
		digests_free(d);
		return r;
	}
	*ret_d = d;
	return 0;
}

int digests_close(struct digests *d)
{
	if (!d)
		return 0;
	int r = d->opt.read_only ? 0 : digests_flush(d);
	digest_filters_stop(d);
	int w = r == 0 && !d->opt.read_only ? filter_file_write(d) : 0;
	if (w < 0) /* nothing is lost but time, so it does not fail */
		log_warn("digests: the filter was not kept: %s", strerror(-w));
	digests_free(d);
	return r;
}

uint64_t digests_watermark(struct digests *d)
{
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		SCOPED_LOCK(&d->slice[i].lock);
		if (d->slice[i].watermark < least)
			least = d->slice[i].watermark;
	}
	return least;
}

/* 0, -ENOENT, -EUCLEAN, -errno. */
static int base_find(struct digests *d, struct digest_key k, uint64_t *ret_id)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t key[DIGEST_KEY_BYTES];

	put_be64(key, k.hi);
	put_be64(key + 8, k.lo);
	int r = kv_get(d->kv, KV_DIGEST, key, sizeof key, &val);
	if (r < 0)
		return r;
	struct slice s = slice_of(val.data, val.len);
	uint64_t id = take_varint(&s);
	if (s.bad || s.len || !id || id & GATHER_REMOVED)
		return -EUCLEAN;
	*ret_id = id;
	return 0;
}

int digests_find(struct digests *d, const struct digest *digest, uint64_t *ret_id)
{
	struct digest_key k = key_of(digest);
	struct digest_slice *s = slice_for(d, k);
	uint64_t id = 0;

	pthread_mutex_lock(&s->lock);
	s->lookups++;
	bool filtered = s->filter.words != NULL;
	bool maybe = !filtered || filter_has(&s->filter, key_place(k.hi), k.lo);
	const struct gather_entry *e = maybe ? slice_find_locked(s, k) : NULL;
	if (e)
		id = e->id;
	s->filter_negative += !maybe;
	pthread_mutex_unlock(&s->lock);
	if (!maybe || id & GATHER_REMOVED)
		return 0;
	if (id) {
		*ret_id = id;
		return 1;
	}

	int r = base_find(d, k, &id);
	if (r == 0) {
		*ret_id = id;
		return 1;
	}
	if (r != -ENOENT && r != -EUCLEAN)
		return r;
	SCOPED_LOCK(&s->lock);
	s->false_positive += filtered && r == -ENOENT;
	s->damaged += r == -EUCLEAN;
	return 0;
}

static int put_locked(struct digests *d, struct digest_slice *s, struct digest_key k, uint64_t id)
{
	size_t before = gather_bytes(&s->fresh);
	int r = gather_put(&s->fresh, k.hi, k.lo, id);
	if (r < 0)
		return r;
	atomic_fetch_add(&d->memory, gather_bytes(&s->fresh) - before);
	if (id & GATHER_REMOVED)
		return 0;
	if (s->next.words)
		filter_add(&s->next, key_place(k.hi), k.lo);
	if (s->filter.words && filter_add(&s->filter, key_place(k.hi), k.lo)) {
		s->filter_changed = true;
		if (filter_full(&s->filter))
			digest_filters_want_locked(d, s);
	}
	return 0;
}

int digests_add(struct digests *d, const struct digest *digest, uint64_t id)
{
	if (d->opt.read_only)
		return -EROFS;
	if (!id || id & GATHER_REMOVED)
		return -EINVAL;
	struct digest_key k = key_of(digest);
	struct digest_slice *s = slice_for(d, k);
	int r = digests_make_room(d);
	if (r < 0)
		return r;
	SCOPED_LOCK(&s->lock);
	if (atomic_load(&d->adding_again) && id < s->watermark)
		return 0;
	return put_locked(d, s, k, id);
}

/* Does LMDB lead to the id, and nothing above it say otherwise? Then marks it as removed.
 * 1 if it has to be asked again, because the slice was loaded meanwhile. */
static int try_remove(struct digests *d, struct digest_slice *s, struct digest_key k, uint64_t id)
{
	uint64_t found, loads;
	{
		SCOPED_LOCK(&s->lock);
		loads = s->loads;
		const struct gather_entry *e = slice_find_locked(s, k);
		if (e)
			return e->id == id ? put_locked(d, s, k, id | GATHER_REMOVED) : 0;
		if (s->filter.words && !filter_has(&s->filter, key_place(k.hi), k.lo))
			return 0;
	}
	int r = base_find(d, k, &found);
	if (r == -ENOENT || r == -EUCLEAN || (r == 0 && found != id))
		return 0;
	if (r < 0)
		return r;
	SCOPED_LOCK(&s->lock);
	if (s->loads != loads || slice_find_locked(s, k))
		return 1;
	return put_locked(d, s, k, id | GATHER_REMOVED);
}

int digests_remove(struct digests *d, const struct digest *digest, uint64_t id)
{
	if (d->opt.read_only)
		return -EROFS;
	struct digest_key k = key_of(digest);
	int r = digests_make_room(d);
	if (r == 0)
		do
			r = try_remove(d, slice_for(d, k), k, id);
		while (r == 1);
	return r;
}

void digests_settle(struct digests *d, uint64_t id)
{
	uint64_t before = atomic_load(&d->settled);
	while (id > before && !atomic_compare_exchange_weak(&d->settled, &before, id))
		;
	atomic_store(&d->adding_again, false);
}

void digests_get_stats(struct digests *d, struct digests_stats *ret_stats)
{
	struct digests_stats st = { .filter_ready = true };
	struct kv_stats kv_stats;

	kv_get_stats(d->kv, &kv_stats);
	st.in_base = kv_stats.rows[KV_DIGEST];
	st.memory_bytes = atomic_load(&d->memory);
	st.loads = atomic_load(&d->n_loads);
	st.loaded = atomic_load(&d->n_loaded);
	st.filter_slices_read = atomic_load(&d->filter_slices_read);
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		struct digest_slice *s = &d->slice[i];
		SCOPED_LOCK(&s->lock);
		st.in_memory += s->fresh.n + s->loading.n;
		st.filter_bytes += filter_bytes(&s->filter) + filter_bytes(&s->next);
		st.lookups += s->lookups;
		st.filter_negative += s->filter_negative;
		st.false_positive += s->false_positive;
		st.damaged += s->damaged;
		st.filter_ready &= s->filter.words != NULL;
	}
	*ret_stats = st;
}
