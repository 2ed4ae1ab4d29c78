// SPDX-License-Identifier: MIT
#include "ticker.h"
#include "cleanup.h"
#include "cond.h"
#include "content.h"
#include "fault.h"
#include "log.h"
#include "settle.h"
#include "space.h"
#include "tail.h"

struct ticker {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;
	pthread_t thread;
};

/* Held content goes into the index when its time has come; small content that nobody writes any
 * more is left to destage, which has been given it. Until then a sync must find it. */
static int commit_held(struct fs *fs, struct inode *in, bool all)
{
	bool destaged_soon = in->mem && in->writers == 0 && in->settle;
	if (!all && (destaged_soon || in->held_until_ms > clock_mono_ms())) {
		if (fault_hit("keep_dirty") != FAULT_SKIP)
			inode_mark_dirty(fs, in);
		return 0;
	}
	int r = fault_hit("release_hold");
	return r < 0 ? r : inode_release_hold(fs, in, false);
}

static int commit_inode(struct fs *fs, struct inode *in, bool all)
{
	int r = 0;
	if (in->gone)
		return 0;
	if (in->held)
		r = commit_held(fs, in, all);
	else if (in->row_dirty)
		r = inode_commit_row(fs, in);
	if (r == 0 && in->cut_lsn) {
		r = all ? tail_cut(fs, in) : tail_cut_later(fs, in);
		content_rest(fs, in);
	}
	inode_account_staged(fs, in);
	if (r < 0 && !fs->pool->failed) {
		log_warn("inode %lu: its changes could not be committed yet: %s", in->ino,
			 strerror(-r));
		inode_mark_dirty(fs, in);
	}
	return r;
}

static int commit_some(struct fs *fs, struct inode *in)
{
	return commit_inode(fs, in, false);
}

static int commit_all(struct fs *fs, struct inode *in)
{
	return commit_inode(fs, in, true);
}

int ticker_commit_dirty(struct fs *fs, bool all)
{
	return inode_each_dirty(fs, all ? commit_all : commit_some);
}

static void *ticker_main(void *arg)
{
	struct fs *fs = arg;
	struct ticker *t = fs->ticker;
	uint64_t interval = fs->pool->config.wal_sync_interval_ms / 2;
	pthread_setname_np(pthread_self(), "ticker");
	pthread_mutex_lock(&t->lock);
	while (!t->stopping) {
		cond_wait_until(&t->wake, &t->lock,
				clock_mono_ns() + (interval ? interval : 1) * 1000000);
		if (t->stopping)
			break;
		pthread_mutex_unlock(&t->lock);
		ticker_commit_dirty(fs, false);
		space_tick(fs);
		destage_nudge(fs->pool->destage);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

int ticker_start(struct fs *fs)
{
	struct ticker *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	cond_init(&t->wake);
	fs->ticker = t;
	int r = pthread_create(&t->thread, NULL, ticker_main, fs);
	if (r) {
		free(t);
		fs->ticker = NULL;
		return -r;
	}
	return 0;
}

void ticker_stop(struct fs *fs)
{
	struct ticker *t = fs->ticker;
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stopping = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	free(t);
	fs->ticker = NULL;
}
