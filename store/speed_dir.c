// SPDX-License-Identifier: MIT
#include "speed_dir.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX ".foldfs-bench-"

int speed_dir_make(int parent, struct speed_dir *ret)
{
	snprintf(ret->name, sizeof ret->name, PREFIX "%d", (int)getpid());
	ret->parent = parent;
	if (mkdirat(parent, ret->name, 0700))
		return -errno;
	ret->fd = openat(parent, ret->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = ret->fd < 0 || flock(ret->fd, LOCK_EX) ? -errno : 0;
	if (r < 0) {
		close(take_fd(&ret->fd));
		(void)unlinkat(parent, ret->name, AT_REMOVEDIR);
	}
	return r;
}

static void remove_large(int fd)
{
	static const char *const names[] = { "large", "small", "stored" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		(void)unlinkat(fd, names[i], 0);
}

int speed_dir_remove(struct speed_dir *d, int r)
{
	remove_large(d->fd);
	if (unlinkat(d->parent, d->name, AT_REMOVEDIR) && r == 0)
		r = -errno;
	close(take_fd(&d->fd));
	return r;
}

/* ---- what others have left ---- */

static bool is_ours(const char *name)
{
	size_t at = sizeof PREFIX - 1;
	return !strncmp(name, PREFIX, at) && name[at] &&
	       !name[at + strspn(name + at, "0123456789")];
}

static bool is_free(int fd)
{
	struct stat st;
	return !fstat(fd, &st) && st.st_uid == geteuid() && !flock(fd, LOCK_EX | LOCK_NB);
}

static void remove_one_left(int parent, const char *name)
{
	CLEANUP_CLOSE int fd =
		openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || !is_free(fd))
		return;
	remove_large(fd);
	for (unsigned i = 0; i < SPEED_DIR_FILES; i++) {
		char file[32];
		snprintf(file, sizeof file, "f%u", i);
		(void)unlinkat(fd, file, 0);
	}
	(void)unlinkat(parent, name, AT_REMOVEDIR);
}

void speed_dir_remove_left(int parent)
{
	struct dirent *e;
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0)
		close(fd);
	while (dir && io_next_entry(dir, &e) == 1)
		if (is_ours(e->d_name))
			remove_one_left(parent, e->d_name);
}
