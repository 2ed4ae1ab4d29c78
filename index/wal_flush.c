// SPDX-License-Identifier: MIT
/* With io_uring the write and the fdatasync go to the kernel as one linked pair: one system call
 * and one wake-up per group commit instead of two. A short write breaks the link; the rest is then
 * written and synced the ordinary way. A failed write or sync is the end of the log (see wal.c),
 * here nothing is tried twice.
 */
#include "wal_flush.h"
#include "fault.h"
#include "io.h"
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#define FLUSH_ENTRIES 4

void wal_flush_init(struct wal_flush *f, enum kv_wal_backend wanted)
{
	f->ring = NULL;
	if (wanted != KV_WAL_IO_URING || !io_uring_available())
		return;
	struct io_uring *ring = malloc(sizeof *ring);
	if (!ring || io_uring_queue_init(FLUSH_ENTRIES, ring, 0) < 0)
		free(ring);
	else
		f->ring = ring;
}

void wal_flush_done(struct wal_flush *f)
{
	if (f->ring)
		io_uring_queue_exit(f->ring);
	free(f->ring);
	f->ring = NULL;
}

const char *wal_flush_name(const struct wal_flush *f)
{
	return f->ring ? "io_uring" : "standard";
}

static int flush_plain(int fd, struct slice bytes, uint64_t at, const char **ret_what)
{
	*ret_what = "log write";
	int r = fault_hit("wal_write");
	if (r == 0)
		r = io_write(fd, bytes.at, bytes.len, (off_t)at);
	if (r < 0)
		return r;
	*ret_what = "log sync";
	r = fault_hit("wal_sync");
	if (r)
		return r == FAULT_SKIP ? 0 : r;
	return io_fdatasync(fd);
}

/* The two results, told apart by user data 0 and 1. The buffers are in flight until both came. */
static void reap_pair(struct io_uring *ring, int result[2])
{
	for (unsigned reaped = 0; reaped < 2;) {
		struct io_uring_cqe *cqe;
		if (io_uring_wait_cqe(ring, &cqe) < 0)
			continue;
		result[io_uring_cqe_get_data64(cqe)] = cqe->res;
		io_uring_cqe_seen(ring, cqe);
		reaped++;
	}
}

static int flush_linked(struct io_uring *ring, int fd, struct slice bytes, uint64_t at,
			int result[2])
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	io_uring_prep_write(sqe, fd, bytes.at, (unsigned)bytes.len, at);
	io_uring_sqe_set_data64(sqe, 0);
	sqe->flags |= IOSQE_IO_LINK;
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data64(sqe, 1);
	for (unsigned sent = 0; sent < 2;) {
		int r = io_uring_submit(ring);
		if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
			return r;
		sent += r > 0 ? (unsigned)r : 0;
	}
	reap_pair(ring, result);
	return 0;
}

/* The same points as the ordinary way has, so that a counted fault means the same. */
static int linked_faults(void)
{
	static const char *const points[] = { "wal_write", "write", "wal_sync", "fdatasync" };
	int r = 0;
	for (size_t i = 0; r == 0 && i < sizeof points / sizeof *points; i++)
		r = fault_hit(points[i]);
	return r;
}

int wal_flush_write(struct wal_flush *f, int fd, struct slice bytes, uint64_t at,
		    const char **ret_what)
{
	int result[2];
	*ret_what = "log write";
	if (!f->ring)
		return flush_plain(fd, bytes, at, ret_what);
	int r = linked_faults();
	if (r == 0)
		r = flush_linked(f->ring, fd, bytes, at, result);
	if (r < 0)
		return r;
	if (result[0] < 0 && result[0] != -EINTR && result[0] != -EAGAIN)
		return result[0];
	size_t done = result[0] > 0 ? (size_t)result[0] : 0;
	if (done < bytes.len)
		return flush_plain(fd, slice_of(bytes.at + done, bytes.len - done), at + done,
				   ret_what);
	*ret_what = "log sync";
	return result[1];
}
