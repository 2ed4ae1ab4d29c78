// SPDX-License-Identifier: MIT
/* Files: of the disk, of the mount, and what is in packs. Only the calls are timed, not the making of the bytes. */
#include "cleanup.h"
#include "io.h"
#include "speed.h"
#include "speed_data.h"
#include "speed_dir.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20)
#define SMALL 4096u
#define SYNCS 200u
#define LARGE_LEAST ((uint64_t)8 << 20)
#define STORED_MOST ((uint64_t)512 << 20)
#define STORED_S 3 /* of each of the things that are done with it */

/* ---- one large file ---- */

static int large_room(int dirfd, uint64_t most, uint64_t *ret_bytes)
{
	struct statvfs st;
	if (fstatvfs(dirfd, &st))
		return -errno;
	uint64_t room = (uint64_t)st.f_bavail * st.f_frsize / 4;
	*ret_bytes = most < room ? most : room;
	return *ret_bytes < LARGE_LEAST ? -ENOSPC : 0;
}

struct large {
	uint64_t bytes;
	double speed;
};

/* Synced step by step, so that no sync takes much longer than there is time. */
static int large_write(int fd, uint64_t most, const struct speed_bounds *bounds, unsigned *cut,
		       struct large *ret)
{
	CLEANUP_FREE uint8_t *data = malloc(PIECE);
	uint64_t until = speed_until(bounds, SPEED_WRITE), at = 0, spent = 0;
	uint64_t step = PIECE, synced = 0, synced_spent = 0;
	/* other bytes than last time: in a mount these would be found, not stored */
	uint64_t seed = clock_mono_ns();
	int r = data ? 0 : -ENOMEM;
	while (r == 0 && at < most &&
	       (r = speed_goes_on(bounds, SPEED_WRITE, until, at, cut)) > 0) {
		speed_data_fill(data, PIECE, seed + at);
		uint64_t from = clock_mono_ns();
		r = io_write(fd, data, PIECE, (off_t)at);
		at += PIECE;
		bool sync = at - synced >= step;
		if (r == 0 && sync)
			r = io_fdatasync(fd);
		spent += clock_mono_ns() - from;
		if (!sync)
			continue;
		step = speed_sync_step(step, spent - synced_spent);
		synced = at;
		synced_spent = spent;
	}
	uint64_t from = clock_mono_ns();
	if (r == 0)
		r = io_fsync(fd);
	*ret = (struct large){ at, speed_rate(at, spent + clock_mono_ns() - from) };
	return r;
}

static int large_read(int fd, enum speed_part part, const struct speed_bounds *bounds,
		      unsigned *cut, struct large *ret)
{
	CLEANUP_FREE uint8_t *data = malloc(PIECE);
	uint64_t at = 0, most = ret->bytes;
	uint64_t until = speed_until(bounds, part), from = clock_mono_ns();
	int r = data ? 0 : -ENOMEM;
	while (r == 0 && at < most && (r = speed_goes_on(bounds, part, until, at, cut)) > 0) {
		r = io_read_exact(fd, data, PIECE, (off_t)at);
		at += PIECE;
	}
	*ret = (struct large){ at, speed_rate(at, clock_mono_ns() - from) };
	return r;
}

/* Once cold, and as much of it again. */
static int large_read_twice(int fd, uint64_t bytes, const struct speed_bounds *bounds,
			    unsigned *cut, double *ret_speeds[2])
{
	struct large l = { .bytes = bytes };
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	int r = large_read(fd, SPEED_READ, bounds, cut, &l);
	*ret_speeds[0] = l.speed;
	if (r == 0)
		r = large_read(fd, SPEED_REREAD, bounds, cut, &l);
	*ret_speeds[1] = r == 0 ? l.speed : 0;
	return r;
}

/* ---- large and synced ---- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static int measure_syncs(int fd, const struct speed_bounds *bounds, struct speed_files *ret)
{
	double ms[SYNCS];
	uint8_t data[SMALL];
	unsigned n = 0;
	uint64_t until = speed_until(bounds, SPEED_SYNC);
	int r = 0;
	while (r == 0 && n < SYNCS &&
	       (r = speed_goes_on(bounds, SPEED_SYNC, until, n, &ret->cut)) > 0) {
		speed_data_fill(data, sizeof data, until + n);
		uint64_t from = clock_mono_ns();
		r = io_write(fd, data, sizeof data, (off_t)n * SMALL);
		if (r == 0)
			r = io_fdatasync(fd);
		ms[n++] = (double)(clock_mono_ns() - from) / 1e6;
	}
	qsort(ms, n, sizeof *ms, by_value);
	ret->sync_ms = n ? ms[n / 2] : 0;
	ret->sync_late_ms = n ? ms[n - 1 - n / 100] : 0;
	return r;
}

static int large_and_synced(int large, int small, uint64_t most, const struct speed_bounds *bounds,
			    struct speed_files *ret)
{
	struct large l = { 0 };
	double *speeds[] = { &ret->read, &ret->reread };
	int r = large_room(large, most, &most);
	if (r == 0)
		r = large_write(large, most, bounds, &ret->cut, &l);
	ret->write = l.speed;
	ret->bytes = l.bytes;
	if (r == 0)
		r = large_read_twice(large, l.bytes, bounds, &ret->cut, speeds);
	return r < 0 ? r : measure_syncs(small, bounds, ret);
}

int speed_device(int dirfd, uint64_t most, const struct speed_bounds *bounds,
		 struct speed_files *ret)
{
	*ret = (struct speed_files){ 0 };
	CLEANUP_CLOSE int large = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CLEANUP_CLOSE int small = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (large < 0 || small < 0)
		return -errno;
	return large_and_synced(large, small, most, bounds, ret);
}

/* ---- the mount ---- */

static int create_one(int dirfd, unsigned number, const uint8_t *data)
{
	char name[32];
	snprintf(name, sizeof name, "f%u", number);
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	return io_write(fd, data, SMALL, 0);
}

static int create_some(int dirfd, const struct speed_bounds *bounds, struct speed_files *ret,
		       unsigned *ret_n)
{
	uint8_t data[SMALL];
	uint64_t until = speed_until(bounds, SPEED_CREATE), from = clock_mono_ns();
	unsigned n = 0;
	int r = 0;
	while (r == 0 && n < SPEED_DIR_FILES &&
	       (r = speed_goes_on(bounds, SPEED_CREATE, until, n, &ret->cut)) > 0) {
		speed_data_fill(data, sizeof data, from + n);
		r = create_one(dirfd, n++, data);
	}
	ret->creates = speed_rate(n, clock_mono_ns() - from);
	*ret_n = n;
	return r;
}

static int stat_them(int dirfd, unsigned n, const struct speed_bounds *bounds,
		     struct speed_files *ret)
{
	uint64_t until = speed_until(bounds, SPEED_STAT), from = clock_mono_ns();
	unsigned seen = 0;
	int r = 0;
	while (r == 0 && seen < n &&
	       (r = speed_goes_on(bounds, SPEED_STAT, until, seen, &ret->cut)) > 0) {
		struct stat st;
		char name[32];
		snprintf(name, sizeof name, "f%u", seen++);
		r = fstatat(dirfd, name, &st, 0) ? -errno : 0;
	}
	ret->stats = speed_rate(seen, clock_mono_ns() - from);
	return r;
}

/* All of them, in any case; what comes after the time is up is not counted. */
static int unlink_them(int dirfd, unsigned n, const struct speed_bounds *bounds,
		       struct speed_files *ret)
{
	uint64_t until = speed_until(bounds, SPEED_UNLINK), from = clock_mono_ns();
	bool counts = true;
	int r = 0;
	for (unsigned i = 0; i < n; i++) {
		char name[32];
		if (counts && speed_goes_on(bounds, SPEED_UNLINK, until, i, &ret->cut) != 1) {
			ret->unlinks = speed_rate(i, clock_mono_ns() - from);
			counts = false;
		}
		snprintf(name, sizeof name, "f%u", i);
		if (unlinkat(dirfd, name, 0) && errno != ENOENT && r == 0)
			r = -errno;
	}
	if (counts)
		ret->unlinks = speed_rate(n, clock_mono_ns() - from);
	return r;
}

static int measure_small(int dirfd, const struct speed_bounds *bounds, struct speed_files *ret)
{
	unsigned n = 0;
	int r = create_some(dirfd, bounds, ret, &n);
	if (r == 0)
		r = stat_them(dirfd, n, bounds, ret);
	int removed = unlink_them(dirfd, n, bounds, ret);
	return r < 0 ? r : removed;
}

static int measure_mount(int dirfd, uint64_t most, const struct speed_bounds *bounds,
			 struct speed_files *ret)
{
	CLEANUP_CLOSE int large = io_create(dirfd, "large", O_RDWR | O_EXCL, 0600);
	CLEANUP_CLOSE int small = io_create(dirfd, "small", O_RDWR | O_EXCL, 0600);
	if (large < 0 || small < 0)
		return large < 0 ? large : small;
	int r = large_and_synced(large, small, most, bounds, ret);
	/* before it is closed: otherwise it would be destaged */
	(void)unlinkat(dirfd, "large", 0);
	return r < 0 ? r : measure_small(dirfd, bounds, ret);
}

int speed_mount(int dirfd, uint64_t most, const struct speed_bounds *bounds,
		struct speed_files *ret)
{
	struct speed_dir own;
	*ret = (struct speed_files){ 0 };
	speed_dir_remove_left(dirfd);
	int r = speed_dir_make(dirfd, &own);
	return r < 0 ? r : speed_dir_remove(&own, measure_mount(own.fd, most, bounds, ret));
}

/* ---- what is stored in it ---- */

uint64_t speed_stored_bytes(const struct speed_cpu *cpu, const struct speed_files *device,
			    const struct speed_files *mount)
{
	double rate = mount->write;
	rate = device->write < rate ? device->write : rate;
	rate = cpu->together / 2 < rate ? cpu->together / 2 : rate;
	uint64_t bytes = (uint64_t)(rate * STORED_S) / PIECE * PIECE;
	return bytes < LARGE_LEAST ? LARGE_LEAST : bytes > STORED_MOST ? STORED_MOST : bytes;
}

static int write_stored(int dirfd, uint64_t bytes, const struct speed_daemon *daemon,
			const struct speed_bounds *bounds, struct speed_stored *ret)
{
	struct large l = { 0 };
	CLEANUP_CLOSE int fd = io_create(dirfd, "stored", O_WRONLY | O_EXCL, 0600);
	int r = fd < 0 ? fd : large_room(fd, bytes, &bytes);
	if (r == 0)
		r = large_write(fd, bytes, bounds, &ret->cut, &l);
	ret->bytes = l.bytes;
	return r < 0 ? r : daemon->begin(daemon->arg);
}

static int read_stored(int dirfd, const struct speed_bounds *bounds, struct speed_stored *ret)
{
	double *speeds[] = { &ret->read, &ret->reread };
	CLEANUP_CLOSE int fd = openat(dirfd, "stored", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : large_read_twice(fd, ret->bytes, bounds, &ret->cut, speeds);
}

static int measure_stored(int dirfd, uint64_t bytes, const struct speed_daemon *daemon,
			  const struct speed_bounds *bounds, struct speed_stored *ret)
{
	uint64_t destaged = 0;
	int r = write_stored(dirfd, bytes, daemon, bounds, ret);
	if (r < 0)
		return r;
	uint64_t until = speed_until(bounds, SPEED_DESTAGE), from = clock_mono_ns();
	r = daemon->destage(daemon->arg, ret->bytes, until, &destaged);
	ret->destage = speed_rate(destaged, clock_mono_ns() - from);
	if (bounds->stop && *bounds->stop)
		r = -ECANCELED;
	if (r == 0)
		ret->cut |= 1u << SPEED_DESTAGE;
	if (r <= 0)
		return r;
	daemon->drop(daemon->arg);
	return read_stored(dirfd, bounds, ret);
}

int speed_stored(int dirfd, uint64_t bytes, const struct speed_daemon *daemon,
		 const struct speed_bounds *bounds, struct speed_stored *ret)
{
	struct speed_dir own;
	*ret = (struct speed_stored){ 0 };
	int r = speed_dir_make(dirfd, &own);
	return r < 0 ? r
		     : speed_dir_remove(&own, measure_stored(own.fd, bytes, daemon, bounds, ret));
}
