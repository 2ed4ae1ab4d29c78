// SPDX-License-Identifier: MIT
/* In a directory: folders are directories. An object is written under a name of its own, made durable, and then
 * linked (create: link(2) fails where the name is taken, also over NFS) or renamed. What a crash leaves of that begins with
 * a dot, is no object, and goes when the folder is next written to by anybody, an hour later.
 */
#include "depot.h"
#include "cleanup.h"
#include "fault.h"
#include "io.h"
#ifdef FOLDFS_HAVE_S3
#include "s3.h"
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#define TEMP_PREFIX ".tmp-"
#define TEMP_AGE_S 3600

struct depot_dir {
	struct depot depot; /* first */
	int fd;
};

static struct depot_dir *dir_of(struct depot *d)
{
	return (struct depot_dir *)d;
}

/* Splits the name; the folder's descriptor. */
static int open_folder(struct depot_dir *d, const char *name, bool make, const char **ret_rest)
{
	char folder[DEPOT_NAME_MAX];
	const char *slash = strchr(name, '/');
	size_t n = slash ? (size_t)(slash - name) : 0;
	if (!n || n >= sizeof folder)
		return -EINVAL;
	memcpy(folder, name, n);
	folder[n] = 0;
	*ret_rest = slash + 1;
	int fd = openat(d->fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 || errno != ENOENT || !make)
		return fd < 0 ? -errno : fd;
	if (mkdirat(d->fd, folder, 0700) && errno != EEXIST)
		return -errno;
	int r = io_fsync_dir(d->fd);
	fd = openat(d->fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

/* A durable file under a name that nobody else has. */
static int write_temp(int dirfd, struct slice data, char name[64])
{
	uint64_t nonce;
	if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce)
		return -EIO;
	snprintf(name, 64, TEMP_PREFIX "%016lx", nonce);
	CLEANUP_CLOSE int fd = io_create(dirfd, name, O_WRONLY | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	int r = fault_hit("depot_write");
	if (r == 0)
		r = io_write(fd, data.at, data.len, 0);
	if (r == 0)
		r = io_fsync(fd);
	if (r == 0)
		r = fault_hit("depot_written");
	if (r < 0)
		unlinkat(dirfd, name, 0);
	return r;
}

static int dir_make(struct depot *d, const char *name, struct slice data, bool anew)
{
	const char *rest;
	char temp[64];
	CLEANUP_CLOSE int fd = open_folder(dir_of(d), name, true, &rest);
	int r = fd < 0 ? fd : write_temp(fd, data, temp);
	if (r < 0)
		return r;
	if (anew ? renameat(fd, temp, fd, rest) : linkat(fd, temp, fd, rest, 0))
		r = -errno;
	if (!anew || r < 0)
		unlinkat(fd, temp, 0);
	return r < 0 ? r : io_fsync_dir(fd);
}

static int dir_create(struct depot *d, const char *name, struct slice data)
{
	return dir_make(d, name, data, false);
}

static int dir_put(struct depot *d, const char *name, struct slice data)
{
	return dir_make(d, name, data, true);
}

static int dir_get(struct depot *d, const char *name, size_t most, struct buf *data)
{
	const char *rest;
	CLEANUP_FREE void *bytes = NULL;
	size_t len;
	CLEANUP_CLOSE int fd = open_folder(dir_of(d), name, false, &rest);
	int r = fd < 0 ? fd : io_slurp(fd, rest, most, &bytes, &len);
	if (r < 0)
		return r;
	buf_put(data, bytes, len);
	return data->failed ? -ENOMEM : 0;
}

static void drop_old_temp(int dirfd, const char *name)
{
	struct stat st;
	if (!strncmp(name, TEMP_PREFIX, sizeof TEMP_PREFIX - 1) &&
	    !fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) &&
	    st.st_mtim.tv_sec + TEMP_AGE_S < time(NULL))
		unlinkat(dirfd, name, 0);
}

static int dir_list(struct depot *d, const char *prefix, int (*fn)(void *arg, const char *name),
		    void *arg)
{
	const char *rest;
	int fd = open_folder(dir_of(d), prefix, false, &rest), r = 0, more = 0;
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	CLEANUP_CLOSEDIR DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	for (struct dirent *e; r == 0 && (more = io_next_entry(dir, &e)) > 0;) {
		char name[DEPOT_NAME_MAX + sizeof e->d_name];
		drop_old_temp(fd, e->d_name);
		if (e->d_name[0] == '.' || strncmp(e->d_name, rest, strlen(rest)))
			continue;
		snprintf(name, sizeof name, "%.*s%s", (int)(rest - prefix), prefix, e->d_name);
		r = fn(arg, name);
	}
	return r ? r : more;
}

static int dir_remove(struct depot *d, const char *name)
{
	const char *rest;
	int r = fault_hit("depot_remove");
	CLEANUP_CLOSE int fd = r < 0 ? r : open_folder(dir_of(d), name, false, &rest);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	return unlinkat(fd, rest, 0) && errno != ENOENT ? -errno : 0;
}

static void dir_close(struct depot *d)
{
	if (dir_of(d)->fd >= 0)
		close(dir_of(d)->fd);
	free(d);
}

static const struct depot_ops dir_ops = {
	.create = dir_create,
	.put = dir_put,
	.get = dir_get,
	.list = dir_list,
	.remove = dir_remove,
	.close = dir_close,
};

int depot_dir_open(const char *path, struct depot **ret_d)
{
	struct depot_dir *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->depot.ops = &dir_ops;
	d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0) {
		int r = -errno;
		dir_close(&d->depot);
		return r;
	}
	*ret_d = &d->depot;
	return 0;
}

#ifdef FOLDFS_HAVE_S3
static int open_bucket(const struct place_options *opt, struct depot **ret_d, char *why,
		       size_t size)
{
	struct s3_options so;
	s3_defaults(&so);
	so.place = opt->where;
	so.endpoint = opt->endpoint && *opt->endpoint ? opt->endpoint : NULL;
	so.region = opt->region && *opt->region ? opt->region : NULL;
	if (opt->timeout_ms)
		so.timeout_ms = so.stall_ms = opt->timeout_ms;
	so.connect_ms = so.connect_ms < so.timeout_ms ? so.connect_ms : so.timeout_ms;
	return depot_s3_open(&so, ret_d, why, size);
}
#else
static int open_bucket(const struct place_options *opt, struct depot **ret_d, char *why,
		       size_t size)
{
	(void)ret_d;
	snprintf(why, size, "%s: this foldfs was built without object stores", opt->where);
	return -EPROTONOSUPPORT;
}
#endif

int depot_open(const struct place_options *opt, struct depot **ret_d, char *why, size_t size)
{
	if (!strncmp(opt->where, "s3://", 5))
		return open_bucket(opt, ret_d, why, size);
	int r = depot_dir_open(opt->where, ret_d);
	if (r < 0)
		snprintf(why, size, "%s cannot be opened: %s", opt->where, strerror(-r));
	return r;
}

void depot_quit(struct depot *d)
{
	if (d && d->ops->quit)
		d->ops->quit(d);
}

void depot_close(struct depot *d)
{
	if (d)
		d->ops->close(d);
}
