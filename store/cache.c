// SPDX-License-Identifier: MIT
/* Admission follows 2Q (Johnson and Shasha, 1994): a frame used once waits in the ring, anonymous
 * memory in LRU order; one that is wanted again goes to the region. "Again" means bytes that were
 * asked for before: a sequential reader takes a frame in several requests, and that is one use.
 * What leaves the ring unwanted is remembered as a fingerprint ("ghost") for about as many frames
 * as the region holds, so that coming back after a while counts as the second time as well.
 * Ghosts are approximate: a fingerprint may be overwritten early, which costs one more decode.
 *
 * The region is evicted from the high to the low watermark by a thread, so that readers seldom have
 * to; a reader that finds a shard full evicts for itself.
 *
 * Everything a caller is given was either put here by cache_put() since the open, or compared with
 * its checksum at its first use since then. Errors are not reported: the cache is then a miss.
 *
 * Locks: the shards' (arena.c), and `lock` for waking the thread; never both. Ghosts are atomics.
 */
#include "cache.h"
#include "cache_region.h"
#include "cleanup.h"
#include "log.h"
#include "numa.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>

#define RING_DEFAULT (32u << 20)
#define HIGH_DEFAULT 95u
#define LOW_DEFAULT 85u
#define GHOST_WAYS 4u

struct cache {
	struct cache_options opt;
	struct cache_region region; /* arena NULL: ring only */
	struct arena *ring;
	uint8_t *ring_base;
	_Atomic uint64_t *ghosts;
	uint64_t ghost_mask;
	_Atomic uint32_t ghost_turn;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t evictor;
	bool evictor_runs, full, stopping;

	_Atomic uint64_t hits, misses;
	uint64_t kept;
};

static uint64_t fingerprint(struct cache_key key)
{
	uint64_t x = key.pack * 0xd6e8feb86659fd93u + key.offset;
	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
	return (x ^ x >> 29) | 1;
}

static void ghost_add(void *arg, struct cache_key key)
{
	struct cache *c = arg;
	uint64_t f = fingerprint(key), set = f >> 8 & c->ghost_mask & ~(uint64_t)(GHOST_WAYS - 1);
	uint32_t way = atomic_fetch_add(&c->ghost_turn, 1) % GHOST_WAYS;
	atomic_store(&c->ghosts[set + way], f);
}

static bool ghost_take(struct cache *c, struct cache_key key)
{
	uint64_t f = fingerprint(key), set = f >> 8 & c->ghost_mask & ~(uint64_t)(GHOST_WAYS - 1);
	for (uint32_t i = 0; i < GHOST_WAYS; i++) {
		uint64_t expected = f;
		if (atomic_compare_exchange_strong(&c->ghosts[set + i], &expected, 0))
			return true;
	}
	return false;
}

static void *evictor_main(void *arg)
{
	struct cache *c = arg;
	pthread_setname_np(pthread_self(), "cache-evict");
	pthread_mutex_lock(&c->lock);
	while (!c->stopping) {
		if (!c->full) {
			pthread_cond_wait(&c->wake, &c->lock);
			continue;
		}
		c->full = false;
		pthread_mutex_unlock(&c->lock);
		arena_shrink(c->region.arena, c->opt.low_percent);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void wake_evictor(struct cache *c)
{
	SCOPED_LOCK(&c->lock);
	c->full = true;
	pthread_cond_signal(&c->wake);
}

static void spread_ring(void *base, uint64_t bytes)
{
	int r = numa_spread_mapping(base, bytes);
	if (r < 0 && r != -ENOSYS) /* no NUMA is one node */
		log_warn("cache: the kernel does not let us spread memory over its nodes: %s",
			 strerror(-r));
}

static int open_ring(struct cache *c)
{
	uint64_t bytes = c->opt.ring_bytes / ARENA_GRANULE * ARENA_GRANULE;
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	madvise(base, bytes, MADV_DONTDUMP);
	if (c->opt.huge_pages)
		madvise(base, bytes, MADV_HUGEPAGE);
	if (c->opt.interleave)
		spread_ring(base, bytes);
	c->ring_base = base;
	uint64_t ghosts = 1024;
	while (ghosts < 2 * c->opt.region_bytes / FRAME_DECODED_MAX)
		ghosts *= 2;
	c->ghost_mask = ghosts - 1;
	c->ghosts = calloc(ghosts, sizeof *c->ghosts);
	if (!c->ghosts)
		return -ENOMEM;
	return arena_new(base, bytes, ghost_add, c, &c->ring);
}

static void leave_out_region(struct cache *c)
{
	if (c->opt.region_bytes)
		log_warn("cache: a region of %llu bytes is too small to be of use (%u at least): "
			 "memory only",
			 (unsigned long long)c->opt.region_bytes, CACHE_REGION_MIN);
	int r = c->opt.dirfd < 0 ? 0 : cache_region_remove(c->opt.dirfd);
	if (r < 0)
		log_warn("cache: what an earlier mount cached stays on the disk: %s", strerror(-r));
}

static int open_region(struct cache *c)
{
	if (c->opt.read_only)
		return 0;
	if (c->opt.region_bytes < CACHE_REGION_MIN) {
		leave_out_region(c);
		return 0;
	}
	int r = cache_region_open(&c->region, &c->opt, &c->kept);
	if (r < 0) {
		log_warn("cache: no region, memory only: %s", strerror(-r));
		return 0;
	}
	r = -pthread_create(&c->evictor, NULL, evictor_main, c);
	c->evictor_runs = r == 0;
	return r;
}

int cache_open(const struct cache_options *opt, struct cache **ret_c)
{
	struct cache *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->opt = *opt;
	c->region.fd = -1;
	c->opt.dirfd = -1;
	if (!c->opt.ring_bytes)
		c->opt.ring_bytes = RING_DEFAULT;
	if (c->opt.ring_bytes < FRAME_DECODED_MAX)
		c->opt.ring_bytes = FRAME_DECODED_MAX;
	if (!c->opt.high_percent || c->opt.high_percent > 100)
		c->opt.high_percent = HIGH_DEFAULT;
	if (!c->opt.low_percent || c->opt.low_percent > c->opt.high_percent)
		c->opt.low_percent = c->opt.high_percent * LOW_DEFAULT / HIGH_DEFAULT;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	int r = 0;
	if (opt->dirfd >= 0) {
		c->opt.dirfd = fcntl(opt->dirfd, F_DUPFD_CLOEXEC, 0);
		r = c->opt.dirfd < 0 ? -errno : 0;
	}
	if (r == 0)
		r = open_ring(c);
	if (r == 0)
		r = open_region(c);
	if (r < 0) {
		cache_close(c);
		return r;
	}
	*ret_c = c;
	return 0;
}

void cache_close(struct cache *c)
{
	if (!c)
		return;
	if (c->evictor_runs) {
		pthread_mutex_lock(&c->lock);
		c->stopping = true;
		pthread_cond_signal(&c->wake);
		pthread_mutex_unlock(&c->lock);
		pthread_join(c->evictor, NULL);
	}
	if (c->region.arena) {
		int r = cache_region_close(&c->region, c->opt.dirfd, c->opt.pool_uuid);
		if (r < 0)
			log_warn("cache: what it holds is not kept: %s", strerror(-r));
	}
	arena_free(c->ring);
	if (c->ring_base)
		munmap(c->ring_base, c->opt.ring_bytes / ARENA_GRANULE * ARENA_GRANULE);
	free(c->ghosts);
	if (c->opt.dirfd >= 0)
		close(c->opt.dirfd);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static bool within(const struct arena_entry *e, uint32_t at, uint32_t len)
{
	return at <= e->len && len <= e->len - at;
}

/* Both bring pages of the file into memory, where the thread's policy places them. */
static int region_fill(struct cache *c, struct arena_entry *e, const void *data,
		       const struct arena_entry *source)
{
	struct numa_policy before;
	bool spread = c->opt.interleave && numa_spread_thread(&before) == 0;
	int r = data ? cache_region_fill(&c->region, e, data)
		     : cache_region_fill_from(&c->region, e, c->ring, source);
	if (spread)
		numa_restore_thread(&before);
	return r;
}

static int region_verify(struct cache *c, const struct arena_entry *e)
{
	struct numa_policy before;
	bool spread = c->opt.interleave && numa_spread_thread(&before) == 0;
	int r = cache_region_verify(&c->region, e);
	if (spread)
		numa_restore_thread(&before);
	return r;
}

/* 1 hit, 0 miss. */
static int read_region(struct cache *c, struct cache_key key, uint32_t at, uint32_t len, void *out,
		       bool may_block)
{
	struct arena *a = c->region.arena;
	struct arena_entry *e = a ? arena_get(a, key, true) : NULL;
	if (!e)
		return 0;
	bool trusted = atomic_load(&e->trusted);
	if (!trusted && may_block) {
		if (region_verify(c, e) < 0) {
			arena_put_drop(a, e);
			return 0;
		}
		atomic_store(&e->trusted, true);
		trusted = true;
	}
	bool hit = trusted && within(e, at, len);
	if (hit && cache_region_read(&c->region, e, at, len, out) < 0) {
		arena_put_drop(a, e);
		return 0;
	}
	arena_put(a, e);
	return hit;
}

/* The pages (of 4 KiB, up to 64) that begin in the range. A sequential reader begins each once. */
static uint64_t pages_begun(uint32_t at, uint32_t len)
{
	uint32_t first = (at + 4095) / 4096, behind = (at + len + 4095) / 4096;
	uint64_t below_behind = behind >= 64 ? UINT64_MAX : (1ull << behind) - 1;
	return first >= 64 ? 0 : below_behind & ~((1ull << first) - 1);
}

static bool admit(struct cache *c, struct cache_key key, const void *data,
		  const struct arena_entry *source, uint32_t len)
{
	struct arena *a = c->region.arena;
	struct arena_entry *e = arena_reserve(a, key, len);
	if (!e)
		return false;
	if (region_fill(c, e, data, source) < 0) {
		arena_put_drop(a, e);
		return false;
	}
	arena_commit(a, e);
	if (arena_above(a, key, c->opt.high_percent))
		wake_evictor(c);
	return true;
}

static int read_ring(struct cache *c, struct cache_key key, uint32_t at, uint32_t len, void *out)
{
	struct arena_entry *e = arena_get(c->ring, key, true);
	if (!e)
		return 0;
	bool hit = within(e, at, len);
	bool again = false;
	if (hit) {
		uint64_t pages = pages_begun(at, len);
		arena_copy(c->ring, e, at, len, out);
		again = atomic_fetch_or(&e->seen, pages) & pages;
	}
	if (again && c->region.arena && admit(c, key, NULL, e, e->len))
		arena_put_drop(c->ring, e);
	else
		arena_put(c->ring, e);
	return hit;
}

static int read_either(struct cache *c, struct cache_key key, uint32_t at, uint32_t len, void *out,
		       bool may_block)
{
	int hit = read_region(c, key, at, len, out, may_block) || read_ring(c, key, at, len, out);
	atomic_fetch_add_explicit(hit ? &c->hits : &c->misses, 1, memory_order_relaxed);
	return hit;
}

int cache_read(struct cache *c, struct cache_key key, uint32_t at, uint32_t len, void *out)
{
	return read_either(c, key, at, len, out, true);
}

int cache_try_read(struct cache *c, struct cache_key key, uint32_t at, uint32_t len, void *out)
{
	return read_either(c, key, at, len, out, false);
}

static bool arena_has(struct arena *a, struct cache_key key)
{
	struct arena_entry *e = a ? arena_get(a, key, false) : NULL;
	if (e)
		arena_put(a, e);
	return e;
}

bool cache_has(struct cache *c, struct cache_key key)
{
	return arena_has(c->region.arena, key) || arena_has(c->ring, key);
}

void cache_put(struct cache *c, struct cache_key key, const void *data, uint32_t len)
{
	if (!len || len > FRAME_DECODED_MAX || cache_has(c, key))
		return;
	if (c->region.arena && ghost_take(c, key) && admit(c, key, data, NULL, len))
		return;
	struct arena_entry *e = arena_reserve(c->ring, key, len);
	if (!e)
		return;
	for (uint32_t done = 0, n; done < len; done += n)
		memcpy(arena_bytes(c->ring, e, done, &n), (const uint8_t *)data + done,
		       len - done < ARENA_GRANULE ? len - done : ARENA_GRANULE);
	arena_commit(c->ring, e);
}

void cache_used(struct cache *c, struct cache_key key, uint32_t at, uint32_t len)
{
	struct arena_entry *e = arena_get(c->ring, key, false);
	if (!e)
		return;
	atomic_fetch_or(&e->seen, pages_begun(at, len));
	arena_put(c->ring, e);
}

void cache_forget_pack(struct cache *c, uint64_t pack)
{
	arena_forget_pack(c->ring, pack);
	if (c->region.arena)
		arena_forget_pack(c->region.arena, pack);
}

void cache_get_stats(struct cache *c, struct cache_stats *ret_stats)
{
	struct cache_stats s = {
		.hits = atomic_load(&c->hits),
		.misses = atomic_load(&c->misses),
		.kept_over_remount = c->kept,
	};
	uint64_t ring_frames;
	arena_usage(c->ring, &s.ring_bytes, &ring_frames);
	if (c->region.arena) {
		s.region_bytes = c->region.bytes;
		s.evicted = arena_evicted(c->region.arena);
		arena_usage(c->region.arena, &s.used_bytes, &s.frames);
	}
	*ret_stats = s;
}
