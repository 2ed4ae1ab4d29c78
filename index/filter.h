// SPDX-License-Identifier: MIT
/* filter: a set of digests that answers "surely not" or "maybe", in one cache line per question.
 *
 * A blocked Bloom filter: F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and Space-Efficient Bloom
 * Filters" (WEA 2007), each block split into eight words with one bit per key in each (as in Parquet;
 * J. Apple, "Split block Bloom filters", 2021). 12 bits per key: 0.5 % false positives when full.
 *
 * Keys come as two words of uniformly random bits (a cryptographic digest), used as they are.
 * Nothing is locked here.
 */
#ifndef FOLDFS_FILTER_H
#define FOLDFS_FILTER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILTER_BLOCK_WORDS 8u
#define FILTER_BLOCK_BYTES 64u

struct filter {
	uint64_t *words; /* NULL: there is no filter */
	uint64_t blocks;
	uint64_t n;    /* keys added, those that looked present already not counted */
	uint64_t room; /* keys it was made for */
};

/* An empty filter for that many keys, in at most max_bytes (0: as many as it takes; fewer bits mean
 * more false positives, never a wrong "no"). 0 or -ENOMEM. */
int filter_init(struct filter *f, uint64_t room, unsigned bits_per_key, size_t max_bytes);
/* The same with a given length. */
int filter_init_blocks(struct filter *f, uint64_t room, uint64_t blocks);
void filter_done(struct filter *f); /* a zeroed or finished one is fine */
/* False if the key, or enough others, had been added before. */
bool filter_add(struct filter *f, uint64_t place, uint64_t bits);
bool filter_has(const struct filter *f, uint64_t place, uint64_t bits);

static inline size_t filter_bytes(const struct filter *f)
{
	return f->words ? (size_t)f->blocks * FILTER_BLOCK_BYTES : 0;
}
static inline bool filter_full(const struct filter *f)
{
	return f->n >= f->room;
}
#endif
