// SPDX-License-Identifier: MIT
/* repair_bed: the small pool of check_bed.h, repaired and looked at: what is said, what is left, what its
 * files hold afterwards. */
#ifndef FOLDFS_TEST_REPAIR_BED_H
#define FOLDFS_TEST_REPAIR_BED_H
#include "check_bed.h"
#include "chunks.h"
#include "fault.h"
#include "repair_run.h"
#include <lmdb.h>
#include <sys/wait.h>

/* ---- the pool's files as one number ---- */

static uint64_t files_sum;

static int add_to_sum(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	uint8_t bytes[65536];
	ssize_t n;
	off_t at = 0;
	(void)ftw;
	uint64_t h = checksum64_seeded(path, strlen(path), (uint64_t)st->st_size);
	int fd = type == FTW_F ? open(path, O_RDONLY) : -1;
	while (fd >= 0 && (n = pread(fd, bytes, sizeof bytes, at)) > 0) {
		h = checksum64_seeded(bytes, (size_t)n, h);
		at += n;
	}
	if (fd >= 0)
		close(fd);
	files_sum += h; /* in whatever order they come */
	return 0;
}

static uint64_t sum_of(const char *path)
{
	files_sum = 0;
	assert_int_equal(nftw(path, add_to_sum, 16, FTW_PHYS), 0);
	return files_sum;
}

/* ---- opening, closing, repairing ---- */

static void open_bare(struct bed *b)
{
	struct pool_error err = { 0 };
	if (pool_open_bare(b->path, false, &b->pool, &err) < 0)
		fail_msg("%s", err.text);
}

static void close_pool(struct bed *b)
{
	assert_int_equal(pool_close(TAKE_PTR(b->pool)), 0);
}

static bool yes(void *arg, const char *question)
{
	(void)arg;
	(void)question;
	return true;
}

static void take_any(void *arg, enum repair_sentence kind, const char *sentence)
{
	static const char *const kinds[] = { "error", "note", "lost", "done" };
	struct bed *b = arg;
	size_t n = strlen(b->found);
	if (kind != REPAIR_NOTE)
		snprintf(b->found + n, sizeof b->found - n, "%s: %s\n", kinds[kind], sentence);
}

static int run_repair(struct bed *b, bool safe_only, bool may, struct repair_report *ret)
{
	struct pool_error err = { 0 };
	struct repair_call call = { .full = true,
				    .safe_only = safe_only,
				    .ask = may ? yes : NULL,
				    .say = take_any,
				    .arg = b };
	*b->found = 0;
	int r = repair_run(b->path, &call, ret, &err);
	if (r < 0)
		print_message("%s", err.text);
	return r;
}

/* Looking finds it and leaves everything; repairing makes it sound. */
static inline void expect_repair(struct bed *b, const char *sentence)
{
	struct repair_report report;
	uint64_t before = sum_of(b->path);
	assert_int_equal(run_repair(b, false, false, &report), 0);
	assert_true(report.left > 0);
	assert_int_equal(report.repaired, 0);
	assert_true(sum_of(b->path) == before);
	assert_int_equal(run_repair(b, false, true, &report), 0);
	if (report.left || !strstr(b->found, sentence))
		fail_msg("%lu are left; '%s' is to be said in:\n%s", report.left, sentence,
			 b->found);
	assert_true(report.repaired > 0);
	assert_int_equal(run_repair(b, false, false, &report), 0);
	if (report.left)
		fail_msg("later on there are errors:\n%s", b->found);
}

static inline void expect_safe(struct bed *b, const char *sentence)
{
	struct repair_report report;
	assert_int_equal(run_repair(b, true, true, &report), 0);
	if (report.left || !report.repaired || !strstr(b->found, sentence))
		fail_msg("%lu are left; '%s' is to be said in:\n%s", report.left, sentence,
			 b->found);
}

static inline void expect_not_safe(struct bed *b)
{
	struct repair_report report;
	uint64_t before = sum_of(b->path);
	assert_int_equal(run_repair(b, true, true, &report), 0);
	assert_true(report.left > 0);
	assert_int_equal(report.repaired, 0);
	assert_true(sum_of(b->path) == before);
}

/* ---- what files hold ---- */

static void expected_bytes(size_t pieces, uint8_t *out)
{
	for (size_t i = 0; i < pieces; i++) {
		uint64_t seed = 5;
		for (size_t c = 0; c <= pieces - 1 - i; c++)
			prng_fill(&seed, out + i * CHUNK, CHUNK);
	}
}

static int read_range(struct pool *pool, uint64_t ino, uint64_t at, size_t len, uint8_t *out)
{
	struct inode_row row;
	struct map_vec map = { 0 };
	int r = inode_row_get(pool->kv, ino, &row);
	if (r == 0)
		r = extents_map(pool->extents, &row, at, len, &map);
	if (r == 0)
		r = chunks_read_map(pool->chunks, &map, at, len, out);
	map_vec_done(&map);
	return r;
}

/* Mounts as it were; [from, until) of the file is lost, the rest reads as it was written. */
static void expect_content(struct bed *b, uint64_t ino, size_t pieces, size_t from, size_t until)
{
	static uint8_t want[CHUNKS * CHUNK], got[CHUNKS * CHUNK];
	struct pool_error err = { 0 };
	if (pool_open(b->path, NULL, false, 0, &b->pool, &err) < 0)
		fail_msg("%s", err.text);
	expected_bytes(pieces, want);
	for (size_t i = 0; i < pieces; i++) {
		int r = read_range(b->pool, ino, i * CHUNK, CHUNK, got);
		assert_int_equal(r, i >= from && i < until ? -EIO : 0);
		if (r == 0)
			assert_memory_equal(got, want + i * CHUNK, CHUNK);
	}
	close_pool(b);
}

static void expect_all_content(struct bed *b)
{
	expect_content(b, b->ino[FILE_INO], CHUNKS, 0, 0);
	expect_content(b, b->ino[SHORT_INO], 2, 0, 0);
}

/* ---- damage ---- */

static const char *const tables[KV_TABLES] = { "meta",	 "inode",   "dirent", "xattr",
					       "extent", "segment", "segref", "chunk",
					       "digest", "pack",    "orphan", "inline" };

/* Flips a bit in the nth row of a table, so that its checksum is wrong. False: there are fewer. */
static inline bool rot(struct bed *b, enum kv_table t, unsigned nth)
{
	char path[128];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_cursor *c;
	MDB_val key, val;
	snprintf(path, sizeof path, "%s/index", b->path);
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 32);
	mdb_env_set_mapsize(env, (size_t)16 << 30);
	assert_int_equal(mdb_env_open(env, path, MDB_NOLOCK, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, tables[t], 0, &dbi), 0);
	assert_int_equal(mdb_cursor_open(txn, dbi, &c), 0);
	int r = mdb_cursor_get(c, &key, &val, MDB_FIRST);
	while (r == 0 && nth--)
		r = mdb_cursor_get(c, &key, &val, MDB_NEXT);
	if (r == 0) {
		uint8_t *copy = malloc(val.mv_size);
		assert_non_null(copy);
		memcpy(copy, val.mv_data, val.mv_size);
		copy[0] ^= 0x10;
		val.mv_data = copy;
		assert_int_equal(mdb_cursor_put(c, &key, &val, MDB_CURRENT), 0);
		free(copy);
	}
	mdb_cursor_close(c);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	return r == 0;
}

static inline void delete_row(struct bed *b, enum kv_table t, unsigned nth)
{
	struct kv_iter *it = kv_iter_new(b->pool->kv, t, NULL, 0, false);
	struct slice key, val;
	struct kv_batch *batch = kv_batch_new();
	while (kv_iter_next(it, &key, &val) > 0)
		if (!nth--) {
			kv_batch_delete(batch, t, key.at, key.len);
			break;
		}
	kv_iter_free(it);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
}

/* So that rows have to be repaired one by one. */
static inline void remove_dumps(struct bed *b)
{
	char path[160];
	snprintf(path, sizeof path, "%s/packs", b->path);
	DIR *d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));)
		if (!strncmp(e->d_name, "dump-", 5))
			assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
	closedir(d);
}

static int setup_bare(void **state)
{
	int r = setup(state);
	if (r == 0) {
		close_pool(*state);
		remove_dumps(*state);
		open_bare(*state);
	}
	return r;
}
#endif
