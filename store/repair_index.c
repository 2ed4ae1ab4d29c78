// SPDX-License-Identifier: MIT
/* The log goes first: an index that is gone beside a log that is there would look like one that lacks
 * its beginning, and nobody would begin anew.
 */
#include "repair_index.h"
#include "cleanup.h"
#include "config.h"
#include "io.h"
#include "pool_impl.h"
#include "super.h"
#include "wal_home.h"
#include "wal_segment.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

static int put_aside(int dirfd, const char *name, char ret_aside[ASIDE_NAME_MAX])
{
	int r = aside_move(dirfd, name, ret_aside);
	return r == -ENOENT ? 0 : r;
}

static int put_log_aside(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return -errno;
	struct dirent *e;
	int more = 0;
	while (r == 0 && (more = io_next_entry(d, &e)) > 0) {
		uint64_t seq;
		if (wal_segment_parse_name(e->d_name, &seq))
			r = put_aside(dirfd, e->d_name, NULL);
	}
	r = r < 0 ? r : more;
	return r < 0 ? r : io_fsync_dir(dirfd);
}

static int open_log(int dirfd, const struct super *super)
{
	struct config config;
	struct config_error err;
	config_defaults(&config);
	int r = config_load(&config, dirfd, "foldfs.conf", &err);
	if (r < 0 && r != -ENOENT)
		return r;
	int fd = *config.wal_dir ? open(config.wal_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
				 : openat(dirfd, "wal", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = wal_home_check(fd, super->uuid);
	if (r < 0 && r != -ENOENT) {
		close(fd);
		return r;
	}
	return fd;
}

static int lock(int dirfd)
{
	int fd = openat(dirfd, "lock", O_RDWR | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
		close(fd);
		return -EBUSY;
	}
	return fd < 0 ? -errno : fd;
}

int repair_begin_index(const char *path, char ret_aside[ASIDE_NAME_MAX], struct pool_error *err)
{
	struct super super;
	CLEANUP_CLOSE int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dirfd < 0 ? -errno : super_read(dirfd, &super, NULL);
	CLEANUP_CLOSE int lockfd = r == 0 ? lock(dirfd) : -1;
	CLEANUP_CLOSE int log = lockfd >= 0 ? open_log(dirfd, &super) : -1;
	CLEANUP_CLOSE int index =
		log >= 0 ? openat(dirfd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	r = r < 0 ? r : lockfd < 0 ? lockfd : log < 0 ? log : index < 0 ? -errno : 0;
	if (r == 0)
		r = put_log_aside(log);
	if (r == 0)
		r = put_aside(index, "data.mdb", ret_aside);
	if (r == 0 && unlinkat(index, "lock.mdb", 0) && errno != ENOENT)
		r = -errno;
	if (r == 0)
		r = io_fsync_dir(index);
	if (r < 0)
		pool_say(err, "%s: the index cannot be begun anew: %s", path, strerror(-r));
	return r;
}
