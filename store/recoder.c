// SPDX-License-Identifier: MIT
/* A look every LOOK_S seconds: is the machine quiet, and is there a pack to be done? Then one after the other, the
 * oldest number first. When others want the processors in the middle of a pack, it waits between two frames, with
 * nothing locked; after PATIENCE_S it gives the pack up, and begins it again some other time. Who else has the
 * pack meanwhile, the mover or gc, is found out when rows are to change (-EBUSY on either side).
 *
 * The new pack has a number of its own, beyond those listed, and is noted as tried when it has been made: a crash
 * in between costs a sample of it.
 *
 * A pack that fails is left alone until the next mount; the disk being short of room ends the pass.
 */
#include "recoder.h"
#include "cleanup.h"
#include "cond.h"
#include "log.h"
#include "pack_move.h"
#include "pack_recode.h"
#include "quiet.h"
#include "thread.h"
#include <errno.h>
#include <inttypes.h>

#define LOOK_S 2u
#define PATIENCE_S 600u
#define FAILED_MAX 64u
#define KEY_LEN (sizeof RECODER_KEY - 1 + 8)
#define SECOND_NS 1000000000u

struct recoder {
	struct recoder_options opt;
	pthread_mutex_t lock; /* a leaf: stopping, status */
	pthread_cond_t changed;
	bool stopping, started;
	struct recoder_status status;
	pthread_t thread;

	/* Its own thread's: */
	struct quiet quiet;
	uint64_t failed[FAILED_MAX]; /* packs */
	unsigned n_failed;
	uint64_t row; /* which row of levels is at hand, plus one; 0: none */
	uint8_t levels[RECODER_PER_ROW];
};

struct list {
	struct recoder *d;
	uint64_t *packs;
	size_t n, cap;
	int64_t now;
};

int recoder_open(const struct recoder_options *opt, struct recoder **ret_d)
{
	struct recoder *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->opt = *opt;
	pthread_mutex_init(&d->lock, NULL);
	cond_init(&d->changed);
	*ret_d = d;
	return 0;
}

void recoder_close(struct recoder *d)
{
	if (!d)
		return;
	recoder_stop(d);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->changed);
	free(d);
}

void recoder_get_status(struct recoder *d, struct recoder_status *ret_status)
{
	SCOPED_LOCK(&d->lock);
	*ret_status = d->status;
}

/* Sleeps for so long, or until it shall stop. */
static bool stopped_within(struct recoder *d, uint64_t seconds)
{
	uint64_t until = clock_mono_ns() + seconds * SECOND_NS;
	SCOPED_LOCK(&d->lock);
	while (!d->stopping && clock_mono_ns() < until)
		cond_wait_until(&d->changed, &d->lock, until);
	return d->stopping;
}

static bool is_quiet(struct recoder *d)
{
	return quiet_now(&d->quiet, d->opt.load_percent);
}

/* ---- what was tried ---- */

static void key_of(uint64_t row, uint8_t key[KEY_LEN])
{
	memcpy(key, RECODER_KEY, KEY_LEN - 8);
	put_be64(key + KEY_LEN - 8, row);
}

/* A row that cannot be read says that nothing was tried. */
static int load_levels(struct recoder *d, uint64_t row)
{
	uint8_t key[KEY_LEN];
	struct buf val = { 0 };
	if (d->row == row + 1)
		return 0;
	key_of(row, key);
	int r = kv_get(d->opt.kv, KV_META, key, sizeof key, &val);
	bool sound = r == 0 && val.len == sizeof d->levels;
	memset(d->levels, 0, sizeof d->levels);
	if (sound)
		memcpy(d->levels, val.data, sizeof d->levels);
	buf_done(&val);
	r = r == -ENOENT || r == -EUCLEAN ? 0 : r;
	d->row = r == 0 ? row + 1 : 0;
	return r;
}

static int note_tried(struct recoder *d, uint64_t pack)
{
	uint8_t key[KEY_LEN];
	int r = load_levels(d, pack / RECODER_PER_ROW);
	struct kv_batch *batch = r == 0 ? kv_batch_new() : NULL;
	if (!batch)
		return r ? r : -ENOMEM;
	key_of(pack / RECODER_PER_ROW, key);
	d->levels[pack % RECODER_PER_ROW] = (uint8_t)d->opt.level;
	kv_batch_put(batch, KV_META, key, sizeof key, d->levels, sizeof d->levels);
	return kv_commit(d->opt.kv, batch, NULL);
}

/* ---- which packs ---- */

static bool has_failed(const struct recoder *d, uint64_t pack)
{
	for (unsigned i = 0; i < d->n_failed && i < FAILED_MAX; i++)
		if (d->failed[i] == pack)
			return true;
	return false;
}

static int list_one(void *arg, const struct pack_row *row)
{
	struct list *l = arg;
	struct recoder *d = l->d;
	if (row->state != PACK_SEALED || row->tier != TIER_HOT || has_failed(d, row->id) ||
	    l->now - row->created < (int64_t)d->opt.age_s ||
	    rotten_has_pack(d->opt.rotten, row->id))
		return 0;
	int r = load_levels(d, row->id / RECODER_PER_ROW);
	if (r < 0 || d->levels[row->id % RECODER_PER_ROW] >= d->opt.level)
		return r;
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		uint64_t *grown = realloc(l->packs, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		l->packs = grown;
		l->cap = cap;
	}
	l->packs[l->n++] = row->id;
	return 0;
}

/* The file under way, its copy for the disk, and the old one. */
static bool has_room(const struct recoder *d, uint64_t bytes)
{
	struct place *hot = tiers_place(d->opt.tiers, TIER_HOT);
	uint64_t total, avail;
	return hot && hot->ops->room(hot, &total, &avail) == 0 &&
	       avail >= 2 * bytes + d->opt.short_bytes;
}

/* ---- one pack ---- */

static int pace(void *arg, uint64_t bytes)
{
	struct recoder *d = arg;
	(void)bytes;
	for (unsigned waited = 0; waited < PATIENCE_S; waited++) {
		bool quiet = is_quiet(d);
		if (stopped_within(d, quiet ? 0 : 1))
			return -ECANCELED;
		if (quiet)
			return 0;
	}
	return -EBUSY;
}

static void count(struct recoder *d, const struct pack_row *was, const struct pack_row *now)
{
	SCOPED_LOCK(&d->lock);
	d->status.packs_tried++;
	if (!now)
		return;
	d->status.packs_made++;
	d->status.bytes_before += was->bytes;
	d->status.bytes_after += now->bytes;
}

static int recode_one(struct recoder *d, uint64_t pack)
{
	struct pack_row was, now;
	struct pack_move m = { .packs = d->opt.packs,
			       .rotten = d->opt.rotten,
			       .cache = d->opt.cache,
			       .level = d->opt.level,
			       .pace = pace,
			       .arg = d };
	int r = pack_get(d->opt.kv, pack, &was);
	if (r == 0 && !has_room(d, was.bytes))
		return -ENOSPC;
	if (r == 0)
		r = pack_squeeze(&m, pack, &was, &now);
	if (r < 0)
		return r;
	count(d, &was, r == PACK_AS_IS ? NULL : &now);
	if (r == PACK_AS_IS)
		return note_tried(d, pack);
	if (d->opt.mover)
		mover_packs_renamed(d->opt.mover);
	return note_tried(d, now.id);
}

/* What only this pack has to do with is not the others' trouble. */
static int take_failure(struct recoder *d, uint64_t pack, int r)
{
	if (r == -EBUSY || r == -ENOENT)
		return 0; /* it has changed meanwhile, or is gone */
	if (r == -ECANCELED || r == -ENOSPC || r == -EDQUOT || r == -EROFS)
		return r;
	log_warn("pack %016" PRIx64 " could not be compressed anew: %s", pack, strerror(-r));
	d->failed[d->n_failed++ % FAILED_MAX] = pack;
	return 0;
}

static void set_left(struct recoder *d, uint64_t left, bool working)
{
	SCOPED_LOCK(&d->lock);
	d->status.passes += d->status.working && !working;
	d->status.packs_left = left;
	d->status.working = working;
}

static void tell(struct recoder *d, const struct recoder_status *before)
{
	struct recoder_status s;
	recoder_get_status(d, &s);
	if (s.packs_made == before->packs_made)
		return;
	log_info("%" PRIu64 " packs were compressed anew: %" PRIu64 " MiB became %" PRIu64 " MiB",
		 s.packs_made - before->packs_made, (s.bytes_before - before->bytes_before) >> 20,
		 (s.bytes_after - before->bytes_after) >> 20);
}

static void run_pass(struct recoder *d)
{
	struct list l = { .d = d, .now = clock_wall_ns() / SECOND_NS };
	struct recoder_status before;
	recoder_get_status(d, &before);
	int r = packs_each(d->opt.packs, list_one, &l);
	r = r == -EUCLEAN ? 0 : r; /* fsck's business */
	size_t left = l.n;
	set_left(d, left, true);
	while (left && r == 0) {
		uint64_t pack = l.packs[l.n - left];
		r = pace(d, 0);
		if (r == 0)
			r = recode_one(d, pack);
		if (r < 0)
			r = take_failure(d, pack, r);
		left -= r == 0;
		set_left(d, left, true);
	}
	set_left(d, left, false);
	tell(d, &before);
	free(l.packs);
}

static void *recoder_main(void *arg)
{
	struct recoder *d = arg;
	pthread_setname_np(pthread_self(), "recoder");
	while (!stopped_within(d, LOOK_S)) {
		if (is_quiet(d))
			run_pass(d);
		SCOPED_LOCK(&d->lock);
		d->status.looks++;
	}
	return NULL;
}

int recoder_start(struct recoder *d)
{
	int r = thread_start(&d->thread, recoder_main, d);
	d->started = r == 0;
	return r;
}

void recoder_stop(struct recoder *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	if (d->started)
		pthread_join(d->thread, NULL);
	d->started = false;
}
