// SPDX-License-Identifier: MIT
#include "aside.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 10000u

static bool same_file(int dirfd, const char *a, const char *b)
{
	struct stat x, y;
	return !fstatat(dirfd, a, &x, AT_SYMLINK_NOFOLLOW) &&
	       !fstatat(dirfd, b, &y, AT_SYMLINK_NOFOLLOW) && x.st_ino == y.st_ino &&
	       x.st_dev == y.st_dev;
}

int aside_link(int dirfd, const char *name, char ret_name[ASIDE_NAME_MAX])
{
	char own[ASIDE_NAME_MAX], *aside = ret_name ? ret_name : own;
	for (unsigned n = 1; n <= TRIES; n++) {
		int len = n == 1 ? snprintf(aside, ASIDE_NAME_MAX, "%s.damaged", name)
				 : snprintf(aside, ASIDE_NAME_MAX, "%s.damaged.%u", name, n);
		if (len < 0 || (unsigned)len >= ASIDE_NAME_MAX)
			return -ENAMETOOLONG;
		if (linkat(dirfd, name, dirfd, aside, 0) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
		if (same_file(dirfd, name, aside)) /* by a repair that was interrupted */
			return 0;
	}
	return -EEXIST;
}

int aside_move(int dirfd, const char *name, char ret_name[ASIDE_NAME_MAX])
{
	int r = aside_link(dirfd, name, ret_name);
	return r == 0 && unlinkat(dirfd, name, 0) ? -errno : r;
}
