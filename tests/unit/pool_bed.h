// SPDX-License-Identifier: MIT
/* pool_bed: a throw-away pool with metadata in all tables, made by batches, and what it should hold. */
#ifndef FOLDFS_TEST_POOL_BED_H
#define FOLDFS_TEST_POOL_BED_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "cleanup.h"
#include "digest.h"
#include "digests_format.h"
#include "dirent_row.h"
#include "extent_row.h"
#include "inode_row.h"
#include "pool.h"
#include "prng.h"
#include "rows_format.h"
#include "xattr_row.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct pool_bed {
	char path[64];
	struct pool *pool;
	struct pool_error err;
	uint64_t seed, files;
};

/* What all tables but the digests' hold: a hash over rows in order, and their number. */
struct holdings {
	uint64_t hash[KV_TABLES], rows[KV_TABLES];
	int errors; /* -EUCLEAN met on the way */
};

static inline void bed_path(struct pool_bed *b)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(b->path, sizeof b->path, "%.40s/foldfs-bed-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(b->path));
}

static inline void bed_open(struct pool_bed *b)
{
	int r = pool_open(b->path, NULL, false, 0, &b->pool, &b->err);
	if (r < 0)
		fail_msg("%s", b->err.text);
}

static inline void bed_close(struct pool_bed *b)
{
	assert_int_equal(pool_close(TAKE_PTR(b->pool)), 0);
}

static inline void bed_make(struct pool_bed *b, const char *options)
{
	struct config config;
	struct config_error cerr;
	*b = (struct pool_bed){ .seed = 1 };
	bed_path(b);
	config_defaults(&config);
	assert_int_equal(config_apply(&config, "reserve_size=0,cache_size=0,dump_interval=30d",
				      CONFIG_MKFS | CONFIG_POOL, &cerr),
			 0);
	if (options)
		assert_int_equal(config_apply(&config, options, CONFIG_MKFS | CONFIG_POOL, &cerr),
				 0);
	assert_int_equal(pool_create(b->path, &config, &b->err), 0);
	bed_open(b);
}

static inline int bed_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void bed_remove(struct pool_bed *b)
{
	if (b->pool)
		bed_close(b);
	nftw(b->path, bed_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A second pool as a crash at this moment would leave the first: the log is copied last. */
static inline void bed_copy(const struct pool_bed *from, struct pool_bed *to)
{
	char cmd[512];
	*to = (struct pool_bed){ .seed = from->seed, .files = from->files };
	bed_path(to);
	snprintf(cmd, sizeof cmd,
		 "cd '%s' && cp -a super lock foldfs.conf index staging packs cache '%s/' && "
		 "cp -a --sparse=always wal '%s/'",
		 from->path, to->path, to->path);
	assert_int_equal(system(cmd), 0);
}

/* One more file, in a directory of its own for every 64: name, inode, sometimes content and
 * attributes, now and then one with a value that needs pages of its own. */
static inline void bed_add_file(struct pool_bed *b)
{
	struct kv_batch *batch = kv_batch_new();
	struct inode_row row = { .mode = S_IFREG | 0644, .nlink = 1, .uid = 7 };
	char name[64];
	uint8_t bytes[3000];
	uint64_t n = b->files++;
	assert_int_equal(ids_next(b->pool->inode_ids, &row.ino), 0);
	prng_fill(&b->seed, bytes, sizeof bytes);
	row.size = prng_below(&b->seed, 300);
	row.mtime = (int64_t)prng_below(&b->seed, 1ull << 60);
	row.flags = INODE_INLINE;
	inline_put(batch, row.ino, bytes, row.size);
	if (n % 5 == 0) {
		row.flags |= INODE_XATTRS;
		xattr_put(batch, row.ino, "user.note", bytes, n % 100 == 0 ? sizeof bytes : 40);
	}
	inode_row_put(batch, &row);
	snprintf(name, sizeof name, "file %lu of the bed", n);
	assert_int_equal(dirent_put(b->pool->kv, batch, 1 + n / 64, name, row.ino, 8), 0);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
}

/* Changes and removals, so that LMDB has free pages. */
static inline void bed_churn(struct pool_bed *b, unsigned times)
{
	uint8_t key[8];
	for (unsigned i = 0; i < times; i++) {
		uint64_t ino = INO_FIRST + prng_below(&b->seed, b->files);
		struct kv_batch *batch = kv_batch_new();
		struct inode_row row;
		if (inode_row_get(b->pool->kv, ino, &row) == 0) {
			row.mtime++;
			inode_row_put(batch, &row);
		}
		put_be64(key, ino);
		if (i % 3 == 0)
			kv_batch_delete(batch, KV_INLINE, key, sizeof key);
		assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	}
}

static inline void bed_fill(struct pool_bed *b, unsigned files)
{
	for (unsigned i = 0; i < files; i++)
		bed_add_file(b);
	assert_int_equal(kv_checkpoint(b->pool->kv), 0);
	bed_churn(b, files / 4);
	assert_int_equal(kv_checkpoint(b->pool->kv), 0);
	bed_churn(b, files / 4);
	assert_int_equal(kv_checkpoint(b->pool->kv), 0);
}

static inline bool bed_counts(enum kv_table t, struct slice key)
{
	return t != KV_META || key.len != sizeof DIGESTS_ROW - 1 ||
	       memcmp(key.at, DIGESTS_ROW, key.len) != 0;
}

static inline void bed_holdings(struct kv *kv, struct holdings *ret)
{
	*ret = (struct holdings){ 0 };
	for (unsigned t = 0; t < KV_TABLES; t++) {
		struct kv_iter *it = kv_iter_new(kv, (enum kv_table)t, NULL, 0, false);
		struct slice key, val;
		int r;
		while ((r = kv_iter_next(it, &key, &val)) != 0) {
			ret->errors += r == -EUCLEAN;
			if (r < 0 && r != -EUCLEAN) {
				fprintf(stderr, "a row of table %u cannot be read: %d\n", t, r);
				abort();
			}
			if (r < 0 || t == KV_DIGEST || !bed_counts((enum kv_table)t, key))
				continue;
			ret->rows[t]++;
			ret->hash[t] = checksum64_seeded(key.at, key.len, ret->hash[t]);
			ret->hash[t] = checksum64_seeded(val.at, val.len, ret->hash[t]);
		}
		kv_iter_free(it);
	}
}

/* KV_META is left out: opening a pool changes what it says of numbers given out. */
static inline bool holdings_equal(const struct holdings *a, const struct holdings *b)
{
	for (unsigned t = 0; t < KV_TABLES; t++)
		if (t != KV_META && (a->hash[t] != b->hash[t] || a->rows[t] != b->rows[t]))
			return false;
	return true;
}
#endif
