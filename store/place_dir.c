// SPDX-License-Identifier: MIT
/* A directory with pack files, as POOL/packs is one. A pack is written under a name of its own, made
 * durable, and only then gets its name.
 */
#include "place.h"
#include "cleanup.h"
#include "fault.h"
#include "io.h"
#include "pack_fds.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define LABEL PLACE_LABEL_NAME
#define PART ".part"
#define PART_NAME_MAX (PACK_NAME_MAX + sizeof PART)
#define BLOCK 4096u /* of zeros stays a hole, as pack_trim() makes them */

struct place_dir {
	struct place place; /* first */
	int fd, lockfd;
};

static struct place_dir *dir_of(struct place *pl)
{
	return (struct place_dir *)pl;
}

static void part_name(uint64_t pack, char name[PART_NAME_MAX])
{
	pack_name(pack, name);
	strcat(name, PART);
}

static int dir_open_pack(struct place *pl, uint64_t pack)
{
	char name[PACK_NAME_MAX];
	pack_name(pack, name);
	int fd = openat(dir_of(pl)->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static void dir_read(struct place *pl, struct place_read *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		CLEANUP_CLOSE int fd = dir_open_pack(pl, v[i].pack);
		v[i].result = fd < 0 ? fd : io_read(fd, v[i].buf, v[i].len, (off_t)v[i].at);
	}
}

static bool all_zero(const uint8_t *data, size_t len)
{
	return len && !data[0] && !memcmp(data, data + 1, len - 1);
}

/* How long the run of blocks is that are zeros, or are not. */
static size_t run_of(const uint8_t *data, size_t len, bool zeros)
{
	size_t at = 0;
	while (at < len && all_zero(data + at, len - at < BLOCK ? len - at : BLOCK) == zeros)
		at += BLOCK;
	return at < len ? at : len;
}

/* Past the page cache where the filesystem can do that: half the processor's time, and nothing is forced out. */
static int write_blocks(int fd, const uint8_t *data, size_t len, off_t at)
{
	int r = io_write(fd, data, len, at), flags = r == -EINVAL ? fcntl(fd, F_GETFL) : 0;
	if (flags <= 0 || !(flags & O_DIRECT) || fcntl(fd, F_SETFL, flags & ~O_DIRECT))
		return r;
	return io_write(fd, data, len, at);
}

static int write_data(int fd, const uint8_t *data, size_t len, uint64_t at)
{
	int r = fault_hit("place_write");
	for (size_t done = run_of(data, len, true); done < len && r == 0;) {
		size_t n = run_of(data + done, len - done, false);
		r = write_blocks(fd, data + done, n, (off_t)(at + done));
		done += n;
		done += run_of(data + done, len - done, true);
	}
	return r;
}

/* Whole blocks, which is what direct writes want; the end is cut off again. */
static int copy_in(int fd, struct place_source *from)
{
	CLEANUP_FREE uint8_t *data = aligned_alloc(BLOCK, PLACE_STEP);
	int r = data ? 0 : -ENOMEM;
	for (uint64_t at = 0; at < from->bytes && r == 0; at += PLACE_STEP) {
		uint64_t left = from->bytes - at;
		size_t n = left < PLACE_STEP ? (size_t)left : PLACE_STEP;
		size_t whole = (n + BLOCK - 1) / BLOCK * BLOCK;
		r = from->read(from, data, n, at);
		memset(data + n, 0, whole - n);
		if (r == 0)
			r = write_data(fd, data, whole, at);
	}
	if (r == 0 && ftruncate(fd, (off_t)from->bytes))
		r = -errno;
	if (r == 0)
		r = io_fsync(fd);
	if (r == 0) /* who reads it back shall see what the device has */
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return r;
}

static int create_part(struct place_dir *d, const char *name)
{
	int fd = io_create(d->fd, name, O_RDWR | O_TRUNC | O_DIRECT, 0600);
	return fd == -EINVAL ? io_create(d->fd, name, O_RDWR | O_TRUNC, 0600) : fd;
}

static int dir_put(struct place *pl, uint64_t pack, struct place_source *from)
{
	struct place_dir *d = dir_of(pl);
	char part[PART_NAME_MAX], name[PACK_NAME_MAX];
	part_name(pack, part);
	pack_name(pack, name);
	CLEANUP_CLOSE int fd = create_part(d, part);
	if (fd < 0)
		return fd;
	int r = copy_in(fd, from);
	if (r == 0)
		r = fault_hit("place_copied");
	if (r == 0 && renameat(d->fd, part, d->fd, name))
		r = -errno;
	if (r < 0) {
		unlinkat(d->fd, part, 0);
		return r;
	}
	r = io_fsync_dir(d->fd);
	if (r < 0)
		unlinkat(d->fd, name, 0);
	return r;
}

static int dir_size(struct place *pl, uint64_t pack, uint64_t *ret_bytes)
{
	char name[PACK_NAME_MAX];
	struct stat st;
	pack_name(pack, name);
	if (fstatat(dir_of(pl)->fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static int dir_remove(struct place *pl, uint64_t pack)
{
	char name[PACK_NAME_MAX];
	pack_name(pack, name);
	int r = pl->keeps ? 0 : fault_hit("place_remove");
	if (r == 0 && !pl->keeps && unlinkat(dir_of(pl)->fd, name, 0) && errno != ENOENT)
		r = -errno;
	return r;
}

static DIR *open_list(struct place_dir *d)
{
	int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

static int dir_list(struct place *pl, int (*fn)(void *arg, uint64_t pack, uint64_t bytes),
		    void *arg)
{
	CLEANUP_CLOSEDIR DIR *dir = open_list(dir_of(pl));
	if (!dir)
		return -errno;
	struct dirent *e;
	int more;
	while ((more = io_next_entry(dir, &e)) > 0) {
		uint64_t bytes, pack = pack_of_name(e->d_name);
		int r = pack ? dir_size(pl, pack, &bytes) : -ENOENT;
		if (r == 0)
			r = fn(arg, pack, bytes);
		if (r && r != -ENOENT)
			return r;
	}
	return more;
}

static bool is_part(const char *name)
{
	char pack[PACK_NAME_MAX];
	size_t len = strlen(name), end = sizeof PART - 1;
	if (len <= end || len - end >= sizeof pack || strcmp(name + len - end, PART))
		return false;
	memcpy(pack, name, len - end);
	pack[len - end] = 0;
	return pack_of_name(pack) != 0;
}

static int dir_tidy(struct place *pl)
{
	struct place_dir *d = dir_of(pl);
	CLEANUP_CLOSEDIR DIR *dir = open_list(d);
	if (!dir)
		return -errno;
	struct dirent *e;
	int more;
	while ((more = io_next_entry(dir, &e)) > 0)
		if (is_part(e->d_name) && unlinkat(d->fd, e->d_name, 0) && errno != ENOENT)
			return -errno;
	return more;
}

static int dir_room(struct place *pl, uint64_t *ret_total, uint64_t *ret_avail)
{
	struct statvfs vfs;
	if (fstatvfs(dir_of(pl)->fd, &vfs))
		return -errno;
	*ret_total = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	*ret_avail = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	return 0;
}

/* Nothing but what mkfs of a filesystem leaves. */
static int is_empty(struct place_dir *d)
{
	CLEANUP_CLOSEDIR DIR *dir = open_list(d);
	if (!dir)
		return -errno;
	struct dirent *e;
	int more;
	while ((more = io_next_entry(dir, &e)) > 0)
		if (e->d_name[0] != '.' && strcmp(e->d_name, "lost+found"))
			return -ENOTEMPTY;
	return more;
}

static int dir_read_label(struct place *pl, struct place_label *ret_label)
{
	CLEANUP_FREE void *data = NULL;
	size_t len;
	int r = io_slurp(dir_of(pl)->fd, LABEL, PLACE_LABEL_MAX, &data, &len);
	if (r == -ENOENT) {
		r = is_empty(dir_of(pl));
		return r ? r : -ENOENT;
	}
	if (r < 0)
		return r == -EFBIG ? -ESTALE : r;
	return place_label_parse(data, len, ret_label);
}

static int dir_claim(struct place *pl, const struct place_label *label)
{
	char text[PLACE_LABEL_MAX];
	size_t len = place_label_print(label, text);
	return io_replace_file(dir_of(pl)->fd, LABEL, text, len, 0600);
}

static int dir_lock(struct place *pl)
{
	struct place_dir *d = dir_of(pl);
	CLEANUP_CLOSE int fd = openat(d->fd, LABEL, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	d->lockfd = take_fd(&fd);
	return 0;
}

static int dir_dirfd(struct place *pl)
{
	return dir_of(pl)->fd;
}

static void dir_close(struct place *pl)
{
	struct place_dir *d = dir_of(pl);
	if (d->lockfd >= 0)
		close(d->lockfd);
	close(d->fd);
	free(d);
}

static const struct place_ops dir_ops = {
	.open_pack = dir_open_pack,
	.read = dir_read,
	.put = dir_put,
	.size = dir_size,
	.remove = dir_remove,
	.list = dir_list,
	.tidy = dir_tidy,
	.room = dir_room,
	.read_label = dir_read_label,
	.claim = dir_claim,
	.relabel = dir_claim,
	.lock = dir_lock,
	.dirfd = dir_dirfd,
	.close = dir_close,
};

static int place_of(int taken_fd, struct place **ret_place)
{
	struct place_dir *d = taken_fd < 0 ? NULL : malloc(sizeof *d);
	if (!d) {
		int r = taken_fd < 0 ? -errno : -ENOMEM;
		if (taken_fd >= 0)
			close(taken_fd);
		return r;
	}
	*d = (struct place_dir){ .place.ops = &dir_ops, .fd = taken_fd, .lockfd = -1 };
	*ret_place = &d->place;
	return 0;
}

int place_dir_open(const char *path, struct place **ret_place)
{
	return place_of(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret_place);
}

int place_dir_at(int dirfd, struct place **ret_place)
{
	return place_of(fcntl(dirfd, F_DUPFD_CLOEXEC, 0), ret_place);
}
