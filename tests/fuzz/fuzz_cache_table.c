// SPDX-License-Identifier: MIT
/* Input: u8 flags; POOL/cache/table of a region of 4 MiB. What is kept must lie within the region,
 * no granule belong to two entries, and the table written at close be worth the same. */
#include "cache_format.h"
#include "cache_region.h"
#include "cleanup.h"
#include "digest.h"
#include "fuzz.h"
#include <errno.h>

enum { SEAL = 1, FIT_COUNT = 2, FILL = 4 };
#define REGION_BYTES (4u << 20)
#define GRANULES (REGION_BYTES / ARENA_GRANULE)

static const uint8_t uuid[16] = "a uuid of a pool";

static void seal(uint8_t *table, size_t len, uint8_t flags)
{
	struct cache_table_header h;
	if (len < sizeof h)
		return;
	memcpy(&h, table, sizeof h);
	if (flags & FIT_COUNT)
		h.entries = (len - sizeof h) / sizeof(struct cache_table_entry);
	if (flags & SEAL)
		h.sum = checksum64_seeded(table + sizeof h, len - sizeof h,
					  checksum64(&h, offsetof(struct cache_table_header, sum)));
	memcpy(table, &h, sizeof h);
}

struct seen {
	struct cache_region *region;
	uint64_t entries;
	bool taken[GRANULES];
};

static void see(void *arg, const struct arena_entry *e)
{
	struct seen *s = arg;
	must(e->len && e->len <= FRAME_DECODED_MAX);
	for (uint32_t i = 0; i * ARENA_GRANULE < e->len; i++) {
		must(e->granules[i] < GRANULES && !s->taken[e->granules[i]]);
		s->taken[e->granules[i]] = true;
	}
	int r = cache_region_verify(s->region, e);
	must(r == 0 || r == -EUCLEAN);
	s->entries++;
}

/* Whether the arena still works: it gives room until there is none. */
static void fill(struct cache_region *region)
{
	static uint8_t data[FRAME_DECODED_MAX];
	for (uint64_t i = 0; i < 40; i++) {
		struct cache_key key = { 1000, i };
		struct arena_entry *e = arena_reserve(region->arena, key, FRAME_DECODED_MAX - 1);
		if (!e)
			continue;
		must(cache_region_fill(region, e, data) == 0);
		arena_commit(region->arena, e);
		arena_put(region->arena, e);
	}
	arena_forget_pack(region->arena, 1000);
}

static int open_region(struct cache_region *region, uint64_t *ret_kept)
{
	struct cache_options opt = { .dirfd = fuzz_dirfd(), .region_bytes = REGION_BYTES };
	memcpy(opt.pool_uuid, uuid, sizeof opt.pool_uuid);
	return cache_region_open(region, &opt, ret_kept);
}

bool fuzz_one(struct slice in)
{
	uint8_t flags = take_u8(&in);
	struct cache_region region;
	uint64_t kept = 0, again = 0;
	CLEANUP_FREE uint8_t *table = malloc(in.len + 1);
	if (in.len)
		memcpy(table, in.at, in.len);
	seal(table, in.len, flags);
	fuzz_put_file(fuzz_dirfd(), "table", table, in.len);
	must(open_region(&region, &kept) == 0);
	struct seen s = { .region = &region };
	arena_each(region.arena, see, &s);
	must(s.entries == kept && kept <= GRANULES);
	must(cache_region_close(&region, fuzz_dirfd(), uuid) == 0);
	must(open_region(&region, &again) == 0);
	must(again == kept);
	if (flags & FILL) /* most of the time a run takes */
		fill(&region);
	must(cache_region_close(&region, fuzz_dirfd(), uuid) == 0);
	return kept;
}

static void put_head(struct buf *b, unsigned shards)
{
	struct cache_table_header h = {
		.magic = CACHE_TABLE_MAGIC,
		.version = CACHE_TABLE_VERSION,
		.granule = ARENA_GRANULE,
		.region_bytes = REGION_BYTES,
		.shards = shards,
	};
	memcpy(h.pool_uuid, uuid, sizeof uuid);
	buf_put_u8(b, SEAL | FIT_COUNT | FILL);
	buf_put(b, &h, sizeof h);
}

static void put_entry(void *arg, const struct arena_entry *e)
{
	struct cache_table_entry t = { e->key.pack, e->key.offset, e->sum, e->len, 0, { 0 } };
	memcpy(t.granules, e->granules, (e->len + ARENA_GRANULE - 1) / ARENA_GRANULE * 4);
	buf_put(arg, &t, sizeof t);
}

void fuzz_seeds(void)
{
	static uint8_t data[FRAME_DECODED_MAX];
	struct cache_region region;
	struct buf b = { 0 };
	uint64_t kept;
	must(open_region(&region, &kept) == 0);
	for (uint32_t i = 0; i < 8; i++) {
		struct cache_key key = { 1, 64 + i * 8 };
		struct arena_entry *e = arena_reserve(region.arena, key, 1 + i * 30000);
		must(e && cache_region_fill(&region, e, data) == 0);
		arena_commit(region.arena, e);
		arena_put(region.arena, e);
	}
	put_head(&b, arena_shards(region.arena));
	arena_each(region.arena, put_entry, &b);
	must(cache_region_close(&region, fuzz_dirfd(), uuid) == 0);
	fuzz_seed("eight_filled", b.data, b.len);
	b.data[0] ^= FILL;
	fuzz_seed_buf("eight", &b);
}
