// SPDX-License-Identifier: MIT
/* The layout is in rows_format.h. Fields that most rows leave at their usual value are present only
 * when they differ, and times are told as differences, which brings the row of a small file to about
 * 40 bytes. A row is encoded on the stack: ROW_MAX bounds it, so that inode_row_put() cannot fail.
 */
#include "inode_row.h"
#include "piece.h"
#include "rows_format.h"
#include <assert.h>
#include <errno.h>
#include "cleanup.h"

#define ROW_MAX 512u
#define VARINT_MAX 10u
static_assert(2 + 13 * VARINT_MAX + 8 + INODE_RECIPE_MAX * 4 * VARINT_MAX <= ROW_MAX,
	      "a row fits its buffer");

enum {
	INODE_FLAGS_KNOWN =
		INODE_MAPPED | INODE_INLINE | INODE_XATTRS | INODE_ACL | INODE_CAPS | INODE_NATIVE,
	INODE_MODE_MAX = 0177777,
};

static uint64_t recipe_bytes(const struct inode_row *row)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < row->pieces; i++)
		bytes += piece_is_zero(&row->recipe[i]) ? 0 : piece_bytes(&row->recipe[i]);
	return bytes;
}

/* Times may be anything a user sets, so differences wrap. */
static int64_t time_minus(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a - (uint64_t)b);
}
static int64_t time_plus(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a + (uint64_t)b);
}

void inode_row_encode(const struct inode_row *row, struct buf *out)
{
	assert(row->pieces <= INODE_RECIPE_MAX);
	assert(!(row->flags & INODE_MAPPED) || row->pieces == 0);
	unsigned present = (row->nlink != 1 ? INODE_HAS_NLINK : 0) |
			   (row->rdev ? INODE_HAS_RDEV : 0) | (row->parent ? INODE_HAS_PARENT : 0) |
			   (row->staging_gen ? INODE_HAS_STAGING : 0);

	buf_put_u8(out, (uint8_t)(present | row->pieces << INODE_PIECES_SHIFT));
	buf_put_varint(out, row->flags);
	buf_put_varint(out, row->mode);
	buf_put_varint(out, row->uid);
	buf_put_varint(out, row->gid);
	buf_put_varint(out, row->size);
	if (present & INODE_HAS_NLINK)
		buf_put_varint(out, row->nlink);
	if (present & INODE_HAS_RDEV)
		buf_put_varint(out, row->rdev);
	if (present & INODE_HAS_PARENT)
		buf_put_varint(out, row->parent);
	if (present & INODE_HAS_STAGING)
		buf_put_varint(out, row->staging_gen);
	buf_put_le64(out, (uint64_t)row->btime);
	buf_put_svarint(out, time_minus(row->ctime, row->btime));
	buf_put_svarint(out, time_minus(row->mtime, row->ctime));
	buf_put_svarint(out, time_minus(row->atime, row->btime));
	if (row->flags & INODE_MAPPED)
		buf_put_varint(out, row->mapped_bytes);
	uint64_t expected = 0;
	for (uint32_t i = 0; i < row->pieces; i++)
		piece_encode(out, &row->recipe[i], &expected);
}

static uint32_t take_u32(struct slice *s)
{
	uint64_t v = take_varint(s);
	s->bad |= v > UINT32_MAX;
	return (uint32_t)v;
}

static void take_times(struct slice *s, struct inode_row *row)
{
	row->btime = (int64_t)take_le64(s);
	row->ctime = time_plus(row->btime, take_svarint(s));
	row->mtime = time_plus(row->ctime, take_svarint(s));
	row->atime = time_plus(row->btime, take_svarint(s));
}

static bool take_recipe(struct slice *s, struct inode_row *row)
{
	uint64_t expected = 0, end = 0;
	for (uint32_t i = 0; i < row->pieces; i++) {
		struct piece *p = &row->recipe[i];
		if (!piece_decode(s, p, &expected) || piece_bytes(p) > MAP_END_MAX - end)
			return false;
		end += piece_bytes(p);
	}
	return true;
}

/* Does what the fields say fit the kind of object they are on? */
static bool row_possible(const struct inode_row *row)
{
	if (row->mode > INODE_MODE_MAX || (row->flags & ~(uint32_t)INODE_FLAGS_KNOWN) ||
	    row->size > INT64_MAX || row->mapped_bytes > INT64_MAX ||
	    row->pieces > INODE_RECIPE_MAX)
		return false;
	bool mapped = row->flags & INODE_MAPPED, has_map = mapped || row->pieces;
	if (mapped && row->pieces)
		return false;
	if (!S_ISREG(row->mode) && (has_map || row->staging_gen))
		return false;
	if (!S_ISDIR(row->mode) && row->parent)
		return false;
	switch (row->mode & S_IFMT) {
	case S_IFREG:
		return !row->rdev;
	case S_IFLNK:
		return !row->rdev && row->size <= SYMLINK_MAX;
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
		return !row->rdev && !(row->flags & INODE_INLINE);
	case S_IFCHR:
	case S_IFBLK:
		return !(row->flags & INODE_INLINE);
	default:
		return false;
	}
}

int inode_row_decode(uint64_t ino, struct slice val, struct inode_row *ret_row)
{
	struct slice s = val;
	struct inode_row row = { .ino = ino, .nlink = 1 };
	unsigned present = take_u8(&s);
	row.pieces = present >> INODE_PIECES_SHIFT;
	row.flags = take_u32(&s);
	row.mode = take_u32(&s);
	row.uid = take_u32(&s);
	row.gid = take_u32(&s);
	row.size = take_varint(&s);
	if (present & INODE_HAS_NLINK)
		row.nlink = take_u32(&s);
	if (present & INODE_HAS_RDEV)
		row.rdev = take_varint(&s);
	if (present & INODE_HAS_PARENT)
		row.parent = take_varint(&s);
	if (present & INODE_HAS_STAGING)
		row.staging_gen = take_varint(&s);
	take_times(&s, &row);
	if (row.flags & INODE_MAPPED)
		row.mapped_bytes = take_varint(&s);
	if (s.bad || ino == 0 || present > INODE_PRESENT_MAX || !row_possible(&row) ||
	    !take_recipe(&s, &row) || s.len)
		return -EUCLEAN;
	if (row.pieces)
		row.mapped_bytes = recipe_bytes(&row);
	*ret_row = row;
	return 0;
}

int inode_row_get(struct kv *kv, uint64_t ino, struct inode_row *ret_row)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t key[8];
	put_be64(key, ino);
	int r = kv_get(kv, KV_INODE, key, sizeof key, &val);
	return r ? r : inode_row_decode(ino, slice_of(val.data, val.len), ret_row);
}

void inode_row_put(struct kv_batch *b, const struct inode_row *row)
{
	uint8_t key[8], room[ROW_MAX];
	struct buf val = { .data = room, .cap = sizeof room };
	put_be64(key, row->ino);
	inode_row_encode(row, &val);
	assert(val.data == room);
	kv_batch_put(b, KV_INODE, key, sizeof key, val.data, val.len);
}

void inode_row_delete(struct kv_batch *b, uint64_t ino)
{
	uint8_t key[8];
	put_be64(key, ino);
	kv_batch_delete(b, KV_INODE, key, sizeof key);
}

static struct timespec to_timespec(int64_t ns)
{
	struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000;
		t.tv_sec--;
	}
	return t;
}

void inode_to_stat(const struct inode_row *row, struct stat *ret_st)
{
	uint64_t stored =
		row->flags & INODE_INLINE && S_ISREG(row->mode) ? row->size : row->mapped_bytes;
	*ret_st = (struct stat){
		.st_ino = row->ino,
		.st_mode = row->mode,
		.st_nlink = row->nlink,
		.st_uid = row->uid,
		.st_gid = row->gid,
		.st_rdev = row->rdev,
		.st_size = (off_t)row->size,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)(stored / 512 + (stored % 512 != 0)),
		.st_atim = to_timespec(row->atime),
		.st_mtim = to_timespec(row->mtime),
		.st_ctim = to_timespec(row->ctime),
	};
}

int inline_get(struct kv *kv, uint64_t ino, struct buf *ret_data)
{
	uint8_t key[8];
	put_be64(key, ino);
	return kv_get(kv, KV_INLINE, key, sizeof key, ret_data);
}

void inline_put(struct kv_batch *b, uint64_t ino, const void *data, size_t len)
{
	uint8_t key[8];
	put_be64(key, ino);
	kv_batch_put(b, KV_INLINE, key, sizeof key, data, len);
}

void inline_delete(struct kv_batch *b, uint64_t ino)
{
	uint8_t key[8];
	put_be64(key, ino);
	kv_batch_delete(b, KV_INLINE, key, sizeof key);
}
