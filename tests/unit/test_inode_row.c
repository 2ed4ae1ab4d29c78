// SPDX-License-Identifier: MIT
#include "inode_row.h"
#include "chunk_row.h"
#include "cleanup.h"
#include "damage.h"
#include "fake_kv.h"
#include "piece.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/sysmacros.h>
#include <cmocka.h>

#define SECOND 1000000000ll
#define NOW (1770000000ll * SECOND + 123456789)

static struct inode_row small_file(void)
{
	return (struct inode_row){
		.ino = 123456,
		.mode = S_IFREG | 0644,
		.uid = 1000,
		.gid = 1000,
		.nlink = 1,
		.size = 20000,
		.btime = NOW,
		.ctime = NOW + 3000000,
		.mtime = NOW + 3000000,
		.atime = NOW,
		.mapped_bytes = 20000,
		.pieces = 1,
		.recipe = { { .chunk = 98765432, .length = 20000, .repeat = 1 } },
	};
}

static void check_same(const struct inode_row *a, const struct inode_row *b)
{
	assert_int_equal(a->ino, b->ino);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->nlink, b->nlink);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->rdev, b->rdev);
	assert_int_equal(a->size, b->size);
	assert_true(a->atime == b->atime && a->mtime == b->mtime);
	assert_true(a->ctime == b->ctime && a->btime == b->btime);
	assert_int_equal(a->parent, b->parent);
	assert_int_equal(a->staging_gen, b->staging_gen);
	assert_int_equal(a->mapped_bytes, b->mapped_bytes);
	assert_int_equal(a->pieces, b->pieces);
	for (uint32_t i = 0; i < a->pieces; i++) {
		assert_int_equal(a->recipe[i].chunk, b->recipe[i].chunk);
		assert_int_equal(a->recipe[i].length, b->recipe[i].length);
		assert_int_equal(a->recipe[i].offset, b->recipe[i].offset);
		assert_int_equal(a->recipe[i].repeat, b->recipe[i].repeat);
	}
}

/* Encodes, decodes, compares. Returns the number of bytes. */
static size_t round_trip(const struct inode_row *row)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct inode_row back;
	inode_row_encode(row, &val);
	assert_int_equal(inode_row_decode(row->ino, slice_of(val.data, val.len), &back), 0);
	check_same(row, &back);
	return val.len;
}

static int decode_of(const struct inode_row *row)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct inode_row back;
	inode_row_encode(row, &val);
	return inode_row_decode(row->ino, slice_of(val.data, val.len), &back);
}

static void test_usual_rows_are_short(void **state)
{
	(void)state;
	struct inode_row file = small_file(), copy = file, empty = file, dir = file;
	copy.mtime = 1500000000ll * SECOND;
	empty.pieces = 0;
	empty.mapped_bytes = 0;
	empty.size = 0;
	dir.mode = S_IFDIR | 0755;
	dir.pieces = 0;
	dir.mapped_bytes = 0;
	dir.parent = 4711;
	dir.nlink = 5;
	size_t bytes[] = { round_trip(&file), round_trip(&copy), round_trip(&empty),
			   round_trip(&dir) };
	print_message("inode row: small file %zu, copy with an old mtime %zu, empty %zu, "
		      "directory %zu bytes\n",
		      bytes[0], bytes[1], bytes[2], bytes[3]);
	assert_true(bytes[0] <= 40 && bytes[1] <= 46 && bytes[2] <= 32 && bytes[3] <= 36);
}

static void test_extreme_values(void **state)
{
	(void)state;
	struct inode_row row = small_file();
	row.uid = row.gid = UINT32_MAX;
	row.nlink = UINT32_MAX;
	row.size = INT64_MAX;
	row.btime = INT64_MIN;
	row.mtime = INT64_MAX;
	row.ctime = -1;
	row.atime = INT64_MIN + 5;
	row.staging_gen = UINT64_MAX;
	row.flags = INODE_XATTRS | INODE_ACL | INODE_CAPS;
	row.pieces = INODE_RECIPE_MAX;
	row.mapped_bytes = 0;
	for (unsigned i = 0; i < INODE_RECIPE_MAX; i++) {
		row.recipe[i] = (struct piece){ .chunk = INT64_MAX - 99 * i,
						.length = CHUNK_LENGTH_MAX / 2,
						.offset = CHUNK_LENGTH_MAX / 2,
						.repeat = UINT32_MAX };
		row.mapped_bytes += piece_bytes(&row.recipe[i]);
	}
	assert_true(round_trip(&row) < 300);
	struct kv *kv = fake_kv_new();
	struct kv_batch *b = kv_batch_new();
	struct inode_row back;
	inode_row_put(b, &row);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(inode_row_get(kv, row.ino, &back), 0);
	check_same(&row, &back);
	fake_kv_free(kv);

	row.recipe[0] = piece_zeros(INT64_MAX - 9);
	row.pieces = 1;
	row.mapped_bytes = 0;
	round_trip(&row);
	row.recipe[1] = (struct piece){ .chunk = 1, .length = 10, .repeat = 1 };
	row.pieces = 2;
	assert_int_equal(decode_of(&row), -EUCLEAN);

	row = small_file();
	row.flags = INODE_MAPPED;
	row.pieces = 0;
	row.mapped_bytes = INT64_MAX;
	round_trip(&row);
	row = small_file();
	row.mode = S_IFCHR | 0600;
	row.rdev = makedev(0xfffff, 0xfff);
	row.pieces = 0;
	row.mapped_bytes = 0;
	round_trip(&row);
}

static void test_impossible_rows_are_damage(void **state)
{
	(void)state;
	struct inode_row plain = small_file(), row;
	plain.pieces = 0;
	plain.mapped_bytes = 0;
#define REFUSED(...)                                                                               \
	do {                                                                                       \
		row = plain;                                                                       \
		__VA_ARGS__;                                                                       \
		assert_int_equal(decode_of(&row), -EUCLEAN);                                       \
	} while (0)
	assert_int_equal(decode_of(&plain), 0);
	REFUSED(row.ino = 0);
	REFUSED(row.mode = 0644);
	REFUSED(row.mode = S_IFREG | 0200000);
	REFUSED(row.size = (uint64_t)INT64_MAX + 1);
	REFUSED(row.flags = 1u << 20);
	REFUSED(row.rdev = 5);
	REFUSED(row.parent = 5);
	REFUSED(row.mode = S_IFDIR | 0755, row.flags = INODE_MAPPED);
	REFUSED(row.mode = S_IFDIR | 0755, row.flags = INODE_INLINE);
	REFUSED(row.mode = S_IFDIR | 0755, row.staging_gen = 1);
	REFUSED(row.mode = S_IFLNK | 0777);
	REFUSED(row.mode = S_IFLNK | 0777, row.size = 5, row.flags = INODE_MAPPED);
	REFUSED(row.flags = INODE_MAPPED, row.mapped_bytes = UINT64_MAX);
	REFUSED(row.mode = S_IFIFO | 0644, row.pieces = 1, row.recipe[0] = piece_zeros(4));
	REFUSED(row.pieces = 1, row.recipe[0] = piece_zeros(0));
	REFUSED(row.pieces = 1,
		row.recipe[0] = (struct piece){ .chunk = 1, .length = 5, .repeat = 0 };
		row.recipe[0].length = CHUNK_LENGTH_MAX + 1);
#undef REFUSED
}

static void decode_damaged(struct slice val)
{
	struct inode_row row;
	int r = inode_row_decode(7, val, &row);
	assert_true(r == 0 || r == -EUCLEAN);
	if (!r)
		round_trip(&row);
}

static void test_damaged_rows(void **state)
{
	(void)state;
	struct inode_row row = small_file();
	CLEANUP_BUF struct buf val = { 0 };
	row.nlink = 3;
	row.staging_gen = 300;
	row.pieces = 4;
	row.recipe[1] = piece_zeros(1 << 30);
	row.recipe[2] = (struct piece){ .chunk = 5, .length = 500, .offset = 9, .repeat = 70 };
	row.recipe[3] = (struct piece){ .chunk = 6, .length = 500, .repeat = 1 };
	inode_row_encode(&row, &val);
	damage_each(val.data, val.len, decode_damaged);
}

static void test_get_put_delete(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct inode_row row = small_file(), back;
	CLEANUP_BUF struct buf data = { 0 };
	assert_int_equal(inode_row_get(kv, row.ino, &back), -ENOENT);
	struct kv_batch *b = kv_batch_new();
	inode_row_put(b, &row);
	inline_put(b, row.ino, "content", 7);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(inode_row_get(kv, row.ino, &back), 0);
	check_same(&row, &back);
	assert_int_equal(inline_get(kv, row.ino, &data), 0);
	assert_int_equal(data.len, 7);
	assert_memory_equal(data.data, "content", 7);
	b = kv_batch_new();
	inode_row_delete(b, row.ino);
	inline_delete(b, row.ino);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(inode_row_get(kv, row.ino, &back), -ENOENT);
	assert_int_equal(inline_get(kv, row.ino, &data), -ENOENT);
	fake_kv_free(kv);
}

static void test_stat(void **state)
{
	(void)state;
	struct inode_row row = small_file();
	struct stat st;
	row.atime = -1;
	inode_to_stat(&row, &st);
	assert_int_equal(st.st_ino, row.ino);
	assert_int_equal(st.st_size, 20000);
	assert_int_equal(st.st_blocks, 40);
	assert_int_equal(st.st_atim.tv_sec, -1);
	assert_int_equal(st.st_atim.tv_nsec, 999999999);
	assert_int_equal(st.st_mtim.tv_sec, 1770000000);
	assert_int_equal(st.st_mtim.tv_nsec, 126456789);
	row.flags = INODE_INLINE;
	row.mapped_bytes = 0;
	inode_to_stat(&row, &st);
	assert_int_equal(st.st_blocks, 40);
	row.flags = 0;
	inode_to_stat(&row, &st);
	assert_int_equal(st.st_blocks, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usual_rows_are_short),
		cmocka_unit_test(test_extreme_values),
		cmocka_unit_test(test_impossible_rows_are_damage),
		cmocka_unit_test(test_damaged_rows),
		cmocka_unit_test(test_get_put_delete),
		cmocka_unit_test(test_stat),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
