// SPDX-License-Identifier: MIT
/* arena: frames of many sizes in granules of one memory area, found by key, evicted by LRU.
 *
 * Split into shards by key, each with its own lock, index and granules. An entry that somebody
 * holds (arena_get, arena_reserve) stays where it is until it is put back.
 */
#ifndef FOLDFS_ARENA_H
#define FOLDFS_ARENA_H
#include "cache.h"
#include "chunk_row.h"
#include <stdatomic.h>

#define ARENA_GRANULE (32u * 1024)
#define ARENA_ENTRY_GRANULES (FRAME_DECODED_MAX / ARENA_GRANULE)

struct arena;

struct arena_entry {
	struct cache_key key;
	uint64_t sum;	       /* set by the user before arena_commit() */
	_Atomic uint64_t seen; /* the user's */
	_Atomic bool trusted;  /* the user's: the bytes are known to be those of sum */
	uint8_t state;
	uint16_t pins;
	uint32_t len;
	uint32_t newer, older, chain; /* entries of the shard */
	uint32_t granules[ARENA_ENTRY_GRANULES];
};

/* `base` holds `bytes` and outlives the arena; it is only touched by the user. on_evict (may be
 * NULL) runs under a shard's lock. */
int arena_new(uint8_t *base, uint64_t bytes, void (*on_evict)(void *arg, struct cache_key key),
	      void *arg, struct arena **ret_a);
void arena_free(struct arena *a);

/* NULL when it is not there. `use`: becomes the most recently used. */
struct arena_entry *arena_get(struct arena *a, struct cache_key key, bool use);
void arena_put(struct arena *a, struct arena_entry *e);
/* The same, and the entry goes when the last holder puts it back. */
void arena_put_drop(struct arena *a, struct arena_entry *e);
/* Where bytes [at, ...) of the entry lie; *ret_len of them are contiguous, at most to its end. */
uint8_t *arena_bytes(struct arena *a, const struct arena_entry *e, uint32_t at, uint32_t *ret_len);

void arena_copy(struct arena *a, const struct arena_entry *e, uint32_t at, uint32_t len, void *out);

/* Room for a new entry, evicting if it must; nobody finds it before arena_commit(). NULL when the
 * key is there already or the room is held. Ends with arena_commit() or arena_put_drop(). */
struct arena_entry *arena_reserve(struct arena *a, struct cache_key key, uint32_t len);
void arena_commit(struct arena *a, struct arena_entry *e);

/* Is any shard filled beyond this? */
bool arena_above(struct arena *a, struct cache_key key, unsigned percent);
/* Evicts the least recently used of each shard down to this. */
void arena_shrink(struct arena *a, unsigned percent);
void arena_forget_pack(struct arena *a, uint64_t pack);
void arena_usage(struct arena *a, uint64_t *ret_bytes, uint64_t *ret_entries);
uint64_t arena_evicted(struct arena *a); /* so far */
unsigned arena_shards(struct arena *a);

/* For keeping the index: least recently used first; not while others use the arena. */
void arena_each(struct arena *a, void (*fn)(void *arg, const struct arena_entry *e), void *arg);
/* Puts entries back where they were, before anybody uses the arena: begin, each (false when it
 * can't be), end. */
int arena_restore_begin(struct arena *a);
bool arena_restore(struct arena *a, struct cache_key key, uint32_t len, uint64_t sum,
		   const uint32_t *granules);
void arena_restore_end(struct arena *a);
#endif
