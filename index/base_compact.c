// SPDX-License-Identifier: MIT
#include "base_compact.h"
#include "cleanup.h"
#include "fault.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define COPY_NAME "data.mdb.new"
#define COMPACT_MIN ((uint64_t)16 << 20)
#define COMPACT_MAX ((uint64_t)1 << 30)

static bool worth_it(struct lmdb_base *b)
{
	uint64_t used, spare;
	return lmdb_base_room(b, &used, &spare) == 0 && spare >= COMPACT_MIN && spare >= used &&
	       used <= COMPACT_MAX;
}

static int copy(struct lmdb_base *b, int index_fd)
{
	CLEANUP_CLOSE int fd = io_create(index_fd, COPY_NAME, O_WRONLY | O_TRUNC, 0600);
	if (fd < 0)
		return fd;
	int r = lmdb_base_copy(b, fd);
	return r < 0 ? r : io_fsync(fd);
}

int base_compact_sweep(int index_fd)
{
	return unlinkat(index_fd, COPY_NAME, 0) && errno != ENOENT ? -errno : 0;
}

int base_compact(struct lmdb_base *b, int index_fd)
{
	if (!worth_it(b))
		return 0;
	int r = copy(b, index_fd);
	if (r == 0)
		r = fault_hit("compact");
	if (r == 0 && renameat(index_fd, COPY_NAME, index_fd, "data.mdb"))
		r = -errno;
	if (r < 0) {
		base_compact_sweep(index_fd);
		return r;
	}
	r = io_fsync_dir(index_fd);
	return r < 0 ? r : 1;
}
