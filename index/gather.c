// SPDX-License-Identifier: MIT
/* Linear probing from a home slot that keeps the keys' order (upper half of key * slots; the keys are
 * digests, so they are spread evenly as they are). The table is therefore nearly sorted all the time,
 * and as it need not be a power of two it grows by half, not by doubling: three quarters to one half
 * of the slots are in use, 32 to 48 bytes per entry.
 */
#include "gather.h"
#include <errno.h>
#include <stdlib.h>

#define LEAST_SLOTS 64u

static size_t home_of(const struct gather *g, uint64_t hi)
{
	return (size_t)(((unsigned __int128)(hi << g->shift) * g->cap) >> 64);
}

/* The key's slot, or the free one where it belongs. There always is a free one. */
static struct gather_entry *slot_of(const struct gather *g, uint64_t hi, uint64_t lo)
{
	size_t i = home_of(g, hi);
	while (g->slots[i].id && (g->slots[i].hi != hi || g->slots[i].lo != lo))
		i = i + 1 < g->cap ? i + 1 : 0;
	return &g->slots[i];
}

const struct gather_entry *gather_find(const struct gather *g, uint64_t hi, uint64_t lo)
{
	if (!g->n)
		return NULL;
	const struct gather_entry *e = slot_of(g, hi, lo);
	return e->id ? e : NULL;
}

static int grow(struct gather *g)
{
	struct gather larger = { .cap = g->cap + g->cap / 2, .n = g->n, .shift = g->shift };
	if (larger.cap < LEAST_SLOTS)
		larger.cap = LEAST_SLOTS;
	larger.slots = calloc(larger.cap, sizeof *larger.slots);
	if (!larger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < g->cap; i++)
		if (g->slots[i].id)
			*slot_of(&larger, g->slots[i].hi, g->slots[i].lo) = g->slots[i];
	free(g->slots);
	*g = larger;
	return 0;
}

int gather_put(struct gather *g, uint64_t hi, uint64_t lo, uint64_t id)
{
	if (g->n >= g->cap / 4 * 3) {
		int r = grow(g);
		if (r < 0)
			return r;
	}
	struct gather_entry *e = slot_of(g, hi, lo);
	g->n += !e->id;
	*e = (struct gather_entry){ .hi = hi, .lo = lo, .id = id };
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct gather_entry *x = a, *y = b;
	if (x->hi != y->hi)
		return x->hi < y->hi ? -1 : 1;
	return (x->lo > y->lo) - (x->lo < y->lo);
}

void gather_sorted(const struct gather *g, struct gather_entry *out)
{
	size_t n = 0;
	for (size_t i = 0; i < g->cap; i++)
		if (g->slots[i].id)
			out[n++] = g->slots[i];
	if (n)
		qsort(out, n, sizeof *out, compare);
}

void gather_done(struct gather *g)
{
	free(g->slots);
	*g = (struct gather){ .shift = g->shift };
}
