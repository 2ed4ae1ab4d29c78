// SPDX-License-Identifier: MIT
/* The gate lets writers in first, or a busy mount would never change.
 *
 * The kernel is told when the gate is open again: it may wait for requests that wait for the gate. Until then it shows
 * what it has; and a reply that was under way all that time may come to it later than the notice, so nothing is given a
 * lifetime above LIFETIME_S.
 */
#include "follow.h"
#include "cleanup.h"
#include "content.h"
#include "lookups.h"
#include "notices.h"

#define LIFETIME_S 1.0

struct follow {
	struct fs *fs;
	struct follower *follower;
	pthread_rwlock_t gate;
	atomic_ullong changes;
};

static void begin(void *arg)
{
	struct follow *f = arg;
	pthread_rwlock_wrlock(&f->gate);
	atomic_fetch_add(&f->changes, 1);
}

/* What is known of it beyond its row is of the state before. */
static void refresh(struct fs *fs, struct inode *in)
{
	struct inode_row row;
	if (in->mem)
		membuf_unref(fs, TAKE_PTR(in->mem));
	if (in->fd >= 0)
		close(in->fd);
	in->fd = -1;
	in->staging_whole = false;
	in->gone = inode_row_get(fs_kv(fs), in->ino, &row) < 0;
	if (in->gone)
		return;
	in->row = row;
	in->native_written = row.flags & INODE_NATIVE;
	if (in->opens)
		content_ready(fs, in); /* it says what is wrong; so will who reads */
}

static void refresh_all(struct fs *fs, const struct follow_change *c, bool anew)
{
	if (anew) {
		inode_each_live(fs, refresh);
		return;
	}
	for (size_t i = 0; i < c->n_inodes; i++) {
		struct inode *in = inode_get_live(fs, c->inodes[i]);
		if (!in)
			continue;
		pthread_rwlock_wrlock(&in->lock);
		refresh(fs, in);
		pthread_rwlock_unlock(&in->lock);
		inode_put(fs, in);
	}
}

static bool kernel_has(struct fs *fs, uint64_t ino)
{
	return ino == INO_ROOT || lookups_count(fs->lookups, ino);
}

static void tell_inodes(struct fs *fs, const uint64_t *inodes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (kernel_has(fs, inodes[i]) &&
		    notice_pages(fs->notices, fs->session, inodes[i], 0, 0) < 0)
			return;
}

static void tell_kernel(struct fs *fs, const struct follow_change *c, bool anew)
{
	size_t n = 0;
	if (!fs->session) /* not yet */
		return;
	for (size_t i = 0; i < c->n_moved; i++) {
		const char *name = (const char *)c->names.data + c->moved[i].at;
		if (kernel_has(fs, c->moved[i].parent) &&
		    notice_name(fs->notices, fs->session, c->moved[i].parent, name) < 0)
			return;
	}
	uint64_t *all = anew ? lookups_all(fs->lookups, &n) : NULL;
	if (all)
		tell_inodes(fs, all, n);
	tell_inodes(fs, c->inodes, c->n_inodes);
	free(all);
}

static void end(void *arg, const struct follow_change *change, bool anew)
{
	struct follow *f = arg;
	refresh_all(f->fs, change, anew);
	f->fs->inodes_before += (uint64_t)change->grown;
	atomic_fetch_add(&f->changes, 1);
	pthread_rwlock_unlock(&f->gate);
	tell_kernel(f->fs, change, anew);
}

int follow_open(struct fs *fs, struct follow **ret_f, struct pool_error *err)
{
	if (!fs->pool->follows)
		return 0;
	struct follow *f = calloc(1, sizeof *f);
	pthread_rwlockattr_t attr;
	if (!f)
		return -ENOMEM;
	f->fs = fs;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&f->gate, &attr);
	pthread_rwlockattr_destroy(&attr);
	struct follower_options opt = { .pool = fs->pool, .begin = begin, .end = end, .arg = f };
	int r = follower_open(&opt, &f->follower, err);
	if (r < 0) {
		follow_free(f);
		return r;
	}
	fs->attr_timeout = fs->attr_timeout < LIFETIME_S ? fs->attr_timeout : LIFETIME_S;
	fs->entry_timeout = fs->entry_timeout < LIFETIME_S ? fs->entry_timeout : LIFETIME_S;
	*ret_f = f;
	return 0;
}

int follow_begin(struct follow *f)
{
	return f ? follower_start(f->follower) : 0;
}

void follow_end(struct follow *f)
{
	if (f)
		follower_close(f->follower);
	if (f)
		f->follower = NULL;
}

void follow_free(struct follow *f)
{
	if (!f)
		return;
	pthread_rwlock_destroy(&f->gate);
	free(f);
}

void follow_enter(struct follow *f)
{
	if (f)
		pthread_rwlock_rdlock(&f->gate);
}

void follow_leave(struct follow *f)
{
	if (f)
		pthread_rwlock_unlock(&f->gate);
}

uint64_t follow_seen(struct follow *f)
{
	follow_enter(f);
	uint64_t seen = f ? atomic_load(&f->changes) : 0;
	follow_leave(f);
	return seen;
}

bool follow_again(struct follow *f, uint64_t seen)
{
	return f && atomic_load(&f->changes) != seen;
}

int follow_sync(struct follow *f, int (*go_on)(void *arg), void *arg)
{
	return follower_sync(f->follower, go_on, arg);
}

void follow_get_status(struct follow *f, struct follower_status *ret_status)
{
	follower_get_status(f->follower, ret_status);
}
