// SPDX-License-Identifier: MIT
/* cache_format: POOL/cache/table, which says what POOL/cache/region holds. Little-endian.
 *
 *   table := cache_table_header cache_table_entry*entries
 *
 * The region itself is granules of 32 KiB and nothing else. The table is written when the cache is
 * closed and removed before the cache is used: one that is there describes the region as it is.
 */
#ifndef FOLDFS_CACHE_FORMAT_H
#define FOLDFS_CACHE_FORMAT_H
#include <assert.h>
#include <stdint.h>

#define CACHE_TABLE_MAGIC 0x6c6274636c6f66ffull /* "\xfffolctbl" */
#define CACHE_TABLE_VERSION 1u

struct cache_table_header {
	uint64_t magic;
	uint32_t version;
	uint32_t granule;
	uint8_t pool_uuid[16];
	uint64_t region_bytes;
	uint64_t entries;
	uint32_t shards;
	uint32_t reserved;
	uint64_t sum; /* XXH3-64 of the entries, seeded with that of the bytes before this field */
};
static_assert(sizeof(struct cache_table_header) == 64, "cache table header");

struct cache_table_entry { /* least recently used first, within a shard */
	uint64_t pack, offset;
	uint64_t
		sum; /* of the decoded bytes: XXH3-64 of each granule's, seeded with the last one's */
	uint32_t len;
	uint32_t reserved;
	uint32_t granules[8]; /* those that `len` needs; else 0 */
};
static_assert(sizeof(struct cache_table_entry) == 64, "cache table entry");
#endif
