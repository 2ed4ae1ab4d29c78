// SPDX-License-Identifier: MIT
#include "collector.h"
#include "cleanup.h"
#include "cond.h"
#include "log.h"
#include "reaper.h"
#include "space.h"

/* Between passes that a full disk asks for; and as often as that the time the last one took. */
#define WAKE_GAP_MS 2000u
#define WAKE_GAP_TIMES 8u

struct collector {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping, asked;
	uint64_t last_ms, took_ms;
	unsigned long long seen; /* what changes() was at the last pass */
	pthread_t thread;
};

/* Deletes and overwrites; and tiers that are back, where packs may have become garbage meanwhile. */
static unsigned long long changes(struct fs *fs)
{
	return atomic_load(&fs->count.unlinks) + atomic_load(&fs->count.renames) +
	       atomic_load(&fs->count.destaged_files) + tiers_returns(fs->pool->tiers);
}

static void collect(struct fs *fs)
{
	struct gc_result result = { 0 };
	reaper_drain(fs);
	space_tick(fs); /* the reserve is for this */
	int r = gc_run(fs->pool->gc, NULL, NULL, &result);
	if (r < 0 && r != -EBUSY && r != -ECANCELED)
		log_warn("gc did not finish: %s", strerror(-r));
	else if (r == 0 && result.bytes_freed)
		log_info("gc freed %lu MiB: %lu packs dropped, %lu trimmed, %lu rewritten",
			 result.bytes_freed >> 20, result.packs_dropped, result.packs_trimmed,
			 result.packs_rewritten);
}

static bool due_locked(struct fs *fs, struct collector *c)
{
	uint64_t now = clock_mono_ms();
	uint64_t every = fs->pool->config.gc_interval_s * 1000;
	uint64_t gap = c->took_ms * WAKE_GAP_TIMES > WAKE_GAP_MS ? c->took_ms * WAKE_GAP_TIMES
								 : WAKE_GAP_MS;
	if (c->asked || (space_is_low(fs) && changes(fs) != c->seen))
		return now - c->last_ms >= gap;
	return every && now - c->last_ms >= every && changes(fs) != c->seen;
}

static void *collector_main(void *arg)
{
	struct fs *fs = arg;
	struct collector *c = fs->collector;
	pthread_setname_np(pthread_self(), "collector");
	pthread_mutex_lock(&c->lock);
	while (!c->stopping) {
		if (!due_locked(fs, c)) {
			cond_wait_until(&c->wake, &c->lock, clock_mono_ns() + 1000000000);
			continue;
		}
		c->asked = false;
		c->seen = changes(fs);
		pthread_mutex_unlock(&c->lock);
		uint64_t began = clock_mono_ms();
		collect(fs);
		space_tick(fs); /* what was freed may be used at once */
		pthread_mutex_lock(&c->lock);
		c->last_ms = clock_mono_ms();
		c->took_ms = c->last_ms - began;
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

int collector_start(struct fs *fs)
{
	struct collector *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	cond_init(&c->wake);
	c->last_ms = clock_mono_ms();
	fs->collector = c;
	int r = pthread_create(&c->thread, NULL, collector_main, fs);
	if (r) {
		free(c);
		fs->collector = NULL;
		return -r;
	}
	return 0;
}

void collector_wake(struct fs *fs)
{
	struct collector *c = fs->collector;
	if (!c)
		return;
	SCOPED_LOCK(&c->lock);
	c->asked = true;
	pthread_cond_signal(&c->wake);
}

void collector_stop(struct fs *fs)
{
	struct collector *c = fs->collector;
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	gc_stop(fs->pool->gc);
	pthread_join(c->thread, NULL);
	free(c);
	fs->collector = NULL;
}
