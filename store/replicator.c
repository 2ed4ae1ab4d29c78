// SPDX-License-Identifier: MIT
/* An epoch is a mount's: each begins its own, whose base is the last root of the one before. Its owner is told by
 * POOL/replica: as long as the newest epoch is of the same owner, nobody has taken over, and nobody is to be waited for.
 *
 * The place may not answer when the mount begins. Then the thread that ships tries on; until then nobody has been told that
 * we are alive, so another machine may take over, which is found out as soon as the place is back.
 *
 * When the mount ends there are LEAVE_MS for what is under way and a last ship, none when the last one had failed. The
 * thread that renews the lease watches that, and then ends all requests.
 *
 * Lock order: `lock` is a leaf. `ship` is of the thread that ships, after that of replicator_close().
 */
#include "replicator.h"
#include "cleanup.h"
#include "cond.h"
#include "digest.h"
#include "lease.h"
#include "log.h"
#include "replica_ship.h"
#include "thread.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>

#define ASK_MS 10000u /* for a request, with all its tries */
#define LAST_WORD_MS 3000u
#define LEAVE_MS 20000u
#define SOON_MS 500u /* the first root, when something is to be waited for */
#define BEATS 6u     /* in a lease */
#define LOOK_MS 200u
#define REPLICA_BEEN_KEY "replica."
#define BEEN_KEY_LEN (sizeof REPLICA_BEEN_KEY - 1 + 8)

struct replicator {
	struct replicator_options opt;
	struct place_options where;
	uint8_t owner[16];
	char host[LEASE_HOST_MAX];
	struct replica_ship ship;
	atomic_bool stop; /* requests and long work end */
	pthread_t shipper, keeper;
	bool shipper_runs, keeper_runs;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t changed;
	bool leaving, ended;	/* the shipper / the keeper shall end */
	bool quit;		/* all requests were ended */
	uint64_t deadline_ms;	/* while leaving */
	uint64_t asked, served; /* replicator_sync() */
	int result;		/* of the last ship */
	bool lost_told;
	uint64_t due_ns; /* pace() */
	struct replicator_status status;
};

/* ---- the epoch ---- */

static int say(struct pool_error *err, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int say(struct pool_error *err, int r, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	return r;
}

/* Where a replica of this pool has been, by the words of the option. */
static void been_key(const struct replicator *r, uint8_t key[BEEN_KEY_LEN])
{
	memcpy(key, REPLICA_BEEN_KEY, BEEN_KEY_LEN - 8);
	put_be64(key + BEEN_KEY_LEN - 8, checksum64(r->where.where, strlen(r->where.where)));
}

static int has_been(struct replicator *r)
{
	uint8_t key[BEEN_KEY_LEN];
	CLEANUP_BUF struct buf val = { 0 };
	been_key(r, key);
	int e = kv_get(r->opt.pool->kv, KV_META, key, sizeof key, &val);
	return e == -ENOENT ? 0 : e < 0 ? e : 1;
}

static int note_been(struct replicator *r)
{
	uint8_t key[BEEN_KEY_LEN];
	int e = has_been(r);
	struct kv_batch *batch = e ? NULL : kv_batch_new();
	if (!batch)
		return e < 0 ? e : e ? 0 : -ENOMEM;
	been_key(r, key);
	kv_batch_put(batch, KV_META, key, sizeof key, "", 0);
	return kv_commit(r->opt.pool->kv, batch, NULL);
}

/* An empty directory may be where a disk is mounted on other days. */
static int may_begin(struct replicator *r, struct pool_error *err)
{
	int e = has_been(r);
	return e > 0 ? say(err, -ENODEV,
			   "replicate_to=%.200s: the replica of this pool that was there is gone: "
			   "is its disk mounted? To begin a new one, name another place",
			   r->where.where)
		     : e;
}

/* The place is nobody's, or this pool's. */
static int claim_tier(struct replicator *r, struct pool_error *err)
{
	struct place *tier = r->ship.tier;
	struct place_label label;
	const uint8_t *uuid = r->opt.pool->super.uuid;
	int e = tier->ops->read_label(tier, &label);
	if (e == -ENOENT) {
		e = may_begin(r, err);
		if (e < 0)
			return e;
		memcpy(label.pool, uuid, sizeof label.pool);
		label.number = REPLICA_TIER;
		if (getrandom(label.tier, sizeof label.tier, 0) != sizeof label.tier)
			return -EIO;
		e = tier->ops->claim(tier, &label);
	}
	if (e == -ENOTEMPTY || e == -ESTALE)
		return say(
			err, -EEXIST,
			"replicate_to=%.200s: it has other files in it, or its label is damaged; "
			"give a place for this pool alone",
			r->where.where);
	if (e < 0)
		return say(err, e, "replicate_to=%.200s cannot be used: %s", r->where.where,
			   strerror(-e));
	if (memcmp(label.pool, uuid, sizeof label.pool) || label.number != REPLICA_TIER)
		return say(err, -EEXIST, "replicate_to=%.200s belongs to another pool",
			   r->where.where);
	return 0;
}

/* What the next epoch is, and goes on from. */
static int look(struct replicator *r, struct lease_record *rec, uint64_t *ret_epoch,
		struct pool_error *err)
{
	struct lease_seen seen;
	uint64_t seq = 0;
	int e = lease_look(r->ship.depot, &seen);
	*ret_epoch = 1;
	if (e == -ENOENT)
		return 0;
	if (e < 0)
		return say(err, e, "replicate_to=%.200s: its epochs cannot be read: %s",
			   r->where.where, strerror(-e));
	if (memcmp(seen.record.pool, rec->pool, sizeof rec->pool))
		return say(err, -EEXIST, "replicate_to=%.200s belongs to another pool",
			   r->where.where);
	if (memcmp(seen.record.owner, rec->owner, sizeof rec->owner))
		return say(err, -EROFS,
			   "this pool was taken over by %s (epoch %" PRIu64 " in %.200s): what was "
			   "written here since its last ship is in no other place; mount it with "
			   "-o ro",
			   seen.record.host, seen.epoch, r->where.where);
	e = replica_root_newest(r->ship.depot, seen.epoch, &seq);
	if (e < 0 && e != -ENOENT)
		return say(err, e, "replicate_to=%.200s: its roots cannot be listed: %s",
			   r->where.where, strerror(-e));
	rec->base_epoch = seq ? seen.epoch : seen.record.base_epoch;
	rec->base_seq = seq ? seq : seen.record.base_seq;
	*ret_epoch = seen.epoch + 1;
	return 0;
}

static int begin_epoch(struct replicator *r, struct pool_error *err)
{
	struct lease_record rec = { .lease_ms = r->opt.pool->config.replicate_lease_ms };
	uint64_t epoch;
	int e = claim_tier(r, err);
	if (e < 0)
		return e;
	memcpy(rec.pool, r->opt.pool->super.uuid, sizeof rec.pool);
	memcpy(rec.owner, r->owner, sizeof rec.owner);
	snprintf(rec.host, sizeof rec.host, "%s", r->host);
	e = look(r, &rec, &epoch, err);
	if (e < 0)
		return e;
	e = lease_begin(r->ship.depot, epoch, &rec);
	if (e < 0)
		return say(err, e == -EEXIST ? -EAGAIN : e,
			   "replicate_to=%.200s: no epoch could be begun: %s", r->where.where,
			   e == -EEXIST ? "another has just been" : strerror(-e));
	e = note_been(r);
	if (e < 0)
		return say(err, e, "replicate_to=%.200s cannot be noted in the index: %s",
			   r->where.where, strerror(-e));
	SCOPED_LOCK(&r->lock);
	r->ship.epoch = r->status.epoch = epoch;
	return 0;
}

static uint64_t epoch_of(struct replicator *r)
{
	SCOPED_LOCK(&r->lock);
	return r->status.epoch;
}

static void tell_lost(struct replicator *r)
{
	struct lease_seen seen;
	char host[LEASE_HOST_MAX] = "another machine";
	if (lease_look(r->ship.depot, &seen) == 0)
		memcpy(host, seen.record.host, sizeof host);
	pthread_mutex_lock(&r->lock);
	bool told = r->lost_told;
	r->lost_told = r->status.lost = true;
	snprintf(r->status.error, sizeof r->status.error, "%s has taken the pool over", host);
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	atomic_store(&r->stop, true);
	if (!told)
		r->opt.lost(r->opt.arg, host);
}

/* ---- shipping ---- */

/* Who waits for it, or for the unmount, does not wait for the rate's sake. */
static void pace(void *arg, uint64_t bytes)
{
	struct replicator *r = arg;
	uint64_t rate = r->opt.pool->config.tier_rate, now = clock_mono_ns();
	SCOPED_LOCK(&r->lock);
	r->due_ns = r->due_ns < now ? now : r->due_ns;
	if (rate)
		r->due_ns += (uint64_t)((double)bytes * 1e9 / (double)rate);
	while (!r->leaving && r->asked == r->served && clock_mono_ns() < r->due_ns)
		cond_wait_until(&r->changed, &r->lock, r->due_ns);
}

static const char *reason(int e)
{
	return e == -EAGAIN ? "files changed faster than they could be copied, or the index has "
			      "not been dumped yet"
	       : e == -ENOMEDIUM ? "a tier is absent"
				 : strerror(-e);
}

static void note_result(struct replicator *r, int e)
{
	char was[sizeof r->status.error];
	pthread_mutex_lock(&r->lock);
	struct replicator_status *s = &r->status;
	memcpy(was, s->error, sizeof was);
	if (!s->lost)
		snprintf(s->error, sizeof s->error, "%s", e < 0 ? reason(e) : "");
	s->ships += e == 0;
	s->packs = r->ship.packs;
	s->bytes = r->ship.bytes;
	if (r->ship.last.seq) {
		s->root = r->ship.last.seq;
		s->shipped_lsn = r->ship.last.lsn;
		s->shipped_time = r->ship.last.time;
	}
	r->result = e;
	bool lost = s->lost, waits = e == -EAGAIN && !s->root;
	pthread_mutex_unlock(&r->lock);
	if (lost || e == -ECANCELED || waits)
		return;
	if (e < 0 && !*was)
		log_warn("the pool could not be shipped to %s, and will be later: %s",
			 r->where.where, reason(e));
	else if (e == 0 && *was)
		log_info("the pool is shipped to %s again", r->where.where);
}

static int ship(struct replicator *r)
{
	struct pool_error err = { 0 };
	int e = r->opt.pool->failed ? -EROFS : 0;
	if (e == 0 && !epoch_of(r))
		e = begin_epoch(r, &err);
	if (*err.text && (e == -EROFS || e == -EEXIST)) {
		log_error("%s", err.text);
		e = -ESTALE;
	}
	if (e == 0)
		e = replica_ship_run(&r->ship);
	if (e == -ESTALE && !r->opt.pool->failed)
		tell_lost(r);
	return e;
}

/* One turn without the lock. */
static void turn(struct replicator *r)
{
	bool leaving;
	pthread_mutex_lock(&r->lock);
	leaving = r->leaving;
	uint64_t asked = r->asked;
	pthread_mutex_unlock(&r->lock);
	if (!leaving && !r->opt.pool->failed)
		r->opt.destage(r->opt.arg);
	note_result(r, ship(r));
	SCOPED_LOCK(&r->lock);
	r->served = asked;
	pthread_cond_broadcast(&r->changed);
}

static void *shipper_main(void *arg)
{
	struct replicator *r = arg;
	uint64_t every = r->opt.pool->config.replicate_ms;
	pthread_setname_np(pthread_self(), "replicator");
	pthread_mutex_lock(&r->lock);
	uint64_t due = clock_mono_ms();
	while (!r->leaving && !r->lost_told) {
		if (r->asked == r->served && clock_mono_ms() < due) {
			cond_wait_until(&r->changed, &r->lock, due * 1000000);
			continue;
		}
		pthread_mutex_unlock(&r->lock);
		turn(r);
		pthread_mutex_lock(&r->lock);
		bool soon = r->result == -EAGAIN && !r->status.root;
		due = clock_mono_ms() + (soon && every > SOON_MS ? SOON_MS : every);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* ---- the lease ---- */

static void quit_requests(struct replicator *r)
{
	atomic_store(&r->stop, true);
	depot_quit(r->ship.depot);
	if (r->ship.tier->ops->quit)
		r->ship.tier->ops->quit(r->ship.tier);
}

static void beat(struct replicator *r, uint64_t count)
{
	uint64_t epoch = epoch_of(r);
	int e = epoch ? lease_is_lost(r->ship.depot, epoch, NULL) : 0;
	if (e > 0)
		tell_lost(r);
	else if (e == 0 && epoch)
		lease_beat(r->ship.depot, epoch, count, false);
}

static void *keeper_main(void *arg)
{
	struct replicator *r = arg;
	uint64_t every = r->opt.pool->config.replicate_lease_ms / BEATS, count = 1;
	uint64_t due = clock_mono_ms() + every;
	pthread_setname_np(pthread_self(), "lease");
	pthread_mutex_lock(&r->lock);
	while (!r->ended) {
		uint64_t now = clock_mono_ms(), until = due;
		if (r->leaving && !r->quit && now >= r->deadline_ms) {
			r->quit = true;
			pthread_mutex_unlock(&r->lock);
			quit_requests(r);
			pthread_mutex_lock(&r->lock);
		}
		if (r->leaving && !r->quit && r->deadline_ms < until)
			until = r->deadline_ms;
		if (now < until) {
			cond_wait_until(&r->changed, &r->lock, until * 1000000);
			continue;
		}
		bool idle = r->lost_told || r->quit;
		pthread_mutex_unlock(&r->lock);
		if (!idle)
			beat(r, count++);
		pthread_mutex_lock(&r->lock);
		due = clock_mono_ms() + every;
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* ---- life ---- */

static void replicator_free(struct replicator *r)
{
	replica_ship_done(&r->ship);
	place_close(r->ship.tier);
	depot_close(r->ship.depot);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static int start_threads(struct replicator *r)
{
	int e = thread_start(&r->keeper, keeper_main, r);
	r->keeper_runs = e == 0;
	if (e == 0) {
		e = thread_start(&r->shipper, shipper_main, r);
		r->shipper_runs = e == 0;
	}
	return e;
}

static int open_place(struct replicator *r, struct pool_error *err)
{
	char why[400] = "";
	if (*r->where.where == '/' && io_lies_within(r->where.where, r->opt.pool->dirfd))
		return say(err, -EINVAL, "replicate_to: %s is a part of the pool itself",
			   r->where.where);
	int e = depot_open(&r->where, &r->ship.depot, why, sizeof why);
	if (e == 0)
		e = replica_open_tier(&r->where, true, &r->ship.tier, why, sizeof why);
	return e < 0 ? say(err, e, "replicate_to: %s", why) : 0;
}

/* Packs that lie in the replica alone, after a take-over, are nobody else's to keep. */
static int check_options(const struct pool *pool, struct pool_error *err)
{
	struct tier_info info;
	bool lies_there = tiers_get(pool->tiers, REPLICA_TIER, &info);
	if (lies_there && strcmp(info.name, REPLICA_TIER_NAME))
		return pool->config.replicate_ms
			       ? say(err, -EINVAL,
				     "replicate=: this pool has %u tiers, and its replica would be "
				     "one more",
				     CONFIG_TIERS_MAX)
			       : 0;
	if (lies_there && !pool->config.replicate_ms)
		return say(err, -EINVAL,
			   "packs of this pool lie in its replica, %s: give replicate= and "
			   "replicate_to= as before",
			   info.where);
	return 0;
}

int replicator_start(const struct replicator_options *opt, struct replicator **ret_r,
		     struct pool_error *err)
{
	const struct config *conf = &opt->pool->config;
	int e = check_options(opt->pool, err);
	*ret_r = NULL;
	if (e < 0 || !conf->replicate_ms)
		return e;
	struct replicator *r = calloc(1, sizeof *r);
	if (!r)
		return say(err, -ENOMEM, "there is not enough memory");
	r->opt = *opt;
	pthread_mutex_init(&r->lock, NULL);
	cond_init(&r->changed);
	r->where = (struct place_options){ .where = conf->replicate_to,
					   .endpoint = conf->replicate_endpoint,
					   .region = conf->replicate_region,
					   .timeout_ms = ASK_MS };
	snprintf(r->status.place, sizeof r->status.place, "%s", conf->replicate_to);
	replica_host(r->host, sizeof r->host);
	r->ship.pool = opt->pool;
	r->ship.grace_ms = conf->replicate_grace_ms;
	r->ship.stop = &r->stop;
	r->ship.pace = pace;
	r->ship.arg = r;
	e = replica_owner(opt->pool->dirfd, r->owner);
	if (e < 0)
		say(err, e, "%s/" REPLICA_OWNER_FILE " cannot be used: %s", opt->pool->path,
		    strerror(-e));
	if (e == 0)
		e = open_place(r, err);
	if (e < 0) {
		place_close(r->ship.tier);
		r->ship.tier = NULL;
		replicator_free(r);
		return e;
	}
	e = begin_epoch(r, err);
	bool refused = e == -EEXIST || e == -EROFS || e == -ENODEV;
	if (e < 0 && !refused)
		log_warn("%s; it is tried on", err->text);
	if (!refused)
		e = start_threads(r);
	if (e < 0) {
		if (!refused)
			say(err, e, "no thread can be started: %s", strerror(-e));
		replicator_close(r);
		return e;
	}
	*ret_r = r;
	return 0;
}

int replicator_sync(struct replicator *r, int (*go_on)(void *arg), void *arg)
{
	SCOPED_LOCK(&r->lock);
	uint64_t ticket = ++r->asked;
	pthread_cond_broadcast(&r->changed);
	while (r->served < ticket && !r->leaving && !r->lost_told) {
		cond_wait_until(&r->changed, &r->lock, clock_mono_ns() + LOOK_MS * 1000000ull);
		pthread_mutex_unlock(&r->lock);
		int e = go_on ? go_on(arg) : 0;
		pthread_mutex_lock(&r->lock);
		if (e)
			return e;
	}
	return r->lost_told ? -ESTALE : r->served < ticket ? -ECANCELED : r->result;
}

void replicator_pause(struct replicator *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->leaving = true;
	r->deadline_ms = clock_mono_ms() + (*r->status.error || !r->status.epoch ? 0 : LEAVE_MS);
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	if (r->shipper_runs)
		pthread_join(r->shipper, NULL);
	r->shipper_runs = false;
}

/* Who waits for the lease need not any more. */
static void give_back(struct replicator *r)
{
	struct place_options where = r->where;
	struct depot *d = NULL;
	char why[400];
	if (!r->status.epoch || r->lost_told)
		return;
	where.timeout_ms = LAST_WORD_MS;
	if (r->quit && depot_open(&where, &d, why, sizeof why) < 0)
		return;
	struct depot *to = d ? d : r->ship.depot;
	if (lease_is_lost(to, r->status.epoch, NULL) == 0)
		lease_beat(to, r->status.epoch, UINT32_MAX, true);
	depot_close(d);
}

void replicator_close(struct replicator *r)
{
	if (!r)
		return;
	replicator_pause(r);
	if (r->keeper_runs && !atomic_load(&r->stop) && r->status.root)
		note_result(r, ship(r));
	pthread_mutex_lock(&r->lock);
	r->ended = true;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	if (r->keeper_runs)
		pthread_join(r->keeper, NULL);
	give_back(r);
	replicator_free(r);
}

void replicator_get_status(struct replicator *r, struct replicator_status *ret_status)
{
	SCOPED_LOCK(&r->lock);
	*ret_status = r->status;
}
