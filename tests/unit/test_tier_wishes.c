// SPDX-License-Identifier: MIT
/* From files to the packs they lie in, in trees that are none and rows that cannot be read. */
#include "tier_wishes.h"
#include "chunk_row.h"
#include "dirent_row.h"
#include "extent_row.h"
#include "fake_kv.h"
#include "inode_row.h"
#include "segment.h"
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define PACK_BYTES 1000u

/* A file with one chunk, in a pack of its own; all three have this number. */
static void put_file(struct kv *kv, uint64_t number, uint32_t flags)
{
	struct kv_batch *b = kv_batch_new();
	struct frame_chunk chunk = { .id = number, .length = 100 };
	struct frame_row frame = { .pack = number,
				   .offset = 64,
				   .stored_len = PACK_BYTES,
				   .decoded_len = 100,
				   .n = 1,
				   .chunks = &chunk };
	struct pack_row pack = { .id = number, .state = PACK_SEALED, .bytes = PACK_BYTES };
	struct inode_row row = { .ino = number, .mode = S_IFREG | 0600, .nlink = 1, .size = 100 };
	row.flags = flags;
	if (!flags) {
		row.pieces = 1;
		row.recipe[0] = (struct piece){ number, 100, 0, 1 };
	}
	inode_row_put(b, &row);
	chunk_put_frame(b, &frame);
	pack_put(b, &pack);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
}

static void put_dir(struct kv *kv, uint64_t ino)
{
	struct kv_batch *b = kv_batch_new();
	struct inode_row row = { .ino = ino, .mode = S_IFDIR | 0700, .nlink = 2, .parent = 1 };
	inode_row_put(b, &row);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
}

static void put_name(struct kv *kv, uint64_t dir, const char *name, uint64_t ino, uint8_t type)
{
	struct kv_batch *b = kv_batch_new();
	assert_int_equal(dirent_put(kv, b, dir, name, ino, type), 0);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
}

static void test_a_directory_in_itself_is_gone_through_once(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct wishes w;
	uint64_t root = 16;
	put_dir(kv, 16);
	put_dir(kv, 17);
	put_file(kv, 18, 0);
	put_file(kv, 19, 0);
	put_name(kv, 16, "down", 17, DT_DIR);
	put_name(kv, 17, "up", 16, DT_DIR);
	put_name(kv, 17, "up again", 16, DT_DIR);
	put_name(kv, 17, "file", 18, DT_REG);
	assert_int_equal(wishes_of_files(kv, &root, 1, NULL, &w), 0);
	assert_int_equal(w.n, 1);
	assert_non_null(wishes_find(&w, 18));
	assert_int_equal(wishes_find(&w, 18)->wished, PACK_BYTES);
	wishes_done(&w);
	fake_kv_free(kv);
}

static void put_segment(struct kv *kv, uint64_t id, uint64_t ino)
{
	struct buf val = { 0 };
	struct piece piece = { ino, 100, 0, 1 };
	uint8_t key[8];
	put_be64(key, id);
	segment_encode(&piece, 1, false, &val);
	fake_kv_set(kv, KV_SEGMENT, key, sizeof key, val.data, val.len);
	buf_done(&val);
}

static void put_extent(struct kv *kv, uint64_t ino, uint64_t segment)
{
	struct extent_row row = { .segment = segment, .len = 100 };
	struct buf val = { 0 };
	uint8_t key[EXTENT_KEY_SIZE];
	extent_key(ino, 0, key);
	extent_encode(&row, &val);
	fake_kv_set(kv, KV_EXTENT, key, sizeof key, val.data, val.len);
	buf_done(&val);
}

/* Whose last segment cannot be read: that is one file's loss. */
static void test_a_damaged_segment_hides_no_others(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct wishes w;
	uint64_t files[2] = { 20, 21 };
	for (uint64_t ino = 20; ino < 22; ino++) {
		put_file(kv, ino, INODE_MAPPED);
		put_segment(kv, ino + 10, ino);
		put_extent(kv, ino, ino + 10);
	}
	fake_kv_damage(kv, KV_SEGMENT, "\0\0\0\0\0\0\0\x1f", 8);
	assert_int_equal(wishes_of_files(kv, files, 2, NULL, &w), 0);
	assert_int_equal(w.n, 1);
	assert_non_null(wishes_find(&w, 20));
	wishes_done(&w);
	fake_kv_free(kv);
}

static bool count_down(void *arg)
{
	unsigned *left = arg;
	return !(*left)--;
}

static void test_it_can_be_stopped(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct wishes w;
	uint64_t root = 16;
	unsigned left = 1;
	struct wishes_stop stop = { count_down, &left };
	char name[32];
	put_dir(kv, 16);
	put_file(kv, 18, 0);
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof name, "name %u", i);
		put_name(kv, 16, name, 18, DT_REG);
	}
	assert_int_equal(wishes_of_files(kv, &root, 1, &stop, &w), -ECANCELED);
	left = 1000;
	assert_int_equal(wishes_of_files(kv, &root, 1, &stop, &w), 0);
	assert_in_range(left, 1, 998);
	assert_int_equal(w.n, 1);
	wishes_done(&w);
	fake_kv_free(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_directory_in_itself_is_gone_through_once),
		cmocka_unit_test(test_a_damaged_segment_hides_no_others),
		cmocka_unit_test(test_it_can_be_stopped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
