// SPDX-License-Identifier: MIT
/* neighbours: full digests of chunks met lately -> chunk id, in a fixed amount of memory.
 *
 * Duplicates come in runs: who finds one stored chunk loads the digests of its whole frame here and
 * mostly needs no index for the next ones. Chunks just stored are here too, so that the same bytes
 * arriving twice at once are stored once. Not safe from several threads: the packer's lock guards it.
 */
#ifndef FOLDFS_NEIGHBOURS_H
#define FOLDFS_NEIGHBOURS_H
#include "pack_format.h"
#include <stddef.h>

struct neighbours;

struct neighbour {
	struct digest digest;
	uint64_t id;	       /* 0: an empty place */
	int64_t trusted_until; /* seconds since 1970: then it is read before it is relied upon */
};

/* Uses at most `bytes` for entries, at least one set of them. */
int neighbours_new(size_t bytes, struct neighbours **ret_n);
void neighbours_free(struct neighbours *n); /* NULL is fine */
size_t neighbours_bytes(const struct neighbours *n);

/* NULL when unknown. Counts as a use; valid until the next call. */
struct neighbour *neighbours_find(struct neighbours *n, const struct digest *digest);
/* Adds, or replaces what the digest led to. */
void neighbours_put(struct neighbours *n, const struct digest *digest, uint64_t id,
		    int64_t trusted_until);
/* Adds a stored frame's digests; those known already stay as they are. */
void neighbours_load(struct neighbours *n, const struct chunk_entry *entries, uint32_t count,
		     int64_t trusted_until);
/* Removes the entry if it leads to `id`. */
void neighbours_remove(struct neighbours *n, const struct digest *digest, uint64_t id);
void neighbours_clear(struct neighbours *n);
#endif
