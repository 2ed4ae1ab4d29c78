// SPDX-License-Identifier: MIT
/* fsck's checks: a sound pool has no errors, and each kind of damage is found and named. */
#include "check.h"
#include "cleanup.h"
#include "dirent_row.h"
#include "extent_row.h"
#include "extents.h"
#include "inode_row.h"
#include "packer.h"
#include "prng.h"
#include "rows_format.h"
#include "xattr_row.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define CHUNK 20000u
#define CHUNKS 8u

/* The pool: /dir, /file (a map of rows), /dir/short (a map in its row), /small (inline), /link,
 * /second (another name of /file), and an orphan. */
enum { DIR_INO, FILE_INO, SHORT_INO, SMALL_INO, LINK_INO, ORPHAN_INO, N_INOS };

struct bed {
	char path[64];
	struct pool *pool;
	uint64_t ino[N_INOS];
	uint64_t chunk[CHUNKS];
	struct inode_row rows[N_INOS], root;
	char found[8192]; /* sentences of the last check */
	struct check_result result;
};

static void put_row(struct bed *b, const struct inode_row *row)
{
	struct kv_batch *batch = kv_batch_new();
	inode_row_put(batch, row);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
}

static void put_raw(struct bed *b, enum kv_table t, struct buf *key, struct buf *val)
{
	struct kv_batch *batch = kv_batch_new();
	if (val)
		kv_batch_put(batch, t, key->data, key->len, val->data, val->len);
	else
		kv_batch_delete(batch, t, key->data, key->len);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	buf_done(key);
	if (val)
		buf_done(val);
}

static void put_be64_to(struct buf *b, uint64_t v)
{
	put_be64(buf_extend(b, 8), v);
}

static void add_name(struct bed *b, uint64_t parent, const char *name, uint64_t ino, uint8_t type)
{
	struct kv_batch *batch = kv_batch_new();
	assert_int_equal(dirent_put(b->pool->kv, batch, parent, name, ino, type), 0);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
}

static void store_chunks(struct bed *b)
{
	uint64_t seed = 5;
	uint8_t data[CHUNK];
	struct digest digest;
	struct packed packed;
	for (size_t i = 0; i < CHUNKS; i++) {
		prng_fill(&seed, data, sizeof data);
		digest_of(data, sizeof data, &digest);
		assert_int_equal(packer_add(b->pool->packer, &digest, data, CHUNK, &packed), 0);
		b->chunk[i] = packed.id;
	}
	packer_drain(b->pool->packer);
}

static void put_file(struct bed *b, struct inode_row *row, size_t pieces)
{
	struct piece v[CHUNKS];
	struct change *c = change_new(b->pool->extents);
	for (size_t i = 0; i < pieces; i++) /* backwards, so that they do not merge */
		v[i] = (struct piece){ .chunk = b->chunk[pieces - 1 - i],
				       .length = CHUNK,
				       .repeat = 1 };
	row->size = pieces * CHUNK;
	assert_int_equal(extents_replace(c, row, 0, row->size, v, pieces), 0);
	inode_row_put(change_batch(c), row);
	assert_int_equal(change_commit(c, NULL), 0);
}

static void fill(struct bed *b)
{
	static const mode_t modes[N_INOS] = { S_IFDIR | 0755, S_IFREG | 0644, S_IFREG | 0644,
					      S_IFREG | 0644, S_IFLNK | 0777, S_IFREG | 0600 };
	struct kv_batch *batch = kv_batch_new();
	uint8_t key[8];
	store_chunks(b);
	for (size_t i = 0; i < N_INOS; i++) {
		assert_int_equal(ids_next(b->pool->inode_ids, &b->ino[i]), 0);
		b->rows[i] = (struct inode_row){ .ino = b->ino[i], .mode = modes[i], .nlink = 1 };
	}
	b->rows[DIR_INO].nlink = 2;
	b->rows[DIR_INO].parent = INO_ROOT;
	b->rows[DIR_INO].size = 1;
	b->rows[FILE_INO].nlink = 2;
	b->rows[SMALL_INO].size = b->rows[LINK_INO].size = 5;
	b->rows[SMALL_INO].flags = INODE_INLINE | INODE_XATTRS;
	b->rows[ORPHAN_INO].nlink = 0;
	put_file(b, &b->rows[FILE_INO], CHUNKS);
	put_file(b, &b->rows[SHORT_INO], 2);
	assert_true(b->rows[FILE_INO].flags & INODE_MAPPED);
	assert_int_equal(b->rows[SHORT_INO].pieces, 2);
	inline_put(batch, b->ino[SMALL_INO], "hello", 5);
	inline_put(batch, b->ino[LINK_INO], "/file", 5);
	xattr_put(batch, b->ino[SMALL_INO], "user.a", "1", 1);
	put_be64(key, b->ino[ORPHAN_INO]);
	kv_batch_put(batch, KV_ORPHAN, key, sizeof key, "\1", 1);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	for (size_t i = 0; i < N_INOS; i++)
		put_row(b, &b->rows[i]);
	assert_int_equal(inode_row_get(b->pool->kv, INO_ROOT, &b->root), 0);
	b->root.size = 5;
	b->root.nlink = 3;
	put_row(b, &b->root);
	add_name(b, INO_ROOT, "dir", b->ino[DIR_INO], DT_DIR);
	add_name(b, INO_ROOT, "file", b->ino[FILE_INO], DT_REG);
	add_name(b, INO_ROOT, "second", b->ino[FILE_INO], DT_REG);
	add_name(b, INO_ROOT, "small", b->ino[SMALL_INO], DT_REG);
	add_name(b, INO_ROOT, "link", b->ino[LINK_INO], DT_LNK);
	add_name(b, b->ino[DIR_INO], "short", b->ino[SHORT_INO], DT_REG);
}

static int setup(void **state)
{
	struct bed *b = calloc(1, sizeof *b);
	struct config config;
	struct config_error cerr;
	struct pool_error err = { 0 };
	strcpy(b->path, "/tmp/foldfs-check.XXXXXX");
	if (!mkdtemp(b->path))
		return -1;
	config_defaults(&config);
	config_apply(&config, "reserve_size=0,cache_size=0", CONFIG_MKFS | CONFIG_POOL, &cerr);
	assert_int_equal(pool_create(b->path, &config, &err), 0);
	assert_int_equal(pool_open(b->path, NULL, false, 0, &b->pool, &err), 0);
	fill(b);
	*state = b;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct bed *b = *state;
	pool_close(b->pool);
	nftw(b->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(b);
	return 0;
}

static void take_sentence(void *arg, const char *sentence)
{
	struct bed *b = arg;
	size_t n = strlen(b->found);
	snprintf(b->found + n, sizeof b->found - n, "%s\n", sentence);
}

static void run_check(struct bed *b)
{
	struct check_options opt = { .full = true, .error = take_sentence, .arg = b };
	*b->found = 0;
	assert_int_equal(check_pool(b->pool, &opt, &b->result), 0);
}

static void expect(struct bed *b, const char *what)
{
	run_check(b);
	if (!strstr(b->found, what))
		fail_msg("'%s' is not said in:\n%s", what, b->found);
}

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

static uint64_t segment_of(struct bed *b)
{
	uint8_t key[16];
	struct buf val = { 0 };
	struct extent_row e;
	uint64_t ino;
	extent_key(b->ino[FILE_INO], 0, key);
	assert_int_equal(kv_get(b->pool->kv, KV_EXTENT, key, sizeof key, &val), 0);
	assert_int_equal(extent_decode(slice_of(key, 16), slice_of(val.data, val.len), &ino, &e),
			 0);
	buf_done(&val);
	return e.segment;
}

static void put_extent(struct bed *b, uint64_t ino, const struct extent_row *e)
{
	struct buf key = { 0 }, val = { 0 };
	extent_key(ino, e->at, buf_extend(&key, EXTENT_KEY_SIZE));
	extent_encode(e, &val);
	put_raw(b, KV_EXTENT, &key, &val);
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

static void read_first_pack(struct bed *b, struct pack_row *ret_row, char *ret_file, size_t size)
{
	struct kv_iter *it = kv_iter_new(b->pool->kv, KV_PACK, NULL, 0, false);
	struct slice key, val;
	assert_int_equal(kv_iter_next(it, &key, &val), 1);
	assert_int_equal(pack_decode_row(key, val, ret_row), 0);
	kv_iter_free(it);
	snprintf(ret_file, size, "%s/packs/%016lx.pack", b->path, ret_row->id);
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
	expect(b, "the staging file of inode");
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
