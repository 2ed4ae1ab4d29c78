// SPDX-License-Identifier: MIT
/* Thirty-two ids to a word, changed by compare-and-swap. The words are anonymous memory, so pages
 * in which nothing is live cost nothing until something there is condemned. */
#include "marks.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PER_WORD 32u

enum mark { UNKNOWN = 0, LIVE = 1, CONDEMNED = 2 };

struct marks {
	uint64_t limit;
	size_t bytes;
	uint64_t *words;
};

int marks_new(uint64_t limit, struct marks **ret_m)
{
	struct marks *m = malloc(sizeof *m);
	if (!m)
		return -ENOMEM;
	m->limit = limit;
	m->bytes = (size_t)(limit / PER_WORD + 1) * sizeof *m->words;
	m->words = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->words == MAP_FAILED) {
		free(m);
		return -ENOMEM;
	}
	*ret_m = m;
	return 0;
}

void marks_free(struct marks *m)
{
	if (!m)
		return;
	munmap(m->words, m->bytes);
	free(m);
}

static enum mark mark_in(uint64_t word, unsigned shift)
{
	return (enum mark)(word >> shift & 3);
}

/* The mark after trying to make an unknown one `wanted`. */
static enum mark settle(struct marks *m, uint64_t id, enum mark wanted)
{
	uint64_t *word = &m->words[id / PER_WORD];
	unsigned shift = (unsigned)(id % PER_WORD) * 2;
	uint64_t old = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	while (mark_in(old, shift) == UNKNOWN)
		if (__atomic_compare_exchange_n(word, &old, old | (uint64_t)wanted << shift, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return wanted;
	return mark_in(old, shift);
}

bool marks_keep(struct marks *m, uint64_t id)
{
	return id >= m->limit || settle(m, id, LIVE) == LIVE;
}

bool marks_condemn(struct marks *m, uint64_t id)
{
	return id < m->limit && settle(m, id, CONDEMNED) == CONDEMNED;
}

bool marks_live(const struct marks *m, uint64_t id)
{
	if (id >= m->limit)
		return true;
	uint64_t word = __atomic_load_n(&m->words[id / PER_WORD], __ATOMIC_ACQUIRE);
	return mark_in(word, (unsigned)(id % PER_WORD) * 2) == LIVE;
}
