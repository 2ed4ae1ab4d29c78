// SPDX-License-Identifier: MIT
#include "far.h"
#include "cleanup.h"
#include "clock.h"
#include "content.h"
#include "settle.h"
#include "tail.h"
#include <unistd.h>

#define BLOCK 4096u

struct far {
	struct destage_source source; /* first: callbacks cast back */
	struct fs *fs;
	struct inode *inode;
	const uint8_t *buf;
	uint64_t at;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
	int err;
};

static int read_cb(struct destage_source *s, void *buf, size_t len, uint64_t at)
{
	struct far *f = (struct far *)s;
	memcpy(buf, f->buf + (at - f->at), len);
	return 0;
}

/* The content below has to be committed, as maps are: nothing held, nothing in memory. */
static int make_mapped_locked(struct fs *fs, struct inode *in)
{
	content_disturb(fs, in, 0, UINT64_MAX);
	int r = in->mem && in->mem->len ? content_spill(fs, in) : 0;
	if (r == 0 && in->mem) {
		membuf_unref(fs, in->mem);
		in->mem = NULL;
	}
	return r < 0 ? r : inode_release_hold(fs, in, false);
}

/* The staging file has data in these blocks, which hides what the map gets: what the kernel wrote natively
 * may reach as far as the backing filesystem lets it, and a write may begin before FAR_OFFSET. */
static bool is_staged(const struct inode *in, uint64_t at, uint64_t len)
{
	uint64_t first = at / BLOCK * BLOCK, end = (at + len + BLOCK - 1) / BLOCK * BLOCK;
	off_t data = in->fd >= 0 ? lseek(in->fd, (off_t)first, SEEK_DATA) : -1;
	return data >= 0 && (uint64_t)data < end;
}

/* 1: written where the content is (who has it open natively sees nothing else), 0: the map is to have it. */
static int write_staged_locked(struct far *f, struct inode *in, uint64_t at, uint64_t len)
{
	const uint8_t *buf = f->buf + (at - f->at);
	int r = in->gone ? -ESTALE : 0;
	if (r == 0 && in->native_written && in->fd >= 0) { /* all of the content, and its end */
		settle_disturb(in, 0, UINT64_MAX);
		r = io_write(in->fd, buf, len, (off_t)at);
		return r < 0 ? r : 1;
	}
	if (r == 0)
		r = make_mapped_locked(f->fs, in);
	if (r == 0)
		r = tail_cut(f->fs, in);
	if (r < 0 || (!in->native_opens && !is_staged(in, at, len)))
		return r;
	r = content_write(f->fs, in, buf, len, at, NULL);
	return r < 0 ? r : 1;
}

static int commit_cb(struct destage_source *s, uint64_t at, uint64_t len,
		     const struct piece *pieces, size_t n)
{
	struct far *f = (struct far *)s;
	struct inode *in = f->inode;
	struct change *c = change_new(f->fs->pool->extents);
	if (!c)
		return -ENOMEM;
	pthread_rwlock_wrlock(&in->lock);
	int r = write_staged_locked(f, in, at, len);
	if (r != 0) {
		pthread_rwlock_unlock(&in->lock);
		change_drop(c);
		return r < 0 ? r : 0;
	}
	struct inode_row before = in->row;
	r = extents_replace(c, &in->row, at, len, pieces, n);
	if (r == 0) {
		in->row.size = at + len > in->row.size ? at + len : in->row.size;
		inode_touch(f->fs, in);
		in->staging_whole = false;
		inode_stage(in, c);
		r = inode_commit(in, c);
	} else {
		change_drop(c);
	}
	if (r < 0)
		in->row = before;
	pthread_rwlock_unlock(&in->lock);
	return r;
}

static void done_cb(struct destage_source *s, int err)
{
	struct far *f = (struct far *)s;
	SCOPED_LOCK(&f->lock);
	f->done = true;
	f->err = err;
	pthread_cond_signal(&f->cond);
}

int far_write(struct fs *fs, struct inode *in, const void *buf, size_t len, uint64_t at)
{
	struct far f = { .fs = fs, .inode = in, .buf = buf, .at = at };
	if (at > (uint64_t)INT64_MAX - len)
		return -EFBIG;
	f.source.at = at;
	f.source.len = len;
	f.source.read = read_cb;
	f.source.commit = commit_cb;
	f.source.done = done_cb;
	pthread_mutex_init(&f.lock, NULL);
	pthread_cond_init(&f.cond, NULL);
	destage_start(fs->pool->destage, &f.source);
	pthread_mutex_lock(&f.lock);
	while (!f.done)
		pthread_cond_wait(&f.cond, &f.lock);
	pthread_mutex_unlock(&f.lock);
	pthread_cond_destroy(&f.cond);
	pthread_mutex_destroy(&f.lock);
	return f.err;
}
