// SPDX-License-Identifier: MIT
/* blockrec [-h MICROSECONDS] IMAGE LOG DIR: a block device, as a file to be loop-mounted, that
 * remembers everything.
 *
 *   DIR/disk  the device; begins as a copy of IMAGE, which is never changed
 *   DIR/mark  what is written here becomes a mark in the log, at the place where it arrived
 *
 * One thread receives, so the log's order is the order of arrival. A flush covers what the kernel
 * knew to be done when it asked: a write that is still under way then may be lost. To see that, the
 * loop device must write with direct I/O (losetup --direct-io=on), which lets several requests be
 * under way, and each write is answered only MICROSECONDS after it came. A filesystem that sends
 * its flush without having waited for its writes is found out by that.
 *
 * Serves in the foreground until DIR is unmounted.
 */
#include "blocklog_format.h"
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { INO_DISK = 2, INO_MARK = 3 };

struct answer {
	struct answer *next;
	fuse_req_t req;
	uint64_t number, due_ns;
	size_t size;
};

static struct {
	int disk, log;
	off_t size;
	uint64_t hold_ns;
	pthread_mutex_t lock; /* everything below, and the order of the log */
	pthread_cond_t wake;
	uint64_t next_number;
	struct answer *first, **last;
} dev = { .disk = -1,
	  .log = -1,
	  .lock = PTHREAD_MUTEX_INITIALIZER,
	  .wake = PTHREAD_COND_INITIALIZER,
	  .last = &dev.first };

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Appends a record; a log that cannot be written is the end of the test. Returns its number. */
static uint64_t record_locked(enum blocklog_kind kind, uint64_t at, const void *data, size_t len)
{
	struct blocklog_record r = { .magic = BLOCKLOG_MAGIC,
				     .kind = kind,
				     .at = at,
				     .time_ns = now_ns(),
				     .len = (uint32_t)len };
	struct iovec v[2] = { { &r, sizeof r }, { (void *)(uintptr_t)data, len } };
	if (writev(dev.log, v, 2) != (ssize_t)(sizeof r + len)) {
		perror("blockrec: the log cannot be written");
		abort();
	}
	return dev.next_number++;
}

static uint64_t record(enum blocklog_kind kind, const void *data, size_t len)
{
	pthread_mutex_lock(&dev.lock);
	uint64_t number = record_locked(kind, 0, data, len);
	pthread_mutex_unlock(&dev.lock);
	return number;
}

/* Answers writes when their time has come, in the order of arrival. */
static void *answer_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&dev.lock);
	for (;;) {
		struct answer *a = dev.first;
		if (!a) {
			pthread_cond_wait(&dev.wake, &dev.lock);
			continue;
		}
		uint64_t now = now_ns();
		if (a->due_ns > now) {
			pthread_mutex_unlock(&dev.lock);
			nanosleep(&(struct timespec){ .tv_nsec = (long)(a->due_ns - now) }, NULL);
			pthread_mutex_lock(&dev.lock);
			continue;
		}
		dev.first = a->next;
		if (!dev.first)
			dev.last = &dev.first;
		record_locked(BLOCKLOG_DONE, a->number, NULL, 0);
		pthread_mutex_unlock(&dev.lock);
		fuse_reply_write(a->req, a->size);
		free(a);
		pthread_mutex_lock(&dev.lock);
	}
	return NULL;
}

static void fill_attr(fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){ .st_ino = ino, .st_nlink = 1, .st_mode = S_IFREG | 0600 };
	if (ino == FUSE_ROOT_ID)
		st->st_mode = S_IFDIR | 0700;
	if (ino == INO_DISK) {
		st->st_size = dev.size;
		st->st_blocks = dev.size / 512;
	}
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = { .attr_timeout = 3600, .entry_timeout = 3600 };
	(void)parent;
	e.ino = !strcmp(name, "disk") ? INO_DISK : !strcmp(name, "mark") ? INO_MARK : 0;
	if (!e.ino) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill_attr(e.ino, &e.attr);
	fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	(void)fi;
	fill_attr(ino, &st);
	fuse_reply_attr(req, &st, 3600);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;
	fi->parallel_direct_writes = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at,
		    struct fuse_file_info *fi)
{
	(void)fi;
	char *buf = ino == INO_DISK ? malloc(size) : NULL;
	ssize_t n = buf ? pread(dev.disk, buf, size, at) : 0;
	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, buf, (size_t)n);
	free(buf);
}

static void write_disk(fuse_req_t req, const char *data, size_t size, off_t at)
{
	struct answer *a = malloc(sizeof *a);
	if (!a || at < 0 || at + (off_t)size > dev.size ||
	    pwrite(dev.disk, data, size, at) != (ssize_t)size) {
		free(a);
		fuse_reply_err(req, a ? EIO : ENOMEM);
		return;
	}
	pthread_mutex_lock(&dev.lock);
	*a = (struct answer){ .req = req, .size = size, .due_ns = now_ns() + dev.hold_ns };
	a->number = record_locked(BLOCKLOG_WRITE, (uint64_t)at, data, size);
	*dev.last = a;
	dev.last = &a->next;
	pthread_cond_signal(&dev.wake);
	pthread_mutex_unlock(&dev.lock);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t at,
		     struct fuse_file_info *fi)
{
	(void)fi;
	if (ino == INO_DISK) {
		write_disk(req, data, size, at);
		return;
	}
	record(BLOCKLOG_MARK, data, size);
	fuse_reply_write(req, size);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	if (ino == INO_DISK)
		record(BLOCKLOG_FLUSH, NULL, 0);
	fuse_reply_err(req, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t at, off_t len,
			 struct fuse_file_info *fi)
{
	(void)ino, (void)mode, (void)at, (void)len, (void)fi;
	fuse_reply_err(req,
		       EOPNOTSUPP); /* no discard, no write-zeroes: the log has plain bytes only */
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = op_lookup,
	.getattr = op_getattr,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
};

static int copy_image(int from)
{
	static char buf[1 << 20];
	off_t at = 0;
	while ((at = lseek(from, at, SEEK_DATA)) >= 0 && at < dev.size) {
		off_t end = lseek(from, at, SEEK_HOLE);
		while (at < end) {
			size_t want =
				end - at < (off_t)sizeof buf ? (size_t)(end - at) : sizeof buf;
			ssize_t n = pread(from, buf, want, at);
			if (n <= 0 || pwrite(dev.disk, buf, (size_t)n, at) != n)
				return -1;
			at += n;
		}
	}
	return 0;
}

static int open_files(const char *image, const char *log)
{
	char *current;
	struct stat st;
	int from = open(image, O_RDONLY | O_CLOEXEC);
	if (from < 0 || fstat(from, &st) || asprintf(&current, "%s.disk", log) < 0)
		return -1;
	dev.size = st.st_size;
	dev.disk = open(current, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	dev.log = open(log, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	unlink(current);
	free(current);
	int r = dev.disk < 0 || dev.log < 0 || ftruncate(dev.disk, dev.size) ? -1
									     : copy_image(from);
	close(from);
	return r;
}

static int serve(char *program, char *dir)
{
	char *argv[] = { program, "-o", "fsname=blockrec", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	pthread_t thread;
	struct fuse_session *s = fuse_session_new(&args, &ops, sizeof ops, NULL);
	int r = 1;
	if (s && fuse_session_mount(s, dir) == 0) {
		if (pthread_create(&thread, NULL, answer_main, NULL) == 0)
			r = fuse_session_loop(s) ? 1 : 0;
		fuse_session_unmount(s);
	}
	if (s)
		fuse_session_destroy(s);
	fuse_opt_free_args(&args);
	return r;
}

int main(int argc, char **argv)
{
	int c;
	while ((c = getopt(argc, argv, "h:")) == 'h')
		dev.hold_ns = strtoull(optarg, NULL, 10) * 1000;
	if (c != -1 || argc - optind != 3) {
		fprintf(stderr, "usage: blockrec [-h MICROSECONDS] IMAGE LOG DIR\n");
		return 2;
	}
	if (open_files(argv[optind], argv[optind + 1])) {
		perror("blockrec: image and log");
		return 1;
	}
	return serve(argv[0], argv[optind + 2]);
}
