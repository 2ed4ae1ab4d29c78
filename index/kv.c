// SPDX-License-Identifier: MIT
/* The engine: commits, lookups, opening and closing.
 *
 * A commit holds kv.lock while its frame is queued and its rows go into the active memtable, so
 * log order is the order in which rows overwrite each other. Lookups take no lock: they enter
 * (reader.h), load the published layers and look from the top down; whoever removes a layer first
 * unpublishes it and then waits for the readers. A layer is unpublished only after its rows are in
 * LMDB, and the LMDB snapshot is taken after the layers are loaded, so no row is ever missed.
 *
 * Opening: LMDB says up to which LSN it holds everything, which log continues it, and whether the
 * last close was clean. After a clean close the log is empty and a new one (new wal id) is begun.
 * When the log is kept for repair (keep_log) a clean close leaves what is to be kept, and the log is
 * continued; if it has been damaged meanwhile, it is not needed, and a new one begun.
 * After anything but a clean close the log is replayed into the memtable, and a checkpoint follows at once: what was read
 * from the page cache may not be on the disk although a sync says so (a failed fsync before the
 * crash), and LMDB is written anew.
 *
 * Lock order: kv.base_lock, kv.lock, wal.lock.
 */
#include "kv_internal.h"
#include "base_compact.h"
#include "base_verify.h"
#include "cleanup.h"
#include "cond.h"
#include "kv_batch.h"
#include "log.h"
#include "thread.h"
#include "wal_replay.h"
#include "guard.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define MEMTABLE_DEFAULT ((size_t)64 << 20)
#define CHECKPOINT_INTERVAL_DEFAULT 60
#define KEPT_MUCH ((size_t)1 << 20)
#define VERIFY_MAX ((off_t)64 << 20)

void kv_fail(struct kv *kv, int err, const char *what)
{
	int none = 0;
	if (!atomic_compare_exchange_strong(&kv->failed, &none, err))
		return;
	if (kv->opt.on_failure)
		kv->opt.on_failure(kv->opt.on_failure_arg, err, what);
	SCOPED_LOCK(&kv->lock);
	pthread_cond_broadcast(&kv->changed);
	pthread_cond_broadcast(&kv->keeper_wake);
}

static void wal_failed(void *arg, int err, const char *what)
{
	kv_fail(arg, err, what);
}

int kv_enter(struct kv *kv, struct reader **ret_reader, struct layers **ret_layers)
{
	struct reader *r = reader_enter(&kv->readers);
	if (!r)
		return -ENOMEM;
	*ret_reader = r;
	*ret_layers = atomic_load(&kv->layers);
	return 0;
}

void kv_leave(struct reader *r)
{
	reader_leave(r);
}

static size_t batch_bytes(const struct kv_batch *b)
{
	return b->ops.len + b->n_ops * MEM_ROW_OVERHEAD;
}

static void apply_op(struct memtable *m, const struct kv_op *op)
{
	memtable_put(m, op->table, op->key, op->val.at,
		     op->is_delete ? MEM_DELETED : (uint32_t)op->val.len);
}

/* Room in the active memtable: freezes it when it is full, waits while two are full. When the disk
 * is too full for a checkpoint, waiting could be for ever: then only batches that free space go on. */
static int make_room_locked(struct kv *kv, bool may_use_reserve)
{
	for (;;) {
		if (kv->failed)
			return kv->failed;
		struct layers *l = atomic_load(&kv->layers);
		if (memtable_bytes(l->active) < kv->opt.memtable_bytes)
			return 0;
		if (!l->frozen)
			return kv_freeze_locked(kv);
		if (kv->checkpoint_err)
			return may_use_reserve ? 0 : kv->checkpoint_err;
		pthread_cond_wait(&kv->changed, &kv->lock);
	}
}

static int commit_locked(struct kv *kv, struct kv_batch *b, uint64_t *ret_lsn)
{
	int r = make_room_locked(kv, b->reserve);
	if (r < 0)
		return r;
	struct memtable *m = atomic_load(&kv->layers)->active;
	if (!memtable_reserve(m, batch_bytes(b)))
		return -ENOMEM;
	struct slice payload = slice_of(b->ops.data, b->ops.len);
	r = wal_append(kv->wal, payload, b->barriers, b->reserve, ret_lsn);
	if (r < 0)
		return r;
	b->barriers = NULL;
	for (struct kv_op op; kv_op_take(&payload, &op) > 0;)
		apply_op(m, &op);
	atomic_store(&kv->last_lsn, *ret_lsn);
	return 0;
}

int kv_commit(struct kv *kv, struct kv_batch *b, uint64_t *ret_lsn)
{
	if (!b)
		return -ENOMEM;
	uint64_t lsn = atomic_load(&kv->last_lsn);
	int r = b->ops.failed ? -ENOMEM : b->err;
	if (r == 0 && !kv->wal)
		r = -EROFS;
	if (r == 0 && !kv_batch_empty(b)) {
		SCOPED_LOCK(&kv->lock);
		r = commit_locked(kv, b, &lsn);
	}
	kv_batch_free(b);
	if (r == 0 && ret_lsn)
		*ret_lsn = lsn;
	return r;
}

static int get_in_memory(const struct layers *l, enum kv_table t, struct slice key, struct buf *val)
{
	const struct mem_value *v = memtable_get(l->active, t, key);
	if (!v && l->frozen)
		v = memtable_get(l->frozen, t, key);
	if (!v)
		return 0;
	if (v->len == MEM_DELETED)
		return -ENOENT;
	buf_put(val, v->bytes, v->len);
	return val->failed ? -ENOMEM : 1;
}

void kv_index_rotten(struct kv *kv)
{
	lmdb_base_set_rotten(kv->base);
	kv_fail(kv, -EUCLEAN, "reading the index");
}

struct base_get {
	struct kv *kv;
	struct reader *reader;
	enum kv_table table;
	struct slice key;
	struct buf *val;
	int row_err;
};

/* Within the guard. */
static int get_in_base(void *arg)
{
	struct base_get *g = arg;
	struct slice raw;
	int r = lmdb_read_begin(g->kv->base, &g->reader->txn);
	if (r < 0)
		return r;
	r = lmdb_base_find(g->kv->base, g->reader->txn, g->table, g->key, &raw);
	if (r < 0)
		return r;
	g->row_err = lmdb_check_value(g->table, g->key, &raw);
	if (g->row_err == 0)
		buf_put(g->val, raw.at, raw.len);
	return g->val->failed ? -ENOMEM : 0;
}

int kv_get(struct kv *kv, enum kv_table t, const void *key, size_t klen, struct buf *val)
{
	struct reader *reader;
	struct layers *l;
	struct slice k = slice_of(key, klen);
	if ((unsigned)t >= KV_TABLES || klen == 0 || klen > KV_KEY_MAX)
		return -EINVAL;
	int r = kv_enter(kv, &reader, &l);
	if (r < 0)
		return r;
	r = get_in_memory(l, t, k, val);
	if (r == 0) {
		struct base_get g = { kv, reader, t, k, val, 0 };
		r = guard_call(get_in_base, &g);
		lmdb_read_park(reader->txn);
		if (r == -EUCLEAN)
			kv_index_rotten(kv);
		if (r == -EBADMSG)
			r = -EUCLEAN;
		r = r ? r : g.row_err;
	}
	kv_leave(reader);
	return r < 0 ? r : 0;
}

/* The log's own number: its writer may run a batch's barriers before kv_commit() has come back, and
 * what they ask about "the last batch" must cover theirs. */
uint64_t kv_last_lsn(struct kv *kv)
{
	return kv->wal ? wal_last_lsn(kv->wal) : atomic_load(&kv->last_lsn);
}

static uint64_t known_lsn(struct kv *kv, uint64_t lsn)
{
	uint64_t last = kv_last_lsn(kv);
	return lsn < last ? lsn : last;
}

int kv_sync(struct kv *kv, uint64_t lsn)
{
	return kv->wal ? wal_sync(kv->wal, known_lsn(kv, lsn)) : 0;
}

void kv_sync_async(struct kv *kv, uint64_t lsn, void (*done)(void *arg, int err), void *arg)
{
	if (kv->wal)
		wal_when_durable(kv->wal, known_lsn(kv, lsn), true, done, arg);
	else
		done(arg, 0);
}

void kv_when_durable(struct kv *kv, uint64_t lsn, void (*fn)(void *arg, int err), void *arg)
{
	if (kv->wal)
		wal_when_durable(kv->wal, known_lsn(kv, lsn), false, fn, arg);
	else
		fn(arg, 0);
}

uint64_t kv_visible_lsn(struct kv *kv)
{
	return atomic_load(&kv->last_lsn);
}

void kv_keep_log(struct kv *kv, uint64_t keep_after, uint64_t keep_least)
{
	if (kv->wal && kv->opt.keep_log)
		wal_keep(kv->wal, keep_after, keep_least);
}

uint64_t kv_id(const struct kv *kv)
{
	return kv->id;
}

uint64_t kv_durable_lsn(struct kv *kv)
{
	return kv->wal ? wal_durable_lsn(kv->wal) : atomic_load(&kv->last_lsn);
}

struct base_stats {
	struct kv *kv;
	struct reader *reader;
	struct kv_stats *stats;
};

/* Within the guard. */
static int stats_of_base(void *arg)
{
	struct base_stats *bs = arg;
	int r = lmdb_read_begin(bs->kv->base, &bs->reader->txn);
	if (r == 0)
		lmdb_base_stats(bs->kv->base, bs->reader->txn, bs->stats);
	return r;
}

void kv_get_stats(struct kv *kv, struct kv_stats *ret_stats)
{
	struct kv_stats s = { .wal_backend = "standard" };
	struct reader *reader;
	struct layers *l;
	pthread_mutex_lock(&kv->lock);
	l = atomic_load(&kv->layers);
	s.memtable_bytes = memtable_bytes(l->active) + (l->frozen ? memtable_bytes(l->frozen) : 0);
	s.checkpoint_lsn = kv->state.checkpoint_lsn;
	s.checkpoints = kv->checkpoints;
	s.checkpoint_err = kv->checkpoint_err;
	pthread_mutex_unlock(&kv->lock);
	s.last_lsn = s.durable_lsn = atomic_load(&kv->last_lsn);
	s.failed = atomic_load(&kv->failed);
	if (kv->wal)
		wal_stats(kv->wal, &s);
	if (kv_enter(kv, &reader, &l) == 0) {
		struct base_stats bs = { kv, reader, &s };
		if (guard_call(stats_of_base, &bs) == -EUCLEAN)
			kv_index_rotten(kv);
		lmdb_read_park(reader->txn);
		kv_leave(reader);
	}
	*ret_stats = s;
}

static int replay_frame(void *arg, uint64_t lsn, struct slice payload)
{
	struct kv *kv = arg;
	struct memtable *m = atomic_load(&kv->layers)->active;
	struct kv_op op;
	int r;
	(void)lsn;
	while ((r = kv_op_take(&payload, &op)) > 0) {
		if (!memtable_reserve(m, op.key.len + op.val.len + MEM_ROW_OVERHEAD))
			return -ENOMEM;
		apply_op(m, &op);
	}
	return r;
}

static int random_wal_id(struct kv *kv)
{
	uint8_t *id = kv->state.wal_id;
	ssize_t n = getrandom(id, sizeof kv->state.wal_id, 0);
	return n == (ssize_t)sizeof kv->state.wal_id ? 0 : -EIO;
}

/* The base's state; of a base that is new, the state that it should get. */
static int load_state(struct kv *kv)
{
	int r = lmdb_base_get_state(kv->base, &kv->state);
	if (r == -ENOENT && !kv->opt.read_only) {
		kv->state = (struct base_state){ .clean = true };
		memcpy(kv->state.pool_uuid, kv->opt.pool_uuid, sizeof kv->opt.pool_uuid);
		return 0;
	}
	if (r == 0 && memcmp(kv->state.pool_uuid, kv->opt.pool_uuid, sizeof kv->opt.pool_uuid))
		return -ESTALE;
	return r;
}

/* The log exists before LMDB says that it is needed, and which file must be there. A full disk does not
 * keep a log that is needed anyway from going on: the next checkpoint names its file. */
static int name_log(struct kv *kv)
{
	struct base_state state = kv->state;
	state.clean = false;
	state.log_tag = wal_newest(kv->wal);
	int r = kv_write_state(kv, &state);
	if (r == -ENOSPC && !kv->state.clean)
		return 0;
	if (r < 0)
		return r;
	kv->state = state;
	wal_named(kv->wal, state.log_tag);
	return 0;
}

static int start_log(struct kv *kv, struct wal_found *found, bool continued)
{
	struct wal_options opt = {
		.dirfd = kv->opt.wal_dirfd,
		.backend = kv->opt.wal_backend,
		.sync_interval_ms = kv->opt.sync_interval_ms,
		.note_ms = kv->opt.wal_note_ms,
		.named = kv->state.log_tag,
		.segment_bytes = kv->opt.wal_segment_bytes,
		.compress = kv->opt.wal_compress,
		.keep_after = kv->opt.keep_log ? kv->opt.keep_after : UINT64_MAX,
		.keep_least = kv->opt.keep_log ? kv->opt.keep_least : UINT64_MAX,
		.on_failure = wal_failed,
		.arg = kv,
	};
	int r = continued ? 0 : random_wal_id(kv);
	if (r < 0)
		return r;
	memcpy(opt.id.pool_uuid, kv->opt.pool_uuid, sizeof opt.id.pool_uuid);
	memcpy(opt.id.wal_id, kv->state.wal_id, sizeof opt.id.wal_id);
	r = wal_start(&opt, found->last_lsn, found->last_seq, found->segments, &kv->wal);
	if (r < 0)
		return r;
	found->segments = NULL;
	return name_log(kv);
}

/* After a clean close only a log that is kept for repair is there, if any. */
static int take_log(struct kv *kv, const struct wal_replay *in, struct wal_found *found,
		    bool *ret_continued)
{
	bool clean = kv->state.clean;
	*ret_continued = false;
	if (!clean || kv->opt.keep_log) {
		int r = wal_replay(in, found);
		if (r == 0)
			*ret_continued = true;
		bool useless = r == -EUCLEAN || r == -ENOENT || r == -ESTALE;
		if (!clean || !useless)
			return r;
		if (r == -EUCLEAN)
			log_warn("the log kept for repair is damaged and not needed: a new one is "
				 "begun");
		wal_found_done(found);
	}
	return wal_discard(in, found);
}

/* A log that is kept for repair only must not be what keeps a full disk from being mounted. */
static bool kept_much(const struct wal_found *found)
{
	size_t sum = 0;
	for (const struct wal_segment *s = found->segments; s; s = s->next)
		sum += s->size;
	return sum >= KEPT_MUCH;
}

static int recover(struct kv *kv, struct kv_recovery *rec)
{
	bool continued;
	struct wal_found found;
	struct wal_replay in = {
		.dirfd = kv->opt.wal_dirfd,
		.checkpoint_lsn = kv->state.checkpoint_lsn,
		.named = kv->state.log_tag,
		.read_only = kv->opt.read_only,
		.apply = replay_frame,
		.arg = kv,
	};
	memcpy(in.id.pool_uuid, kv->opt.pool_uuid, sizeof in.id.pool_uuid);
	memcpy(in.id.wal_id, kv->state.wal_id, sizeof in.id.wal_id);
	int r = take_log(kv, &in, &found, &continued);
	*rec = (struct kv_recovery){
		.checkpoint_lsn = in.checkpoint_lsn,
		.last_lsn = found.last_lsn,
		.frames_replayed = found.frames,
		.bytes_replayed = found.bytes,
		.torn_tail = found.torn_tail,
		.damaged = found.damaged,
	};
	if (r == -EUCLEAN && found.damaged && kv->opt.read_only)
		r = 0;
	atomic_store(&kv->last_lsn, found.last_lsn);
	if (r == 0 && !kv->opt.read_only)
		r = start_log(kv, &found, continued);
	if (r == -ENOSPC && continued && !found.frames && kept_much(&found)) {
		wal_found_done(&found);
		r = wal_discard(&in, &found);
		if (r == 0)
			r = start_log(kv, &found, false);
	}
	wal_found_done(&found);
	return r;
}

static int start_keeper(struct kv *kv)
{
	int r = thread_start(&kv->keeper, kv_keeper_main, kv);
	kv->keeper_runs = r == 0;
	return r;
}

static void stop_keeper(struct kv *kv)
{
	if (!kv->keeper_runs)
		return;
	pthread_mutex_lock(&kv->lock);
	kv->stopping = true;
	pthread_cond_broadcast(&kv->keeper_wake);
	pthread_mutex_unlock(&kv->lock);
	pthread_join(kv->keeper, NULL);
	kv->keeper_runs = false;
}

static struct kv *kv_new(const struct kv_options *opt)
{
	static _Atomic uint64_t last_id;
	struct kv *kv = calloc(1, sizeof *kv);
	struct layers *l = calloc(1, sizeof *l);
	size_t full = opt->memtable_bytes ? opt->memtable_bytes : MEMTABLE_DEFAULT;
	if (!kv || !l || !(l->active = memtable_new(full)) || readers_init(&kv->readers) < 0) {
		if (l)
			memtable_free(l->active);
		free(l);
		free(kv);
		return NULL;
	}
	kv->id = atomic_fetch_add(&last_id, 1) + 1;
	kv->opt = *opt;
	kv->opt.memtable_bytes = full;
	if (!kv->opt.checkpoint_interval_s)
		kv->opt.checkpoint_interval_s = CHECKPOINT_INTERVAL_DEFAULT;
	atomic_init(&kv->layers, l);
	pthread_mutex_init(&kv->lock, NULL);
	pthread_mutex_init(&kv->base_lock, NULL);
	cond_init(&kv->changed);
	cond_init(&kv->keeper_wake);
	kv->last_try_ms = clock_mono_ms();
	return kv;
}

static void kv_free(struct kv *kv)
{
	struct layers *l = atomic_load(&kv->layers);
	readers_done(&kv->readers);
	lmdb_base_close(kv->base);
	memtable_free(l->active);
	memtable_free(l->frozen);
	free(l);
	free(kv->replaced);
	pthread_mutex_destroy(&kv->lock);
	pthread_mutex_destroy(&kv->base_lock);
	pthread_cond_destroy(&kv->changed);
	pthread_cond_destroy(&kv->keeper_wake);
	free(kv);
}

/* Before anything is written: a rotten list of free pages would make LMDB overwrite what is in use. A
 * row with a wrong checksum harms nobody but those who ask for it, and is not looked for. An index so large that this would be felt is not looked at. */
static int verify_base(const struct kv_options *opt)
{
	char why[160];
	struct stat st;
	if (fstatat(opt->index_dirfd, "data.mdb", &st, 0) || st.st_size > VERIFY_MAX)
		return 0;
	int r = base_verify_pages(opt->index_dirfd, why, sizeof why);
	if (r == -EUCLEAN)
		log_error("the index is damaged: %s", why);
	return r;
}

int kv_open(const struct kv_options *opt, struct kv **ret_kv, struct kv_recovery *ret_recovery)
{
	struct kv_recovery rec = { 0 };
	struct kv *kv = kv_new(opt);
	if (!kv)
		return -ENOMEM;
	int verdict = verify_base(opt);
	int r = opt->read_only && verdict == -EUCLEAN ? 0 : verdict;
	if (r == 0 && !opt->read_only)
		r = base_compact_sweep(opt->index_dirfd);
	if (r == 0)
		r = lmdb_base_open(opt->index_path, opt->read_only, &kv->base);
	if (r == 0)
		r = load_state(kv);
	if (r == 0)
		r = recover(kv, &rec);
	rec.index_damaged = verdict == -EUCLEAN;
	if (ret_recovery)
		*ret_recovery = rec;
	if (r == 0 && !opt->read_only)
		r = start_keeper(kv);
	if (r == 0 && !opt->read_only && rec.frames_replayed) {
		r = kv_checkpoint(kv);
		if (r == -ENOSPC)
			r = 0; /* the replayed log stays until there is space again */
	}
	if (r < 0) {
		stop_keeper(kv);
		wal_stop(kv->wal, false);
		kv_free(kv);
		return r;
	}
	*ret_kv = kv;
	return 0;
}

/* It is right as it is; a failure means only that it stays as long as it is. */
static void shorten_base(struct kv *kv)
{
	int r = base_compact(kv->base, kv->opt.index_dirfd);
	if (r < 0)
		log_info("the index keeps its free pages: %s", strerror(-r));
}

int kv_close(struct kv *kv)
{
	if (!kv)
		return 0;
	int r = 0, r2;
	bool clean = false, full = false;
	if (kv->wal && !(r = atomic_load(&kv->failed))) {
		r = kv_sync(kv, UINT64_MAX);
		r2 = kv_checkpoint(kv);
		full = r == 0 && (r2 == -ENOSPC || r2 == -EDQUOT); /* the log has everything */
		r = r || full ? r : r2;
	}
	stop_keeper(kv);
	if (full)
		log_warn("there is no room to write the index: the next mount takes what is new "
			 "from the log");
	if (kv->wal && r == 0 && !full) {
		struct base_state state = kv->state;
		state.clean = true;
		state.log_tag = 0;
		r = kv_write_state(kv, &state);
		clean = r == 0;
	}
	r2 = wal_stop(kv->wal, clean);
	if (clean)
		shorten_base(kv);
	kv_free(kv);
	return r ? r : r2;
}
