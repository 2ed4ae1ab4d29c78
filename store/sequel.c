// SPDX-License-Identifier: MIT
/* A short array in order of last use, searched from the front: streams ask again and again for the
 * frame they asked for last. */
#include "sequel.h"
#include <errno.h>
#include <stdlib.h>

struct frame_list {
	struct chunk_entry *entries;
	uint32_t n;
};

struct sequel {
	unsigned max, n;
	struct frame_list frames[];
};

int sequel_new(unsigned frames, struct sequel **ret_s)
{
	struct sequel *s = calloc(1, sizeof *s + frames * sizeof *s->frames);
	if (!s)
		return -ENOMEM;
	s->max = frames;
	*ret_s = s;
	return 0;
}

void sequel_free(struct sequel *s)
{
	for (unsigned i = 0; s && i < s->n; i++)
		free(s->frames[i].entries);
	free(s);
}

static void to_front(struct sequel *s, unsigned i, struct frame_list f)
{
	memmove(&s->frames[1], &s->frames[0], i * sizeof *s->frames);
	s->frames[0] = f;
}

/* The frame that holds the id, moved to the front. */
static struct frame_list *frame_of(struct sequel *s, uint64_t id)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct frame_list f = s->frames[i];
		if (id < f.entries[0].id || id > f.entries[f.n - 1].id)
			continue;
		if (i)
			to_front(s, i, f);
		return &s->frames[0];
	}
	return NULL;
}

void sequel_put(struct sequel *s, struct chunk_entry *entries, uint32_t n)
{
	if (!n || frame_of(s, entries[0].id)) {
		free(entries);
		return;
	}
	if (s->n == s->max)
		free(s->frames[s->n - 1].entries);
	else
		s->n++;
	to_front(s, s->n - 1, (struct frame_list){ entries, n });
}

int sequel_next(struct sequel *s, uint64_t id, struct chunk_entry *ret_next)
{
	struct frame_list *f = frame_of(s, id);
	if (!f)
		return 0;
	uint32_t low = 0, high = f->n;
	while (low < high) { /* the first beyond id */
		uint32_t mid = (low + high) / 2;
		if (f->entries[mid].id <= id)
			low = mid + 1;
		else
			high = mid;
	}
	if (low < f->n) {
		*ret_next = f->entries[low];
		return 1;
	}
	f = frame_of(s, id + 1);
	if (!f || f->entries[0].id != id + 1)
		return -1;
	*ret_next = f->entries[0];
	return 1;
}
