// SPDX-License-Identifier: MIT
/* digests: has this chunk been stored? Digest -> chunk id (KV_DIGEST), with a filter before it.
 *
 * Keys are the first 16 bytes of the BLAKE3 digest; who gets a hit compares all 32 bytes with the
 * frame header before it relies on it. New digests gather in memory and go into LMDB in large
 * sorted batches, a slice of the key range at a time, since they arrive at random and would rewrite
 * most leaves otherwise. They need no log: what memory held at a crash is read again from the
 * frame headers of the packs (digests_watermark).
 */
#ifndef FOLDFS_DIGESTS_H
#define FOLDFS_DIGESTS_H
#include "kv.h"
#include "digest.h"

struct digests;

struct digests_options {
	size_t memory_bytes;	      /* gathered before a slice is loaded; 0 = 64 MiB */
	unsigned filter_bits_per_key; /* 0 = 12 */
	bool read_only;
	int index_dirfd; /* the filter is kept here across clean closes, checksummed */
};

int digests_open(struct kv *kv, const struct digests_options *opt, struct digests **ret_d);
/* Loads everything gathered, writes the filter file, frees. */
int digests_close(struct digests *d);

/* Every chunk with an id below this has its digest in LMDB (or had it removed); after open, the
 * caller adds those of all later frames again with digests_add(). */
uint64_t digests_watermark(struct digests *d);
/* Any thread. 1 with *ret_id, 0 when surely absent, -errno. */
int digests_find(struct digests *d, const struct digest *digest, uint64_t *ret_id);
/* Adds or replaces. May load a slice (LMDB transaction) on this thread when memory is full: not for
 * FUSE receive threads. Ids must not grow past `settled` + what is in memory: see settle. */
int digests_add(struct digests *d, const struct digest *digest, uint64_t id);
/* Removes the entry if it leads to `id` (the chunk is gone). */
int digests_remove(struct digests *d, const struct digest *digest, uint64_t id);
/* All digests of chunks below `id` have been added, and their frames are durable: the watermark of
 * a slice loaded from now on may rise to it. */
void digests_settle(struct digests *d, uint64_t id);
int digests_flush(struct digests *d); /* loads everything gathered now */

struct digests_stats {
	uint64_t in_memory, in_base, filter_bytes, lookups, filter_negative, false_positive;
	bool filter_ready; /* while it is being rebuilt every lookup goes to the tables */
};
void digests_get_stats(struct digests *d, struct digests_stats *ret_stats);
#endif
