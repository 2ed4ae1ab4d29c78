// SPDX-License-Identifier: MIT
/* content: the bytes of a regular file, wherever they are: memory, staging file, map.
 *
 * Every function wants the inode's lock held: shared for reading, exclusive for the rest, and
 * content_ready() called once since the inode became live.
 *
 * Those that may have to read the map take a struct missing (missing.h). They answer -EAGAIN when that
 * would have to be waited for, and nothing that anybody can see has changed. With NULL they wait.
 */
#ifndef FOLDFS_CONTENT_H
#define FOLDFS_CONTENT_H
#include "inode.h"

struct missing;

/* Brings inline content into memory, opens the staging file: -EIO when it is missing. */
int content_ready(struct fs *fs, struct inode *inode);
/* Notes whether the staging file, which is open, is all of the content, or lies over a map. */
void content_set_whole(struct inode *inode, bool whole);
/* Gives back what is allocated and unwritten in a staging file over a map: a crash may leave that. */
void content_clear_holes(struct inode *inode);
/* [at, end) of the content is about to change: what was made or is being made of it does not count. */
void content_disturb(struct fs *fs, struct inode *inode, uint64_t at, uint64_t end);
/* Frees memory and descriptor that nobody needs any more (no opens, nothing held). */
void content_rest(struct fs *fs, struct inode *inode);

/* Reads up to len bytes, fewer at the end of the file; holes are zeros. Returns the count. */
ssize_t content_read(struct fs *fs, struct inode *inode, void *buf, size_t len, uint64_t at,
		     struct missing *m);
/* The same for who does not hold the lock; nor is it held while a tier is waited for. */
ssize_t content_read_unlocked(struct fs *fs, struct inode *inode, void *buf, size_t len,
			      uint64_t at);
/* Writes all of it. Not durable. Updates size and times. */
int content_write(struct fs *fs, struct inode *inode, const void *buf, size_t len, uint64_t at,
		  struct missing *m);
/* Sets the size; what is cut off is gone, what is added reads as zeros. */
int content_truncate(struct fs *fs, struct inode *inode, uint64_t size, struct missing *m);
/* Empties the file as an O_TRUNC open does: the old content is kept until the new is committed. */
int content_replace(struct fs *fs, struct inode *inode);
/* Makes [at, at+len) of the map a hole, committed with the row. Not durable. */
int content_cut_map(struct fs *fs, struct inode *inode, uint64_t at, uint64_t len);
/* fallocate(2) with mode 0, KEEP_SIZE, PUNCH_HOLE or ZERO_RANGE; -EOPNOTSUPP for others. */
int content_allocate(struct fs *fs, struct inode *inode, int mode, uint64_t at, uint64_t len,
		     struct missing *m);
/* SEEK_DATA / SEEK_HOLE; -ENXIO at or past the end. */
int content_seek(struct fs *fs, struct inode *inode, uint64_t at, bool data, uint64_t *ret_at);
/* Moves what is in memory into a new staging file. */
int content_spill(struct fs *fs, struct inode *inode);
/* Makes sure there is an empty or complete staging file that holds everything: for native opens. */
int content_stage_all(struct fs *fs, struct inode *inode);
/* The row's map was changed in `c`, which is about to be committed. A staging file with no map below
 * it is all of the content and as long as the file: becomes so, before the row can be durable. */
int content_map_changed(struct fs *fs, struct inode *inode, struct change *c);
/* It was not committed: the row and staging_whole as they were. */
void content_map_unchanged(struct inode *inode, const struct inode_row *before, bool whole);
/* Makes dst's range read as src's, by sharing what is in packs. Both locked. *len becomes what src has of
 * it. 1: done; 0: its bytes are to be copied. */
int content_share(struct fs *fs, struct inode *src, uint64_t src_at, struct inode *dst,
		  uint64_t dst_at, uint64_t *len);

static inline bool content_has_map(const struct inode_row *row)
{
	return row->pieces > 0 || (row->flags & INODE_MAPPED);
}
#endif
