// SPDX-License-Identifier: MIT
/* A copy is a file of staging/ that no row names: a crash leaves nothing but a file that the next mount
 * removes, so no copy is ever believed that another daemon made. It is whole and on the disk before
 * the first open gets it, which makes it a staging file that only lacks its name in the row: when a
 * writer comes while somebody reads or maps the copy, the row gets that name and gives up its map,
 * in one batch (take_over_copy), and from there on it is any natively written file. As no row ever named
 * the copy over a map, no crash can mix the two.
 *
 * Who gets a copy: a file of some size that is opened to be read often enough (materialise_after, opens
 * count half after each HEAT_WINDOW_MS) and of which at least half was really read from the daemon. What
 * the page cache serves is not seen here, opens are. When materialise_limit is reached, copies that
 * were not opened for longest go first, but only for files twice as hot: a round of reads through
 * more than fits copies nothing. When the disk gets full, all go that are not in use.
 *
 * One thread copies, reading as any reader does, at materialise_rate at most.
 *
 * Locks: inode->hot and what hangs on it are guarded by the inode's lock, but for the links in the lists,
 * which the hotter's lock guards; that is a leaf. The thread takes inodes from a list, so it gets their
 * locks without holding its own. A copy holds a reference to its inode.
 */
#include "hot.h"
#include "cleanup.h"
#include "clock.h"
#include "cond.h"
#include "content.h"
#include "fault.h"
#include "log.h"
#include "lookups.h"
#include "space.h"
#include <assert.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <sys/statvfs.h>

#define HEAT_WINDOW_MS (10u * 60000)
#define HEAT_MOST 1024u
#define HEAT_NEVER UINT_MAX
#define WAITING_MOST 64u
#define FILES_MOST 16384u
#define LIMIT_PERCENT 5u       /* of the disk, when materialise_limit was not given */
#define ROOM_MOST (2ull << 30) /* as much stays free, or a tenth of the disk */
#define COPY_STEP (1u << 20)
#define WRITEBACK_STEP (8u << 20)

enum hot_state { HOT_WAITING, HOT_COPYING, HOT_READY };

struct hot {
	struct inode *inode;	 /* a reference */
	struct hot *prev, *next; /* in one of the hotter's lists */
	enum hot_state state;
	bool called_off;
	uint64_t gen, bytes; /* its name in staging/; allocated */
	int fd;
};

struct hot_list {
	struct hot *head, *tail;
	uint64_t n;
};

struct hotter {
	pthread_mutex_t dropping; /* before inodes' locks, which are only tried under it */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;
	struct hot_list waiting, ready; /* head: next; head: opened last */
	struct hot_stats count;
	uint64_t press; /* so many bytes are to be given back */
	atomic_ullong bytes;
	pthread_t thread;
};

static void list_push_locked(struct hot_list *l, struct hot *h)
{
	h->prev = NULL;
	h->next = l->head;
	*(l->head ? &l->head->prev : &l->tail) = h;
	l->head = h;
	l->n++;
}

static void list_remove_locked(struct hot_list *l, struct hot *h)
{
	*(h->prev ? &h->prev->next : &l->head) = h->next;
	*(h->next ? &h->next->prev : &l->tail) = h->prev;
	h->prev = h->next = NULL;
	l->n--;
}

static unsigned heat_of(struct inode *in)
{
	uint64_t windows = (clock_mono_ms() - in->heat_ms) / HEAT_WINDOW_MS;
	if (windows) {
		in->heat = windows < 32 ? in->heat >> windows : 0;
		in->heat_ms += windows * HEAT_WINDOW_MS;
		if (!in->heat && in->heat_wanted != HEAT_NEVER)
			in->heat_wanted = 0;
	}
	return in->heat;
}

/* All of its content is in packs, and it is worth a copy. */
static bool may_be_copied(const struct fs *fs, const struct inode *in)
{
	const struct inode_row *row = &in->row;
	return S_ISREG(row->mode) && row->nlink && !in->gone && !in->held && !in->mem &&
	       in->fd < 0 && !row->staging_gen && content_has_map(row) &&
	       row->size >= fs->pool->config.materialise_min && row->size <= fs->materialise_limit;
}

static bool is_hot_enough(const struct fs *fs, struct inode *in)
{
	unsigned wanted = fs->pool->config.materialise_after;
	if (wanted < in->heat_wanted)
		wanted = in->heat_wanted;
	return heat_of(in) >= wanted && atomic_load(&in->heat_bytes) >= in->row.size / 2;
}

static void copy_soon(struct fs *fs, struct inode *in)
{
	struct hotter *t = fs->hotter;
	SCOPED_LOCK(&t->lock);
	struct hot *h = t->waiting.n < WAITING_MOST ? calloc(1, sizeof *h) : NULL;
	if (!h)
		return; /* a later open asks again */
	h->inode = inode_ref(fs, in);
	h->fd = -1;
	in->hot = h;
	list_push_locked(&t->waiting, h);
	pthread_cond_signal(&t->wake);
}

void hot_note_open(struct fs *fs, struct inode *in)
{
	struct hotter *t = fs->hotter;
	if (!t || !S_ISREG(in->row.mode))
		return;
	if (!in->heat)
		in->heat_ms = clock_mono_ms();
	if (heat_of(in) < HEAT_MOST)
		in->heat++;
	if (hot_ready(in)) {
		SCOPED_LOCK(&t->lock);
		list_remove_locked(&t->ready, in->hot);
		list_push_locked(&t->ready, in->hot);
		t->count.opens += in->native_opens > 0;
	} else if (!in->hot && !fs->native_why_not && may_be_copied(fs, in) &&
		   is_hot_enough(fs, in)) {
		copy_soon(fs, in);
	}
}

bool hot_ready(const struct inode *in)
{
	return in->hot && in->hot->state == HOT_READY;
}

int hot_fd(struct fs *fs, struct inode *in)
{
	struct hot *h = in->hot;
	if (h->fd < 0)
		h->fd = staging_file(fs->pool->staging, in->ino, h->gen, O_RDWR);
	return h->fd;
}

void hot_rest(struct inode *in)
{
	if (hot_ready(in) && !in->native_opens && in->hot->fd >= 0)
		close(take_fd(&in->hot->fd));
}

/* The copy is no copy any more. */
static void leave_ready(struct fs *fs, struct hot *h)
{
	struct hotter *t = fs->hotter;
	pthread_mutex_lock(&t->lock);
	list_remove_locked(&t->ready, h);
	pthread_mutex_unlock(&t->lock);
	atomic_fetch_sub(&t->bytes, h->bytes);
	h->inode->hot = NULL;
	if (h->fd >= 0)
		close(h->fd);
	inode_put(fs, h->inode); /* not the last one: the caller has the inode */
	free(h);
}

static void drop(struct fs *fs, struct inode *in)
{
	/* large files take long to be removed: not here */
	staging_drop_after(fs->pool->staging, in->ino, in->hot->gen, kv_durable_lsn(fs_kv(fs)));
	leave_ready(fs, in->hot);
	SCOPED_LOCK(&fs->hotter->lock);
	fs->hotter->count.dropped++;
}

void hot_forget(struct fs *fs, struct inode *in)
{
	in->heat = in->heat_wanted = 0;
	atomic_store(&in->heat_bytes, 0);
	if (!in->hot)
		return;
	if (!hot_ready(in)) {
		in->hot->called_off = true;
		return;
	}
	assert(!in->native_opens || in->gone); /* hot_give_way() comes first */
	drop(fs, in);
}

/* One batch: the row names the copy, and its map is gone. What the kernel writes from here on is as safe
 * as in any other staging file: durable with an fsync, and found by this name. */
static int take_over_copy(struct fs *fs, struct inode *in)
{
	int r = fault_hit("hot_take_over");
	struct change *c = r < 0 ? NULL : change_new(fs->pool->extents);
	struct kv_barrier *b = c ? staging_barrier(fs->pool->staging) : NULL;
	if (!b) {
		change_drop(c);
		return r < 0 ? r : -ENOMEM;
	}
	kv_batch_barrier(change_batch(c), b);
	struct inode_row before = in->row;
	r = extents_replace(c, &in->row, 0, UINT64_MAX, NULL, 0);
	in->row.staging_gen = in->hot->gen;
	in->row.flags |= INODE_NATIVE;
	if (r < 0) {
		change_drop(c);
	} else {
		inode_stage(in, c);
		r = inode_commit(in, c);
	}
	if (r < 0)
		in->row = before;
	return r < 0 ? r : 0;
}

int hot_give_way(struct fs *fs, struct inode *in)
{
	if (!hot_ready(in))
		return 0;
	int r = hot_fd(fs, in);
	if (r >= 0 && !in->native_opens)
		r = staging_idle(r, false);
	else if (r >= 0)
		r = 0;
	if (r < 0) { /* somebody took the file away: what was mapped is not to be had any more */
		log_error("inode %lu: its copy cannot be looked at: %s", in->ino, strerror(-r));
		if (!in->native_opens)
			drop(fs, in);
		return in->native_opens ? r : 0;
	}
	if (r > 0) {
		hot_rest(in);
		return 0;
	}
	r = take_over_copy(fs, in);
	if (r < 0)
		return r;
	in->fd = take_fd(&in->hot->fd);
	in->cut_lsn = 0;
	in->map_ended = false;
	in->staged_blocks = 0;
	content_set_whole(in, true);
	leave_ready(fs, in->hot);
	inode_account_staged(fs, in);
	inode_begin_native(in);
	lookups_note(fs->lookups, in->ino, LOOKUP_CACHE_STALE, 0);
	fuse_lowlevel_notify_inval_inode(fs->session, in->ino, -1, 0);
	SCOPED_LOCK(&fs->hotter->lock);
	fs->hotter->count.taken_over++;
	return 0;
}

static bool lock_if_idle(struct fs *fs, struct inode *in)
{
	if (pthread_rwlock_trywrlock(&in->lock))
		return false;
	int fd = hot_ready(in) && !in->native_opens ? hot_fd(fs, in) : -1;
	if (fd >= 0 && staging_idle(fd, false) == 1)
		return true;
	hot_rest(in);
	pthread_rwlock_unlock(&in->lock);
	return false;
}

/* The inode of the copy that was not opened for longest, locked, or NULL. One that is in use goes to the
 * front, which is where it belongs. *tries: how many are still to be looked at. */
static struct inode *lock_last(struct fs *fs, uint64_t *tries)
{
	struct hotter *t = fs->hotter;
	while (*tries) {
		--*tries;
		pthread_mutex_lock(&t->lock);
		struct hot *h = t->ready.tail;
		struct inode *in = h ? inode_ref(fs, h->inode) : NULL;
		pthread_mutex_unlock(&t->lock);
		if (!in || lock_if_idle(fs, in))
			return in;
		pthread_mutex_lock(&t->lock);
		if (t->ready.tail == h) {
			list_remove_locked(&t->ready, h);
			list_push_locked(&t->ready, h);
		}
		pthread_mutex_unlock(&t->lock);
		inode_put(fs, in);
	}
	return NULL;
}

static void unlock_and_put(struct fs *fs, struct inode *in)
{
	pthread_rwlock_unlock(&in->lock);
	inode_put(fs, in);
}

static uint64_t files_ready(struct fs *fs)
{
	SCOPED_LOCK(&fs->hotter->lock);
	return fs->hotter->ready.n;
}

/* Removes copies that were not used for longest, until `bytes` are given back, or all are gone that are
 * less than half as hot as `heat`. Returns what was given back. */
static uint64_t drop_last(struct fs *fs, uint64_t bytes, unsigned heat)
{
	SCOPED_LOCK(&fs->hotter->dropping);
	uint64_t got = 0, tries = files_ready(fs);
	struct inode *in;
	while (got < bytes && tries && (in = lock_last(fs, &tries))) {
		bool colder = heat == HEAT_NEVER || heat_of(in) <= heat / 2;
		if (colder) {
			got += in->hot->bytes;
			drop(fs, in);
		} else {
			hot_rest(in);
		}
		unlock_and_put(fs, in);
		if (!colder)
			break;
	}
	return got;
}

void hot_drop_all(struct fs *fs)
{
	if (!fs->hotter)
		return;
	drop_last(fs, UINT64_MAX, HEAT_NEVER);
	staging_drain(fs->pool->staging);
}

static uint64_t room_wanted(uint64_t total)
{
	return total / 10 < ROOM_MOST ? total / 10 : ROOM_MOST;
}

void hot_press(struct fs *fs, uint64_t avail, uint64_t total)
{
	struct hotter *t = fs->hotter;
	uint64_t room = room_wanted(total);
	if (!t || avail >= room / 2)
		return;
	SCOPED_LOCK(&t->lock);
	t->press = room - avail;
	pthread_cond_signal(&t->wake);
}

/* There is room for a copy of this size: on the disk, and within the limit, for which colder ones go. */
static bool make_room(struct fs *fs, uint64_t size, unsigned heat)
{
	struct statvfs vfs;
	if (space_level(fs) >= SPACE_TIGHT || fstatvfs(fs->pool->dirfd, &vfs))
		return false;
	uint64_t avail = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	if (avail < size + room_wanted((uint64_t)vfs.f_blocks * vfs.f_frsize))
		return false;
	uint64_t used = hot_bytes(fs);
	if (used + size > fs->materialise_limit)
		drop_last(fs, used + size - fs->materialise_limit, heat);
	return hot_bytes(fs) + size <= fs->materialise_limit && files_ready(fs) < FILES_MOST;
}

/* Waits so long that no more than materialise_rate was copied since it began. */
static bool keep_pace(struct fs *fs, uint64_t began_ns, uint64_t bytes)
{
	struct hotter *t = fs->hotter;
	uint64_t rate = fs->pool->config.materialise_rate;
	uint64_t due = rate ? began_ns + (uint64_t)((double)bytes / (double)rate * 1e9) : 0;
	SCOPED_LOCK(&t->lock);
	while (!t->stopping && !t->press && clock_mono_ns() < due)
		cond_wait_until(&t->wake, &t->lock, due);
	return !t->stopping && !t->press;
}

/* Reads the next data at or after *at. Count, 0 at the end. */
static ssize_t read_next(struct fs *fs, struct hot *h, uint8_t *buf, uint64_t *at)
{
	struct inode *in = h->inode;
	uint64_t end = 0;
	pthread_rwlock_rdlock(&in->lock);
	ssize_t n = h->called_off || in->gone ? -ECANCELED : 0;
	if (n == 0)
		n = content_seek(fs, in, *at, true, at);
	if (n == 0)
		n = content_seek(fs, in, *at, false, &end);
	pthread_rwlock_unlock(&in->lock);
	if (n == 0) /* if it changes meanwhile, the copy is called off */
		n = content_read_unlocked(fs, in, buf,
					  end - *at < COPY_STEP ? end - *at : COPY_STEP, *at);
	return n == -ENXIO ? 0 : n;
}

static int copy_all(struct fs *fs, struct hot *h)
{
	CLEANUP_FREE uint8_t *buf = malloc(COPY_STEP);
	if (!buf)
		return -ENOMEM;
	uint64_t at = 0, done = 0, began = clock_mono_ns(), flushed = 0;
	ssize_t n;
	while ((n = read_next(fs, h, buf, &at)) > 0) {
		int r = fault_hit("hot_copy");
		if (r == 0)
			r = io_write(h->fd, buf, (size_t)n, (off_t)at);
		if (r < 0)
			return r;
		at += (uint64_t)n;
		done += (uint64_t)n;
		if (at - flushed >= WRITEBACK_STEP) { /* the sync in the end finds little left */
			sync_file_range(h->fd, (off_t)flushed, (off_t)(at - flushed),
					SYNC_FILE_RANGE_WRITE);
			flushed = at;
		}
		if (!keep_pace(fs, began, done))
			return -ECANCELED;
	}
	return n < 0 ? (int)n : io_fdatasync(h->fd);
}

/* Makes the file to copy into: 0, -EAGAIN when it is not to be copied now. */
static int begin_copy(struct fs *fs, struct hot *h, bool room)
{
	struct inode *in = h->inode;
	pthread_rwlock_wrlock(&in->lock);
	int r = h->called_off || !may_be_copied(fs, in) ? -ECANCELED : room ? 0 : -EAGAIN;
	if (r == 0)
		r = staging_create(fs->pool->staging, in->ino, &h->gen, &h->fd);
	if (r == 0 && ftruncate(h->fd, (off_t)in->row.size))
		r = -errno;
	if (r == 0)
		h->state = HOT_COPYING;
	pthread_rwlock_unlock(&in->lock);
	return r;
}

/* From here on it may be opened, or it is given up. */
static void end_copy(struct fs *fs, struct hot *h, int err)
{
	struct hotter *t = fs->hotter;
	struct inode *in = h->inode;
	struct stat st = { 0 };
	pthread_rwlock_wrlock(&in->lock);
	if (err == 0 && (h->called_off || !may_be_copied(fs, in)))
		err = -ECANCELED;
	if (err == 0 && fstat(h->fd, &st))
		err = -errno;
	if (h->fd >= 0)
		close(take_fd(&h->fd));
	if (err < 0) {
		if (err == -EAGAIN) /* the room is others', who are as hot */
			in->heat_wanted = 2 * heat_of(in);
		else if (err != -ECANCELED)
			in->heat_wanted = HEAT_NEVER;
		if (h->gen)
			staging_drop(fs->pool->staging, in->ino, h->gen);
		in->hot = NULL;
	}
	h->bytes = (uint64_t)st.st_blocks * 512;
	h->state = err == 0 ? HOT_READY : h->state;
	pthread_mutex_lock(&t->lock);
	t->count.made += err == 0;
	t->count.made_bytes += err == 0 ? (uint64_t)st.st_size : 0;
	t->count.called_off += err == -ECANCELED;
	t->count.failed += err < 0 && err != -ECANCELED && err != -EAGAIN;
	if (err == 0) {
		list_push_locked(&t->ready, h);
		atomic_fetch_add(&t->bytes, h->bytes);
	}
	pthread_mutex_unlock(&t->lock);
	pthread_rwlock_unlock(&in->lock);
	if (err < 0) {
		inode_put(fs, in);
		free(h);
	}
}

static void materialise(struct fs *fs, struct hot *h)
{
	pthread_rwlock_wrlock(&h->inode->lock);
	uint64_t size = h->inode->row.size;
	unsigned heat = heat_of(h->inode);
	pthread_rwlock_unlock(&h->inode->lock);
	int r = begin_copy(fs, h, make_room(fs, size, heat));
	if (r == 0)
		r = copy_all(fs, h);
	if (r == 0)
		r = fault_hit("hot_publish");
	if (r < 0 && r != -ECANCELED && r != -EAGAIN)
		log_warn("inode %lu is read often and could not be copied: %s", h->inode->ino,
			 strerror(-r));
	end_copy(fs, h, r);
}

static void *hotter_main(void *arg)
{
	struct fs *fs = arg;
	struct hotter *t = fs->hotter;
	pthread_setname_np(pthread_self(), "hotter");
	pthread_mutex_lock(&t->lock);
	while (!t->stopping) {
		uint64_t press = t->press;
		struct hot *h = press ? NULL : t->waiting.tail;
		t->press = 0;
		if (h)
			list_remove_locked(&t->waiting, h);
		else if (!press)
			pthread_cond_wait(&t->wake, &t->lock);
		t->count.waiting = h ? 1 : 0;
		pthread_mutex_unlock(&t->lock);
		if (press)
			drop_last(fs, press, HEAT_NEVER);
		if (h)
			materialise(fs, h);
		pthread_mutex_lock(&t->lock);
		t->count.waiting = 0;
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static uint64_t limit_of(const struct fs *fs)
{
	const struct config *conf = &fs->pool->config;
	struct statvfs vfs;
	if (conf->mode == IO_MODE_MEDIATED || fs->atime == ATIME_STRICT)
		return 0; /* what the kernel reads itself moves no access time */
	if (config_is_given(conf, "materialise_limit") || fstatvfs(fs->pool->dirfd, &vfs))
		return conf->materialise_limit;
	uint64_t share = (uint64_t)vfs.f_blocks * vfs.f_frsize / 100 * LIMIT_PERCENT;
	return share < conf->materialise_limit ? share : conf->materialise_limit;
}

int hotter_start(struct fs *fs)
{
	fs->materialise_limit = limit_of(fs);
	if (!fs->materialise_limit)
		return 0;
	struct hotter *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->dropping, NULL);
	pthread_mutex_init(&t->lock, NULL);
	cond_init(&t->wake);
	fs->hotter = t;
	int r = pthread_create(&t->thread, NULL, hotter_main, fs);
	if (r) {
		free(t);
		fs->hotter = NULL;
		return -r;
	}
	return 0;
}

static struct hot *take_first(struct hot_list *l)
{
	struct hot *h = l->head;
	if (h)
		list_remove_locked(l, h);
	return h;
}

void hotter_stop(struct fs *fs)
{
	struct hotter *t = fs->hotter;
	struct hot *h;
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stopping = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	while ((h = take_first(&t->waiting)) || (h = take_first(&t->ready))) {
		struct inode *in = h->inode;
		in->hot = NULL;
		if (h->fd >= 0)
			close(h->fd);
		if (h->gen && staging_drop(fs->pool->staging, in->ino, h->gen) < 0)
			log_debug("the copy of inode %lu is left to the next mount", in->ino);
		inode_put(fs, in);
		free(h);
	}
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->lock);
	pthread_mutex_destroy(&t->dropping);
	free(t);
	fs->hotter = NULL;
}

uint64_t hot_bytes(struct fs *fs)
{
	return fs->hotter ? atomic_load(&fs->hotter->bytes) : 0;
}

void hot_get_stats(struct fs *fs, struct hot_stats *ret_stats)
{
	struct hotter *t = fs->hotter;
	*ret_stats = (struct hot_stats){ .limit = fs->materialise_limit };
	if (!t)
		return;
	SCOPED_LOCK(&t->lock);
	*ret_stats = t->count;
	ret_stats->limit = fs->materialise_limit;
	ret_stats->files = t->ready.n;
	ret_stats->bytes = atomic_load(&t->bytes);
	ret_stats->waiting += t->waiting.n;
}
