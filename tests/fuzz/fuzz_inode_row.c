// SPDX-License-Identifier: MIT
/* Input: the row's value. What is valid is encoded again, and must come back the same. */
#include "fuzz.h"
#include "inode_row.h"
#include "piece.h"
#include <errno.h>

static void check_same(const struct inode_row *a, const struct inode_row *b)
{
	must(a->ino == b->ino && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
	     a->nlink == b->nlink && a->flags == b->flags && a->rdev == b->rdev &&
	     a->size == b->size && a->parent == b->parent && a->staging_gen == b->staging_gen);
	must(a->atime == b->atime && a->mtime == b->mtime && a->ctime == b->ctime &&
	     a->btime == b->btime);
	must(a->mapped_bytes == b->mapped_bytes && a->pieces == b->pieces);
	for (uint32_t i = 0; i < a->pieces; i++)
		must(!memcmp(&a->recipe[i], &b->recipe[i], sizeof a->recipe[i]));
}

bool fuzz_one(struct slice in)
{
	struct inode_row row, again;
	struct buf b = { 0 };
	struct stat st;
	int r = inode_row_decode(77, in, &row);
	must(r == 0 || r == -EUCLEAN);
	if (r < 0)
		return false;
	must(row.pieces <= INODE_RECIPE_MAX);
	for (uint32_t i = 0; i < row.pieces; i++)
		must(piece_valid(&row.recipe[i]));
	inode_to_stat(&row, &st);
	must(st.st_size >= 0 && st.st_blocks >= 0 && st.st_mtim.tv_nsec >= 0 &&
	     st.st_mtim.tv_nsec < 1000000000);
	inode_row_encode(&row, &b);
	must(inode_row_decode(77, slice_of(b.data, b.len), &again) == 0);
	check_same(&row, &again);
	buf_done(&b);
	return true;
}

static void seed(const char *name, const struct inode_row *row)
{
	struct buf b = { 0 };
	inode_row_encode(row, &b);
	fuzz_seed_buf(name, &b);
}

void fuzz_seeds(void)
{
	struct inode_row file = { .mode = S_IFREG | 0644, .uid = 1000, .gid = 100, .nlink = 1 };
	file.btime = file.ctime = file.mtime = 1700000000123456789;
	file.atime = -1;
	seed("empty", &file);
	struct inode_row destaged = file;
	destaged.size = 300000;
	destaged.pieces = 4;
	destaged.recipe[0] = (struct piece){ .chunk = 100, .length = 70000, .repeat = 1 };
	destaged.recipe[1] = (struct piece){ .chunk = 101, .length = 9, .offset = 3, .repeat = 1 };
	destaged.recipe[2] = piece_zeros(100000);
	destaged.recipe[3] = (struct piece){ .chunk = 7, .length = 4096, .repeat = 20 };
	seed("recipe", &destaged);
	struct inode_row mapped = file;
	mapped.flags = INODE_MAPPED | INODE_XATTRS;
	mapped.mapped_bytes = mapped.size = 1ull << 40;
	mapped.staging_gen = 12;
	seed("mapped", &mapped);
	struct inode_row dir = { .mode = S_IFDIR | 01777, .nlink = 5, .size = 12, .parent = 1 };
	seed("directory", &dir);
	struct inode_row device = { .mode = S_IFBLK | 0600, .nlink = 2, .rdev = 0x801 };
	seed("device", &device);
	struct inode_row link = {
		.mode = S_IFLNK | 0777, .nlink = 1, .size = 11, .flags = INODE_INLINE
	};
	seed("link", &link);
}
