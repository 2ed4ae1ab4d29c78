// SPDX-License-Identifier: MIT
/* Loading: slices are frozen, sorted and put into LMDB in one transaction together with the row of
 * watermarks; then the frozen entries go. After an error they stay frozen: lookups find them there,
 * and the slice's next load begins with them. Until then new entries gather in `fresh`.
 */
#include "digests_internal.h"
#include "cleanup.h"
#include "log.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define FLUSH_ENTRIES ((size_t)128 << 10) /* in one transaction */
#define VARINT_MAX 10

int digests_read_row(struct digests *d)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct digests_row row;

	int r = kv_get(d->kv, KV_META, DIGESTS_ROW, sizeof DIGESTS_ROW - 1, &val);
	if (r == 0 && val.len != sizeof row)
		r = -EUCLEAN;
	if (r == -ENOENT || r == -EUCLEAN) {
		/* All that is lost is what need not be done again: no reason not to mount. */
		if (r == -EUCLEAN)
			log_warn("the watermarks of the digests are damaged: reading all frames");
		if (getrandom(d->table_id, sizeof d->table_id, 0) < 0)
			return -errno;
		return 0;
	}
	if (r < 0)
		return r;
	memcpy(&row, val.data, sizeof row);
	memcpy(d->table_id, row.table_id, sizeof row.table_id);
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		d->slice[i].watermark = get_le64(&row.slice[i].watermark);
		d->slice[i].loads = get_le64(&row.slice[i].loads);
	}
	return 0;
}

/* The slices [first, end) on their way. */
struct load {
	struct digests *d;
	unsigned first, end;
	struct gather_entry *rows; /* in key order */
	size_t n, at;
	uint8_t key[DIGEST_KEY_BYTES], val[VARINT_MAX];
};

static size_t put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;
	for (; v >= 0x80; v >>= 7)
		p[n++] = (uint8_t)(v | 0x80);
	p[n++] = (uint8_t)v;
	return n;
}

static int next_row(void *arg, struct slice *key, struct slice *val)
{
	struct load *l = arg;
	if (l->at == l->n)
		return 0;
	const struct gather_entry *e = &l->rows[l->at++];
	put_be64(l->key, e->hi);
	put_be64(l->key + 8, e->lo);
	*key = slice_of(l->key, sizeof l->key);
	if (e->id & GATHER_REMOVED)
		*val = slice_of(NULL, 0);
	else
		*val = slice_of(l->val, put_varint(l->val, e->id));
	return 1;
}

static void freeze(struct load *l)
{
	uint64_t settled = atomic_load(&l->d->settled);
	for (unsigned i = l->first; i < l->end; i++) {
		struct digest_slice *s = &l->d->slice[i];
		SCOPED_LOCK(&s->lock);
		if (!s->loading.n) {
			gather_done(&s->loading);
			s->loading = s->fresh;
			s->fresh = (struct gather){ .shift = s->loading.shift };
			s->loading_settled = settled;
		}
		l->n += s->loading.n;
	}
}

/* Frozen tables change only under load_lock, which is ours, so they are read without their locks. */
static int sort_frozen(struct load *l)
{
	size_t at = 0;
	l->rows = malloc(l->n * sizeof *l->rows + 1);
	if (!l->rows)
		return -ENOMEM;
	for (unsigned i = l->first; i < l->end; i++) {
		gather_sorted(&l->d->slice[i].loading, l->rows + at);
		at += l->d->slice[i].loading.n;
	}
	return 0;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void fill_row(const struct load *l, struct digests_row *row)
{
	memcpy(row->table_id, l->d->table_id, sizeof row->table_id);
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		const struct digest_slice *s = &l->d->slice[i];
		bool here = i >= l->first && i < l->end;
		uint64_t watermark = here ? later(s->watermark, s->loading_settled) : s->watermark;
		put_le64(&row->slice[i].watermark, watermark);
		put_le64(&row->slice[i].loads, s->loads + here);
	}
}

static void thaw(struct load *l)
{
	for (unsigned i = l->first; i < l->end; i++) {
		struct digest_slice *s = &l->d->slice[i];
		SCOPED_LOCK(&s->lock);
		atomic_fetch_sub(&l->d->memory, gather_bytes(&s->loading));
		gather_done(&s->loading);
		s->watermark = later(s->watermark, s->loading_settled);
		s->loads++;
		s->filter_changed = true;
	}
	atomic_fetch_add(&l->d->n_loads, 1);
	atomic_fetch_add(&l->d->n_loaded, l->n);
}

/* load_lock is held. */
static int load_slices(struct digests *d, unsigned first, unsigned end)
{
	struct load l = { .d = d, .first = first, .end = end };
	struct digests_row row;

	freeze(&l);
	int r = sort_frozen(&l);
	if (r == 0) {
		fill_row(&l, &row);
		r = kv_load_sorted(d->kv, KV_DIGEST, next_row, &l, DIGESTS_ROW, &row, sizeof row);
	}
	if (r == 0)
		thaw(&l);
	free(l.rows);
	return r;
}

static size_t waiting_in(struct digest_slice *s)
{
	SCOPED_LOCK(&s->lock);
	return s->fresh.n + s->loading.n;
}

static unsigned fullest(struct digests *d)
{
	unsigned best = 0;
	size_t most = 0;
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		size_t n = waiting_in(&d->slice[i]);
		if (n > most) {
			most = n;
			best = i;
		}
	}
	return best;
}

/* One adder loads while the others go on, until memory is an eighth over its limit: then they wait
 * for it. */
int digests_make_room(struct digests *d)
{
	size_t limit = d->opt.memory_bytes, memory = atomic_load(&d->memory);
	if (memory < limit || memory < atomic_load(&d->retry_at))
		return 0;
	if (memory < limit + limit / 8) {
		if (pthread_mutex_trylock(&d->load_lock))
			return 0;
	} else {
		pthread_mutex_lock(&d->load_lock);
	}
	int r = 0;
	memory = atomic_load(&d->memory);
	if (memory >= limit && memory >= atomic_load(&d->retry_at)) {
		unsigned i = fullest(d);
		r = load_slices(d, i, i + 1);
		bool last_chance = r < 0 && memory >= 2 * limit;
		atomic_store(&d->retry_at, r < 0 && !last_chance ? memory + limit / 64 : 0);
		r = last_chance ? r : 0;
	}
	pthread_mutex_unlock(&d->load_lock);
	return r;
}

static bool wants_load(struct digests *d, unsigned i)
{
	SCOPED_LOCK(&d->slice[i].lock);
	return d->slice[i].fresh.n || d->slice[i].loading.n ||
	       d->slice[i].watermark < atomic_load(&d->settled);
}

/* Loads what slices [first, end) hold, if there is anything to load or a watermark to raise. */
static int flush_slices(struct digests *d, unsigned first, unsigned end)
{
	for (unsigned i = first; i < end; i++)
		if (wants_load(d, i))
			return load_slices(d, first, end);
	return 0;
}

static int flush_pass(struct digests *d)
{
	for (unsigned first = 0, end; first < DIGEST_SLICES; first = end) {
		size_t n = waiting_in(&d->slice[first]);
		for (end = first + 1; end < DIGEST_SLICES; end++) {
			n += waiting_in(&d->slice[end]);
			if (n > FLUSH_ENTRIES)
				break;
		}
		int r = flush_slices(d, first, end);
		if (r < 0)
			return r;
	}
	return 0;
}

int digests_flush(struct digests *d)
{
	if (d->opt.read_only)
		return 0;
	SCOPED_LOCK(&d->load_lock);
	int r = flush_pass(d);
	/* Again, as a slice whose last load failed has had only its frozen entries loaded. */
	return r < 0 ? r : flush_pass(d);
}
