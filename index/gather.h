// SPDX-License-Identifier: MIT
/* gather: digest keys and their chunk ids in memory, 24 bytes per slot.
 *
 * An open-addressing table for one slice of the key range (digests.c). A removal is an entry too:
 * it hides, and later deletes, what the tables below hold. Nothing is locked here.
 */
#ifndef FOLDFS_GATHER_H
#define FOLDFS_GATHER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATHER_REMOVED (UINT64_C(1) << 63) /* flag in `id`: the key's entry is gone */

struct gather_entry {
	uint64_t hi, lo; /* the key, its first byte the most significant */
	uint64_t id;	 /* never 0 */
};

struct gather {
	struct gather_entry *slots; /* id 0: free */
	size_t cap, n;
	unsigned shift; /* leading bits of `hi` that all keys share */
};

static inline size_t gather_bytes(const struct gather *g)
{
	return g->cap * sizeof *g->slots;
}
/* NULL if the key is unknown. The entry stays put until the next gather_put(). */
const struct gather_entry *gather_find(const struct gather *g, uint64_t hi, uint64_t lo);
/* Adds or replaces. 0 or -ENOMEM (nothing has changed). */
int gather_put(struct gather *g, uint64_t hi, uint64_t lo, uint64_t id);
/* Writes the g->n entries to `out` in key order. */
void gather_sorted(const struct gather *g, struct gather_entry *out);
void gather_done(struct gather *g); /* empty again, `shift` kept */
#endif
