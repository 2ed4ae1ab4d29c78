// SPDX-License-Identifier: MIT
/* Batches of reads go through an io_uring of the calling thread, made at its first batch and torn
 * down when the thread ends. Where the kernel refuses a ring the reads are done one by one: same
 * results, less overlap.
 */
#include "io.h"
#include "cleanup.h"
#include "fault.h"
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#define RING_ENTRIES 64

ssize_t io_read(int fd, void *buf, size_t len, off_t at)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, at + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_read_exact(int fd, void *buf, size_t len, off_t at)
{
	ssize_t n = io_read(fd, buf, len, at);
	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EUCLEAN;
}

int io_write(int fd, const void *buf, size_t len, off_t at)
{
	int r = fault_hit("write");
	if (r < 0)
		return r;
	size_t done = 0;
	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, at + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENOSPC;
		done += (size_t)n;
	}
	return 0;
}

int io_fdatasync(int fd)
{
	int r = fault_hit("fdatasync");
	if (r)
		return r == FAULT_SKIP ? 0 : r;
	return fdatasync(fd) ? -errno : 0;
}

int io_fsync(int fd)
{
	int r = fault_hit("fsync");
	if (r)
		return r == FAULT_SKIP ? 0 : r;
	return fsync(fd) ? -errno : 0;
}

int io_fsync_dir(int dirfd)
{
	int r = fault_hit("fsync_dir");
	if (r)
		return r == FAULT_SKIP ? 0 : r;
	return fsync(dirfd) ? -errno : 0;
}

bool io_lies_within(const char *path, int dirfd)
{
	struct stat top, here, above;
	CLEANUP_CLOSE int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(dirfd, &top) || fstat(fd, &here))
		return false;
	while (here.st_dev != top.st_dev || here.st_ino != top.st_ino) {
		int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0 || fstat(up, &above)) {
			if (up >= 0)
				close(up);
			return false;
		}
		close(fd);
		fd = up;
		if (above.st_dev == here.st_dev && above.st_ino == here.st_ino)
			return false; /* the root */
		here = above;
	}
	return true;
}

int io_next_entry(DIR *dir, struct dirent **ret_entry)
{
	int r = fault_hit("readdir");
	if (r < 0)
		return r;
	errno = 0;
	*ret_entry = readdir(dir);
	return *ret_entry ? 1 : -errno;
}

int io_create(int dirfd, const char *name, int flags, mode_t mode)
{
	struct stat dir;
	CLEANUP_CLOSE int fd = openat(dirfd, name, flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	if (geteuid() == 0 &&
	    (fstat(dirfd, &dir) || (dir.st_uid && fchown(fd, dir.st_uid, dir.st_gid))))
		return -errno;
	return take_fd(&fd);
}

int io_replace_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
	char tmp[256];
	if (snprintf(tmp, sizeof tmp, "%s.tmp", name) >= (int)sizeof tmp)
		return -ENAMETOOLONG;
	CLEANUP_CLOSE int fd = io_create(dirfd, tmp, O_WRONLY | O_TRUNC, mode);
	if (fd < 0)
		return fd;
	int r = io_write(fd, data, len, 0);
	if (r == 0)
		r = io_fsync(fd);
	if (r == 0)
		r = fault_hit("rename");
	if (r == 0 && renameat(dirfd, tmp, dirfd, name))
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, tmp, 0);
		return r;
	}
	return io_fsync_dir(dirfd);
}

int io_slurp(int dirfd, const char *name, size_t limit, void **ret_data, size_t *ret_len)
{
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode)) /* a fifo would have us wait for ever */
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (st.st_size < 0 || (uint64_t)st.st_size > limit)
		return -EFBIG;
	CLEANUP_FREE char *data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	ssize_t n = io_read(fd, data, (size_t)st.st_size, 0);
	if (n < 0)
		return (int)n;
	data[n] = 0;
	*ret_data = TAKE_PTR(data);
	*ret_len = (size_t)n;
	return 0;
}

static pthread_key_t ring_key;
static pthread_once_t ring_once = PTHREAD_ONCE_INIT;
static bool ring_works;

static void ring_free(void *p)
{
	struct io_uring *ring = p;
	io_uring_queue_exit(ring);
	free(ring);
}

static void ring_probe(void)
{
	struct io_uring ring;
	pthread_key_create(&ring_key, ring_free);
	if (io_uring_queue_init(2, &ring, 0) == 0) {
		ring_works = true;
		io_uring_queue_exit(&ring);
	}
}

bool io_uring_available(void)
{
	pthread_once(&ring_once, ring_probe);
	return ring_works;
}

static struct io_uring *thread_ring(void)
{
	if (!io_uring_available())
		return NULL;
	struct io_uring *ring = pthread_getspecific(ring_key);
	if (ring)
		return ring;
	ring = malloc(sizeof *ring);
	if (!ring || io_uring_queue_init(RING_ENTRIES, ring, 0) < 0) {
		free(ring);
		return NULL;
	}
	pthread_setspecific(ring_key, ring);
	return ring;
}

/* Completes what a ring left short (interrupted, or a partial read that is not end of file). */
static void finish_op(struct io_read_op *op)
{
	if (op->result == -EINTR || op->result == -EAGAIN)
		op->result = 0;
	if (op->result < 0 || (size_t)op->result == op->len)
		return;
	size_t done = (size_t)op->result;
	ssize_t n = io_read(op->fd, (char *)op->buf + done, op->len - done, op->at + (off_t)done);
	op->result = n < 0 ? n : (ssize_t)done + n;
}

static void read_some_by_ring(struct io_uring *ring, struct io_read_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
		io_uring_prep_read(sqe, ops[i].fd, ops[i].buf, (unsigned)ops[i].len,
				   (uint64_t)ops[i].at);
		io_uring_sqe_set_data(sqe, &ops[i]);
		ops[i].result = -EINTR;
	}
	size_t submitted = 0, reaped = 0;
	while (submitted < n) {
		int r = io_uring_submit(ring);
		if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
			abort(); /* our own ring: nothing but a bug, and buffers are in flight */
		submitted += r > 0 ? (size_t)r : 0;
	}
	while (reaped < n) {
		struct io_uring_cqe *cqe;
		if (io_uring_wait_cqe(ring, &cqe) < 0)
			continue;
		struct io_read_op *op = io_uring_cqe_get_data(cqe);
		op->result = cqe->res;
		io_uring_cqe_seen(ring, cqe);
		reaped++;
	}
}

void io_read_batch(struct io_read_op *ops, size_t n)
{
	struct io_uring *ring = n > 1 ? thread_ring() : NULL;
	for (size_t i = 0; i < n; i++)
		ops[i].result = 0;
	for (size_t i = 0; ring && i < n; i += RING_ENTRIES)
		read_some_by_ring(ring, ops + i, n - i < RING_ENTRIES ? n - i : RING_ENTRIES);
	for (size_t i = 0; i < n; i++)
		finish_op(&ops[i]);
}
