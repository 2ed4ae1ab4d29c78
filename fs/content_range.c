// SPDX-License-Identifier: MIT
/* Operations on ranges of a file: holes, zeros, preallocation, finding data, copying by sharing.
 *
 * A hole is made in all layers: cut out of the map, punched into the staging file. fallocate()
 * beyond that only sets the size: space in a pool cannot be promised to one file, since what its
 * bytes will cost is known when they are stored.
 */
#include "cleanup.h"
#include "clock.h"
#include "content.h"
#include "far.h"
#include "settle.h"
#include "tail.h"
#include <fcntl.h>
#include <linux/falloc.h>

#define BLOCK 4096u

static int zero_memory(struct fs *fs, struct inode *inode, uint64_t at, uint64_t end)
{
	if (end > inode->mem->len)
		end = inode->mem->len;
	if (at >= end)
		return 0;
	inode_hold(inode, true);
	int r = membuf_own(fs, &inode->mem, inode->mem->len);
	if (r == 0)
		memset(inode->mem->data + at, 0, end - at);
	return r;
}

static bool has_data(const struct inode *inode, uint64_t at, uint64_t end)
{
	off_t data = lseek(inode->fd, (off_t)at, SEEK_DATA);
	return data >= 0 && (uint64_t)data < end;
}

static int make_hole(const struct inode *inode, uint64_t at, uint64_t end)
{
	if (at < end && fallocate(inode->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
				  (off_t)(end - at)))
		return -errno;
	return 0;
}

/* Parts of blocks only where the staging file has these: btrfs may make zeros of a whole block of which
 * a part is punched, also if it was a hole, through which the rest of it is seen in the map. */
static int punch_over_map(const struct inode *inode, uint64_t at, uint64_t end)
{
	uint64_t first = (at + BLOCK - 1) / BLOCK * BLOCK, last = end / BLOCK * BLOCK;
	uint64_t head_end = first < end ? first : end;
	int r = make_hole(inode, first, last);
	if (r == 0 && at < head_end && has_data(inode, first - BLOCK, first))
		r = make_hole(inode, at, head_end);
	if (r == 0 && last >= first && last < end && has_data(inode, last, last + BLOCK))
		r = make_hole(inode, last, end);
	return r;
}

/* A hole in a staging file shows the map, so the row that has a hole there comes first, durably. */
static int punch_staged(struct fs *fs, struct inode *inode, bool mapped, uint64_t at, uint64_t end)
{
	if (!mapped)
		return make_hole(inode, at, end);
	if (!has_data(inode, at, end))
		return 0;
	int r = kv_sync(fs_kv(fs), inode->last_lsn);
	return r < 0 ? r : punch_over_map(inode, at, end);
}

/* Zeros in [at, end), which is within the size, without keeping anything allocated. */
static int punch(struct fs *fs, struct inode *inode, uint64_t at, uint64_t end)
{
	if (at >= end)
		return 0;
	content_disturb(fs, inode, at, end);
	if (inode->mem)
		return zero_memory(fs, inode, at, end);
	bool mapped = content_has_map(&inode->row) || inode->map_ended;
	int r = content_cut_map(fs, inode, at, end - at);
	return r < 0 || inode->fd < 0 ? r : punch_staged(fs, inode, mapped, at, end);
}

/* A natively written file is the staging file: whatever fallocate means there. */
static int allocate_native(struct inode *inode, int mode, uint64_t at, uint64_t len)
{
	return fallocate(inode->fd, mode, (off_t)at, (off_t)len) ? -errno : 0;
}

int content_allocate(struct fs *fs, struct inode *inode, int mode, uint64_t at, uint64_t len,
		     struct missing *m)
{
	bool keep = mode & FALLOC_FL_KEEP_SIZE;
	int what = mode & ~FALLOC_FL_KEEP_SIZE;
	if (len == 0)
		return -EINVAL;
	if (at > (uint64_t)INT64_MAX - len)
		return -EFBIG;
	if (what != 0 && what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE)
		return -EOPNOTSUPP;
	if (what == FALLOC_FL_PUNCH_HOLE && !keep)
		return -EOPNOTSUPP;
	uint64_t end = at + len;
	int r = 0;
	if (inode->native_written && inode->fd >= 0) {
		content_disturb(fs, inode, 0, UINT64_MAX);
		r = allocate_native(inode, mode, at, len);
		if (r == 0)
			inode_absorb_native(inode);
	} else {
		if (what)
			r = punch(fs, inode, at, end < inode->row.size ? end : inode->row.size);
		if (r == 0 && !keep && end > inode->row.size)
			r = content_truncate(fs, inode, end, m);
	}
	if (r == 0)
		inode_touch(fs, inode);
	return r;
}

static int seek_layers(struct fs *fs, struct inode *inode, uint64_t at, bool data, uint64_t *ret_at)
{
	uint64_t size = inode->row.size;
	off_t staged = lseek(inode->fd, (off_t)at, data ? SEEK_DATA : SEEK_HOLE);
	uint64_t in_staging = staged < 0 ? (data ? size : at) : (uint64_t)staged;
	if (in_staging > size)
		in_staging = size;
	if (!content_has_map(&inode->row) || inode->staging_whole) {
		*ret_at = in_staging;
		return 0;
	}
	uint64_t pos = at;
	for (;;) { /* data: the nearer of both; hole: the first place that is a hole in both */
		uint64_t in_map = size;
		int r = extents_seek(fs->pool->extents, &inode->row, pos, data, &in_map);
		if (r < 0 && r != -ENXIO)
			return r;
		if (data) {
			*ret_at = in_map < in_staging ? in_map : in_staging;
			return 0;
		}
		staged = lseek(inode->fd, (off_t)in_map, SEEK_HOLE);
		uint64_t both = staged < 0 ? in_map : (uint64_t)staged;
		if (both == in_map || both >= size || in_map >= size) {
			*ret_at = both < size ? both : size;
			return 0;
		}
		pos = both;
	}
}

int content_seek(struct fs *fs, struct inode *inode, uint64_t at, bool data, uint64_t *ret_at)
{
	if (inode->native_written && inode->fd >= 0) {
		off_t to = lseek(inode->fd, (off_t)at, data ? SEEK_DATA : SEEK_HOLE);
		if (to < 0)
			return -errno;
		*ret_at = (uint64_t)to;
		return 0;
	}
	uint64_t size = inode->row.size, to = data ? at : size;
	if (at >= size)
		return -ENXIO;
	int r = 0;
	if (inode->mem)
		to = data ? at : size;
	else if (inode->fd >= 0)
		r = seek_layers(fs, inode, at, data, &to);
	else
		r = extents_seek(fs->pool->extents, &inode->row, at, data, &to);
	if (r < 0)
		return r;
	if (data && to >= size)
		return -ENXIO;
	*ret_at = to;
	return 0;
}

/* Nothing of [at, at+len) is anywhere but in the map. */
static bool only_mapped(struct inode *inode, uint64_t at, uint64_t len)
{
	if (inode->mem || inode->native_written || inode->staging_whole)
		return false;
	if (inode->fd < 0)
		return !inode->row.staging_gen && !inode->held;
	off_t data = lseek(inode->fd, (off_t)at, SEEK_DATA);
	return data < 0 || (uint64_t)data >= at + len;
}

/* The destination can take pieces into its map: no content of its own in the way. A file just
 * created is empty memory, which is simply given up. */
static bool can_take_pieces(struct fs *fs, struct inode *dst, uint64_t at, uint64_t len)
{
	if (dst->mem && dst->mem->len == 0 && dst->row.size == 0 && !dst->native_opens) {
		membuf_unref(fs, dst->mem);
		dst->mem = NULL;
	}
	if (dst->held && !dst->mem && dst->fd < 0 && inode_release_hold(fs, dst, false) < 0)
		return false;
	return only_mapped(dst, at, len);
}

static int share(struct fs *fs, struct inode *src, uint64_t src_at, struct inode *dst,
		 uint64_t dst_at, uint64_t len)
{
	struct change *c = change_new(fs->pool->extents);
	struct kv_barrier *holes = NULL; /* which let the pieces be seen */
	if (c && dst->fd >= 0 && !(holes = inode_data_barrier(fs, dst, dst->fd)))
		change_drop(TAKE_PTR(c));
	if (!c)
		return -ENOMEM;
	if (holes)
		kv_batch_barrier(change_batch(c), holes);
	content_disturb(fs, dst, dst_at, dst_at + len);
	struct inode_row before = dst->row;
	bool whole = dst->staging_whole;
	int r = extents_clone(c, &src->row, src_at, &dst->row, dst_at, len);
	if (dst_at + len > dst->row.size)
		dst->row.size = dst_at + len;
	if (r >= 0)
		r = content_map_changed(fs, dst, c);
	if (r >= 0) {
		inode_touch(fs, dst);
		inode_stage(dst, c);
		r = inode_commit(dst, c);
	} else {
		change_drop(c);
	}
	if (r < 0)
		content_map_unchanged(dst, &before, whole);
	return r;
}

int content_share(struct fs *fs, struct inode *src, uint64_t src_at, struct inode *dst,
		  uint64_t dst_at, uint64_t *len)
{
	uint64_t size = src->row.size;
	if (src->native_written && src->fd >= 0) {
		struct stat st;
		if (fstat(src->fd, &st))
			return -errno;
		size = (uint64_t)st.st_size;
	}
	if (src_at >= size)
		*len = 0;
	else if (*len > size - src_at)
		*len = size - src_at;
	if (*len == 0)
		return 1;
	if (dst_at > (uint64_t)INT64_MAX - *len)
		return -EFBIG;
	if (src == dst && src_at < dst_at + *len && dst_at < src_at + *len)
		return -EINVAL;
	int r = dst_at + *len > dst->row.size ? tail_cut(fs, dst) : 0;
	if (r < 0)
		return r;
	if (only_mapped(src, src_at, *len) && can_take_pieces(fs, dst, dst_at, *len)) {
		r = share(fs, src, src_at, dst, dst_at, *len);
		if (r < 0)
			return r;
		atomic_fetch_add(&fs->count.clones, 1);
		atomic_fetch_add(&fs->count.clone_bytes, *len);
		return 1;
	}
	/* what lies so far cannot be staged: the kernel then reads and writes it itself */
	return dst_at + *len > FAR_OFFSET && !dst->native_written ? -EXDEV : 0;
}
