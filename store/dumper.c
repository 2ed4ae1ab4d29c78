// SPDX-License-Identifier: MIT
/* When to dump. The log since the older of two dumps is kept, so a dump is due while that dump lacks
 * anything: after `interval_s`, or at once when the log has become long (LOG_MAX, on a small disk
 * less). Two dumps after the last change nothing of the log is kept any more.
 *
 * A dump reads the whole index, so that in a large pool the interval is not enough: whatever the
 * reason, after a dump that took t the next one waits for SHARE * t.
 *
 * Failing is harmless: the dumps before are there, and the log since. A full disk makes the log give
 * up what is kept for us; then no dump is of use, and one is due as soon as there is room.
 *
 * Closing: a dump of a small index takes milliseconds and lets a long log go. For a large one the log
 * stays, for the next mount to deal with.
 */
#include "dumper.h"
#include "cleanup.h"
#include "cond.h"
#include "log.h"
#include "thread.h"
#include <errno.h>
#include <signal.h>
#include <sys/statvfs.h>

#define TICK_NS 1000000000ull
#define RETRY_MS 30000
#define SHARE 20
#define LOG_MAX ((uint64_t)256 << 20)
#define LOG_DISK_SHARE 32
#define LOG_SEGMENTS_MAX 128
#define ROOM_LEFT ((uint64_t)32 << 20)	/* a dump leaves at least this much of the disk free */
#define CLOSING_LOG ((uint64_t)1 << 20) /* when closing, less is not worth a dump */
#define CLOSING_SEGMENTS 16
#define CLOSING_INDEX ((uint64_t)32 << 20) /* nor is one of more than this */

struct dumper {
	struct dumper_options opt;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;
	atomic_bool stop; /* for a dump that is being written */
	pthread_t thread;

	/* The thread's own: */
	struct dump_info dumps[DUMPS_KEPT]; /* newest first */
	size_t n;
	uint64_t last_ms, not_before_ms;
	int last_error;
};

void dumps_keep(const struct dump_info *dumps, size_t n, uint64_t *ret_after, uint64_t *ret_least)
{
	*ret_least = n ? dumps[0].start_lsn : 0;
	*ret_after = n > 1 ? dumps[1].start_lsn : *ret_least;
}

/* Has the oldest dump that is kept all there is? Without a dump of use: no. */
static bool complete(const struct dumper *d, const struct kv_stats *s)
{
	return d->n == DUMPS_KEPT && d->dumps[d->n - 1].start_lsn >= s->last_lsn;
}

static bool useless(const struct dumper *d, const struct kv_stats *s)
{
	return !d->n || d->dumps[0].start_lsn < s->log_start_lsn;
}

static uint64_t log_limit(const struct dumper *d)
{
	struct statvfs vfs;
	if (fstatvfs(d->opt.place.dirfd, &vfs))
		return LOG_MAX;
	uint64_t share = (uint64_t)vfs.f_blocks * vfs.f_frsize / LOG_DISK_SHARE;
	return share < LOG_MAX ? share : LOG_MAX;
}

static bool is_due(const struct dumper *d)
{
	struct kv_stats s;
	uint64_t now = clock_mono_ms();
	if (now < d->not_before_ms)
		return false;
	kv_get_stats(d->opt.kv, &s);
	if (s.failed || complete(d, &s))
		return false;
	return useless(d, &s) || now >= d->last_ms + d->opt.interval_s * 1000 ||
	       s.wal_bytes_filled > log_limit(d) || s.wal_segments > LOG_SEGMENTS_MAX;
}

static bool has_room(const struct dumper *d)
{
	struct statvfs vfs;
	uint64_t last = d->n ? d->dumps[0].bytes : 0;
	return fstatvfs(d->opt.place.dirfd, &vfs) ||
	       (uint64_t)vfs.f_bavail * vfs.f_frsize >= last + last / 4 + ROOM_LEFT;
}

static void say_failed(struct dumper *d, int err)
{
	if (err == d->last_error || err == -ECANCELED)
		return;
	if (err == -EUCLEAN)
		log_error("the index is damaged: a row of it cannot be read; unmount and run "
			  "fsck.foldfs, which restores it");
	else
		log_warn("dump of the index put off: %s", strerror(-err));
}

static int dump_once(struct dumper *d)
{
	struct dump_info info;
	uint64_t began = clock_mono_ms(), after, least;
	int r = has_room(d) ? dump_write(d->opt.kv, &d->opt.place, &d->stop, &info) : -ENOSPC;
	uint64_t ended = clock_mono_ms();
	if (r < 0) {
		say_failed(d, r);
		d->last_error = r;
		d->not_before_ms = ended + RETRY_MS;
		return r;
	}
	d->last_error = 0;
	d->last_ms = ended;
	d->not_before_ms = ended + (ended - began) * SHARE;
	r = dump_list(&d->opt.place, d->dumps, DUMPS_KEPT, NULL);
	d->n = r < 0 ? 0 : (size_t)r;
	dumps_keep(d->dumps, d->n, &after, &least);
	kv_keep_log(d->opt.kv, after, least);
	log_debug("dump %lu of the index: %lu rows in %lu bytes, %lu ms", info.generation,
		  info.rows_total, info.bytes, ended - began);
	return 0;
}

static void *dumper_main(void *arg)
{
	struct dumper *d = arg;
	pthread_setname_np(pthread_self(), "dumper");
	pthread_mutex_lock(&d->lock);
	while (!d->stopping) {
		cond_wait_until(&d->wake, &d->lock, clock_mono_ns() + TICK_NS);
		if (d->stopping)
			break;
		pthread_mutex_unlock(&d->lock);
		if (is_due(d))
			dump_once(d);
		pthread_mutex_lock(&d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* The clock may have jumped: a dump from the future counts as one of now. */
static uint64_t age_ms(const struct dump_info *dump)
{
	int64_t age = clock_wall_ns() / 1000000000 - dump->created;
	return age < 0 ? 0 : (uint64_t)age * 1000;
}

static void dumper_free(struct dumper *d)
{
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->wake);
	free(d);
}

int dumper_start(const struct dumper_options *opt, struct dumper **ret_dumper)
{
	struct dumper *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->opt = *opt;
	pthread_mutex_init(&d->lock, NULL);
	cond_init(&d->wake);
	int r = dump_list(&opt->place, d->dumps, DUMPS_KEPT, NULL);
	if (r >= 0) {
		d->n = (size_t)r;
		uint64_t now = clock_mono_ms(), age = d->n ? age_ms(&d->dumps[0]) : 0;
		d->last_ms = age < now ? now - age : 0;
		r = thread_start(&d->thread, dumper_main, d);
	}
	if (r < 0) {
		dumper_free(d);
		return r;
	}
	*ret_dumper = d;
	return 0;
}

static bool worth_closing_with(const struct dumper *d)
{
	struct kv_stats s;
	kv_get_stats(d->opt.kv, &s);
	return !s.failed && !complete(d, &s) && s.lmdb_bytes_used <= CLOSING_INDEX &&
	       (useless(d, &s) || s.wal_bytes_filled > CLOSING_LOG ||
		s.wal_segments > CLOSING_SEGMENTS);
}

void dumper_stop(struct dumper *d, bool failed)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	atomic_store(&d->stop, true);
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	atomic_store(&d->stop, false);
	for (unsigned i = 0; i < DUMPS_KEPT && !failed && worth_closing_with(d); i++)
		if (dump_once(d) < 0)
			break;
	dumper_free(d);
}
