// SPDX-License-Identifier: MIT
/* chunks: bytes of stored chunks, verified. Chunk id -> row -> cache -> pack -> decode.
 *
 * A read takes a whole list of pieces, finds their frames, serves what the cache has, and reads
 * the rest in one batch. Raw frames are read in place, only the blocks that are wanted. Nothing
 * that fails its checksum is ever returned: -EIO, and one log line that names pack and frame.
 */
#ifndef FOLDFS_CHUNKS_H
#define FOLDFS_CHUNKS_H
#include "cache.h"
#include "extents.h"
#include "pack.h"

struct chunks;

int chunks_open(struct kv *kv, struct packs *packs, struct cache *cache, struct chunks **ret_c);
void chunks_close(struct chunks *c);
/* From now on `fn` is told, on the reader's thread and before it gets -EIO, of each chunk that
 * chunks_read_map() or chunk_read() finds damaged. It may read with chunks_verify_map(), and if it gives
 * the chunk a new place, that is read. While nobody reads; NULL ends it. */
void chunks_on_damage(struct chunks *c, void (*fn)(void *arg, uint64_t chunk, uint32_t offset),
		      void *arg);

/* Fills out[0, len), the file's bytes from `at`, from a map made by extents_map() for that range;
 * holes become zeros. May block on the device. */
int chunks_read_map(struct chunks *c, const struct map_vec *map, uint64_t at, size_t len,
		    void *out);
/* The same, though the file may get another map meanwhile: -ENOENT or -EUCLEAN, and no word in the log,
 * when what it led to is gone. */
int chunks_read_past_map(struct chunks *c, const struct map_vec *map, uint64_t at, size_t len,
			 void *out);
/* The same from packs alone: what caches hold is not asked. */
int chunks_verify_map(struct chunks *c, const struct map_vec *map, uint64_t at, size_t len,
		      void *out);
/* The same only if no device read is needed: 1 done, 0 would block, -errno. */
int chunks_try_read_map(struct chunks *c, const struct map_vec *map, uint64_t at, size_t len,
			void *out);
/* Starts reading ahead into the cache: returns at once. */
void chunks_prefetch(struct chunks *c, const struct map_vec *map);
/* The same if what comes first lies where there are no descriptors (pack_is_far). Looks rows up. */
void chunks_prefetch_far(struct chunks *c, const struct map_vec *map);
/* Whole chunk, for comparing with staged bytes. out has room for len; -EUCLEAN when lengths differ. */
int chunk_read(struct chunks *c, uint64_t id, void *out, uint32_t len);
/* All digests of the frame that holds this chunk; entries to be freed by the caller. */
int chunks_frame_digests(struct chunks *c, uint64_t id, struct chunk_entry **ret_entries,
			 uint32_t *ret_n);
#endif
