// SPDX-License-Identifier: MIT
/* An inode whose last name went has a row in KV_ORPHAN from the same batch on, so that a crash
 * cannot leak it. Small inodes are deleted many to a batch; the map of a large one goes a few
 * thousand rows at a time, so that no batch grows with the file.
 */
#include "reaper.h"
#include "cleanup.h"
#include "hot.h"
#include "log.h"
#include "lookups.h"
#include "xattr_row.h"

#define ROWS_PER_BATCH 2048u

struct reaper {
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	uint64_t *queue;
	size_t n, cap;
	bool busy, stopping;
	pthread_t thread;
};

void reaper_queue(struct fs *fs, uint64_t ino)
{
	struct reaper *r = fs->reaper;
	if (fs->read_only || !r)
		return;
	SCOPED_LOCK(&r->lock);
	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 1024;
		uint64_t *p = realloc(r->queue, cap * sizeof *p);
		if (!p)
			return; /* its orphan row stays: the next mount reaps it */
		r->queue = p;
		r->cap = cap;
	}
	r->queue[r->n++] = ino;
	pthread_cond_signal(&r->wake);
}

static int free_map(struct fs *fs, struct inode *in)
{
	for (;;) {
		struct change *c = change_new(fs->pool->extents);
		if (!c)
			return -ENOMEM;
		int more = extents_free_some(c, &in->row, ROWS_PER_BATCH);
		if (more < 0) {
			change_drop(c);
			return more;
		}
		inode_row_put(change_batch(c), &in->row);
		kv_batch_set_reserve(change_batch(c));
		int r = inode_commit(in, c);
		if (r < 0 || !more)
			return r;
	}
}

static int delete_rows(struct fs *fs, struct inode *in)
{
	uint8_t key[8];
	put_be64(key, in->ino);
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	struct kv_batch *b = change_batch(c);
	int r = 0;
	if (in->row.flags & INODE_XATTRS)
		r = xattr_delete_all(fs_kv(fs), b, in->ino);
	if (r >= 0 && !(in->row.flags & INODE_MAPPED))
		r = extents_free_some(c, &in->row, ROWS_PER_BATCH);
	if (r < 0) {
		change_drop(c);
		return r;
	}
	inline_delete(b, in->ino);
	kv_batch_delete(b, KV_ORPHAN, key, sizeof key);
	inode_row_delete(b, in->ino);
	kv_batch_set_reserve(b);
	return inode_commit(in, c);
}

/* The content fields that the index has, also when newer content was held. */
static void forget_held(struct fs *fs, struct inode *in)
{
	if (!in->held)
		return;
	if (in->row.staging_gen && in->row.staging_gen != in->kept.staging_gen)
		staging_drop(fs->pool->staging, in->ino, in->row.staging_gen);
	const uint32_t content = INODE_CONTENT_FLAGS;
	uint32_t flags = in->row.flags & ~content;
	in->row = in->kept;
	in->row.flags = flags | (in->kept.flags & content);
	in->row.nlink = 0;
	in->held = false;
}

static int reap_locked(struct fs *fs, struct inode *in)
{
	if (in->gone || in->row.nlink || in->opens || lookups_count(fs->lookups, in->ino))
		return 0;
	forget_held(fs, in);
	hot_forget(fs, in);
	if (in->fd >= 0)
		close(take_fd(&in->fd));
	staging_account(fs->pool->staging, -(int64_t)in->staged_blocks * 512);
	in->staged_blocks = 0;
	uint64_t gen = in->row.staging_gen;
	int r = in->row.flags & INODE_MAPPED ? free_map(fs, in) : 0;
	if (r == 0)
		r = delete_rows(fs, in);
	if (r < 0)
		return r;
	in->gone = true;
	atomic_fetch_add(&fs->count.reaped, 1);
	in->row_dirty = false;
	membuf_unref(fs, in->mem);
	in->mem = NULL;
	if (gen)
		staging_drop_after(fs->pool->staging, in->ino, gen, in->last_lsn);
	return 0;
}

static void reap(struct fs *fs, uint64_t ino)
{
	struct inode *in;
	int r = inode_get(fs, ino, &in);
	if (r == -ESTALE)
		return;
	if (r == 0) {
		pthread_rwlock_wrlock(&in->lock);
		r = reap_locked(fs, in);
		pthread_rwlock_unlock(&in->lock);
		inode_put(fs, in);
	}
	if (r < 0)
		log_error("inode %lu could not be deleted, the next mount tries again: %s", ino,
			  strerror(-r));
}

static void *reaper_main(void *arg)
{
	struct fs *fs = arg;
	struct reaper *r = fs->reaper;
	pthread_setname_np(pthread_self(), "reaper");
	pthread_mutex_lock(&r->lock);
	for (;;) {
		while (!r->n && !r->stopping)
			pthread_cond_wait(&r->wake, &r->lock);
		if (!r->n)
			break;
		uint64_t *batch = TAKE_PTR(r->queue);
		size_t n = r->n;
		r->n = r->cap = 0;
		r->busy = true;
		pthread_mutex_unlock(&r->lock);
		for (size_t i = 0; i < n; i++)
			reap(fs, batch[i]);
		free(batch);
		pthread_mutex_lock(&r->lock);
		r->busy = false;
		pthread_cond_broadcast(&r->idle);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

void reaper_drain(struct fs *fs)
{
	struct reaper *r = fs->reaper;
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	while (r->n || r->busy)
		pthread_cond_wait(&r->idle, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static int take_up_orphans(struct fs *fs)
{
	struct kv_iter *it = kv_iter_new(fs_kv(fs), KV_ORPHAN, NULL, 0, false);
	if (!it)
		return -ENOMEM;
	struct slice key, val;
	int r;
	while ((r = kv_iter_next(it, &key, &val)) != 0)
		if (r > 0 && key.len == 8)
			reaper_queue(fs, get_be64(key.at));
		else if (r < 0 && r != -EUCLEAN)
			break;
	kv_iter_free(it);
	return r;
}

int reaper_start(struct fs *fs)
{
	struct reaper *r = calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	pthread_cond_init(&r->idle, NULL);
	fs->reaper = r;
	int err = pthread_create(&r->thread, NULL, reaper_main, fs);
	if (err) {
		free(r);
		fs->reaper = NULL;
		return -err;
	}
	return take_up_orphans(fs);
}

void reaper_stop(struct fs *fs)
{
	struct reaper *r = fs->reaper;
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	free(r->queue);
	free(r);
	fs->reaper = NULL;
}
