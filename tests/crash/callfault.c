// SPDX-License-Identifier: MIT
/* callfault: preloaded into a daemon, counts the calls that change what is below one directory, and
 * makes one of them fail. It sees what no fault point in the source can: LMDB's own writes, and calls
 * that somebody forgot to give a point.
 *
 *   CALLFAULT_ROOT   the directory, an absolute path without a slash at its end
 *   CALLFAULT_LOG    a file that gets a line "NUMBER CALL PATH" for every call, and "FAULT" behind
 *                    the one that failed
 *   CALLFAULT_AT     number of the call that fails, from 1; without it all succeed
 *   CALLFAULT_ERROR  what happens to it: EIO (the default), ENOSPC, EDQUOT; short (a write of half
 *                    the bytes, any other call succeeds); flip (a pread brings one wrong bit, any other
 *                    call succeeds); crash (_exit(99) before the call)
 *   CALLFAULT_READS  calls that read what is there count instead: open, read, pread, preadv
 *   CALLFAULT_STICKY all later calls of the same kind on the same file fail too
 *
 * What the kernel does by itself is not seen: passthrough writes, pages of mappings, io_uring.
 */
#undef _FILE_OFFSET_BITS /* it would give both of each pair of names the same symbol */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum verdict { PASS, FAIL, SHORT, FLIP };

static struct {
	char root[PATH_MAX];
	size_t root_len;
	long at;
	int error;
	const char *log;
	bool is_short, is_flip, is_crash, sticky, reads;
	pthread_mutex_t lock;
	long count;
	char failed[PATH_MAX + 32]; /* call and path */
} fault = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void __attribute__((constructor)) fault_init(void)
{
	const char *root = getenv("CALLFAULT_ROOT"), *log = getenv("CALLFAULT_LOG");
	const char *at = getenv("CALLFAULT_AT"), *error = getenv("CALLFAULT_ERROR");
	if (!root || strlen(root) >= sizeof fault.root)
		return;
	strcpy(fault.root, root);
	fault.root_len = strlen(root);
	fault.at = at ? atol(at) : 0;
	fault.error = error && !strcmp(error, "ENOSPC")	  ? ENOSPC
		      : error && !strcmp(error, "EDQUOT") ? EDQUOT
							  : EIO;
	fault.is_short = error && !strcmp(error, "short");
	fault.is_flip = error && !strcmp(error, "flip");
	fault.is_crash = error && !strcmp(error, "crash");
	fault.sticky = getenv("CALLFAULT_STICKY") != NULL;
	fault.reads = getenv("CALLFAULT_READS") != NULL;
	fault.log = log;
	unsetenv("LD_PRELOAD"); /* programs that the daemon starts are not meant */
}

static bool path_of_fd(int fd, char path[PATH_MAX])
{
	char link[64];
	if (fd == AT_FDCWD) {
		*path = 0;
		return true;
	}
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, PATH_MAX - 1);
	if (n < 0)
		return false;
	path[n] = 0;
	return true;
}

/* Where, below the root? NULL if elsewhere. */
static const char *inside(const char *path)
{
	return !strncmp(path, fault.root, fault.root_len) && path[fault.root_len] == '/'
		       ? path + fault.root_len + 1
		       : NULL;
}

/* Opened for each line: a daemon that goes to the background closes what it did not open. */
static void write_down(const char *line, size_t len)
{
	if (!fault.log)
		return;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, fault.log,
			      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd >= 0) {
		syscall(SYS_write, fd, line, len);
		syscall(SYS_close, fd);
	}
}

static enum verdict judge_locked(const char *call, const char *where)
{
	char line[PATH_MAX + 64], what[sizeof fault.failed];
	long number = ++fault.count;
	snprintf(what, sizeof what, "%s %s", call, where);
	bool hit = number == fault.at;
	if (hit)
		strcpy(fault.failed, what);
	else
		hit = fault.sticky && fault.at && number > fault.at && !strcmp(what, fault.failed);
	int n = snprintf(line, sizeof line, "%ld %s%s\n", number, what, hit ? " FAULT" : "");
	if (n > 0)
		write_down(line, (size_t)n < sizeof line ? (size_t)n : sizeof line);
	if (!hit)
		return PASS;
	if (fault.is_crash)
		_exit(99);
	return fault.is_short ? SHORT : fault.is_flip ? FLIP : FAIL;
}

/* PATH is relative to FD's, or absolute, or NULL. */
static enum verdict judge(const char *call, int fd, const char *path)
{
	char full[2 * PATH_MAX], dir[PATH_MAX];
	int saved = errno;
	enum verdict v = PASS;
	if (!fault.root_len)
		return PASS;
	if (path && *path == '/')
		snprintf(full, sizeof full, "%s", path);
	else if (!path_of_fd(fd, dir))
		*full = 0;
	else
		snprintf(full, sizeof full, "%s%s%s", dir, path ? "/" : "", path ? path : "");
	const char *where = inside(full);
	if (where) {
		pthread_mutex_lock(&fault.lock);
		v = judge_locked(call, where);
		pthread_mutex_unlock(&fault.lock);
	}
	errno = saved;
	return v;
}

static bool fails_so(const char *call, int fd, const char *path)
{
	if (judge(call, fd, path) != FAIL)
		return false;
	errno = fault.error;
	return true;
}

/* Does the call, which changes something, fail? Then errno says how. */
static bool fails(const char *call, int fd, const char *path)
{
	return !fault.reads && fails_so(call, fd, path);
}

static bool read_fails(const char *call, int fd, const char *path)
{
	return fault.reads && fails_so(call, fd, path);
}

/* For writes: how many of the bytes are written; -1 fails. */
static ssize_t allowed(const char *call, int fd, size_t len)
{
	if (fault.reads)
		return (ssize_t)len;
	switch (judge(call, fd, NULL)) {
	case FAIL:
		errno = fault.error;
		return -1;
	case SHORT:
		return (ssize_t)(len > 1 ? len / 2 : len);
	default:
		return (ssize_t)len;
	}
}

ssize_t write(int fd, const void *buf, size_t len)
{
	ssize_t n = allowed("write", fd, len);
	return n < 0 ? -1 : syscall(SYS_write, fd, buf, (size_t)n);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t at)
{
	ssize_t n = allowed("pwrite", fd, len);
	return n < 0 ? -1 : syscall(SYS_pwrite64, fd, buf, (size_t)n, at);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t at)
{
	return pwrite(fd, buf, len, at);
}

/* A vector that comes short ends with its first part. */
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	enum verdict verdict = fault.reads ? PASS : judge("pwritev", fd, NULL);
	if (verdict == FAIL) {
		errno = fault.error;
		return -1;
	}
	return syscall(SYS_pwritev, fd, v, verdict == SHORT ? 1 : n, at, 0);
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t at)
{
	return pwritev(fd, v, n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	enum verdict verdict = fault.reads ? PASS : judge("writev", fd, NULL);
	if (verdict == FAIL) {
		errno = fault.error;
		return -1;
	}
	return syscall(SYS_writev, fd, v, verdict == SHORT ? 1 : n);
}

int fsync(int fd)
{
	return fails("fsync", fd, NULL) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	return fails("fdatasync", fd, NULL) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t size)
{
	return fails("ftruncate", fd, NULL) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
	return fails("fallocate", fd, NULL) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, len);
}

int fallocate64(int fd, int mode, off_t at, off_t len)
{
	return fallocate(fd, mode, at, len);
}

int posix_fallocate(int fd, off_t at, off_t len)
{
	return fallocate(fd, 0, at, len) ? errno : 0;
}

int posix_fallocate64(int fd, off_t at, off_t len)
{
	return posix_fallocate(fd, at, len);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	if (fails("rename", to_fd, to))
		return -1;
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	if (fails("rename", to_fd, to))
		return -1;
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int fd, const char *path, int flags)
{
	return fails("unlink", fd, path) ? -1 : (int)syscall(SYS_unlinkat, fd, path, flags);
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
	return fails("mkdir", fd, path) ? -1 : (int)syscall(SYS_mkdirat, fd, path, mode);
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

ssize_t read(int fd, void *buf, size_t len)
{
	return read_fails("read", fd, NULL) ? -1 : syscall(SYS_read, fd, buf, len);
}

ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
	enum verdict verdict = fault.reads ? judge("pread", fd, NULL) : PASS;
	if (verdict == FAIL) {
		errno = fault.error;
		return -1;
	}
	ssize_t n = syscall(SYS_pread64, fd, buf, len, at);
	if (verdict == FLIP && n > 0)
		((char *)buf)[n / 2] ^= 0x10;
	return n;
}

ssize_t pread64(int fd, void *buf, size_t len, off_t at)
{
	return pread(fd, buf, len, at);
}

ssize_t preadv(int fd, const struct iovec *v, int n, off_t at)
{
	return read_fails("preadv", fd, NULL) ? -1 : syscall(SYS_preadv, fd, v, n, at, 0);
}

ssize_t preadv64(int fd, const struct iovec *v, int n, off_t at)
{
	return preadv(fd, v, n, at);
}

/* Opening counts as a change where it may create. */
static int open_common(int fd, const char *path, int flags, mode_t mode)
{
	bool creates = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
	if (creates ? fails("create", fd, path) : read_fails("open", fd, path))
		return -1;
	return (int)syscall(SYS_openat, fd, path, flags, mode);
}

static mode_t mode_of(int flags, va_list arg)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arg, mode_t) : 0;
}

int openat(int fd, const char *path, int flags, ...)
{
	va_list arg;
	va_start(arg, flags);
	mode_t mode = mode_of(flags, arg);
	va_end(arg);
	return open_common(fd, path, flags, mode);
}

int openat64(int fd, const char *path, int flags, ...)
{
	va_list arg;
	va_start(arg, flags);
	mode_t mode = mode_of(flags, arg);
	va_end(arg);
	return open_common(fd, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list arg;
	va_start(arg, flags);
	mode_t mode = mode_of(flags, arg);
	va_end(arg);
	return open_common(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list arg;
	va_start(arg, flags);
	mode_t mode = mode_of(flags, arg);
	va_end(arg);
	return open_common(AT_FDCWD, path, flags, mode);
}
