// SPDX-License-Identifier: MIT
/* io: whole reads and writes, durable small files, and batches of reads through io_uring.
 *
 * All functions return 0 (or a count) or -errno and retry EINTR. Each write and sync passes a
 * fault point (fault.h), so that tests can make any of them fail or stop the process there.
 */
#ifndef FOLDFS_IO_H
#define FOLDFS_IO_H
#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads up to len bytes, fewer only at end of file. Returns the count. */
ssize_t io_read(int fd, void *buf, size_t len, off_t at);
/* Reads exactly len bytes; a short file is -EUCLEAN. */
int io_read_exact(int fd, void *buf, size_t len, off_t at);
/* Writes all of it. Not durable until io_fdatasync. A short write that cannot go on is -ENOSPC. */
int io_write(int fd, const void *buf, size_t len, off_t at);
int io_fdatasync(int fd);
int io_fsync(int fd);
int io_fsync_dir(int dirfd); /* makes names in the directory durable */

/* Opens DIR/name, which it may make (flags as of open(2); O_CREAT, O_CLOEXEC and O_NOFOLLOW are
 * added). What root makes gets the directory's owner, who shall be able to read it, too.
 * Returns the descriptor; its name is not durable. */
int io_create(int dirfd, const char *name, int flags, mode_t mode);
/* Replaces DIR/name by these bytes: temporary file, fsync, rename, fsync of the directory.
 * Durable on return; on failure the old file is as it was. */
int io_replace_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode);
/* Reads a whole file of at most `limit` bytes; the caller frees *ret_data. -EFBIG beyond. */
int io_slurp(int dirfd, const char *name, size_t limit, void **ret_data, size_t *ret_len);

/* Is PATH a directory, and this one or below it? */
bool io_lies_within(const char *path, int dirfd);
/* The next name of a directory: 1, 0 when there are no more, -errno. */
int io_next_entry(DIR *dir, struct dirent **ret_entry);

/* One read of a batch. `result` becomes the count read, or -errno. */
struct io_read_op {
	int fd;
	void *buf;
	size_t len;
	off_t at;
	ssize_t result;
};
/* Issues all reads at once (io_uring where the kernel has it, one by one otherwise) and waits for
 * all of them. Safe from any thread; each thread gets a ring of its own. Each op carries its result. */
void io_read_batch(struct io_read_op *ops, size_t n);
bool io_uring_available(void); /* found out once per process */
#endif
