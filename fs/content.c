// SPDX-License-Identifier: MIT
/* A file's bytes are in memory, all of them (mem), or else in its staging file where that has data,
 * and in its map where it has none. The staging file is asked (SEEK_DATA) and not remembered,
 * so there is no table that could be wrong after a crash. For that to be exact, a write into a
 * block of which the map has part first completes the block in the staging file (complete_block).
 * And no page of a hole may be read: where the backing filesystem has allocated and not yet written
 * (ahead of a writer, or when power went), it takes such a page for data. So a file laid over a map
 * gets its length at once, is read without readahead, and loses such space at the next mount.
 *
 * Small files stay in memory until they grow past `small_file`; larger ones spill into a staging
 * file. Both are held (inode.h) until somebody commits them.
 */
#include "content.h"
#include "cleanup.h"
#include "clock.h"
#include "far.h"
#include "hot.h"
#include "log.h"
#include "missing.h"
#include "settle.h"
#include "tail.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>

#define BLOCK 4096u

void content_set_whole(struct inode *inode, bool whole)
{
	inode->staging_whole = whole;
	posix_fadvise(inode->fd, 0, 0, whole ? POSIX_FADV_NORMAL : POSIX_FADV_RANDOM);
}

int content_ready(struct fs *fs, struct inode *inode)
{
	if (!S_ISREG(inode->row.mode))
		return 0;
	if ((inode->row.flags & INODE_INLINE) && !inode->mem) {
		CLEANUP_BUF struct buf data = { 0 };
		int r = inline_get(fs_kv(fs), inode->ino, &data);
		if (r < 0 || data.len != inode->row.size) {
			log_error("inode %lu: its inline content is missing or damaged",
				  inode->ino);
			return -EIO;
		}
		struct membuf *m = membuf_new(fs, data.len);
		if (!m)
			return -ENOMEM;
		memcpy(m->data, data.data, data.len);
		m->len = data.len;
		inode->mem = m;
	}
	if (inode->row.staging_gen && inode->fd < 0) {
		int flags = fs->read_only ? O_RDONLY : O_RDWR;
		int fd = staging_file(fs->pool->staging, inode->ino, inode->row.staging_gen, flags);
		if (fd < 0) {
			log_error("inode %lu: staging file %lx.%lx: %s", inode->ino, inode->ino,
				  inode->row.staging_gen, strerror(-fd));
			return fd == -ENOENT ? -EIO : fd;
		}
		inode->fd = fd;
		content_set_whole(inode, !content_has_map(&inode->row));
	}
	return 0;
}

void content_disturb(struct fs *fs, struct inode *inode, uint64_t at, uint64_t end)
{
	hot_forget(fs, inode);
	settle_disturb(inode, at, end);
}

void content_rest(struct fs *fs, struct inode *inode)
{
	if (inode->opens || inode->held || inode->cut_lsn || settle_active(inode))
		return;
	if (inode->mem) {
		membuf_unref(fs, inode->mem);
		inode->mem = NULL;
	}
	if (inode->fd >= 0) {
		inode_account_staged(fs, inode);
		close(inode->fd);
		inode->fd = -1;
	}
}

static int read_map(struct fs *fs, struct inode *inode, void *buf, size_t len, uint64_t at,
		    struct missing *m)
{
	if (!content_has_map(&inode->row)) {
		memset(buf, 0, len);
		return 0;
	}
	bool wait = !m || m->wait;
	int r = wait ? 0 : missing_take(fs, inode, m, buf, len, at);
	if (r != 0)
		return r < 0 ? r : 0;
	struct map_vec map = { 0 };
	r = extents_map(fs->pool->extents, &inode->row, at, len, &map);
	if (r >= 0 && wait) {
		r = chunks_read_map(fs->pool->chunks, &map, at, len, buf);
	} else if (r >= 0) {
		r = chunks_try_read_map(fs->pool->chunks, &map, at, len, buf);
		r = r == 0 ? missing_add(m, len, at) : r;
	}
	map_vec_done(&map);
	return r < 0 ? r : 0;
}

/* Reads a stretch that is data in the staging file; past its end are zeros. */
static int read_staged(struct inode *inode, void *buf, size_t len, uint64_t at)
{
	ssize_t n = io_read(inode->fd, buf, len, (off_t)at);
	if (n < 0)
		return (int)n;
	memset((char *)buf + n, 0, len - (size_t)n);
	return 0;
}

/* Where at or after `at` the staging file has data, and where that data ends; both at most end. */
static void next_staged(struct inode *inode, uint64_t at, uint64_t end, uint64_t *ret_from,
			uint64_t *ret_to)
{
	off_t from = lseek(inode->fd, (off_t)at, SEEK_DATA);
	if (from < 0 || (uint64_t)from >= end) {
		*ret_from = *ret_to = end;
		return;
	}
	off_t to = lseek(inode->fd, from, SEEK_HOLE);
	*ret_from = (uint64_t)from;
	*ret_to = to < 0 || (uint64_t)to > end ? end : (uint64_t)to;
}

/* What is missing is noted up to the end, so that it is fetched in one go. */
static int read_layers(struct fs *fs, struct inode *inode, uint8_t *buf, size_t len, uint64_t at,
		       struct missing *m)
{
	uint64_t pos = at, end = at + len;
	bool lacks = false;
	while (pos < end) {
		uint64_t from, to;
		next_staged(inode, pos, end, &from, &to);
		int r = 0;
		if (from > pos)
			r = read_map(fs, inode, buf + (pos - at), from - pos, pos, m);
		if (r == -EAGAIN) {
			lacks = true;
			r = 0;
		}
		if (r == 0 && to > from)
			r = read_staged(inode, buf + (from - at), to - from, from);
		if (r < 0)
			return r;
		pos = to;
	}
	return lacks ? -EAGAIN : 0;
}

ssize_t content_read(struct fs *fs, struct inode *inode, void *buf, size_t len, uint64_t at,
		     struct missing *m)
{
	if (inode->native_written && inode->fd >= 0)
		return io_read(inode->fd, buf, len, (off_t)at);
	if (at >= inode->row.size)
		return 0;
	if (len > inode->row.size - at)
		len = inode->row.size - at;
	int r = 0;
	if (inode->mem)
		memcpy(buf, inode->mem->data + at, len);
	else if (inode->fd >= 0 && inode->staging_whole)
		r = read_staged(inode, buf, len, at);
	else if (inode->fd >= 0)
		r = read_layers(fs, inode, buf, len, at, m);
	else
		r = read_map(fs, inode, buf, len, at, m);
	return r < 0 ? r : (ssize_t)len;
}

/* 1: what content_read() would read, fewer bytes at the end of the file, comes from this map alone. */
static int find_only_map(struct fs *fs, const struct inode *inode, size_t *len, uint64_t at,
			 struct map_vec *ret_map)
{
	const struct inode_row *row = &inode->row;
	if (inode->mem || inode->fd >= 0 || row->staging_gen || !content_has_map(row) ||
	    at >= row->size)
		return 0;
	if (*len > row->size - at)
		*len = row->size - at;
	int r = extents_map(fs->pool->extents, row, at, *len, ret_map);
	return r < 0 ? r : 1;
}

/* -EAGAIN: it lies elsewhere, or has been overwritten and collected since. */
static ssize_t read_only_map(struct fs *fs, struct inode *inode, void *buf, size_t len, uint64_t at)
{
	struct map_vec map = { 0 };
	pthread_rwlock_rdlock(&inode->lock);
	int r = find_only_map(fs, inode, &len, at, &map);
	pthread_rwlock_unlock(&inode->lock);
	if (r == 0)
		r = -EAGAIN;
	if (r > 0)
		r = chunks_read_past_map(fs->pool->chunks, &map, at, len, buf);
	map_vec_done(&map);
	if (r == -ENOENT || r == -EUCLEAN)
		r = -EAGAIN;
	return r < 0 ? r : (ssize_t)len;
}

ssize_t content_read_unlocked(struct fs *fs, struct inode *inode, void *buf, size_t len,
			      uint64_t at)
{
	struct missing m = { 0 };
	ssize_t n = read_only_map(fs, inode, buf, len, at);
	if (n != -EAGAIN)
		return n;
	do {
		pthread_rwlock_rdlock(&inode->lock);
		n = content_read(fs, inode, buf, len, at, &m);
		pthread_rwlock_unlock(&inode->lock);
	} while (n == -EAGAIN && (n = missing_fetch(fs, inode, &m)) == 0);
	missing_done(&m);
	return n;
}

/* Before part of a block is written: if the staging file has a hole there and the map may have
 * something, puts the whole block into the staging file as it reads now. */
static int complete_block(struct fs *fs, struct inode *inode, uint64_t at, struct missing *m)
{
	uint64_t from, to, start = at / BLOCK * BLOCK;
	if (inode->staging_whole || start >= inode->row.size)
		return 0;
	next_staged(inode, start, start + BLOCK, &from, &to);
	if (from == start && to == start + BLOCK)
		return 0;
	uint8_t block[BLOCK];
	size_t len = inode->row.size - start < BLOCK ? inode->row.size - start : BLOCK;
	int r = read_layers(fs, inode, block, len, start, m);
	return r < 0 ? r : io_write(inode->fd, block, len, (off_t)start);
}

void content_clear_holes(struct inode *inode)
{
	struct stat st;
	if (inode->fd < 0 || inode->staging_whole || fstat(inode->fd, &st))
		return;
	uint64_t size = (uint64_t)st.st_size, end = (size + BLOCK - 1) / BLOCK * BLOCK;
	for (uint64_t from, to, pos = 0; pos < size; pos = to) {
		next_staged(inode, pos, end, &from, &to);
		/* where this is refused, it is as it was */
		if (from > pos)
			(void)fallocate(inode->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)pos, (off_t)(from - pos));
	}
}

/* Before the staging file gets an end beyond the one it has. There are filesystems (btrfs) that fill the
 * block in which a file ended with zeros when it grows, also where it had a hole, and the map's bytes
 * are seen through holes. */
static int complete_end(struct fs *fs, struct inode *inode, uint64_t end, struct missing *m)
{
	struct stat st;
	if (inode->staging_whole)
		return 0;
	if (fstat(inode->fd, &st))
		return -errno;
	uint64_t had = (uint64_t)st.st_size;
	return end > had && had % BLOCK ? complete_block(fs, inode, had, m) : 0;
}

int content_map_changed(struct fs *fs, struct inode *inode, struct change *c)
{
	if (inode->fd < 0 || content_has_map(&inode->row))
		return 0;
	if (inode->cut_lsn) { /* its length does not count yet */
		inode->row.flags |= INODE_MAPPED;
		return 0;
	}
	inode->map_ended = true;
	if (inode->staging_whole || inode->row.size > FAR_OFFSET)
		return 0;
	if (ftruncate(inode->fd, (off_t)inode->row.size))
		return -errno;
	struct kv_barrier *b = inode_data_barrier(fs, inode, inode->fd);
	if (!b)
		return -ENOMEM;
	kv_batch_barrier(change_batch(c), b);
	content_set_whole(inode, true);
	return 0;
}

void content_map_unchanged(struct inode *inode, const struct inode_row *before, bool whole)
{
	inode->row = *before;
	if (inode->staging_whole != whole)
		content_set_whole(inode, whole);
}

/* The part of a held inode's map that is already given up does not count: its map is empty. */
int content_cut_map(struct fs *fs, struct inode *inode, uint64_t at, uint64_t len)
{
	if (!content_has_map(&inode->row))
		return 0;
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	struct inode_row before = inode->row;
	bool whole = inode->staging_whole;
	int r = extents_replace(c, &inode->row, at, len, NULL, 0);
	if (r >= 0)
		r = content_map_changed(fs, inode, c);
	if (r >= 0) {
		inode_stage(inode, c);
		r = inode_commit(inode, c);
	} else {
		change_drop(c);
	}
	if (r < 0)
		content_map_unchanged(inode, &before, whole);
	return r;
}

/* A new staging file for the inode, empty, but as long as the file: where it is all of the content
 * its length counts, and elsewhere nothing is then allocated ahead of a write within the file. */
static int begin_staging(struct fs *fs, struct inode *inode)
{
	uint64_t gen;
	int fd, r = staging_create(fs->pool->staging, inode->ino, &gen, &fd);
	if (r < 0)
		return r;
	if (inode->row.size && inode->row.size <= FAR_OFFSET &&
	    ftruncate(fd, (off_t)inode->row.size)) {
		r = -errno;
		staging_drop(fs->pool->staging, inode->ino, gen);
		close(fd);
		return r;
	}
	inode->fd = fd;
	inode->cut_lsn = 0;
	inode->map_ended = false;
	inode->staged_blocks = 0;
	inode->row.staging_gen = gen;
	content_set_whole(inode, !content_has_map(&inode->row));
	return 0;
}

/* Nothing names it, nor did anything in it count. */
static void undo_staging(struct fs *fs, struct inode *inode)
{
	staging_drop(fs->pool->staging, inode->ino, inode->row.staging_gen);
	close(take_fd(&inode->fd));
	inode->row.staging_gen = 0;
	inode->staging_whole = false;
}

/* The same with its name in the log, where data that is laid over a map or written natively is found by
 * that, also after fsync. A row that is committed later would name it without its barrier. */
static int begin_named_staging(struct fs *fs, struct inode *inode)
{
	int r = begin_staging(fs, inode);
	if (r < 0 || inode->held)
		return r;
	r = inode_name_staging(fs, inode);
	if (r < 0)
		undo_staging(fs, inode);
	return r;
}

int content_spill(struct fs *fs, struct inode *inode)
{
	if (!inode->mem)
		return 0;
	content_disturb(fs, inode, 0, UINT64_MAX);
	inode_hold(inode, inode->row.size > 0 && !inode->held);
	int r = begin_staging(fs, inode);
	if (r < 0)
		return r;
	r = io_write(inode->fd, inode->mem->data, inode->mem->len, 0);
	if (r < 0) {
		undo_staging(fs, inode);
		return r;
	}
	membuf_unref(fs, inode->mem);
	inode->mem = NULL;
	inode_mark_dirty(fs, inode);
	return 0;
}

int content_stage_all(struct fs *fs, struct inode *inode)
{
	if (inode->mem && inode->mem->len)
		return content_spill(fs, inode);
	if (inode->mem) {
		membuf_unref(fs, inode->mem);
		inode->mem = NULL;
	}
	if (inode->fd >= 0 && inode->staging_whole) {
		int r = tail_cut(fs, inode);
		if (r == 0) /* a destage had got some way */
			r = content_cut_map(fs, inode, 0, UINT64_MAX);
		return r < 0 ? r : tail_wait_map_end(fs, inode);
	}
	if (content_has_map(&inode->row))
		return -EINVAL;
	return begin_named_staging(fs, inode);
}

/* Small content goes to memory when it is first written; false: it is too large for that. */
static int into_memory(struct fs *fs, struct inode *inode, uint64_t end, struct missing *m)
{
	uint64_t limit = fs->pool->config.small_file;
	if (inode->mem)
		return end <= limit;
	if (inode->fd >= 0 || end > limit || inode->row.size > limit)
		return 0;
	struct membuf *mem = membuf_new(fs, inode->row.size > end ? inode->row.size : end);
	if (!mem)
		return -ENOMEM;
	int r = read_map(fs, inode, mem->data, inode->row.size, 0, m);
	if (r < 0) {
		membuf_unref(fs, mem);
		return r;
	}
	mem->len = inode->row.size;
	inode->mem = mem;
	return 1;
}

static int write_memory(struct fs *fs, struct inode *inode, const void *buf, size_t len,
			uint64_t at)
{
	inode_hold(inode, inode->row.size > 0);
	size_t end = at + len;
	int r = membuf_own(fs, &inode->mem, end);
	if (r < 0)
		return r;
	struct membuf *m = inode->mem;
	if (at > m->len)
		memset(m->data + m->len, 0, at - m->len);
	memcpy(m->data + at, buf, len);
	m->len = end > m->len ? end : m->len;
	return 0;
}

/* What went in of a write that was refused half-way, beyond the end: the next change of the size would
 * show it, and a crash take it for content. */
static void cut_refused(struct inode *inode)
{
	struct stat st;
	if (fstat(inode->fd, &st) == 0 && (uint64_t)st.st_size <= inode->row.size)
		return;
	if (ftruncate(inode->fd, (off_t)inode->row.size))
		log_error("inode %lu: what was written of a refused write cannot be cut off: %s",
			  inode->ino, strerror(errno));
}

static int write_staged(struct fs *fs, struct inode *inode, const void *buf, size_t len,
			uint64_t at, struct missing *m)
{
	if (inode->fd < 0) {
		if (!content_has_map(&inode->row))
			inode_hold(inode, false);
		int r = begin_named_staging(fs, inode);
		if (r < 0)
			return r;
	}
	bool grows = at + len > inode->row.size;
	int r = grows ? tail_cut(fs, inode) : 0;
	if (r == 0)
		r = complete_end(fs, inode, at + len, m);
	if (r < 0)
		return r;
	if (at % BLOCK)
		r = complete_block(fs, inode, at, m);
	if (r == 0 && (at + len) % BLOCK && (at + len) / BLOCK != at / BLOCK)
		r = complete_block(fs, inode, at + len, m);
	if (r == 0 && (at + len) % BLOCK && (at + len) / BLOCK == at / BLOCK && at % BLOCK == 0)
		r = complete_block(fs, inode, at, m);
	if (r == 0)
		r = io_write(inode->fd, buf, len, (off_t)at);
	if (r < 0 && grows)
		cut_refused(inode);
	return r;
}

int content_write(struct fs *fs, struct inode *inode, const void *buf, size_t len, uint64_t at,
		  struct missing *m)
{
	if (len == 0)
		return 0;
	if (at > (uint64_t)INT64_MAX - len)
		return -EFBIG;
	if (inode->native_written && inode->fd >= 0) { /* who writes natively is to see it */
		settle_disturb(inode, 0, UINT64_MAX);
		return io_write(inode->fd, buf, len, (off_t)at);
	}
	content_disturb(fs, inode, at / BLOCK * BLOCK, at + len);
	int r = into_memory(fs, inode, at + len, m);
	if (r > 0)
		r = write_memory(fs, inode, buf, len, at);
	else if (r == 0 && (r = content_spill(fs, inode)) == 0)
		r = write_staged(fs, inode, buf, len, at, m);
	if (r < 0)
		return r;
	if (at + len > inode->row.size)
		inode->row.size = at + len;
	inode_touch(fs, inode);
	if (inode->fd >= 0)
		settle_behind(fs, inode, at + len);
	return 0;
}

static int truncate_memory(struct fs *fs, struct inode *inode, uint64_t size)
{
	inode_hold(inode, inode->row.size > 0);
	int r = membuf_own(fs, &inode->mem, size);
	if (r < 0)
		return r;
	if (size > inode->mem->len)
		memset(inode->mem->data + inode->mem->len, 0, size - inode->mem->len);
	inode->mem->len = size;
	return 0;
}

static int shorten_staged(struct fs *fs, struct inode *inode, uint64_t size)
{
	uint64_t cut_lsn = inode->cut_lsn;
	int r = tail_begin(fs, inode, size);
	if (r < 0)
		return r;
	inode->row.size = size;
	r = content_cut_map(fs, inode, size, UINT64_MAX);
	if (r == 0)
		tail_begun(inode);
	else
		inode->cut_lsn = cut_lsn;
	return r;
}

int content_replace(struct fs *fs, struct inode *inode)
{
	content_disturb(fs, inode, 0, UINT64_MAX);
	int idle = inode->native_opens ? 0 : inode->fd < 0 ? 1 : staging_idle(inode->fd, false);
	if (idle == 1) /* in nobody's hands: the old content can be kept until the new is whole */
		inode_end_native(inode);
	if (inode->native_opens || inode->native_written) {
		if (ftruncate(inode->fd, 0))
			return -errno;
	} else if (idle == 0) { /* whoever has it mapped to read it is to see the new content */
		int r = shorten_staged(fs, inode, 0);
		if (r < 0)
			return r;
	} else {
		/* what was closed is the old content, though it may still have been held */
		int r = inode->writers ? 0 : inode_release_hold(fs, inode, false);
		if (r < 0)
			return r;
		/* nothing of the old content is touched: `kept` goes on naming it */
		if (inode->row.size || inode->row.staging_gen)
			inode_hold(inode, true);
		if (inode->fd >= 0)
			close(take_fd(&inode->fd));
		inode->cut_lsn = 0; /* if the old content comes back, a mount cuts it */
		if (inode->held && inode->row.staging_gen &&
		    inode->row.staging_gen != inode->kept.staging_gen)
			staging_drop(fs->pool->staging, inode->ino, inode->row.staging_gen);
		inode->row.staging_gen = 0;
		inode_account_staged(fs, inode); /* before another one takes its place */
		inode->staging_whole = false;
		membuf_unref(fs, inode->mem);
		inode->mem = membuf_new(fs, 0);
		if (!inode->mem)
			return -ENOMEM;
	}
	inode->row.size = 0;
	inode_touch(fs, inode);
	return 0;
}

/* The staging file gets the new length, over a map as well: the sector that it ended in could otherwise
 * show half of a later overwrite after a power cut. */
static int lengthen_staged(struct fs *fs, struct inode *inode, uint64_t size, struct missing *m)
{
	int r = tail_cut(fs, inode);
	if (r < 0 || inode->fd < 0 || size > FAR_OFFSET)
		return r;
	r = complete_end(fs, inode, size, m);
	if (r < 0)
		return r;
	return ftruncate(inode->fd, (off_t)size) ? -errno : 0;
}

int content_truncate(struct fs *fs, struct inode *inode, uint64_t size, struct missing *m)
{
	if (size > (uint64_t)INT64_MAX)
		return -EFBIG;
	if (size == 0 && !inode->native_opens && !inode->native_written && inode->row.size)
		return content_replace(fs, inode);
	uint64_t old = inode->row.size;
	content_disturb(fs, inode, size < old ? size : old, UINT64_MAX);
	int r = 0;
	if (inode->mem && size > fs->pool->config.small_file)
		r = content_spill(fs, inode);
	if (r == 0 && inode->mem) {
		r = truncate_memory(fs, inode, size);
	} else if (r == 0) {
		r = size < old ? shorten_staged(fs, inode, size)
			       : lengthen_staged(fs, inode, size, m);
	}
	if (r < 0) {
		inode->row.size = old;
		return r;
	}
	inode->row.size = size;
	inode_touch(fs, inode);
	return 0;
}
