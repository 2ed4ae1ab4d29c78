// SPDX-License-Identifier: MIT
/* A row of former size whose staging file is cut would show, past the cut, what the map has there:
 * bytes older than those that an fsync had made safe. And a row that has grown again, over a cut that
 * is not durable, would show what had been cut off. Hence the order
 *
 *     row with the smaller size   durable   ->   cut   ->   (barrier)   rows that come later
 *
 * A staging file that is all of the content, without a map, needs none of this: a crash takes the size
 * from it. So as long as there is a tail, a map that has become empty stays a map, of no rows
 * (content_map_changed): otherwise the tail would count as content.
 */
#include "tail.h"
#include "content.h"
#include "far.h"
#include <unistd.h>

#define NOT_COMMITTED UINT64_MAX

int tail_wait_map_end(struct fs *fs, struct inode *inode)
{
	int r = inode->map_ended ? kv_sync(fs_kv(fs), inode->last_lsn) : 0;
	if (r == 0)
		inode->map_ended = false;
	return r;
}

int tail_begin(struct fs *fs, struct inode *inode, uint64_t size)
{
	struct stat st;
	if (inode->fd < 0)
		return 0;
	if (fstat(inode->fd, &st))
		return -errno;
	bool mapped = content_has_map(&inode->row), longer = (uint64_t)st.st_size > size;
	if (mapped && longer)
		inode->cut_lsn = NOT_COMMITTED;
	if (mapped || (!longer && size > FAR_OFFSET)) /* from afar a shorter one gets its length */
		return 0;
	int r = tail_wait_map_end(fs, inode);
	return r == 0 && ftruncate(inode->fd, (off_t)size) ? -errno : r;
}

void tail_begun(struct inode *inode)
{
	if (inode->cut_lsn)
		inode->cut_lsn = inode->last_lsn;
}

static int commit_cut(struct fs *fs, struct inode *inode)
{
	struct change *c = change_new(fs->pool->extents);
	struct kv_barrier *b = c ? inode_data_barrier(fs, inode, inode->fd) : NULL;
	if (!b) {
		change_drop(c);
		return -ENOMEM;
	}
	kv_batch_barrier(change_batch(c), b);
	kv_batch_set_reserve(change_batch(c));
	inode_stage(inode, c);
	return inode_commit(inode, c);
}

int tail_cut(struct fs *fs, struct inode *inode)
{
	if (!inode->cut_lsn || inode->gone)
		return 0;
	int r = kv_sync(fs_kv(fs), inode->cut_lsn);
	if (r == 0 && ftruncate(inode->fd, (off_t)inode->row.size))
		r = -errno;
	if (r == 0)
		r = commit_cut(fs, inode);
	if (r == 0)
		inode->cut_lsn = 0;
	return r;
}

int tail_cut_later(struct fs *fs, struct inode *inode)
{
	if (!inode->cut_lsn || inode->cut_lsn <= kv_durable_lsn(fs_kv(fs)))
		return tail_cut(fs, inode);
	inode_revisit(fs, inode);
	return 0;
}

int tail_cut_left(struct fs *fs, struct inode *inode)
{
	struct stat st;
	if (fstat(inode->fd, &st))
		return -errno;
	if ((uint64_t)st.st_size <= inode->row.size)
		return 0;
	if (ftruncate(inode->fd, (off_t)inode->row.size))
		return -errno;
	return commit_cut(fs, inode);
}
