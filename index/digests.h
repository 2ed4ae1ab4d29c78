// SPDX-License-Identifier: MIT
/* digests: has this chunk been stored? Digest -> chunk id (KV_DIGEST), with a filter before it.
 *
 * Keys are the first 16 bytes of the BLAKE3 digest; who gets a hit compares all 32 bytes with the
 * frame header before it relies on it. New digests gather in memory and go into LMDB in large
 * sorted batches, a slice of the key range at a time, since they arrive at random and would rewrite
 * most leaves otherwise. They need no log: what memory held at a crash is read again from the
 * frame headers of the packs (digests_watermark).
 *
 * After a crash a removed entry may be back, or one lead to an id whose chunk is gone or, if its
 * frame was not durable, given out anew: a hit is a hint, in this too.
 */
#ifndef FOLDFS_DIGESTS_H
#define FOLDFS_DIGESTS_H
#include "kv.h"
#include "digest.h"

struct digests;

struct digests_options {
	size_t memory_bytes;	      /* gathered before a slice is loaded; 0 = 64 MiB */
	unsigned filter_bits_per_key; /* 0 = 12 */
	size_t filter_bytes_max;      /* beyond it, fewer bits per key; 0 = no limit */
	bool read_only;
	int index_dirfd; /* the filter is kept here across clean closes, checksummed */
};

/* Returns at once: the filter is read, or rebuilt from the tables, in the background. index_dirfd
 * stays the caller's and must stay open until digests_close(). */
int digests_open(struct kv *kv, const struct digests_options *opt, struct digests **ret_d);
/* Loads everything gathered, writes the filter file, frees. First error wins; memory is freed
 * whatever happens, and what could not be loaded is what a crash would have taken. */
int digests_close(struct digests *d);

/* Every chunk with an id below this has its digest in LMDB (or had it removed); after open, the
 * caller adds those of all later frames again with digests_add(), in order of their ids, and then
 * calls digests_settle(). Until that first call adds count as repeated, and those that LMDB has
 * cost nothing. */
uint64_t digests_watermark(struct digests *d);
/* Any thread. 1 with *ret_id, 0 when surely absent, -errno. A damaged row counts as absent: the
 * chunk is stored once more, and its digest_add() mends the row. */
int digests_find(struct digests *d, const struct digest *digest, uint64_t *ret_id);
/* Adds or replaces; id is not 0 and below 2^63. May load a slice (LMDB transaction) on this thread
 * when memory is full: not for FUSE receive threads. If slices cannot be loaded (full disk) adds go
 * on until memory_bytes are taken twice; then they fail, with nothing added. */
int digests_add(struct digests *d, const struct digest *digest, uint64_t id);
/* Removes the entry if it leads to `id` (the chunk is gone). As digests_add(). */
int digests_remove(struct digests *d, const struct digest *digest, uint64_t id);
/* All digests of chunks below `id` have been added, and their frames are durable: the watermark of
 * a slice loaded from now on may rise to it. Call it often: a crash costs reading again the frames
 * above the watermark. */
void digests_settle(struct digests *d, uint64_t id);
int digests_flush(struct digests *d); /* loads everything gathered now */

struct digests_stats {
	uint64_t in_memory; /* entries, removals included */
	uint64_t in_base;
	uint64_t memory_bytes, filter_bytes;
	uint64_t lookups, filter_negative, false_positive;
	uint64_t damaged;	     /* rows found with a wrong checksum */
	uint64_t loads, loaded;	     /* transactions and entries since open */
	unsigned filter_slices_read; /* of 64, from the file at open */
	bool filter_ready;	     /* before, some lookups go to the tables that need not */
};
void digests_get_stats(struct digests *d, struct digests_stats *ret_stats);
#endif
