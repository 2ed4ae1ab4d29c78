// SPDX-License-Identifier: MIT
#include "scrubber.h"
#include "cleanup.h"
#include "clock.h"
#include "log.h"

#define LOOK_MS 1000u

struct scrubber {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping, asked, running;
	int failed; /* the last pass; it is not begun again by itself */
	pthread_t thread;
};

static bool due(struct fs *fs, const struct scrubber *s)
{
	struct scrub_status status;
	int64_t every = (int64_t)fs->pool->config.scrub_interval_s;
	if (s->asked)
		return true;
	scrub_get_status(fs->pool->scrub, &status);
	int64_t age = clock_wall_ns() / 1000000000 - status.began;
	return every && !s->failed && (age < 0 || age >= every);
}

static int scrub(struct fs *fs)
{
	struct scrub_status s;
	int r = fs_may_write(fs);
	if (r == 0)
		r = scrub_run(fs->pool->scrub, NULL, NULL);
	scrub_get_status(fs->pool->scrub, &s);
	if (r == -ECANCELED || r == -EBUSY)
		return 0;
	if (r < 0)
		log_warn("scrub did not finish: %s", strerror(-r));
	else if (s.bad_chunks || s.bad_rows || s.bad_packs || s.bad_dumps || s.rotten)
		log_error("scrub read %lu MiB: %lu damaged chunks in %lu frames, %lu of them "
			  "repaired; %lu damaged rows, %lu damaged pack ends, %lu damaged dumps; "
			  "%lu chunks cannot be "
			  "read now",
			  s.bytes_done >> 20, s.bad_chunks, s.bad_frames, s.repaired, s.bad_rows,
			  s.bad_packs, s.bad_dumps, s.rotten);
	else
		log_info("scrub read %lu MiB and found no damage",
			 (s.bytes_done - s.absent_bytes) >> 20);
	if (s.absent_bytes)
		log_warn("scrub left out %lu MiB in tiers that are absent", s.absent_bytes >> 20);
	return r;
}

static void wait_locked(struct scrubber *s, unsigned ms)
{
	uint64_t until = clock_mono_ms() + ms;
	struct timespec ts = { .tv_sec = (time_t)(until / 1000),
			       .tv_nsec = (long)(until % 1000) * 1000000 };
	pthread_cond_timedwait(&s->changed, &s->lock, &ts);
}

static void *scrubber_main(void *arg)
{
	struct fs *fs = arg;
	struct scrubber *s = fs->scrubber;
	pthread_setname_np(pthread_self(), "scrub");
	pthread_mutex_lock(&s->lock);
	while (!s->stopping) {
		if (!due(fs, s)) {
			wait_locked(s, LOOK_MS);
			continue;
		}
		s->asked = false;
		s->running = true;
		pthread_mutex_unlock(&s->lock);
		int r = scrub(fs);
		pthread_mutex_lock(&s->lock);
		s->running = false;
		s->failed = r;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int scrubber_start(struct fs *fs)
{
	struct scrub_status status;
	struct scrubber *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	scrub_get_status(fs->pool->scrub, &status);
	s->asked = status.state == SCRUB_INTERRUPTED;
	fs->scrubber = s;
	int r = pthread_create(&s->thread, NULL, scrubber_main, fs);
	if (r) {
		free(s);
		fs->scrubber = NULL;
		return -r;
	}
	return 0;
}

void scrubber_stop(struct fs *fs)
{
	struct scrubber *s = fs->scrubber;
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	scrub_stop(fs->pool->scrub, false);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
	fs->scrubber = NULL;
}

bool scrubber_ask(struct fs *fs)
{
	struct scrubber *s = fs->scrubber;
	SCOPED_LOCK(&s->lock);
	bool begins = !s->asked && !s->running;
	s->asked = s->asked || begins;
	pthread_cond_broadcast(&s->changed);
	return begins;
}

bool scrubber_wait(struct fs *fs, unsigned ms)
{
	struct scrubber *s = fs->scrubber;
	SCOPED_LOCK(&s->lock);
	if (s->asked || s->running)
		wait_locked(s, ms);
	return s->asked || s->running;
}
