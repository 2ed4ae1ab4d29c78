// SPDX-License-Identifier: MIT
/* Open addressing with linear probing, in shards with a lock each; deletion shifts back, so there
 * are no tombstones. The root is never counted: the kernel never forgets it.
 */
#include "lookups.h"
#include "cleanup.h"
#include "fault.h"
#include <errno.h>

#define SHARDS 64u
#define FIRST_CAP 64u

struct entry {
	uint64_t ino; /* 0: free */
	uint64_t count : 56, notes : 8;
};

struct shard {
	pthread_mutex_t lock;
	struct entry *v;
	size_t cap, n;
};

struct lookups {
	struct shard shards[SHARDS];
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	return x;
}

struct lookups *lookups_new(void)
{
	struct lookups *l = calloc(1, sizeof *l);
	for (unsigned i = 0; l && i < SHARDS; i++)
		pthread_mutex_init(&l->shards[i].lock, NULL);
	return l;
}

void lookups_free(struct lookups *l)
{
	for (unsigned i = 0; l && i < SHARDS; i++) {
		free(l->shards[i].v);
		pthread_mutex_destroy(&l->shards[i].lock);
	}
	free(l);
}

static size_t home(const struct shard *s, uint64_t ino)
{
	return (mix(ino) / SHARDS) & (s->cap - 1);
}

/* The entry of ino, or the free one where it would go. The shard has room. */
static struct entry *probe(struct shard *s, uint64_t ino)
{
	size_t i = home(s, ino);
	while (s->v[i].ino && s->v[i].ino != ino)
		i = (i + 1) & (s->cap - 1);
	return &s->v[i];
}

static int grow(struct shard *s)
{
	struct shard bigger = { .cap = s->cap ? s->cap * 2 : FIRST_CAP };
	bigger.v = calloc(bigger.cap, sizeof *bigger.v);
	if (!bigger.v)
		return -ENOMEM;
	for (size_t i = 0; i < s->cap; i++)
		if (s->v[i].ino)
			*probe(&bigger, s->v[i].ino) = s->v[i];
	free(s->v);
	s->v = bigger.v;
	s->cap = bigger.cap;
	return 0;
}

static void erase(struct shard *s, struct entry *e)
{
	size_t hole = (size_t)(e - s->v), i = hole, mask = s->cap - 1;
	for (;;) {
		i = (i + 1) & mask;
		if (!s->v[i].ino)
			break;
		if (((i - home(s, s->v[i].ino)) & mask) >= ((i - hole) & mask)) {
			s->v[hole] = s->v[i];
			hole = i;
		}
	}
	s->v[hole] = (struct entry){ 0 };
	s->n--;
}

static struct shard *shard_of(struct lookups *l, uint64_t ino)
{
	return &l->shards[mix(ino) % SHARDS];
}

int lookups_add(struct lookups *l, uint64_t ino)
{
	struct shard *s = shard_of(l, ino);
	int r = fault_hit("lookup_add");
	SCOPED_LOCK(&s->lock);
	if (r == 0 && (s->n + 1) * 4 > s->cap * 3)
		r = grow(s);
	if (r < 0)
		return r;
	struct entry *e = probe(s, ino);
	if (!e->ino) {
		e->ino = ino;
		s->n++;
	}
	e->count++;
	return 0;
}

int lookups_forget(struct lookups *l, uint64_t ino, uint64_t n)
{
	struct shard *s = shard_of(l, ino);
	SCOPED_LOCK(&s->lock);
	struct entry *e = s->cap ? probe(s, ino) : NULL;
	if (!e || !e->ino)
		return -1;
	if (e->count > n) {
		e->count -= n;
		return -1;
	}
	int notes = (int)e->notes;
	erase(s, e);
	return notes;
}

uint64_t lookups_count(struct lookups *l, uint64_t ino)
{
	struct shard *s = shard_of(l, ino);
	SCOPED_LOCK(&s->lock);
	struct entry *e = s->cap ? probe(s, ino) : NULL;
	return e && e->ino ? e->count : 0;
}

unsigned lookups_note(struct lookups *l, uint64_t ino, unsigned set, unsigned clear)
{
	struct shard *s = shard_of(l, ino);
	SCOPED_LOCK(&s->lock);
	struct entry *e = s->cap ? probe(s, ino) : NULL;
	if (!e || !e->ino)
		return 0;
	unsigned before = e->notes;
	e->notes = ((before | set) & ~clear) & 0xffu;
	return before;
}

uint64_t *lookups_all(struct lookups *l, size_t *ret_n)
{
	uint64_t *v = NULL;
	size_t n = 0;
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &l->shards[i];
		SCOPED_LOCK(&s->lock);
		uint64_t *more = reallocarray(v, n + s->n + 1, sizeof *v);
		if (!more) {
			free(v);
			return NULL;
		}
		v = more;
		for (size_t k = 0; k < s->cap; k++)
			if (s->v[k].ino)
				v[n++] = s->v[k].ino;
	}
	*ret_n = n;
	return v;
}
