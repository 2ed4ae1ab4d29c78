// SPDX-License-Identifier: MIT
/* copy_file_range(2): what lies in packs is shared, whatever its length, and the rest copied.
 */
#include "cleanup.h"
#include "content.h"
#include "missing.h"
#include "ops.h"

#define COPY_STEP (1u << 20)
#define COPY_MOST (64u << 20) /* in one request: the caller asks again */

struct copy_job {
	struct job job;
	fuse_req_t req;
	struct inode *src, *dst;
	uint64_t src_at, dst_at, len;
};

static void lock_pair(struct inode *a, struct inode *b)
{
	struct inode *first = a->ino < b->ino ? a : b;
	pthread_rwlock_wrlock(&first->lock);
	if (a != b)
		pthread_rwlock_wrlock(first == a ? &b->lock : &a->lock);
}

static int share_range(struct fs *fs, struct copy_job *j)
{
	lock_pair(j->src, j->dst);
	int r = content_share(fs, j->src, j->src_at, j->dst, j->dst_at, &j->len);
	pthread_rwlock_unlock(&j->src->lock);
	if (j->dst != j->src)
		pthread_rwlock_unlock(&j->dst->lock);
	return r;
}

static int write_part(struct fs *fs, struct inode *dst, const void *buf, size_t len, uint64_t at)
{
	struct missing m = { 0 };
	int r;
	do {
		pthread_rwlock_wrlock(&dst->lock);
		r = dst->gone ? -ESTALE : content_write(fs, dst, buf, len, at, &m);
		pthread_rwlock_unlock(&dst->lock);
	} while (r == -EAGAIN && (r = missing_fetch(fs, dst, &m)) == 0);
	missing_done(&m);
	return r;
}

/* Part by part: no lock is held while a tier is waited for. */
static ssize_t copy_bytes(struct fs *fs, const struct copy_job *j)
{
	uint64_t done = 0, len = j->len < COPY_MOST ? j->len : COPY_MOST;
	size_t step = len < COPY_STEP ? len : COPY_STEP;
	CLEANUP_FREE uint8_t *buf = malloc(step);
	if (!buf)
		return -ENOMEM;
	while (done < len) {
		size_t n = len - done < step ? len - done : step;
		ssize_t got = content_read_unlocked(fs, j->src, buf, n, j->src_at + done);
		int r = got < 0 ? (int)got : 0;
		if (got > 0)
			r = write_part(fs, j->dst, buf, (size_t)got, j->dst_at + done);
		if (r < 0)
			return done ? (ssize_t)done : r;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static void copy_waiting(struct job *job)
{
	struct copy_job *j = (struct copy_job *)job;
	struct fs *fs = fs_of(j->req);
	int r = share_range(fs, j);
	ssize_t n = r < 0 ? r : r > 0 ? (ssize_t)j->len : copy_bytes(fs, j);
	log_refusal(j->dst->ino, "copy", (int)(n < 0 ? n : 0));
	if (n < 0)
		reply_result(j->req, (int)n);
	else
		fuse_reply_write(j->req, (size_t)n);
	inode_put(fs, j->src);
	inode_put(fs, j->dst);
	free(j);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct fs *fs = fs_of(req);
	(void)ino_in;
	(void)ino_out;
	int r = flags ? -EINVAL : fs_may_write(fs);
	struct copy_job *j = r == 0 ? malloc(sizeof *j) : NULL;
	if (!j) {
		reply_result(req, r < 0 ? r : -ENOMEM);
		return;
	}
	*j = (struct copy_job){ .job.run = copy_waiting,
				.req = req,
				.src = inode_ref(fs, handle_of(fi_in).inode),
				.dst = inode_ref(fs, handle_of(fi_out).inode),
				.src_at = (uint64_t)off_in,
				.dst_at = (uint64_t)off_out,
				.len = len < 0x7ffff000u ? len : 0x7ffff000u };
	workers_queue(fs->waiters, &j->job);
}
