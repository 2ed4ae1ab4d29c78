// SPDX-License-Identifier: MIT
/* Reading, writing and syncing through the daemon. A read that needs the device, an fsync and a
 * write that has to wait for memory, or for a part of the file to be read, become jobs; everything else
 * is answered by the thread that received it.
 */
#include "ahead.h"
#include "cleanup.h"
#include "clock.h"
#include "content.h"
#include "far.h"
#include "follow.h"
#include "log.h"
#include "missing.h"
#include "notices.h"
#include "ops.h"
#include "settle.h"
#include "space.h"
#include <fcntl.h>

#define REPLY_MAX (1u << 20)

static pthread_key_t buffer_key;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;

static void buffer_init(void)
{
	pthread_key_create(&buffer_key, free);
}

/* One buffer per thread, of the largest request. NULL: no memory. */
static uint8_t *thread_buffer(size_t size)
{
	pthread_once(&buffer_once, buffer_init);
	uint8_t *p = pthread_getspecific(buffer_key);
	if (!p && size <= REPLY_MAX) {
		p = malloc(REPLY_MAX);
		pthread_setspecific(buffer_key, p);
	}
	return size <= REPLY_MAX ? p : NULL;
}

/* What a write takes away. */
enum kill { KILL_NOTHING, KILL_CAPABILITIES, KILL_PRIVILEGES };

struct io_job {
	struct job job;
	fuse_req_t req;
	struct inode *inode; /* a reference */
	size_t size;
	off_t at;
	enum kill kill;
	bool sync;   /* a write is to be durable */
	bool forget; /* and passed by pages that the kernel has cached */
	bool data_wanted;
	uint8_t data[];
};

static struct io_job *io_job_new(fuse_req_t req, struct inode *in, size_t data,
				 void (*run)(struct job *))
{
	struct io_job *j = malloc(sizeof *j + data);
	if (!j)
		return NULL;
	*j = (struct io_job){ .job.run = run, .req = req };
	j->inode = inode_ref(fs_of(req), in);
	return j;
}

static void io_job_done(struct fs *fs, struct io_job *j)
{
	inode_put(fs, j->inode);
	free(j);
}

static void reply_read(fuse_req_t req, const uint8_t *buf, ssize_t n)
{
	if (n < 0)
		reply_result(req, (int)n);
	else
		fuse_reply_buf(req, (const char *)buf, (size_t)n);
}

static void note_read(struct fs *fs, struct inode *in, uint64_t at, ssize_t n)
{
	uint64_t bytes = n > 0 ? (uint64_t)n : 0;
	atomic_fetch_add(&fs->count.read_bytes, bytes);
	atomic_fetch_add_explicit(&in->heat_bytes, bytes, memory_order_relaxed);
	inode_accessed(fs, in);
	if (n > 0)
		ahead_note(fs, in, at, bytes);
}

/* Somebody waits for the disk: what need not be done now gives way, while there is room for what has landed. */
static void somebody_waits(struct fs *fs)
{
	if (fs->pool->destage && space_level(fs) == SPACE_EASY)
		destage_give_way(fs->pool->destage);
}

static bool is_gone(struct inode *in)
{
	pthread_rwlock_rdlock(&in->lock);
	bool gone = in->gone;
	pthread_rwlock_unlock(&in->lock);
	return gone;
}

static ssize_t read_patiently(struct fs *fs, struct io_job *j, uint8_t *buf)
{
	ssize_t n;
	uint64_t seen;
	do {
		seen = follow_seen(fs->follow);
		n = is_gone(j->inode)
			    ? -ESTALE
			    : content_read_unlocked(fs, j->inode, buf, j->size, (uint64_t)j->at);
	} while (follow_again(fs->follow, seen));
	return n;
}

static void read_waiting(struct job *job)
{
	struct io_job *j = (struct io_job *)job;
	struct fs *fs = fs_of(j->req);
	uint8_t *buf = thread_buffer(j->size);
	ssize_t n = buf ? read_patiently(fs, j, buf) : -ENOMEM;
	note_read(fs, j->inode, (uint64_t)j->at, n);
	atomic_fetch_sub(&j->inode->reads_waiting, 1);
	reply_read(j->req, buf, n);
	io_job_done(fs, j);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *in = handle_of(fi).inode;
	(void)ino;
	if (size > REPLY_MAX)
		size = REPLY_MAX;
	uint8_t *buf = thread_buffer(size);
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	struct missing m = { 0 };
	pthread_rwlock_rdlock(&in->lock);
	ssize_t n = in->gone ? -ESTALE : content_read(fs, in, buf, size, (uint64_t)off, &m);
	pthread_rwlock_unlock(&in->lock);
	missing_done(&m);
	if (n == -EAGAIN) {
		struct io_job *j = io_job_new(req, in, 0, read_waiting);
		if (!j) {
			fuse_reply_err(req, ENOMEM);
			return;
		}
		j->size = size;
		j->at = off;
		somebody_waits(fs);
		atomic_fetch_add(&fs->count.reads_waited, 1);
		atomic_fetch_add(&in->reads_waiting, 1);
		workers_queue(fs->waiters, &j->job);
		return;
	}
	note_read(fs, in, (uint64_t)off, n);
	reply_read(req, buf, n);
}

void log_refusal(uint64_t ino, const char *what, int err)
{
	if (err == -EIO || err == -EDQUOT)
		log_error("inode %lu: %s refused: %s", ino, what, strerror(-err));
}

static int kill_locked(fuse_req_t req, struct inode *in, enum kill kill)
{
	return kill == KILL_PRIVILEGES	   ? inode_drop_privileges(req, in)
	       : kill == KILL_CAPABILITIES ? inode_drop_capabilities(req, in)
					   : 0;
}

struct write {
	const void *buf;
	size_t size;
	uint64_t at;
	enum kill kill;
};

static int write_now(fuse_req_t req, struct inode *in, const struct write *w, struct missing *m)
{
	struct fs *fs = fs_of(req);
	pthread_rwlock_wrlock(&in->lock);
	int r = in->gone ? -ESTALE : content_write(fs, in, w->buf, w->size, w->at, m);
	if (r == 0)
		r = kill_locked(req, in, w->kill);
	pthread_rwlock_unlock(&in->lock);
	if (r == -ENOSPC)
		space_was_short(fs);
	return r;
}

/* The kernel tells of a page that could not be written once, and takes it for clean from then on. */
static int sync_staged(struct inode *in, int fd, uint64_t gen)
{
	int r = io_fdatasync(fd);
	if (r < 0) {
		pthread_rwlock_wrlock(&in->lock);
		in->failed_gen = gen;
		pthread_rwlock_unlock(&in->lock);
	}
	return r;
}

/* After this, power loss does not take the file's data or its path. */
static int sync_inode(struct fs *fs, struct inode *in)
{
	CLEANUP_CLOSE int fd = -1;
	int r = 0;
	somebody_waits(fs);
	pthread_rwlock_wrlock(&in->lock);
	uint64_t gen = in->row.staging_gen;
	if (gen && gen == in->failed_gen)
		r = -EIO;
	else if (in->held)
		r = inode_release_hold(fs, in, true); /* the barrier syncs a staging file */
	else if (in->fd >= 0 && in->row.staging_gen)
		r = (fd = fcntl(in->fd, F_DUPFD_CLOEXEC, 0)) < 0 ? -errno : 0;
	if (r == 0 && in->row_dirty && !in->native_written)
		r = inode_commit_row(fs, in);
	uint64_t lsn = in->last_lsn, moved = atomic_load(&fs->moved_lsn);
	lsn = moved > lsn ? moved : lsn;
	pthread_rwlock_unlock(&in->lock);
	if (r == 0 && fd >= 0)
		r = sync_staged(in, fd, gen);
	if (r == 0 && lsn > kv_durable_lsn(fs_kv(fs)))
		r = kv_sync(fs_kv(fs), lsn);
	return r;
}

static void reply_write(fuse_req_t req, int r, size_t size)
{
	struct fs *fs = fs_of(req);
	if (r < 0) {
		reply_result(req, r);
		return;
	}
	atomic_fetch_add(&fs->count.written_bytes, size);
	fuse_reply_write(req, size);
}

/* A direct write through O_SYNC: the kernel sends no FSYNC of its own. */
static void sync_written(struct job *job)
{
	struct io_job *j = (struct io_job *)job;
	struct fs *fs = fs_of(j->req);
	reply_write(j->req, sync_inode(fs, j->inode), j->size);
	io_job_done(fs, j);
}

/* Makes the kernel send what it has in these pages, and forget them; `to` 0: up to the end. May wait
 * for requests of these pages: only for threads that no request waits for. */
static int send_cached(struct fs *fs, const struct inode *in, uint64_t from, uint64_t to)
{
	return notice_pages(fs->notices, fs->session, in->ino, from, to);
}

/* A write past the page cache, of a file that is open with it: what readers cached meanwhile is stale.
 * The kernel drops that itself, but not after a write that nobody waited for (aio). */
static void forget_written(struct job *job)
{
	struct io_job *j = (struct io_job *)job;
	struct fs *fs = fs_of(j->req);
	send_cached(fs, j->inode, (uint64_t)j->at, (uint64_t)j->at + j->size);
	reply_write(j->req, 0, j->size);
	io_job_done(fs, j);
}

static bool must_wait(struct fs *fs)
{
	return atomic_load(&fs->memory_bytes) > fs->pool->config.memory_limit ||
	       space_level(fs) == SPACE_SHORT;
}

static int write_far(fuse_req_t req, struct inode *in, const struct write *w)
{
	int r = far_write(fs_of(req), in, w->buf, w->size, w->at);
	if (r == 0 && w->kill != KILL_NOTHING) {
		pthread_rwlock_wrlock(&in->lock);
		r = kill_locked(req, in, w->kill);
		pthread_rwlock_unlock(&in->lock);
	}
	return r;
}

static int write_patiently(fuse_req_t req, struct inode *in, const struct write *w)
{
	struct missing m = { 0 };
	int r;
	if (w->at + w->size > FAR_OFFSET)
		return write_far(req, in, w);
	do
		r = write_now(req, in, w, &m);
	while (r == -EAGAIN && (r = missing_fetch(fs_of(req), in, &m)) == 0);
	missing_done(&m);
	return r;
}

/* Memory or staging is used up: let destage make room, then write. When it cannot, the write goes
 * on all the same, and the disk will say what it thinks of it. Or a tier has to be waited for. */
static void write_waiting(struct job *job)
{
	struct io_job *j = (struct io_job *)job;
	struct fs *fs = fs_of(j->req);
	while (must_wait(fs)) {
		pthread_rwlock_wrlock(&j->inode->lock);
		settle_behind(fs, j->inode, (uint64_t)j->at);
		pthread_rwlock_unlock(&j->inode->lock);
		if (!settle_wait_room(fs))
			break;
		space_tick(fs);
	}
	struct write w = { j->data, j->size, (uint64_t)j->at, j->kill };
	int r = write_patiently(j->req, j->inode, &w);
	log_refusal(j->inode->ino, "write", r);
	if (r == 0 && j->sync)
		r = sync_inode(fs, j->inode);
	if (r == 0 && j->forget) {
		j->job.run = forget_written;
		workers_queue(fs->callers, &j->job);
		return;
	}
	reply_write(j->req, r, j->size);
	io_job_done(fs, j);
}

static bool kills_privileges(fuse_req_t req, const struct fuse_file_info *fi)
{
#if FUSE_MAJOR_VERSION > 3 || FUSE_MINOR_VERSION >= 18
	(void)req;
	return fi->kill_suidgid;
#else
	return !fi->writepage && fuse_req_ctx(req)->uid != 0;
#endif
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *in = handle_of(fi).inode;
	(void)ino;
	/* with the page cache, the kernel asks for that itself, and its writes may come much later */
	bool direct = handle_of(fi).mode == OPEN_DIRECT;
	enum kill kill = kills_privileges(req, fi) ? KILL_PRIVILEGES
			 : direct		   ? KILL_CAPABILITIES
						   : KILL_NOTHING;
	bool sync = (fi->flags & O_DSYNC) && direct;
	bool forget = (fi->flags & O_DIRECT) && handle_of(fi).mode == OPEN_CACHED;
	int r = fs_may_write(fs);
	if (r == 0 && space_is_full(fs))
		r = -ENOSPC;
	if (r == 0 && (must_wait(fs) || (uint64_t)off + size > FAR_OFFSET)) {
		r = -EAGAIN;
	} else if (r == 0) {
		struct missing m = { 0 };
		r = write_now(req, in, &(struct write){ buf, size, (uint64_t)off, kill }, &m);
		missing_done(&m);
		log_refusal(in->ino, "write", r);
	}
	bool waits = r == -EAGAIN, more = waits || (r == 0 && (sync || forget));
	struct io_job *j = !more   ? NULL
			   : waits ? io_job_new(req, in, size, write_waiting)
				   : io_job_new(req, in, 0, sync ? sync_written : forget_written);
	if (!j) {
		reply_write(req, more ? -ENOMEM : r, size);
		return;
	}
	j->size = size;
	j->at = off;
	j->kill = kill;
	j->sync = sync;
	j->forget = forget;
	if (waits)
		memcpy(j->data, buf, size);
	workers_queue(waits || sync ? fs->waiters : fs->callers, &j->job);
}

static void fsync_waiting(struct job *job)
{
	struct io_job *j = (struct io_job *)job;
	struct fs *fs = fs_of(j->req);
	int r = sync_inode(fs, j->inode);
	if (r < 0)
		log_error("fsync of inode %lu failed: %s", j->inode->ino, strerror(-r));
	reply_result(j->req, r);
	io_job_done(fs, j);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct io_job *j = io_job_new(req, handle_of(fi).inode, 0, fsync_waiting);
	(void)ino;
	(void)datasync;
	atomic_fetch_add(&fs->count.fsyncs, 1);
	if (j)
		workers_queue(fs->waiters, &j->job);
	else
		fuse_reply_err(req, ENOMEM);
}

struct allocate_job {
	struct job job;
	fuse_req_t req;
	struct inode *inode; /* a reference */
	int mode;
	uint64_t at, len;
};

static int allocate_now(const struct allocate_job *j, struct missing *m)
{
	struct inode *in = j->inode;
	pthread_rwlock_wrlock(&in->lock);
	int r = in->gone ? -ESTALE : content_allocate(fs_of(j->req), in, j->mode, j->at, j->len, m);
	if (r == 0 && fuse_req_ctx(j->req)->uid != 0)
		r = inode_drop_privileges(j->req, in);
	pthread_rwlock_unlock(&in->lock);
	return r;
}

static void allocate_waiting(struct job *job)
{
	struct allocate_job *j = (struct allocate_job *)job;
	struct fs *fs = fs_of(j->req);
	struct missing m = { 0 };
	int r;
	do
		r = allocate_now(j, &m);
	while (r == -EAGAIN && (r = missing_fetch(fs, j->inode, &m)) == 0);
	missing_done(&m);
	log_refusal(j->inode->ino, "allocation", r);
	reply_result(j->req, r);
	inode_put(fs, j->inode);
	free(j);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct allocate_job now = { .job.run = allocate_waiting,
				    .req = req,
				    .inode = handle_of(fi).inode,
				    .mode = mode,
				    .at = (uint64_t)offset,
				    .len = (uint64_t)length };
	struct missing m = { 0 };
	(void)ino;
	int r = fs_may_write(fs);
	if (r == 0)
		r = allocate_now(&now, &m);
	missing_done(&m);
	struct allocate_job *later = r == -EAGAIN ? malloc(sizeof *later) : NULL;
	if (later) {
		*later = now;
		inode_ref(fs, later->inode);
		workers_queue(fs->waiters, &later->job);
		return;
	}
	r = r == -EAGAIN ? -ENOMEM : r;
	log_refusal(now.inode->ino, "allocation", r);
	reply_result(req, r);
}

static int seek_now(struct fs *fs, struct inode *in, uint64_t from, bool data, uint64_t *ret_at)
{
	pthread_rwlock_rdlock(&in->lock);
	int r = content_seek(fs, in, from, data, ret_at);
	pthread_rwlock_unlock(&in->lock);
	return r;
}

static void reply_seek(fuse_req_t req, int r, uint64_t at)
{
	if (r < 0)
		reply_result(req, r);
	else
		fuse_reply_lseek(req, (off_t)at);
}

/* The page cache may have data that the daemon has not seen (stores to mappings, all writes with the
 * writeback cache), and sends none of it before it asks where data is. What is unseen can only turn a
 * hole into data: so the hole that would be the answer is sent, and data stays cached. */
static int seek_cached(struct fs *fs, struct inode *in, uint64_t from, bool data, uint64_t *ret_at)
{
	uint64_t at = 0, end = 0, before;
	int r = seek_now(fs, in, from, data, &at);
	if (r == -ENXIO || (r == 0 && data && at > from)) {
		r = send_cached(fs, in, from, r == 0 ? at : 0);
		if (r == 0)
			r = seek_now(fs, in, from, data, &at);
	}
	while (r == 0 && !data) {
		before = at;
		r = send_cached(fs, in, at, seek_now(fs, in, at, true, &end) == 0 ? end : 0);
		if (r == 0)
			r = seek_now(fs, in, from, false, &at);
		if (at <= before)
			break;
	}
	if (r == 0)
		*ret_at = at;
	return r;
}

static void lseek_waiting(struct job *job)
{
	struct io_job *j = (struct io_job *)job;
	struct fs *fs = fs_of(j->req);
	uint64_t at = 0;
	int r = seek_cached(fs, j->inode, (uint64_t)j->at, j->data_wanted, &at);
	reply_seek(j->req, r, at);
	io_job_done(fs, j);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *in = handle_of(fi).inode;
	(void)ino;
	if ((whence != SEEK_DATA && whence != SEEK_HOLE) || off < 0) {
		fuse_reply_err(req, off < 0 ? ENXIO : EINVAL);
		return;
	}
	pthread_rwlock_rdlock(&in->lock);
	bool unseen = in->writers && in->cached_opens;
	pthread_rwlock_unlock(&in->lock);
	struct io_job *j = unseen ? io_job_new(req, in, 0, lseek_waiting) : NULL;
	if (!j) {
		uint64_t at = 0;
		int r = seek_now(fs, in, (uint64_t)off, whence == SEEK_DATA, &at);
		reply_seek(req, r, at);
		return;
	}
	j->at = off;
	j->data_wanted = whence == SEEK_DATA;
	workers_queue(fs->callers, &j->job);
}
