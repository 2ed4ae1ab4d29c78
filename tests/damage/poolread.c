// SPDX-License-Identifier: MIT
#include "poolread.h"
#include "chunks.h"
#include "cleanup.h"
#include "digest.h"
#include "dirent_row.h"
#include "io.h"
#include "pool.h"
#include "xattr_row.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#define DEPTH_MAX 20u
#define SIZE_MAX_READ (64u << 20) /* no file of a test is larger */

struct reading {
	struct pool *pool;
	FILE *out;
};

/* What the staging file has lies over the map, or is all there is. */
static int overlay(struct reading *rd, const struct inode_row *row, uint8_t *data, size_t len)
{
	if (!rd->pool->staging)
		return -EIO;
	CLEANUP_CLOSE int fd =
		staging_file(rd->pool->staging, row->ino, row->staging_gen, O_RDONLY);
	if (fd < 0)
		return fd;
	off_t at = 0;
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && (size_t)at < len) {
		off_t end = lseek(fd, at, SEEK_HOLE);
		size_t n = (size_t)end < len ? (size_t)(end - at) : len - (size_t)at;
		ssize_t got = io_read(fd, data + at, n, at);
		if (got < 0)
			return (int)got;
		at += (off_t)n;
	}
	return 0;
}

static int read_layers(struct reading *rd, const struct inode_row *row, uint8_t *data, size_t len)
{
	struct map_vec map = { 0 };
	int r = extents_map(rd->pool->extents, row, 0, len, &map);
	if (r >= 0)
		r = chunks_read_map(rd->pool->chunks, &map, 0, len, data);
	map_vec_done(&map);
	return r < 0 || !row->staging_gen ? r : overlay(rd, row, data, len);
}

static int content_sum(struct reading *rd, const struct inode_row *row, uint64_t *ret_sum)
{
	CLEANUP_BUF struct buf data = { 0 };
	if (row->flags & INODE_INLINE || S_ISLNK(row->mode)) {
		int r = inline_get(rd->pool->kv, row->ino, &data);
		if (r == 0 && data.len != row->size)
			r = -EUCLEAN;
		*ret_sum = checksum64(data.data, data.len);
		return r;
	}
	if (row->size > SIZE_MAX_READ)
		return -EFBIG;
	CLEANUP_FREE uint8_t *bytes = calloc(1, row->size + 1);
	if (!bytes)
		return -ENOMEM;
	int r = row->size ? read_layers(rd, row, bytes, row->size) : 0;
	*ret_sum = checksum64(bytes, row->size);
	return r;
}

static int attributes_sum(struct reading *rd, const struct inode_row *row, uint64_t *ret_sum)
{
	CLEANUP_BUF struct buf names = { 0 };
	CLEANUP_BUF struct buf all = { 0 };
	int r = row->flags & INODE_XATTRS ? xattr_list(rd->pool->kv, row->ino, &names) : 0;
	for (size_t at = 0; r >= 0 && at < names.len; at += strlen((char *)names.data + at) + 1) {
		buf_put(&all, names.data + at, strlen((char *)names.data + at));
		r = xattr_get(rd->pool->kv, row->ino, (char *)names.data + at, &all);
	}
	*ret_sum = checksum64(all.data, all.len);
	return r < 0 ? r : 0;
}

static void tell(struct reading *rd, const char *path, const struct inode_row *row)
{
	uint64_t content = 0, attributes = 0;
	int r = attributes_sum(rd, row, &attributes);
	if (r == 0 && !inode_is_dir(row))
		r = content_sum(rd, row, &content);
	if (r < 0)
		fprintf(rd->out, "%s ! %s\n", path, strerror(-r));
	else
		fprintf(rd->out,
			"%s %o %u:%u %u %" PRIu64 " %" PRIx64 " %" PRId64 " %" PRId64 " %" PRId64
			" %" PRId64 " %" PRIx64 " %" PRIx64 "%s\n",
			path, row->mode, row->uid, row->gid, row->nlink, row->size, row->rdev,
			row->mtime, row->ctime, row->atime, row->btime, attributes, content,
			row->staging_gen ? " staged" : "");
}

static void walk(struct reading *rd, const char *path, uint64_t ino, unsigned depth)
{
	struct inode_row row;
	int r = depth < DEPTH_MAX ? inode_row_get(rd->pool->kv, ino, &row) : -ELOOP;
	if (r < 0) {
		fprintf(rd->out, "%s ! %s\n", path, strerror(-r));
		return;
	}
	tell(rd, path, &row);
	struct dirent_iter *it = inode_is_dir(&row) ? dirent_iter_new(rd->pool->kv, ino, 0) : NULL;
	struct dirent_row entry;
	while (it && (r = dirent_iter_next(it, &entry)) > 0) {
		CLEANUP_FREE char *below = NULL;
		struct dirent_row again;
		if (asprintf(&below, "%s/%s", path, entry.name) < 0)
			break;
		r = dirent_get(rd->pool->kv, ino, entry.name, &again);
		if (r < 0 || again.ino != entry.ino)
			fprintf(rd->out, "%s ! looked up: %s\n", below, strerror(-r));
		walk(rd, below, entry.ino, depth + 1);
	}
	if (it && r < 0)
		fprintf(rd->out, "%s/ ! %s\n", path, strerror(-r));
	dirent_iter_free(it);
}

void poolread(const char *pool, FILE *out)
{
	struct reading rd = { .out = out };
	struct pool_error err = { 0 };
	int r = pool_open(pool, NULL, true, 0, &rd.pool, &err);
	if (r < 0) {
		fprintf(out, "! %s\n", err.text);
		return;
	}
	if (rd.pool->recovery.damaged)
		fprintf(out, "! the end of the log is damaged\n");
	walk(&rd, ".", INO_ROOT, 0);
	r = pool_close(rd.pool);
	if (r < 0)
		fprintf(out, "! closing: %s\n", strerror(-r));
}
