// SPDX-License-Identifier: MIT
/* A record lock on POOL/lock; what the daemon holds there is a lock of the whole file, of the other
 * kind, and the two do not see each other.
 */
#include "leaving.h"
#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

static int open_lock(const char *pool, int flags)
{
	char path[PATH_MAX + 8];
	snprintf(path, sizeof path, "%s/lock", pool);
	return open(path, flags | O_CLOEXEC | O_NOFOLLOW);
}

int leaving_begin(const char *pool)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	CLEANUP_CLOSE int fd = open_lock(pool, O_RDWR);
	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &whole))
		return -1;
	return take_fd(&fd);
}

void leaving_wait(const char *pool)
{
	struct flock whole = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	CLEANUP_CLOSE int fd = open_lock(pool, O_RDONLY);
	while (fd >= 0 && fcntl(fd, F_OFD_SETLKW, &whole) && errno == EINTR)
		;
}
