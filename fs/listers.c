// SPDX-License-Identifier: MIT
/* One word each: the thread, how many names it was given, how many of those it asked for. */
#include "listers.h"

#define COUNT_BITS 16u
#define COUNT_MAX ((1u << COUNT_BITS) - 1)
#define LOOKUPS_MIN 64u
#define LOOKUPS_SHARE 4u /* one name in so many */

struct lister {
	uint32_t pid;
	unsigned listed, looked_up;
};

static struct lister unpack(uint64_t word)
{
	return (struct lister){ .pid = (uint32_t)(word >> 2 * COUNT_BITS),
				.listed = word >> COUNT_BITS & COUNT_MAX,
				.looked_up = word & COUNT_MAX };
}

/* Counts that get too large are halved, both: their ratio is what matters. */
static uint64_t pack(struct lister x)
{
	while (x.listed > COUNT_MAX || x.looked_up > COUNT_MAX) {
		x.listed /= 2;
		x.looked_up /= 2;
	}
	return (uint64_t)x.pid << 2 * COUNT_BITS | (uint64_t)x.listed << COUNT_BITS | x.looked_up;
}

static _Atomic uint64_t *place(struct listers *l, pid_t pid)
{
	return &l->at[(uint32_t)pid % LISTERS];
}

void listers_listed(struct listers *l, pid_t pid, unsigned names)
{
	_Atomic uint64_t *at = place(l, pid);
	struct lister x = unpack(atomic_load_explicit(at, memory_order_relaxed));
	if (x.pid != (uint32_t)pid)
		x = (struct lister){ .pid = (uint32_t)pid };
	x.listed += names;
	atomic_store_explicit(at, pack(x), memory_order_relaxed);
}

/* A count that another thread's overtakes is lost, which does no harm. */
void listers_looked_up(struct listers *l, pid_t pid)
{
	_Atomic uint64_t *at = place(l, pid);
	struct lister x = unpack(atomic_load_explicit(at, memory_order_relaxed));
	if (x.pid != (uint32_t)pid || !x.listed)
		return;
	x.looked_up++;
	atomic_store_explicit(at, pack(x), memory_order_relaxed);
}

bool listers_want_attributes(const struct listers *l, pid_t pid)
{
	struct lister x =
		unpack(atomic_load_explicit(place((struct listers *)l, pid), memory_order_relaxed));
	return x.pid == (uint32_t)pid && x.looked_up >= LOOKUPS_MIN &&
	       x.looked_up * LOOKUPS_SHARE >= x.listed;
}
