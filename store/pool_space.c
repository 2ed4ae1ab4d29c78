// SPDX-License-Identifier: MIT
/* Space is told as it is on disk: allocated blocks of the pool's own files, and what the backing
 * filesystem has free. */
#include "cleanup.h"
#include "pool.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static uint64_t allocated(int dirfd, const char *name)
{
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
		return 0;
	return (uint64_t)st.st_blocks * 512;
}

static uint64_t allocated_in(int dirfd, const char *dir)
{
	int fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	uint64_t sum = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		sum += allocated(fd, e->d_name);
	return sum;
}

int pool_space(struct pool *pool, struct pool_space *ret_space)
{
	struct statvfs vfs;
	struct kv_stats kv;
	uint64_t packs_n;
	struct pool_space s = { 0 };
	if (fstatvfs(pool->dirfd, &vfs))
		return -errno;
	kv_get_stats(pool->kv, &kv);
	s.backing_total = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	s.backing_free = (uint64_t)vfs.f_bfree * vfs.f_frsize;
	s.backing_avail = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	packs_bytes(pool->packs, &s.packs, &packs_n);
	s.index = allocated_in(pool->dirfd, "index");
	s.wal = kv.wal_bytes_on_disk;
	s.staging = staging_bytes(pool->staging);
	s.cache = allocated_in(pool->dirfd, "cache");
	s.reserve = allocated(pool->dirfd, "reserve");
	*ret_space = s;
	return 0;
}
