// SPDX-License-Identifier: MIT
/* The superblock tells a newer pool from an older one; this is for those who forgot. A later foldfs puts what
 * is new into new packs, and there may be a hundred thousand, each on another place of a disk: so who
 * opens a pool looks at those with the highest numbers. Who repairs reads all of them anyway.
 */
#include "pack_version.h"
#include "cleanup.h"
#include "io.h"
#include "pack_format.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#define NEWEST 16u

bool pack_is_newer(int fd)
{
	struct pack_header h;
	return io_read_exact(fd, &h, sizeof h, 0) == 0 && h.magic == PACK_MAGIC &&
	       h.sum == checksum64(&h, offsetof(struct pack_header, sum)) &&
	       (h.version > PACK_VERSION || h.flags);
}

static int check_one(int dirfd, uint64_t pack, char ret_name[PACK_NAME_MAX])
{
	char name[PACK_NAME_MAX];
	pack_name(pack, name);
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || !pack_is_newer(fd))
		return 0;
	memcpy(ret_name, name, sizeof name);
	return -EPROTONOSUPPORT;
}

/* Keeps the greatest numbers, in falling order. */
static void keep_newest(uint64_t newest[NEWEST], uint64_t pack)
{
	for (size_t i = 0; i < NEWEST; i++)
		if (pack > newest[i]) {
			uint64_t less = newest[i];
			newest[i] = pack;
			pack = less;
		}
}

int pack_version_check(int dirfd, bool all, char ret_name[PACK_NAME_MAX])
{
	uint64_t newest[NEWEST] = { 0 };
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	for (struct dirent *e; r == 0 && (e = readdir(dir));) {
		uint64_t pack = pack_of_name(e->d_name);
		if (pack && all)
			r = check_one(dirfd, pack, ret_name);
		else
			keep_newest(newest, pack);
	}
	for (size_t i = 0; r == 0 && i < NEWEST && newest[i]; i++)
		r = check_one(dirfd, newest[i], ret_name);
	return r;
}
