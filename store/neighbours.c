// SPDX-License-Identifier: MIT
/* A set-associative table, as in a processor's cache: a digest's first bytes choose a set of WAYS
 * places, each set is kept in order of last use, and a new entry pushes out the set's oldest. That
 * is LRU only within a set, which is enough: the digests are random, so the sets fill evenly, and a
 * chunk forgotten too early costs one lookup in the index or, at worst, a second stored copy. In
 * return nothing is ever allocated, moved between sets or chained, and the memory is what was asked
 * for; pages that were never written to are not there at all.
 */
#include "neighbours.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#define WAYS 8u

struct set {
	struct neighbour ways[WAYS]; /* the latest used first, empty ones last */
};

struct neighbours {
	struct set *sets;
	size_t count;
};

int neighbours_new(size_t bytes, struct neighbours **ret_n)
{
	struct neighbours *n = malloc(sizeof *n);
	if (!n)
		return -ENOMEM;
	n->count = bytes / sizeof(struct set);
	if (!n->count)
		n->count = 1;
	n->sets = mmap(NULL, n->count * sizeof(struct set), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (n->sets == MAP_FAILED) {
		free(n);
		return -ENOMEM;
	}
	*ret_n = n;
	return 0;
}

void neighbours_free(struct neighbours *n)
{
	if (!n)
		return;
	munmap(n->sets, n->count * sizeof(struct set));
	free(n);
}

size_t neighbours_bytes(const struct neighbours *n)
{
	return n->count * sizeof(struct set);
}

static struct set *set_of(struct neighbours *n, const struct digest *digest)
{
	uint64_t head;
	memcpy(&head, digest->bytes, sizeof head);
	return &n->sets[(size_t)(((unsigned __int128)head * n->count) >> 64)];
}

/* The place in the set, or WAYS. */
static unsigned way_of(const struct set *set, const struct digest *digest)
{
	unsigned way = 0;
	while (way < WAYS && set->ways[way].id && !digest_equal(&set->ways[way].digest, digest))
		way++;
	return way < WAYS && set->ways[way].id ? way : WAYS;
}

static void to_front(struct set *set, unsigned way, struct neighbour entry)
{
	memmove(&set->ways[1], &set->ways[0], way * sizeof set->ways[0]);
	set->ways[0] = entry;
}

struct neighbour *neighbours_find(struct neighbours *n, const struct digest *digest)
{
	struct set *set = set_of(n, digest);
	unsigned way = way_of(set, digest);
	if (way == WAYS)
		return NULL;
	if (way)
		to_front(set, way, set->ways[way]);
	return &set->ways[0];
}

void neighbours_put(struct neighbours *n, const struct digest *digest, uint64_t id,
		    int64_t trusted_until)
{
	struct set *set = set_of(n, digest);
	unsigned way = way_of(set, digest);
	struct neighbour entry = { *digest, id, trusted_until };
	to_front(set, way < WAYS ? way : WAYS - 1, entry);
}

void neighbours_load(struct neighbours *n, const struct chunk_entry *entries, uint32_t count,
		     int64_t trusted_until)
{
	for (uint32_t i = 0; i < count; i++)
		if (way_of(set_of(n, &entries[i].digest), &entries[i].digest) == WAYS)
			neighbours_put(n, &entries[i].digest, entries[i].id, trusted_until);
}

void neighbours_remove(struct neighbours *n, const struct digest *digest, uint64_t id)
{
	struct set *set = set_of(n, digest);
	unsigned way = way_of(set, digest);
	if (way == WAYS || set->ways[way].id != id)
		return;
	memmove(&set->ways[way], &set->ways[way + 1], (WAYS - 1 - way) * sizeof set->ways[0]);
	memset(&set->ways[WAYS - 1], 0, sizeof set->ways[0]);
}

void neighbours_clear(struct neighbours *n)
{
	/* gives the pages back as well; they read as zeros afterwards */
	if (madvise(n->sets, n->count * sizeof(struct set), MADV_DONTNEED))
		memset(n->sets, 0, n->count * sizeof(struct set));
}
