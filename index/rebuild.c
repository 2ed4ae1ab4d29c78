// SPDX-License-Identifier: MIT
/* Rows go in by transactions of bounded size. Nobody sees the file before it is whole, so a cut
 * leaves a directory that the next attempt removes. */
#include "rebuild.h"
#include "aside.h"
#include "cleanup.h"
#include "digests_format.h"
#include "fault.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define TXN_BYTES ((size_t)64 << 20)
#define TXN_ROWS ((size_t)500000)
#define COPY_BLOCK ((size_t)1 << 20)

struct rebuild {
	int index_fd; /* the caller's */
	int dirfd;    /* REBUILD_DIR */
	struct lmdb_base *base;
	struct lmdb_write *w;
	size_t bytes, rows; /* in w */
};

static int remove_left(int index_fd)
{
	static const char *const files[] = { REBUILD_DIR "/data.mdb", REBUILD_DIR "/lock.mdb" };
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (unlinkat(index_fd, files[i], 0) && errno != ENOENT)
			return -errno;
	return unlinkat(index_fd, REBUILD_DIR, AT_REMOVEDIR) && errno != ENOENT ? -errno : 0;
}

static int copy_old(const struct rebuild *b)
{
	CLEANUP_CLOSE int from = openat(b->index_fd, "data.mdb", O_RDONLY | O_CLOEXEC);
	CLEANUP_CLOSE int to =
		openat(b->dirfd, "data.mdb", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CLEANUP_FREE void *block = malloc(COPY_BLOCK);
	if (!block)
		return -ENOMEM;
	if (from < 0 || to < 0)
		return -errno;
	for (off_t at = 0;;) {
		ssize_t n = io_read(from, block, COPY_BLOCK, at);
		if (n <= 0)
			return (int)n;
		int r = io_write(to, block, (size_t)n, at);
		if (r < 0)
			return r;
		at += n;
	}
}

int rebuild_begin(int index_fd, const char *index_path, bool copy, struct rebuild **ret_rebuild)
{
	CLEANUP_FREE char *path = NULL;
	struct rebuild *b = calloc(1, sizeof *b);
	if (!b || asprintf(&path, "%s/" REBUILD_DIR, index_path) < 0) {
		free(b);
		return -ENOMEM;
	}
	*b = (struct rebuild){ .index_fd = index_fd, .dirfd = -1 };
	int r = remove_left(index_fd);
	if (r == 0 && mkdirat(index_fd, REBUILD_DIR, 0700))
		r = -errno;
	if (r == 0) {
		b->dirfd = openat(index_fd, REBUILD_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = b->dirfd < 0 ? -errno : 0;
	}
	if (r == 0 && copy)
		r = copy_old(b);
	if (r == 0)
		r = lmdb_base_open(path, false, &b->base);
	if (r < 0) {
		rebuild_abort(b);
		return r;
	}
	*ret_rebuild = b;
	return 0;
}

static int commit(struct rebuild *b)
{
	b->bytes = b->rows = 0;
	return b->w ? lmdb_write_commit(TAKE_PTR(b->w)) : 0;
}

static int begin(struct rebuild *b)
{
	int r = 0;
	while (r == 0 && lmdb_base_wants_room(b->base))
		r = lmdb_base_grow(b->base);
	return r < 0 ? r : lmdb_write_begin(b->base, &b->w);
}

/* Room in the transaction for one more operation. */
static int make_room(struct rebuild *b, size_t bytes)
{
	int r = 0;
	if (b->bytes >= TXN_BYTES || b->rows >= TXN_ROWS)
		r = commit(b);
	if (r == 0 && !b->w)
		r = begin(b);
	b->bytes += bytes;
	b->rows++;
	return r;
}

int rebuild_put(struct rebuild *b, enum kv_table t, struct slice key, struct slice val)
{
	int r = make_room(b, key.len + val.len);
	return r < 0 ? r : lmdb_write_put(b->w, t, key, val);
}

int rebuild_delete(struct rebuild *b, enum kv_table t, struct slice key)
{
	int r = make_room(b, key.len);
	return r < 0 ? r : lmdb_write_delete(b->w, t, key);
}

/* The old file stays, under another name too, until the new one is in its place and durable. */
static int take_place(struct rebuild *b)
{
	int fd = b->index_fd;
	int r = aside_link(fd, "data.mdb", NULL);
	if (r < 0 && r != -ENOENT)
		return r;
	/* The filter of digests belongs to the old file, and lock.mdb too. */
	if (unlinkat(fd, FILTER_FILE, 0) && errno != ENOENT)
		return -errno;
	r = fault_hit("rebuild");
	if (r == 0)
		r = io_fsync_dir(fd);
	if (r == 0 && renameat(b->dirfd, "data.mdb", fd, "data.mdb"))
		r = -errno;
	if (r < 0)
		return r;
	unlinkat(fd, "lock.mdb", 0);
	return io_fsync_dir(fd);
}

int rebuild_finish(struct rebuild *b, const struct base_state *state)
{
	int r = make_room(b, 0);
	if (r == 0)
		r = lmdb_write_state(b->w, state);
	if (r == 0)
		r = commit(b);
	lmdb_base_close(TAKE_PTR(b->base));
	if (r == 0)
		r = io_fsync_dir(b->dirfd);
	if (r == 0)
		r = take_place(b);
	rebuild_abort(b);
	return r;
}

void rebuild_abort(struct rebuild *b)
{
	if (!b)
		return;
	lmdb_write_abort(b->w);
	lmdb_base_close(b->base);
	if (b->dirfd >= 0)
		close(b->dirfd);
	remove_left(b->index_fd);
	free(b);
}
