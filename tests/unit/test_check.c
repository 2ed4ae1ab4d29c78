// SPDX-License-Identifier: MIT
/* fsck's checks: a sound pool has no errors, and each kind of damage is found and named. */
#include "check_bed.h"

static void test_a_sound_pool(void **state)
{
	struct bed *b = *state;
	run_check(b);
	assert_string_equal(b->found, "");
	assert_int_equal(b->result.errors, 0);
	assert_int_equal(b->result.files, 4);
	assert_int_equal(b->result.directories, 2);
	assert_int_equal(b->result.names, 6);
	assert_int_equal(b->result.chunks, CHUNKS);
	assert_int_equal(b->result.segments, 1);
	assert_int_equal(b->result.orphans, 1);
}

static void test_link_counts(void **state)
{
	struct bed *b = *state;
	b->rows[FILE_INO].nlink = 3;
	put_row(b, &b->rows[FILE_INO]);
	expect(b, "has 2 names, but the link count 3");
	b->root.nlink = 2;
	put_row(b, &b->root);
	expect(b, "directory 1 has 1 subdirectories, but the link count 2");
	b->root.size = 4;
	put_row(b, &b->root);
	expect(b, "directory 1 has 5 entries, and says 4");
}

static void test_names_without_inodes(void **state)
{
	struct bed *b = *state;
	add_name(b, INO_ROOT, "ghost", 999, DT_REG);
	expect(b, "the name 'ghost' in directory 1 leads to inode 999, which does not exist");
	add_name(b, b->ino[FILE_INO], "inside", b->ino[SMALL_INO], DT_REG);
	expect(b, "which is no directory");
	add_name(b, INO_ROOT, "wrong", b->ino[SMALL_INO], DT_FIFO);
	expect(b, "the name 'wrong' in directory 1 says another type");
}

static void test_inodes_without_names(void **state)
{
	struct bed *b = *state;
	struct inode_row row = { .ino = 40, .mode = S_IFREG | 0644, .nlink = 0 };
	put_row(b, &row);
	expect(b, "inode 40 has no name and does not wait to be deleted");
	row = (struct inode_row){ .ino = 41, .mode = S_IFDIR | 0755, .nlink = 2, .parent = 1 };
	put_row(b, &row);
	expect(b, "directory 41 has no name");
	add_name(b, INO_ROOT, "dead", b->ino[ORPHAN_INO], DT_REG);
	expect(b, "waits to be deleted, but has a name");
}

static void test_directories_out_of_reach(void **state)
{
	struct bed *b = *state;
	struct inode_row one = { .ino = 50, .mode = S_IFDIR | 0755, .nlink = 3, .size = 1 };
	struct inode_row two = one;
	two.ino = 51;
	one.parent = 51;
	two.parent = 50;
	put_row(b, &one);
	put_row(b, &two);
	add_name(b, 50, "two", 51, DT_DIR);
	add_name(b, 51, "one", 50, DT_DIR);
	expect(b, "lies in itself: nothing leads there from the root");
	add_name(b, INO_ROOT, "again", b->ino[DIR_INO], DT_DIR);
	expect(b, "has a second name");
	b->rows[DIR_INO].parent = 50;
	put_row(b, &b->rows[DIR_INO]);
	expect(b, "but says that it lies in 50");
}

static void test_content_of_small_files(void **state)
{
	struct bed *b = *state;
	struct buf key = { 0 };
	b->rows[SMALL_INO].size = 6;
	put_row(b, &b->rows[SMALL_INO]);
	expect(b, "has 5 bytes of content, not 6");
	put_be64_to(&key, b->ino[LINK_INO]);
	put_raw(b, KV_INLINE, &key, NULL);
	expect(b, "the content of inode");
	b->rows[SMALL_INO].flags = 0;
	put_row(b, &b->rows[SMALL_INO]);
	expect(b, "which has none there");
	expect(b, "has the attribute user.a, which its row does not announce");
}

static void test_rows_that_cannot_be_read(void **state)
{
	struct bed *b = *state;
	struct buf key = { 0 }, val = { 0 };
	put_be64_to(&key, 77);
	buf_put(&val, "nonsense", 8);
	put_raw(b, KV_INODE, &key, &val);
	expect(b, "the inode row 77 cannot be read");
	key = val = (struct buf){ 0 };
	put_be64_to(&key, 1);
	buf_put(&val, "x", 1);
	put_raw(b, KV_DIRENT, &key, &val);
	expect(b, "the name row 1 cannot be read");
}

static void test_maps(void **state)
{
	struct bed *b = *state;
	uint64_t segment = segment_of(b), ino = b->ino[FILE_INO];
	struct buf key = { 0 }, val = { 0 };
	put_extent(b, ino, &(struct extent_row){ CHUNK, CHUNK, segment, 0, 0 });
	expect(b, "says two things of the bytes at 20000");
	expect(b, "2 rows refer to segment");
	put_extent(b, ino, &(struct extent_row){ CHUNKS * CHUNK, CHUNK, segment + 7, 0, 0 });
	expect(b, "which does not exist");
	expect(b, "is longer than the file");
	put_extent(b, ino, &(struct extent_row){ CHUNK, 9 * CHUNK, segment, 0, 0 });
	expect(b, "shows bytes beyond the end of segment");
	put_extent(b, b->ino[SHORT_INO], &(struct extent_row){ 0, CHUNK, segment, 0, 0 });
	expect(b, "which has none");
	put_be64_to(&key, segment);
	buf_put_varint(&val, 9);
	put_raw(b, KV_SEGREF, &key, &val);
	expect(b, "but its count is 9");
}

static void test_zeros_and_sums_of_maps(void **state)
{
	struct bed *b = *state;
	put_extent(b, b->ino[FILE_INO],
		   &(struct extent_row){ 0, CHUNKS * CHUNK, segment_of(b), 0, 100 });
	expect(b, "counts 100 zeros");
	expect(b, "maps 159900 bytes, and says 160000");
}

static void test_segments_nobody_wants(void **state)
{
	struct bed *b = *state;
	uint8_t key[16];
	struct kv_batch *batch = kv_batch_new();
	extent_key(b->ino[FILE_INO], 0, key);
	kv_batch_delete(batch, KV_EXTENT, key, sizeof key);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	expect(b, "nothing refers to segment");
}

static void test_missing_chunks(void **state)
{
	struct bed *b = *state;
	struct kv_batch *batch = kv_batch_new();
	b->rows[SHORT_INO].recipe[0].chunk = 4711;
	b->rows[SHORT_INO].recipe[1].offset = 10;
	put_row(b, &b->rows[SHORT_INO]);
	expect(b, "refers to chunk 4711, which does not exist");
	expect(b, "shows bytes beyond the end of chunk");
	chunk_delete_frame(batch, b->chunk[0], 0);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	expect(b, "segment");
}

static void test_damaged_frames_and_missing_packs(void **state)
{
	struct bed *b = *state;
	struct pack_row row;
	char file[128];
	read_first_pack(b, &row, file, sizeof file);
	int fd = open(file, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "????", 4, 70), 4);
	expect(b, "is damaged");
	assert_int_equal(pwrite(fd, "????", 4, 0), 4);
	expect(b, "does not begin as that of this pack");
	assert_int_equal(ftruncate(fd, 100), 0);
	expect(b, "reaches beyond the end of pack");
	close(fd);
	struct kv_batch *batch = kv_batch_new();
	row.id = 99999;
	pack_put(batch, &row);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	expect(b, "pack 99999 is missing");
	expect(b, "the next pack number would be");
}

static void test_numbers_given_out_twice(void **state)
{
	struct bed *b = *state;
	struct buf key = { 0 }, val = { 0 };
	buf_put(&key, META_IDS_PREFIX "next_inode", strlen(META_IDS_PREFIX "next_inode"));
	buf_put_le64(&val, INO_FIRST);
	put_raw(b, KV_META, &key, &val);
	expect(b, "the next inode number would be 16");
	key = val = (struct buf){ 0 };
	buf_put(&key, META_DIRENT_SEED, strlen(META_DIRENT_SEED));
	buf_put_le64(&val, 1);
	put_raw(b, KV_META, &key, &val);
	expect(b, "different seeds");
}

static void test_missing_staging_files(void **state)
{
	struct bed *b = *state;
	b->rows[SHORT_INO].staging_gen = 3;
	put_row(b, &b->rows[SHORT_INO]);
	expect(b, "its staging file");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_sound_pool),
		TEST(test_link_counts),
		TEST(test_names_without_inodes),
		TEST(test_inodes_without_names),
		TEST(test_directories_out_of_reach),
		TEST(test_content_of_small_files),
		TEST(test_rows_that_cannot_be_read),
		TEST(test_maps),
		TEST(test_zeros_and_sums_of_maps),
		TEST(test_segments_nobody_wants),
		TEST(test_missing_chunks),
		TEST(test_damaged_frames_and_missing_packs),
		TEST(test_numbers_given_out_twice),
		TEST(test_missing_staging_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
