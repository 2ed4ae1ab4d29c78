// SPDX-License-Identifier: MIT
/* chunk_pool: a throw-away pool of packs with its index, for tests of what stores and reads chunks.
 * A crash is a copy of the directories as they are at that moment.
 */
#ifndef FOLDFS_TEST_CHUNK_POOL_H
#define FOLDFS_TEST_CHUNK_POOL_H
#include "kv_pool.h"
#include "chunks.h"
#include "rows_format.h"

#define CHUNK_POOL_IDS 4096u
#define CHUNK_POOL_MAX_OPEN 16u

struct chunk_pool {
	struct pool pool;
	char packs_dir[80], cache_dir[80];
	int packs_fd, cache_fd;
	uint64_t target, region_bytes, ring_bytes;
	bool no_rows; /* frames are appended, and the index never hears of them */
	struct kv *kv;
	struct packs *packs;
	struct cache *cache;
	struct chunks *chunks;
	uint32_t len[CHUNK_POOL_IDS];
	struct frame_row last; /* without its chunks */
};

/* The bytes of a chunk follow from its id; even ids compress. */
static inline void chunk_pool_bytes(uint64_t id, uint8_t *to, uint32_t len)
{
	uint64_t x = id * 0x9e3779b97f4a7c15u + 1;
	for (uint32_t i = 0; i < len; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		to[i] = id % 2 ? (uint8_t)(x >> 32) : (uint8_t)('a' + x % 5);
	}
}

static inline void chunk_pool_dirs(struct chunk_pool *cp)
{
	snprintf(cp->packs_dir, sizeof cp->packs_dir, "%s/packs", cp->pool.dir);
	snprintf(cp->cache_dir, sizeof cp->cache_dir, "%s/cache", cp->pool.dir);
	mkdir(cp->packs_dir, 0700);
	mkdir(cp->cache_dir, 0700);
	cp->packs_fd = open(cp->packs_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cp->cache_fd = open(cp->cache_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(cp->packs_fd >= 0 && cp->cache_fd >= 0);
}

static inline int chunk_pool_try_recover(struct chunk_pool *cp, bool read_only)
{
	cp->kv = pool_open(&cp->pool);
	struct packs_options opt = {
		.dirfd = cp->packs_fd,
		.kv = cp->kv,
		.target_bytes = cp->target,
		.max_open = CHUNK_POOL_MAX_OPEN,
		.read_only = read_only,
	};
	memcpy(opt.pool_uuid, cp->pool.opt.pool_uuid, 16);
	int r = packs_open(&opt, &cp->packs);
	if (r < 0)
		return r;
	struct cache_options copt = {
		.dirfd = cp->cache_fd,
		.region_bytes = cp->region_bytes,
		.ring_bytes = cp->ring_bytes,
	};
	memcpy(copt.pool_uuid, cp->pool.opt.pool_uuid, 16);
	assert_int_equal(cache_open(&copt, &cp->cache), 0);
	return chunks_open(cp->kv, cp->packs, cp->cache, &cp->chunks);
}

static inline void chunk_pool_recover(struct chunk_pool *cp)
{
	assert_int_equal(chunk_pool_try_recover(cp, false), 0);
}

static inline void chunk_pool_open(struct chunk_pool *cp, uint64_t target)
{
	memset(cp, 0, sizeof *cp);
	cp->target = target;
	pool_make(&cp->pool);
	chunk_pool_dirs(cp);
	chunk_pool_recover(cp);
}

/* Closes what is open; the first error. */
static inline int chunk_pool_abandon(struct chunk_pool *cp)
{
	chunks_close(cp->chunks);
	cache_close(cp->cache);
	int r = packs_close(cp->packs), r2 = cp->kv ? kv_close(cp->kv) : 0;
	cp->chunks = NULL;
	cp->cache = NULL;
	cp->packs = NULL;
	cp->kv = NULL;
	return r ? r : r2;
}

static inline void chunk_pool_stop(struct chunk_pool *cp)
{
	assert_int_equal(chunk_pool_abandon(cp), 0);
}

static inline void chunk_pool_reopen(struct chunk_pool *cp)
{
	chunk_pool_stop(cp);
	chunk_pool_recover(cp);
}

static inline void chunk_pool_remove(struct chunk_pool *cp)
{
	close(cp->packs_fd);
	close(cp->cache_fd);
	pool_remove(&cp->pool);
}

static inline void chunk_pool_close(struct chunk_pool *cp)
{
	chunk_pool_stop(cp);
	chunk_pool_remove(cp);
}

/* Goes on with a copy of what is on disk now; nothing is open afterwards. */
static inline void chunk_pool_crash(struct chunk_pool *cp)
{
	struct chunk_pool old = *cp;
	char command[256];
	pool_make(&cp->pool);
	snprintf(command, sizeof command, "cp -a %s/. %s/", old.pool.dir, cp->pool.dir);
	assert_int_equal(system(command), 0);
	chunk_pool_dirs(cp);
	cp->kv = NULL;
	cp->packs = NULL;
	cp->cache = NULL;
	cp->chunks = NULL;
	chunk_pool_abandon(&old);
	chunk_pool_remove(&old);
}

/* Stores chunks first .. first + n - 1 of these lengths as one frame. */
static inline int chunk_pool_add_frame(struct chunk_pool *cp, uint64_t first, uint32_t n,
				       uint32_t len, int level)
{
	struct frame_builder *fb;
	struct frame_chunk *chunks = calloc(n, sizeof *chunks);
	uint8_t *data = malloc(len);
	struct frame_row row;
	assert_int_equal(frame_builder_new(&fb), 0);
	for (uint32_t i = 0; i < n; i++) {
		struct digest d;
		chunk_pool_bytes(first + i, data, len);
		digest_of(data, len, &d);
		frame_add(fb, first + i, &d, data, len);
		cp->len[first + i] = len;
	}
	assert_int_equal(frame_seal(fb, level), 0);
	struct kv_batch *b = kv_batch_new();
	int r = pack_append(cp->packs, PACK_STREAM_NEW, fb, b, chunks, &row);
	if (r == 0 && !cp->no_rows) {
		chunk_put_frame(b, &row);
		r = kv_commit(cp->kv, b, NULL);
	} else {
		kv_batch_free(b);
	}
	if (r == 0) {
		static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
		SCOPED_LOCK(&lock);
		row.chunks = NULL;
		cp->last = row;
	}
	frame_builder_free(fb);
	free(chunks);
	free(data);
	return r;
}

static inline int chunk_pool_add(struct chunk_pool *cp, uint64_t id, uint32_t len, int level)
{
	return chunk_pool_add_frame(cp, id, 1, len, level);
}

/* How many of chunks 1..n are there; those are checked. */
static inline unsigned chunk_pool_check_present(struct chunk_pool *cp, unsigned n)
{
	unsigned present = 0;
	for (unsigned id = 1; id <= n; id++) {
		uint8_t *want = malloc(cp->len[id] + 1), *got = malloc(cp->len[id] + 1);
		int r = chunk_read(cp->chunks, id, got, cp->len[id]);
		assert_true(r == 0 || r == -ENOENT);
		chunk_pool_bytes(id, want, cp->len[id]);
		if (r == 0)
			assert_memory_equal(got, want, cp->len[id]);
		present += r == 0;
		free(want);
		free(got);
	}
	return present;
}

static inline void chunk_pool_check_all(struct chunk_pool *cp, unsigned n)
{
	assert_int_equal(chunk_pool_check_present(cp, n), n);
}

static inline unsigned chunk_pool_files(struct chunk_pool *cp)
{
	unsigned n = 0;
	CLEANUP_CLOSEDIR DIR *dir = opendir(cp->packs_dir);
	for (struct dirent *e; (e = readdir(dir));)
		n += strstr(e->d_name, ".pack") != NULL;
	return n;
}

static inline int chunk_pool_pack_fd(struct chunk_pool *cp, unsigned pack)
{
	char name[40];
	snprintf(name, sizeof name, "%016x.pack", pack);
	int fd = openat(cp->packs_fd, name, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

#define CHUNK_POOL_NEXT META_IDS_PREFIX "pack"

/* The number that the next pack will have; while nothing is open. */
static inline uint64_t chunk_pool_next(struct chunk_pool *cp)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct kv *kv = pool_open(&cp->pool);
	assert_int_equal(kv_get(kv, KV_META, CHUNK_POOL_NEXT, strlen(CHUNK_POOL_NEXT), &val), 0);
	assert_int_equal(kv_close(kv), 0);
	return get_le64(val.data);
}

static inline void chunk_pool_set_next(struct chunk_pool *cp, uint64_t next)
{
	uint8_t val[8];
	struct kv *kv = pool_open(&cp->pool);
	struct kv_batch *b = kv_batch_new();
	put_le64(val, next);
	kv_batch_put(b, KV_META, CHUNK_POOL_NEXT, strlen(CHUNK_POOL_NEXT), val, sizeof val);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(kv_close(kv), 0);
}

/* While nothing is open. */
static inline void chunk_pool_drop_row(struct chunk_pool *cp, uint64_t pack)
{
	struct kv *kv = pool_open(&cp->pool);
	struct kv_batch *b = kv_batch_new();
	pack_delete(b, pack);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(kv_close(kv), 0);
}
#endif
