// SPDX-License-Identifier: MIT
#include "wal_home.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>

#define TEXT_LEN 33u

static void text_of(const uint8_t pool_uuid[16], char ret_text[TEXT_LEN + 1])
{
	for (size_t i = 0; i < 16; i++)
		snprintf(ret_text + 2 * i, 3, "%02x", pool_uuid[i]);
	ret_text[TEXT_LEN - 1] = '\n';
	ret_text[TEXT_LEN] = 0;
}

/* Nothing but a log, or what mkfs of a filesystem leaves, is in there. */
static bool holds_only_log(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	bool only = true;
	for (struct dirent *e; d && only && (e = readdir(d));)
		only = e->d_name[0] == '.' || !strncmp(e->d_name, "wal-", 4) ||
		       !strcmp(e->d_name, "lost+found");
	return only;
}

int wal_home_check(int dirfd, const uint8_t pool_uuid[16])
{
	CLEANUP_FREE void *data = NULL;
	char text[TEXT_LEN + 1];
	size_t len;
	int r = io_slurp(dirfd, WAL_HOME_OWNER, TEXT_LEN, &data, &len);
	if (r == -ENOENT)
		return holds_only_log(dirfd) ? -ENOENT : -ENOTEMPTY;
	if (r < 0)
		return r == -EFBIG ? -ESTALE : r;
	text_of(pool_uuid, text);
	return len == TEXT_LEN && !memcmp(data, text, len) ? 0 : -ESTALE;
}

int wal_home_lock(int dirfd)
{
	CLEANUP_CLOSE int fd = openat(dirfd, WAL_HOME_OWNER, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return take_fd(&fd);
}

int wal_home_claim(int dirfd, const uint8_t pool_uuid[16])
{
	char text[TEXT_LEN + 1];
	text_of(pool_uuid, text);
	return io_replace_file(dirfd, WAL_HOME_OWNER, text, TEXT_LEN, 0600);
}
