// SPDX-License-Identifier: MIT
/* check_bed: a small pool with one of everything, and ways to damage its rows. */
#ifndef FOLDFS_TEST_CHECK_BED_H
#define FOLDFS_TEST_CHECK_BED_H
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

static inline void put_row(struct bed *b, const struct inode_row *row)
{
	struct kv_batch *batch = kv_batch_new();
	inode_row_put(batch, row);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
}

static inline void put_raw(struct bed *b, enum kv_table t, struct buf *key, struct buf *val)
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

static inline void put_be64_to(struct buf *b, uint64_t v)
{
	put_be64(buf_extend(b, 8), v);
}

static inline void add_name(struct bed *b, uint64_t parent, const char *name, uint64_t ino,
			    uint8_t type)
{
	struct kv_batch *batch = kv_batch_new();
	assert_int_equal(dirent_put(b->pool->kv, batch, parent, name, ino, type), 0);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
}

static inline void store_chunks(struct bed *b)
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

static inline void put_file(struct bed *b, struct inode_row *row, size_t pieces)
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

static inline void fill(struct bed *b)
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

static inline int setup(void **state)
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

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int teardown(void **state)
{
	struct bed *b = *state;
	pool_close(b->pool);
	nftw(b->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(b);
	return 0;
}

static inline void take_sentence(void *arg, const char *sentence)
{
	struct bed *b = arg;
	size_t n = strlen(b->found);
	snprintf(b->found + n, sizeof b->found - n, "%s\n", sentence);
}

static inline void run_check(struct bed *b)
{
	struct check_options opt = { .full = true, .error = take_sentence, .arg = b };
	*b->found = 0;
	assert_int_equal(check_pool(b->pool, &opt, &b->result), 0);
}

static inline void expect(struct bed *b, const char *what)
{
	run_check(b);
	if (!strstr(b->found, what))
		fail_msg("'%s' is not said in:\n%s", what, b->found);
}

static inline uint64_t segment_of(struct bed *b)
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

static inline void put_extent(struct bed *b, uint64_t ino, const struct extent_row *e)
{
	struct buf key = { 0 }, val = { 0 };
	extent_key(ino, e->at, buf_extend(&key, EXTENT_KEY_SIZE));
	extent_encode(e, &val);
	put_raw(b, KV_EXTENT, &key, &val);
}

static inline void read_first_pack(struct bed *b, struct pack_row *ret_row, char *ret_file,
				   size_t size)
{
	struct kv_iter *it = kv_iter_new(b->pool->kv, KV_PACK, NULL, 0, false);
	struct slice key, val;
	assert_int_equal(kv_iter_next(it, &key, &val), 1);
	assert_int_equal(pack_decode_row(key, val, ret_row), 0);
	kv_iter_free(it);
	snprintf(ret_file, size, "%s/packs/%016lx.pack", b->path, ret_row->id);
}
#endif
