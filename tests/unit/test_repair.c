// SPDX-License-Identifier: MIT
/* Each kind of damage: looking finds it and changes nothing, repairing makes the pool sound, and what
 * was not hit reads as before. Then damage at random, and repairs that end anywhere.
 */
#include "repair_bed.h"
#include "pack_scan.h"

#define DAMAGED(b) close_pool(b)

static void test_counters(void **state)
{
	struct bed *b = *state;
	b->rows[FILE_INO].nlink = 7;
	put_row(b, &b->rows[FILE_INO]);
	b->root.nlink = 9;
	b->root.size = 77;
	put_row(b, &b->root);
	DAMAGED(b);
	expect_safe(b, "has the link count 2");
	expect_all_content(b);
}

static void test_reference_counts(void **state)
{
	struct bed *b = *state;
	struct buf key = { 0 }, val = { 0 };
	put_be64_to(&key, segment_of(b));
	buf_put_varint(&val, 9);
	put_raw(b, KV_SEGREF, &key, &val);
	key = val = (struct buf){ 0 };
	put_be64_to(&key, 4711);
	buf_put_varint(&val, 2);
	put_raw(b, KV_SEGREF, &key, &val);
	DAMAGED(b);
	expect_safe(b, "is referred to by 1 rows");
	expect_all_content(b);
}

static void test_sequences(void **state)
{
	struct bed *b = *state;
	static const char *const names[] = { META_IDS_PREFIX "next_inode",
					     META_IDS_PREFIX "segment", META_IDS_PREFIX "pack" };
	for (size_t i = 0; i < 3; i++) {
		struct buf key = { 0 }, val = { 0 };
		buf_put(&key, names[i], strlen(names[i]));
		buf_put_le64(&val, 1);
		put_raw(b, KV_META, &key, &val);
	}
	DAMAGED(b);
	expect_safe(b, "the next inode number is");
	expect_all_content(b);
}

static void test_seed(void **state)
{
	struct bed *b = *state;
	struct buf key = { 0 };
	buf_put(&key, META_DIRENT_SEED, strlen(META_DIRENT_SEED));
	put_raw(b, KV_META, &key, NULL);
	DAMAGED(b);
	expect_repair(b, "the seed of names is taken from the superblock");
	expect_all_content(b);
}

static void test_names_to_nothing(void **state)
{
	struct bed *b = *state;
	add_name(b, INO_ROOT, "ghost", 999, DT_REG);
	add_name(b, b->ino[FILE_INO], "inside", b->ino[SMALL_INO], DT_REG);
	DAMAGED(b);
	expect_not_safe(b);
	expect_repair(b, "the name 'ghost' in directory 1 leads to nothing, and is removed");
	expect_all_content(b);
}

static void test_types_of_names(void **state)
{
	struct bed *b = *state;
	add_name(b, INO_ROOT, "small", b->ino[SMALL_INO], DT_FIFO);
	DAMAGED(b);
	expect_safe(b, "says the type of inode");
}

static void test_names_in_the_wrong_place(void **state)
{
	struct bed *b = *state;
	struct dirent_row row;
	struct buf key = { 0 }, val = { 0 };
	assert_int_equal(dirent_get(b->pool->kv, INO_ROOT, "file", &row), 0);
	put_be64_to(&key, INO_ROOT);
	put_be64_to(&key, row.cookie ^ (1ull << 40));
	buf_put_u8(&val, row.type);
	buf_put_varint(&val, row.ino);
	buf_put(&val, row.name, row.name_len);
	put_raw(b, KV_DIRENT, &key, &val);
	struct kv_batch *batch = kv_batch_new();
	dirent_delete(batch, INO_ROOT, row.cookie);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	DAMAGED(b);
	expect_repair(b, "can be found again");
	open_bare(b);
	assert_int_equal(dirent_get(b->pool->kv, INO_ROOT, "file", &row), 0);
}

static void expect_name(struct bed *b, uint64_t dir, const char *name, uint64_t ino)
{
	struct dirent_row row;
	assert_int_equal(dirent_get(b->pool->kv, dir, name, &row), 0);
	if (ino)
		assert_int_equal(row.ino, ino);
}

static void test_inodes_without_names(void **state)
{
	struct bed *b = *state;
	struct inode_row row = { .ino = 40, .mode = S_IFREG | 0644, .nlink = 1 };
	struct dirent_row lost;
	put_row(b, &row);
	row = (struct inode_row){ .ino = 41, .mode = S_IFDIR | 0755, .nlink = 2, .parent = 1 };
	put_row(b, &row);
	add_name(b, INO_ROOT, "dead", b->ino[ORPHAN_INO], DT_REG);
	DAMAGED(b);
	expect_not_safe(b);
	expect_repair(b, "inode 40, which had no name, is /lost+found/#40");
	open_bare(b);
	assert_int_equal(dirent_get(b->pool->kv, INO_ROOT, "lost+found", &lost), 0);
	expect_name(b, lost.ino, "#41", 41);
	assert_int_equal(inode_row_get(b->pool->kv, lost.ino, &row), 0);
	assert_int_equal(row.mode, S_IFDIR | 0700);
	assert_int_equal(row.nlink, 3);
	expect_name(b, INO_ROOT, "dead", b->ino[ORPHAN_INO]);
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
	add_name(b, INO_ROOT, "again", b->ino[DIR_INO], DT_DIR);
	DAMAGED(b);
	expect_repair(b, "lay in itself");
	open_bare(b);
	expect_name(b, INO_ROOT, "lost+found", 0);
	struct dirent_row row;
	int dir = dirent_get(b->pool->kv, INO_ROOT, "dir", &row);
	int again = dirent_get(b->pool->kv, INO_ROOT, "again", &row);
	assert_true((dir == 0) != (again == 0));
}

static void test_root_is_gone(void **state)
{
	struct bed *b = *state;
	struct kv_batch *batch = kv_batch_new();
	inode_row_delete(batch, INO_ROOT);
	inode_row_delete(batch, b->ino[DIR_INO]);
	inode_row_delete(batch, b->ino[FILE_INO]);
	inode_row_delete(batch, b->ino[SMALL_INO]);
	inode_row_delete(batch, b->ino[LINK_INO]);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	DAMAGED(b);
	expect_repair(b, "the row of inode 1 was lost: it is a directory");
	open_bare(b);
	expect_name(b, INO_ROOT, "dir", b->ino[DIR_INO]);
	expect_name(b, INO_ROOT, "second", b->ino[FILE_INO]);
	expect_name(b, b->ino[DIR_INO], "short", b->ino[SHORT_INO]);
	close_pool(b);
	expect_all_content(b);
}

static void test_content_of_small_files(void **state)
{
	struct bed *b = *state;
	struct buf key = { 0 };
	struct inode_row row;
	b->rows[SMALL_INO].size = 9;
	b->rows[SMALL_INO].flags = INODE_INLINE;
	put_row(b, &b->rows[SMALL_INO]);
	put_be64_to(&key, b->ino[LINK_INO]);
	put_raw(b, KV_INLINE, &key, NULL);
	DAMAGED(b);
	expect_not_safe(b);
	expect_repair(b, "the target of the symbolic link");
	open_bare(b);
	assert_int_equal(inode_row_get(b->pool->kv, b->ino[SMALL_INO], &row), 0);
	assert_int_equal(row.size, 5);
	assert_true(row.flags & INODE_XATTRS);
}

static void test_lost_small_file(void **state)
{
	struct bed *b = *state;
	struct buf key = { 0 };
	uint8_t got[5];
	put_be64_to(&key, b->ino[SMALL_INO]);
	put_raw(b, KV_INLINE, &key, NULL);
	DAMAGED(b);
	expect_repair(b, "/small (inode");
	struct pool_error err;
	assert_int_equal(pool_open(b->path, NULL, false, 0, &b->pool, &err), 0);
	assert_int_equal(read_range(b->pool, b->ino[SMALL_INO], 0, 5, got), -EIO);
}

static void test_rows_that_cannot_be_read(void **state)
{
	struct bed *b = *state;
	for (unsigned t = 0; t < KV_TABLES; t++) {
		struct buf key = { 0 }, val = { 0 };
		put_be64_to(&key, 77);
		buf_put(&val, "nonsense", 8);
		put_raw(b, t, &key, &val);
	}
	DAMAGED(b);
	expect_not_safe(b);
	expect_repair(b, "the row of inode 77 was damaged");
	expect_all_content(b);
}

static void test_maps(void **state)
{
	struct bed *b = *state;
	uint64_t segment = segment_of(b), ino = b->ino[FILE_INO];
	put_extent(b, ino, &(struct extent_row){ CHUNK, CHUNK, segment, 0, 0 });
	put_extent(b, ino, &(struct extent_row){ CHUNKS * CHUNK, CHUNK, segment + 7, 0, 0 });
	put_extent(b, b->ino[SHORT_INO], &(struct extent_row){ 0, CHUNK, segment, 0, 0 });
	DAMAGED(b);
	expect_not_safe(b);
	expect_repair(b, "said two things of the bytes at 20000");
	expect_content(b, b->ino[SHORT_INO], 2, 0, 0);
	uint8_t got[CHUNK], want[CHUNKS * CHUNK];
	struct pool_error err;
	expected_bytes(CHUNKS, want);
	assert_int_equal(pool_open(b->path, NULL, false, 0, &b->pool, &err), 0);
	assert_int_equal(read_range(b->pool, ino, 0, CHUNK, got), 0);
	assert_memory_equal(got, want, CHUNK);
}

static void test_beyond_a_segment(void **state)
{
	struct bed *b = *state;
	put_extent(b, b->ino[FILE_INO],
		   &(struct extent_row){ 0, (CHUNKS + 3) * CHUNK, segment_of(b), 0, 0 });
	DAMAGED(b);
	expect_repair(b, "the 60000 bytes from 160000 on cannot be read");
	expect_content(b, b->ino[FILE_INO], CHUNKS, 0, 0);
}

static void test_zeros_of_maps(void **state)
{
	struct bed *b = *state;
	put_extent(b, b->ino[FILE_INO],
		   &(struct extent_row){ 0, CHUNKS * CHUNK, segment_of(b), 0, 100 });
	DAMAGED(b);
	expect_repair(b, "counts its zeros again");
	expect_all_content(b);
}

static void test_a_map_that_is_gone(void **state)
{
	struct bed *b = *state;
	delete_row(b, KV_EXTENT, 0);
	DAMAGED(b);
	expect_not_safe(b);
	expect_repair(b, "the 160000 bytes from 0 on cannot be read");
	expect_content(b, b->ino[FILE_INO], CHUNKS, 0, CHUNKS);
	expect_content(b, b->ino[SHORT_INO], 2, 0, 0);
}

static void test_a_segment_that_is_gone(void **state)
{
	struct bed *b = *state;
	delete_row(b, KV_SEGMENT, 0);
	DAMAGED(b);
	expect_repair(b, "the 160000 bytes from 0 on cannot be read");
	assert_non_null(strstr(b->found, "/file (inode")     ? b->found
			: strstr(b->found, "/second (inode") ? b->found
							     : NULL);
	expect_content(b, b->ino[FILE_INO], CHUNKS, 0, CHUNKS);
}

static void test_chunks_that_are_nowhere(void **state)
{
	struct bed *b = *state;
	b->rows[SHORT_INO].recipe[0].chunk = 4711;
	put_row(b, &b->rows[SHORT_INO]);
	DAMAGED(b);
	expect_not_safe(b);
	expect_repair(b, "/dir/short (inode");
	expect_content(b, b->ino[SHORT_INO], 2, 0, 1);
	open_bare(b); /* nobody may get that number */
	struct buf val = { 0 };
	assert_int_equal(
		kv_get(b->pool->kv, KV_META, PACKER_NEXT_KEY, strlen(PACKER_NEXT_KEY), &val), 0);
	assert_true(get_le64(val.data) > 4711);
	buf_done(&val);
}

static void lose_chunk_index(struct bed *b)
{
	static const enum kv_table gone[] = { KV_CHUNK, KV_PACK };
	for (size_t i = 0; i < 2; i++) {
		struct kv_iter *it = kv_iter_new(b->pool->kv, gone[i], NULL, 0, false);
		struct slice key, val;
		struct kv_batch *batch = kv_batch_new();
		while (kv_iter_next(it, &key, &val) > 0)
			kv_batch_delete(batch, gone[i], key.at, key.len);
		kv_iter_free(it);
		assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	}
}

/* Everything that packs say is found again. */
static void test_chunk_index_from_packs(void **state)
{
	struct bed *b = *state;
	lose_chunk_index(b);
	DAMAGED(b);
	expect_repair(b, "was found in pack");
	assert_null(strstr(b->found, "lost"));
	expect_all_content(b);
}

/* Of a frame that gc gave back in place the head is still there. */
static void test_a_frame_given_back(void **state)
{
	struct bed *b = *state;
	static uint8_t data[200000];
	uint64_t seed = 9, bytes;
	struct digest digest;
	struct packed dead;
	struct frame_row row;
	uint32_t at, left;
	prng_fill(&seed, data, sizeof data);
	digest_of(data, sizeof data, &digest);
	assert_int_equal(packer_add(b->pool->packer, &digest, data, sizeof data, &dead), 0);
	packer_drain(b->pool->packer);
	assert_int_equal(packs_retire(b->pool->packs), 0);
	assert_int_equal(kv_sync(b->pool->kv, UINT64_MAX), 0);
	assert_int_equal(chunk_find(b->pool->kv, b->chunk[0], 0, &row, &at, &left), 0);
	struct pack_place keep = { row.offset, row.stored_len };
	assert_int_equal(pack_trim(b->pool->packs, row.pack, &keep, 1, &bytes), 0);
	assert_in_range(bytes, sizeof data - 8192, sizeof data + 8192);
	frame_row_done(&row);
	lose_chunk_index(b);
	DAMAGED(b);
	remove_dumps(b);
	expect_repair(b, "was found in pack");
	expect_all_content(b);
	open_bare(b);
	assert_int_equal(chunk_find(b->pool->kv, dead.id, 0, &row, &at, &left), -ENOENT);
}

static void test_rotten_frame_rows(void **state)
{
	struct bed *b = *state;
	DAMAGED(b);
	for (unsigned i = 0; rot(b, KV_CHUNK, i); i++)
		;
	assert_true(rot(b, KV_PACK, 0));
	expect_repair(b, "was found in pack");
	expect_all_content(b);
}

/* What rotten rows said is in a dump and the log. */
static void test_rotten_rows_and_a_dump(void **state)
{
	struct bed *b = *state;
	struct pool_error err;
	DAMAGED(b);
	assert_int_equal(pool_open(b->path, NULL, false, 0, &b->pool, &err), 0);
	assert_int_equal(pool_close(TAKE_PTR(b->pool)), 0); /* dumps, too */
	for (unsigned t = 0; t < KV_TABLES; t++)
		if (t != KV_META)
			rot(b, t, 0);
	expect_not_safe(b);
	expect_repair(b, "the index was made anew from dump");
	assert_null(strstr(b->found, "lost:"));
	expect_all_content(b);
}

static void test_no_index_and_no_dump(void **state)
{
	struct bed *b = *state;
	char path[160];
	DAMAGED(b);
	remove_dumps(b);
	snprintf(path, sizeof path, "%s/index/data.mdb", b->path);
	assert_int_equal(truncate(path, 5000), 0);
	expect_not_safe(b);
	expect_repair(b, "ALL NAMES AND FILES ARE LOST");
	struct pool_error err;
	assert_int_equal(pool_open(b->path, NULL, false, 0, &b->pool, &err), 0);
	uint64_t last;
	assert_int_equal(chunk_last_id(b->pool->kv, &last), 0);
	assert_int_equal(last, b->chunk[CHUNKS - 1]);
}

static void test_a_missing_pack(void **state)
{
	struct bed *b = *state;
	struct pack_row row;
	char file[128], away[160];
	read_first_pack(b, &row, file, sizeof file);
	DAMAGED(b);
	snprintf(away, sizeof away, "%s.away", b->path);
	assert_int_equal(rename(file, away), 0);
	expect_not_safe(b);
	expect_repair(b, "/dir/short (inode");
	expect_content(b, b->ino[FILE_INO], CHUNKS, 0, CHUNKS);
	assert_int_equal(rename(away, file), 0); /* it is found again */
	struct repair_report report;
	assert_int_equal(run_repair(b, false, true, &report), 0);
	assert_non_null(strstr(b->found, "is there again"));
	assert_int_equal(report.left + report.result.lost, 0);
	expect_all_content(b);
}

static void damage_pack(struct bed *b, off_t at, const char *bytes)
{
	struct pack_row row;
	char file[128];
	read_first_pack(b, &row, file, sizeof file);
	int fd = open(file, O_RDWR);
	assert_true(fd >= 0);
	off_t end = lseek(fd, 0, SEEK_END);
	assert_int_equal(pwrite(fd, bytes, strlen(bytes), at < 0 ? end + at : at),
			 (ssize_t)strlen(bytes));
	close(fd);
}

static void test_pack_header(void **state)
{
	struct bed *b = *state;
	damage_pack(b, 0, "????");
	DAMAGED(b);
	expect_repair(b, "is written anew");
	expect_all_content(b);
}

static void test_pack_footer(void **state)
{
	struct bed *b = *state;
	damage_pack(b, -8, "????");
	DAMAGED(b);
	expect_repair(b, "gets a new footer");
	expect_all_content(b);
}

static void test_a_cut_pack(void **state)
{
	struct bed *b = *state;
	struct pack_row row;
	char file[128];
	read_first_pack(b, &row, file, sizeof file);
	DAMAGED(b);
	assert_int_equal(truncate(file, 100), 0);
	expect_repair(b, "nothing in pack");
	expect_content(b, b->ino[FILE_INO], CHUNKS, 0, CHUNKS);
}

static void test_a_frames_head(void **state)
{
	struct bed *b = *state;
	damage_pack(b, 70, "????");
	DAMAGED(b);
	expect_repair(b, "leads to no sound frame");
	struct pool_error err;
	assert_int_equal(pool_open(b->path, NULL, false, 0, &b->pool, &err), 0);
	uint8_t got[CHUNK];
	assert_int_equal(read_range(b->pool, b->ino[SHORT_INO], CHUNK, CHUNK, got), -EIO);
}

/* Healing puts single chunks elsewhere; what is left of the frame's row is not to be read, but kept. */
static void test_a_half_healed_frame(void **state)
{
	struct bed *b = *state;
	struct repair_report report;
	struct frame_row row;
	uint32_t at, left;
	assert_int_equal(chunk_find(b->pool->kv, b->chunk[0], 0, &row, &at, &left), 0);
	assert_int_equal(row.n, CHUNKS);
	struct frame_row half = row;
	struct kv_batch *batch = kv_batch_new();
	half.n = 3;
	half.decoded_len = 3 * CHUNK;
	chunk_put_frame(batch, &half);
	half.chunks += 3;
	half.n = CHUNKS - 3;
	half.decoded_len = (CHUNKS - 3) * CHUNK;
	chunk_put_frame(batch, &half);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	frame_row_done(&row);
	DAMAGED(b);
	assert_int_equal(run_repair(b, false, true, &report), 0);
	assert_int_equal(report.left, 0);
	assert_true(report.result.lost > 0);
	open_bare(b);
	assert_int_equal(chunk_find(b->pool->kv, b->chunk[4], 0, &row, &at, &left), 0);
	assert_int_equal(row.n, CHUNKS - 3);
	frame_row_done(&row);
}

static void test_missing_staging_files(void **state)
{
	struct bed *b = *state;
	struct dirent_row lost, former;
	b->rows[SHORT_INO].staging_gen = 3;
	put_row(b, &b->rows[SHORT_INO]);
	DAMAGED(b);
	expect_not_safe(b);
	expect_repair(b, "the staging file of inode");
	expect_content(b, b->ino[SHORT_INO], 2, 0, 2);
	open_bare(b);
	assert_int_equal(dirent_get(b->pool->kv, INO_ROOT, "lost+found", &lost), 0);
	struct dirent_iter *it = dirent_iter_new(b->pool->kv, lost.ino, 0);
	assert_int_equal(dirent_iter_next(it, &former), 1);
	dirent_iter_free(it);
	close_pool(b);
	expect_content(b, former.ino, 2, 0, 0); /* what it was before */
}

/* ---- at random ---- */

#define FILES 120u

static void grow(struct bed *b)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct inode_row row = { .mode = S_IFREG | 0600, .nlink = 1 };
		struct kv_batch *batch = kv_batch_new();
		char name[32];
		uint64_t parent = i % 10 == 0 ? INO_ROOT : b->ino[DIR_INO];
		assert_int_equal(ids_next(b->pool->inode_ids, &row.ino), 0);
		snprintf(name, sizeof name, "f%u", i);
		if (i % 10 == 0) {
			row.mode = S_IFDIR | 0700;
			row.nlink = 2;
			row.parent = INO_ROOT;
			b->ino[DIR_INO] = row.ino;
		} else if (i % 3 == 0) {
			row.flags = INODE_INLINE | INODE_XATTRS;
			row.size = 7;
			inline_put(batch, row.ino, "content", 7);
			xattr_put(batch, row.ino, "user.x", "yz", 2);
		} else {
			put_file(b, &row, 1 + i % CHUNKS);
		}
		inode_row_put(batch, &row);
		assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
		add_name(b, parent, name, row.ino, (uint8_t)IFTODT(row.mode));
	}
}

/* Counts are made right by the repair itself. */
static int setup_grown(void **state)
{
	int r = setup(state);
	struct repair_report report;
	if (r)
		return r;
	struct bed *b = *state;
	grow(b);
	close_pool(b);
	assert_int_equal(run_repair(b, true, true, &report), 0);
	if (report.left)
		fail_msg("%s", b->found);
	return 0;
}

static void damage_at_random(struct bed *b, uint64_t *seed)
{
	unsigned n = 1 + prng_next(seed) % 12;
	if (prng_next(seed) % 4)
		remove_dumps(b);
	for (unsigned i = 0; i < n; i++) {
		enum kv_table t = prng_next(seed) % KV_TABLES;
		unsigned nth = (unsigned)(prng_next(seed) % 60);
		if (prng_next(seed) % 2) {
			rot(b, t, nth);
			continue;
		}
		open_bare(b);
		delete_row(b, t, nth);
		close_pool(b);
	}
	if (prng_next(seed) % 4 == 0) {
		open_bare(b);
		struct pack_row row;
		char file[128];
		struct kv_iter *it = kv_iter_new(b->pool->kv, KV_PACK, NULL, 0, false);
		struct slice key, val;
		int r = kv_iter_next(it, &key, &val);
		kv_iter_free(it);
		if (r == 1) {
			read_first_pack(b, &row, file, sizeof file);
			damage_pack(b, (off_t)(prng_next(seed) % 300), "?!");
		}
		close_pool(b);
	}
}

static void test_random_damage(void **state)
{
	struct bed *b = *state;
	struct repair_report report;
	struct pool_error err = { 0 };
	for (uint64_t round = 1; round <= 30; round++) {
		uint64_t seed = round;
		damage_at_random(b, &seed);
		assert_int_equal(run_repair(b, false, true, &report), 0);
		if (report.left)
			fail_msg("round %lu leaves %lu errors:\n%s", round, report.left, b->found);
		assert_int_equal(run_repair(b, false, false, &report), 0);
		if (report.left)
			fail_msg("round %lu: later on\n%s", round, b->found);
		if (pool_open(b->path, NULL, false, 0, &b->pool, &err) < 0)
			fail_msg("round %lu: %s", round, err.text);
		close_pool(b);
	}
}

/* ---- ended in the middle ---- */

/* Runs a repair in a process that ends at its nth commit. True: it came to its end before. */
static bool repair_until(struct bed *b, unsigned nth)
{
	int status;
	struct repair_report report;
	pid_t pid = fork();
	if (pid == 0) {
		char spec[64];
		snprintf(spec, sizeof spec, "repair_commit:%u=crash", nth);
		fault_arm(spec);
		run_repair(b, false, true, &report);
		_exit(report.left ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 99);
	return WEXITSTATUS(status) == 0;
}

static void test_interrupted(void **state)
{
	struct bed *b = *state;
	struct repair_report report;
	struct pool_error err = { 0 };
	bool ended = false;
	unsigned nth = 1;
	for (; !ended && nth < 100; nth++) {
		uint64_t seed = 1000 + nth;
		damage_at_random(b, &seed);
		ended = repair_until(b, nth);
		assert_int_equal(run_repair(b, false, true, &report), 0);
		if (report.left)
			fail_msg("ended at commit %u; %lu are left:\n%s", nth, report.left,
				 b->found);
		if (pool_open(b->path, NULL, false, 0, &b->pool, &err) < 0)
			fail_msg("ended at commit %u: %s", nth, err.text);
		close_pool(b);
	}
	assert_true(nth > 10);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
#define RANDOM(f) cmocka_unit_test_setup_teardown(f, setup_grown, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_counters),
		TEST(test_reference_counts),
		TEST(test_sequences),
		TEST(test_seed),
		TEST(test_names_to_nothing),
		TEST(test_types_of_names),
		TEST(test_names_in_the_wrong_place),
		TEST(test_inodes_without_names),
		TEST(test_directories_out_of_reach),
		TEST(test_root_is_gone),
		TEST(test_content_of_small_files),
		TEST(test_lost_small_file),
		TEST(test_rows_that_cannot_be_read),
		TEST(test_maps),
		TEST(test_beyond_a_segment),
		TEST(test_zeros_of_maps),
		TEST(test_a_map_that_is_gone),
		TEST(test_a_segment_that_is_gone),
		TEST(test_chunks_that_are_nowhere),
		TEST(test_chunk_index_from_packs),
		cmocka_unit_test_setup_teardown(test_a_frame_given_back, setup, teardown),
		TEST(test_rotten_frame_rows),
		TEST(test_rotten_rows_and_a_dump),
		TEST(test_no_index_and_no_dump),
		TEST(test_a_missing_pack),
		TEST(test_pack_header),
		TEST(test_pack_footer),
		TEST(test_a_cut_pack),
		TEST(test_a_frames_head),
		TEST(test_a_half_healed_frame),
		TEST(test_missing_staging_files),
		RANDOM(test_random_damage),
		RANDOM(test_interrupted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
