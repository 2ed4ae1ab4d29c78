// SPDX-License-Identifier: MIT
/* cache: decoded frames in one mmap'd file of fixed size (POOL/cache), kept over remounts.
 *
 * Frames are admitted when they are wanted a second time: a first use stays in a small ring of
 * anonymous memory, so that one pass over a huge file neither washes out the hot set nor writes
 * the region back to the device. Victims are chosen by LRU between two watermarks, by a thread of
 * its own. What the file held is trusted after a remount only when header, pool and checksum agree.
 */
#ifndef FOLDFS_CACHE_H
#define FOLDFS_CACHE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache;

struct cache_options {
	int dirfd; /* POOL/cache; may be -1 with region_bytes 0: the ring only */
	uint8_t pool_uuid[16];
	uint64_t region_bytes; /* of the file; too few: none, not even an earlier one */
	uint64_t ring_bytes;   /* anonymous memory for first uses; 0 = 32 MiB */
	unsigned high_percent, low_percent; /* 0 = 95 and 85 */
	bool read_only;			    /* the file is not touched: ring only */
	/* hints: where the kernel does not know or allow them, things are as without */
	bool huge_pages;
	bool interleave; /* over the machine's NUMA nodes, whoever puts a frame */
};

struct cache_key {
	uint64_t pack, offset;
};

int cache_open(const struct cache_options *opt, struct cache **ret_c);
void cache_close(struct cache *c);
/* Copies [at, at+len) of the decoded frame out. 1 hit, 0 miss. */
int cache_read(struct cache *c, struct cache_key key, uint32_t at, uint32_t len, void *out);
/* The same without waiting for the device: what was kept over a remount and not yet read is a miss. */
int cache_try_read(struct cache *c, struct cache_key key, uint32_t at, uint32_t len, void *out);
bool cache_has(struct cache *c, struct cache_key key); /* without counting as a use */
void cache_put(struct cache *c, struct cache_key key, const void *data, uint32_t len);
/* Whoever put it has used these bytes: asked for once more, they are wanted a second time. */
void cache_used(struct cache *c, struct cache_key key, uint32_t at, uint32_t len);
void cache_forget_pack(struct cache *c, uint64_t pack);

struct cache_stats {
	uint64_t region_bytes, used_bytes, ring_bytes, frames, hits, misses, evicted,
		kept_over_remount;
};
void cache_get_stats(struct cache *c, struct cache_stats *ret_stats);
#endif
