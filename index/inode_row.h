// SPDX-License-Identifier: MIT
/* inode_row: one row of KV_INODE, decoded. A plain value: copy it, change it, put it back.
 *
 * A file's bytes are described by, in this order of precedence:
 *   INODE_INLINE   KV_INLINE holds the whole content (small file, not destaged yet);
 *   staging        staging_gen != 0: the staging file `ino.gen` holds data over what follows;
 *   map            INODE_MAPPED: rows in KV_EXTENT; otherwise `recipe` (the map is short enough
 *                  to live in this row, possibly empty: all holes).
 */
#ifndef FOLDFS_INODE_ROW_H
#define FOLDFS_INODE_ROW_H
#include "kv.h"
#include <sys/stat.h>

#define INO_ROOT 1u
#define INO_FIRST 16u	    /* below: reserved */
#define INODE_RECIPE_MAX 4u /* pieces that a row holds itself */
#define SYMLINK_MAX 4095u

enum inode_flags {
	INODE_MAPPED = 1, /* has rows in KV_EXTENT */
	INODE_INLINE = 2, /* has a row in KV_INLINE */
	INODE_XATTRS = 4, /* has rows in KV_XATTR: without it getxattr answers at once */
	INODE_ACL = 8,	  /* one of them is a POSIX ACL */
	INODE_CAPS = 16,  /* one of them is security.capability */
	INODE_NATIVE =
		32, /* the kernel may have written the staging file since: size, mtime and atime
			      are the staging file's */
};
/* Those that describe content, not attributes. */
#define INODE_CONTENT_FLAGS ((uint32_t)(INODE_MAPPED | INODE_INLINE | INODE_NATIVE))

/* A slice of a chunk, `repeat` times over; chunk 0 is a run of zeros (offset 0, repeat 1). */
struct piece {
	uint64_t chunk;
	uint64_t length; /* bytes of one repetition */
	uint32_t offset; /* in the chunk */
	uint32_t repeat; /* >= 1 */
};

struct inode_row {
	uint64_t ino;
	uint32_t mode, uid, gid, nlink; /* a directory counts 2 + its subdirectories */
	uint32_t flags;			/* enum inode_flags */
	uint64_t rdev;
	uint64_t size;			       /* bytes; of a directory: number of entries */
	int64_t atime, mtime, ctime, btime;    /* nanoseconds since 1970 */
	uint64_t parent;		       /* of a directory: its parent; otherwise 0 */
	uint64_t staging_gen;		       /* 0: no staging file */
	uint64_t mapped_bytes;		       /* bytes of the map that are not holes */
	uint32_t pieces;		       /* of recipe; 0 with INODE_MAPPED */
	struct piece recipe[INODE_RECIPE_MAX]; /* from file offset 0 without gaps */
};

static inline bool inode_is_dir(const struct inode_row *row)
{
	return S_ISDIR(row->mode);
}

/* 0, -ENOENT, -EUCLEAN (row damaged or its fields impossible), -errno. */
int inode_row_get(struct kv *kv, uint64_t ino, struct inode_row *ret_row);
void inode_row_put(struct kv_batch *b, const struct inode_row *row);
void inode_row_delete(struct kv_batch *b, uint64_t ino);
/* The row's encoding, for fsck, dumps and tests. */
void inode_row_encode(const struct inode_row *row, struct buf *out);
int inode_row_decode(uint64_t ino, struct slice val, struct inode_row *ret_row); /* 0 or -EUCLEAN */
/* Fills everything but st_dev. st_blocks: logical bytes stored, so that `cp` asks for one
 * copy_file_range; the caller adds what is staged. */
void inode_to_stat(const struct inode_row *row, struct stat *ret_st);

/* Whole content of a small file, or the target of a symbolic link (KV_INLINE). */
int inline_get(struct kv *kv, uint64_t ino, struct buf *ret_data);
void inline_put(struct kv_batch *b, uint64_t ino, const void *data, size_t len);
void inline_delete(struct kv_batch *b, uint64_t ino);
#endif
