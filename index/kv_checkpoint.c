// SPDX-License-Identifier: MIT
/* Checkpoints: the frozen memtable goes into LMDB in key order, in one durable transaction together
 * with its LSN. One thread, the keeper, does them all.
 *
 * Order: the log is durable up to the table's last LSN first (so its barriers have run: LMDB never
 * names what is not there), then the transaction, then the layers without the table are published,
 * then readers that may still look at it are waited for, then it is freed and the log trimmed.
 *
 * LMDB copies every page it changes, so one transaction with rows from everywhere needs nearly the
 * size of the index in free space for a moment. When the disk has not that much, the same rows go in
 * by small transactions, deletes first: each may use the pages that the ones before have freed.
 * That is safe because rows are absolute and the log holds all of them: until the last transaction
 * brings the LSN, recovery applies every row again; and readers look at the frozen table first.
 *
 * If even that finds no space, the log gives up what it keeps for repair (keep_log). If there is none
 * then, nothing is harmed: the table stays frozen, the attempt is repeated after RETRY_MS or on
 * demand. Any other failure ends the engine.
 */
#include "kv_internal.h"
#include "cleanup.h"
#include "cond.h"
#include "log.h"
#include <errno.h>

#define RETRY_MS 1000
#define WHOLE SIZE_MAX
#define SLICE_FIRST 8 /* a dozen copied pages */

int kv_freeze_locked(struct kv *kv)
{
	struct layers *old = atomic_load(&kv->layers);
	struct layers *l = malloc(sizeof *l);
	if (!l)
		return -ENOMEM;
	*l = (struct layers){ .active = memtable_new(kv->opt.memtable_bytes),
			      .frozen = old->active };
	if (!l->active) {
		free(l);
		return -ENOMEM;
	}
	kv->replaced = old;
	kv->frozen_lsn = atomic_load(&kv->last_lsn);
	atomic_store(&kv->layers, l);
	pthread_cond_signal(&kv->keeper_wake);
	return 0;
}

static bool out_of_space(int err)
{
	return err == -ENOSPC || err == -ENOMEM;
}

/* With base_lock held and no transaction open. */
static int make_map_room(struct kv *kv)
{
	int r = 0;
	while (r == 0 && lmdb_base_wants_room(kv->base)) {
		readers_pause(&kv->readers);
		r = lmdb_base_grow(kv->base);
		readers_resume(&kv->readers);
	}
	return r;
}

/* With base_lock held. */
static int begin_write(struct kv *kv, struct lmdb_write **ret_write)
{
	int r = make_map_room(kv);
	return r < 0 ? r : lmdb_write_begin(kv->base, ret_write);
}

int kv_write_state(struct kv *kv, const struct base_state *state)
{
	struct lmdb_write *w;
	SCOPED_LOCK(&kv->base_lock);
	int r = begin_write(kv, &w);
	if (r < 0)
		return r;
	r = lmdb_write_state(w, state);
	if (r == 0)
		return lmdb_write_commit(w);
	lmdb_write_abort(w);
	return r;
}

/* A memtable on its way into LMDB. */
struct applying {
	struct kv *kv;
	const struct memtable *m;
	struct lmdb_write *w;
	size_t slice, most; /* rows per transaction: doubles with each that succeeds */
	size_t left;	    /* rows that this one may still take */
};

enum which_rows { ROWS_ALL, ROWS_DELETED, ROWS_PUT };

static int apply_row(struct applying *a, enum kv_table t, const struct mem_node *n)
{
	const struct mem_value *v = mem_node_value(n);
	int r = 0;
	if (a->left == 0) {
		r = lmdb_write_commit(TAKE_PTR(a->w));
		if (r == 0)
			r = begin_write(a->kv, &a->w);
		a->slice = a->slice * 2 < a->most ? a->slice * 2 : a->most;
		a->left = a->slice;
	}
	a->left--;
	if (r < 0)
		return r;
	if (v->len == MEM_DELETED)
		return lmdb_write_delete(a->w, t, mem_node_key(n));
	return lmdb_write_put(a->w, t, mem_node_key(n), slice_of(v->bytes, v->len));
}

static int apply_rows(struct applying *a, enum which_rows which)
{
	int r = 0;
	for (unsigned t = 0; t < KV_TABLES; t++) {
		const struct mem_node *n =
			memtable_seek(a->m, (enum kv_table)t, slice_of(NULL, 0), false, false);
		for (; n && r == 0; n = memtable_step(a->m, (enum kv_table)t, n, false)) {
			bool deleted = mem_node_value(n)->len == MEM_DELETED;
			if (which == ROWS_ALL || (which == ROWS_DELETED) == deleted)
				r = apply_row(a, (enum kv_table)t, n);
		}
	}
	return r;
}

static int write_memtable(struct kv *kv, const struct memtable *m, const struct base_state *state,
			  size_t most)
{
	size_t slice = most == WHOLE ? WHOLE : SLICE_FIRST;
	struct applying a = { .kv = kv, .m = m, .slice = slice, .most = most, .left = slice };
	SCOPED_LOCK(&kv->base_lock);
	int r = begin_write(kv, &a.w);
	if (r == 0 && slice == WHOLE)
		r = apply_rows(&a, ROWS_ALL);
	else if (r == 0) {
		r = apply_rows(&a, ROWS_DELETED);
		if (r == 0)
			r = apply_rows(&a, ROWS_PUT);
	}
	if (r == 0)
		r = lmdb_write_state(a.w, state);
	if (r == 0)
		return lmdb_write_commit(a.w);
	lmdb_write_abort(a.w);
	return r;
}

/* The frozen table is in LMDB: takes it out of the layers. */
static void drop_frozen(struct kv *kv, const struct base_state *state)
{
	struct layers *l = malloc(sizeof *l), *replaced;
	while (!l) { /* sixteen bytes; the table cannot go without them */
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		l = malloc(sizeof *l);
	}
	pthread_mutex_lock(&kv->lock);
	struct layers *old = atomic_load(&kv->layers);
	*l = (struct layers){ .active = old->active };
	atomic_store(&kv->layers, l);
	replaced = TAKE_PTR(kv->replaced);
	kv->state = *state;
	kv->checkpoints++;
	kv->checkpoint_err = 0;
	pthread_cond_broadcast(&kv->changed);
	pthread_mutex_unlock(&kv->lock);
	readers_wait(&kv->readers);
	memtable_free(old->frozen);
	free(old);
	free(replaced);
	wal_named(kv->wal, state->log_tag);
	wal_trim(kv->wal, state->checkpoint_lsn);
}

static int checkpoint_frozen(struct kv *kv)
{
	pthread_mutex_lock(&kv->lock);
	struct memtable *m = atomic_load(&kv->layers)->frozen;
	struct base_state state = kv->state;
	state.checkpoint_lsn = kv->frozen_lsn;
	bool full = kv->checkpoint_err == -ENOSPC;
	pthread_mutex_unlock(&kv->lock);
	int r = wal_sync(kv->wal, state.checkpoint_lsn);
	if (r < 0)
		return r;
	state.log_tag = wal_newest(kv->wal);
	/* A disk that was full a moment ago is not asked for everything at once again. */
	static const size_t slices[] = { WHOLE, 4096, 64 };
	size_t n = sizeof slices / sizeof *slices, i = full ? 1 : 0;
	do
		r = write_memtable(kv, m, &state, slices[i < n ? i : n - 1]);
	while (r == -ENOSPC && (++i < n || wal_give_room(kv->wal)));
	if (r == 0)
		drop_frozen(kv, &state);
	else if (!out_of_space(r))
		kv_fail(kv, r, "checkpoint");
	return r;
}

/* When the keeper should freeze or write; 0: now, UINT64_MAX: when woken. */
static uint64_t due_at_locked(const struct kv *kv)
{
	uint64_t retry = kv->checkpoint_err ? kv->last_try_ms + RETRY_MS : 0;
	if (kv->wanted_lsn > kv->state.checkpoint_lsn)
		return 0;
	if (atomic_load(&kv->layers)->frozen)
		return retry;
	if (atomic_load(&kv->last_lsn) > kv->state.checkpoint_lsn)
		return kv->last_try_ms + kv->opt.checkpoint_interval_s * (uint64_t)1000;
	return UINT64_MAX;
}

static bool wait_until_due_locked(struct kv *kv)
{
	while (!kv->stopping && !kv->failed) {
		uint64_t at = due_at_locked(kv);
		uint64_t now = clock_mono_ms();
		if (at <= now)
			return true;
		/* An idle engine becomes due with its first commit, which wakes nobody: so it
		 * looks again after an interval. */
		if (at == UINT64_MAX)
			at = now + kv->opt.checkpoint_interval_s * 1000ull;
		cond_wait_until(&kv->keeper_wake, &kv->lock, at * 1000000);
	}
	return false;
}

static void keep_once_locked(struct kv *kv)
{
	uint64_t wanted = kv->wanted_lsn;
	int r = atomic_load(&kv->layers)->frozen ? 0 : kv_freeze_locked(kv);
	pthread_mutex_unlock(&kv->lock);
	if (r == 0)
		r = checkpoint_frozen(kv);
	if (r < 0 && out_of_space(r) && !kv->checkpoint_err) /* once, not at every retry */
		log_warn("checkpoint put off: %s", strerror(-r));
	pthread_mutex_lock(&kv->lock);
	kv->last_try_ms = clock_mono_ms();
	if (r < 0) {
		kv->checkpoint_err = r;
		kv->checkpoint_fails++;
		if (kv->wanted_lsn == wanted)
			kv->wanted_lsn = 0;
	}
	pthread_cond_broadcast(&kv->changed);
}

void *kv_keeper_main(void *arg)
{
	struct kv *kv = arg;
	pthread_setname_np(pthread_self(), "kv-keeper");
	pthread_mutex_lock(&kv->lock);
	while (wait_until_due_locked(kv))
		keep_once_locked(kv);
	pthread_mutex_unlock(&kv->lock);
	return NULL;
}

int kv_checkpoint(struct kv *kv)
{
	if (!kv->wal)
		return -EROFS;
	SCOPED_LOCK(&kv->lock);
	uint64_t lsn = atomic_load(&kv->last_lsn), fails = kv->checkpoint_fails;
	if (kv->wanted_lsn < lsn)
		kv->wanted_lsn = lsn;
	pthread_cond_signal(&kv->keeper_wake);
	while (kv->state.checkpoint_lsn < lsn && !kv->failed && kv->checkpoint_fails == fails)
		pthread_cond_wait(&kv->changed, &kv->lock);
	if (kv->state.checkpoint_lsn >= lsn)
		return 0;
	return kv->failed ? kv->failed : kv->checkpoint_err;
}

static int load_rows(struct lmdb_write *w, enum kv_table t,
		     int (*next)(void *arg, struct slice *key, struct slice *val), void *arg)
{
	struct slice key, val;
	int r;
	while ((r = next(arg, &key, &val)) > 0) {
		if (!key.len || key.len > KV_KEY_MAX || val.len > KV_VALUE_MAX)
			return -EINVAL;
		r = val.at ? lmdb_write_put(w, t, key, val) : lmdb_write_delete(w, t, key);
		if (r < 0)
			return r;
	}
	return r;
}

int kv_load_sorted(struct kv *kv, enum kv_table t,
		   int (*next)(void *arg, struct slice *key, struct slice *val), void *arg,
		   const char *meta_key, const void *meta_val, size_t meta_len)
{
	struct lmdb_write *w;
	if (!kv->wal)
		return -EROFS;
	if (kv->failed)
		return kv->failed;
	SCOPED_LOCK(&kv->base_lock);
	int r = begin_write(kv, &w);
	if (r < 0)
		return r;
	r = load_rows(w, t, next, arg);
	if (r == 0 && meta_key)
		r = lmdb_write_put(w, KV_META, slice_of(meta_key, strlen(meta_key)),
				   slice_of(meta_val, meta_len));
	if (r < 0) {
		lmdb_write_abort(w);
		return r;
	}
	r = lmdb_write_commit(w);
	if (r < 0 && !out_of_space(r))
		kv_fail(kv, r, "index write");
	return r;
}
