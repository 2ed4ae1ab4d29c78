// SPDX-License-Identifier: MIT
#include "leftovers.h"
#include "content.h"
#include "far.h"
#include "log.h"
#include "settle.h"
#include "tail.h"
#include <errno.h>
#include <sys/stat.h>

/* A staging file that is all of the content is as long as the file; if it is not, power went before
 * the end of it reached the disk. (What the kernel may have written is marked INODE_NATIVE.) One that
 * lies over a map and is longer has a tail. */
static void take_over_staged(struct fs *fs, struct inode *in)
{
	struct stat st;
	int r;
	if (!in->row.staging_gen || content_ready(fs, in) < 0)
		return; /* it has been logged; readers get an error */
	bool known = fstat(in->fd, &st) == 0;
	if (known) /* these were counted when the pool was opened */
		in->staged_blocks = (uint64_t)st.st_blocks;
	if (in->staging_whole && !in->native_written && known &&
	    (uint64_t)st.st_size != in->row.size && in->row.size <= FAR_OFFSET) {
		in->row.size = (uint64_t)st.st_size;
		inode_mark_dirty(fs, in);
	}
	if (!in->staging_whole && !in->native_written && (r = tail_cut_left(fs, in)) < 0)
		log_error("inode %lu: its staging file cannot be cut: %s", in->ino, strerror(-r));
	if (!fs->read_only && !in->native_written)
		content_clear_holes(in);
	content_rest(fs, in);
}

static void schedule_number(void *arg, uint64_t ino)
{
	struct fs *fs = arg;
	struct inode *in;
	if (inode_get(fs, ino, &in) < 0)
		return; /* fsck names it; one rotten row must not stop the mount */
	pthread_rwlock_wrlock(&in->lock);
	take_over_staged(fs, in);
	settle_schedule(fs, in);
	pthread_rwlock_unlock(&in->lock);
	inode_put(fs, in);
}

/* Targets of symbolic links are such rows, too. */
static bool is_small_file(struct fs *fs, uint64_t ino)
{
	struct inode_row row;
	return inode_row_get(fs_kv(fs), ino, &row) == 0 && S_ISREG(row.mode) && !row.staging_gen &&
	       (row.flags & INODE_INLINE);
}

int leftovers_schedule(struct fs *fs)
{
	int r = staging_each(fs->pool->staging, schedule_number, fs);
	struct kv_iter *it = r == 0 ? kv_iter_new(fs_kv(fs), KV_INLINE, NULL, 0, false) : NULL;
	if (!it)
		return r < 0 ? r : -ENOMEM;
	struct slice key, val;
	while ((r = kv_iter_next(it, &key, &val)) > 0)
		if (key.len == 8 && is_small_file(fs, get_be64(key.at)))
			schedule_number(fs, get_be64(key.at));
	kv_iter_free(it);
	return r == -EUCLEAN ? 0 : r;
}
