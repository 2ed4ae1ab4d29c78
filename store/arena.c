// SPDX-License-Identifier: MIT
/* Granules make fragmentation impossible: an entry takes any free ones of its shard, up to eight.
 * A frame of a few kilobytes wastes most of one, which is accepted: small chunks share frames.
 *
 * Entry states: FREE (on the free list, linked by chain) -> FILLING (in the index, so that nobody
 * fills the same key twice, but not found) -> READY (in the index and in LRU order) -> DEAD (out of
 * both, waiting for its last holder) -> FREE. Bytes are copied without any lock: a holder's pin
 * keeps the granules, and commit, under the lock, publishes them.
 *
 * The tables of a large arena are reserved, not touched: memory follows the entries really used.
 * One lock per shard; none is taken while another is held.
 */
#include "arena.h"
#include "cleanup.h"
#include <assert.h>
#include <errno.h>

#define NONE UINT32_MAX
#define SHARDS_MAX 16u
#define SHARD_MIN (8u << 20)

enum { FREE, FILLING, READY, DEAD };

struct shard {
	pthread_mutex_t lock;
	uint32_t n;	/* granules, and entries: each has at least one */
	uint32_t first; /* granule of the arena */
	uint32_t *heads, mask;
	struct arena_entry *entries;
	uint32_t entries_used, free_entry;
	uint32_t *granules;		       /* stack of those given back */
	uint32_t granules_back, granules_used; /* given out once at least */
	uint32_t newest, oldest;
	uint32_t ready;
	uint8_t *taken; /* one byte per granule, while entries are being restored */
};

struct arena {
	uint8_t *base;
	void (*on_evict)(void *arg, struct cache_key key);
	void *arg;
	_Atomic uint64_t evicted;
	unsigned shards;
	struct shard v[SHARDS_MAX];
};

static uint64_t key_hash(struct cache_key key)
{
	uint64_t x = key.pack * 0x9e3779b97f4a7c15u ^ key.offset;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static struct shard *shard_of(struct arena *a, struct cache_key key)
{
	return &a->v[key_hash(key) >> 48 & (a->shards - 1)];
}

static uint32_t *chain_of(struct shard *s, struct cache_key key)
{
	return &s->heads[key_hash(key) & s->mask];
}

static uint32_t granules_for(uint32_t len)
{
	return (len + ARENA_GRANULE - 1) / ARENA_GRANULE;
}

static uint32_t used_locked(const struct shard *s)
{
	return s->granules_used - s->granules_back;
}

static int shard_init(struct shard *s, uint32_t first, uint32_t n)
{
	uint32_t buckets = 16;
	while (buckets < n / 4)
		buckets *= 2;
	pthread_mutex_init(&s->lock, NULL);
	s->first = first;
	s->n = n;
	s->mask = buckets - 1;
	s->heads = malloc(buckets * sizeof *s->heads);
	s->entries = calloc(n, sizeof *s->entries);
	s->granules = malloc(n * sizeof *s->granules);
	s->free_entry = s->newest = s->oldest = NONE;
	if (!s->heads || !s->entries || !s->granules)
		return -ENOMEM;
	for (uint32_t i = 0; i < buckets; i++)
		s->heads[i] = NONE;
	return 0;
}

int arena_new(uint8_t *base, uint64_t bytes, void (*on_evict)(void *arg, struct cache_key key),
	      void *arg, struct arena **ret_a)
{
	struct arena *a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	a->base = base;
	a->on_evict = on_evict;
	a->arg = arg;
	a->shards = 1;
	while (a->shards < SHARDS_MAX && bytes / (a->shards * 2) >= SHARD_MIN)
		a->shards *= 2;
	uint64_t each = bytes / ARENA_GRANULE / a->shards;
	int r = each && each * a->shards < NONE ? 0 : -EINVAL;
	for (unsigned i = 0; r == 0 && i < a->shards; i++)
		r = shard_init(&a->v[i], (uint32_t)(i * each), (uint32_t)each);
	if (r < 0) {
		arena_free(a);
		return r;
	}
	*ret_a = a;
	return 0;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	for (unsigned i = 0; i < a->shards && a->v[i].n; i++) {
		pthread_mutex_destroy(&a->v[i].lock);
		free(a->v[i].heads);
		free(a->v[i].entries);
		free(a->v[i].granules);
		free(a->v[i].taken);
	}
	free(a);
}

static struct arena_entry *find_locked(struct shard *s, struct cache_key key)
{
	for (uint32_t i = *chain_of(s, key); i != NONE; i = s->entries[i].chain) {
		struct arena_entry *e = &s->entries[i];
		if (e->key.offset == key.offset && e->key.pack == key.pack)
			return e;
	}
	return NULL;
}

static void lru_add_locked(struct shard *s, struct arena_entry *e)
{
	uint32_t i = (uint32_t)(e - s->entries);
	e->newer = NONE;
	e->older = s->newest;
	if (s->newest != NONE)
		s->entries[s->newest].newer = i;
	else
		s->oldest = i;
	s->newest = i;
	s->ready++;
}

static void lru_remove_locked(struct shard *s, struct arena_entry *e)
{
	if (e->newer != NONE)
		s->entries[e->newer].older = e->older;
	else
		s->newest = e->older;
	if (e->older != NONE)
		s->entries[e->older].newer = e->newer;
	else
		s->oldest = e->newer;
	s->ready--;
}

static void release_locked(struct shard *s, struct arena_entry *e)
{
	for (uint32_t i = 0; i < granules_for(e->len); i++)
		s->granules[s->granules_back++] = e->granules[i];
	e->state = FREE;
	e->chain = s->free_entry;
	s->free_entry = (uint32_t)(e - s->entries);
}

/* Out of index and order; the granules follow when nobody holds them. */
static void kill_locked(struct shard *s, struct arena_entry *e)
{
	uint32_t *link = chain_of(s, e->key);
	if (e->state == DEAD)
		return;
	while (&s->entries[*link] != e)
		link = &s->entries[*link].chain;
	*link = e->chain;
	if (e->state == READY)
		lru_remove_locked(s, e);
	e->state = DEAD;
	if (!e->pins)
		release_locked(s, e);
}

struct arena_entry *arena_get(struct arena *a, struct cache_key key, bool use)
{
	struct shard *s = shard_of(a, key);
	SCOPED_LOCK(&s->lock);
	struct arena_entry *e = find_locked(s, key);
	if (!e || e->state != READY || e->pins == UINT16_MAX)
		return NULL;
	e->pins++;
	if (use && e->newer != NONE) {
		lru_remove_locked(s, e);
		lru_add_locked(s, e);
	}
	return e;
}

static void unpin_locked(struct shard *s, struct arena_entry *e)
{
	if (--e->pins == 0 && e->state == DEAD)
		release_locked(s, e);
}

void arena_put(struct arena *a, struct arena_entry *e)
{
	struct shard *s = shard_of(a, e->key);
	SCOPED_LOCK(&s->lock);
	unpin_locked(s, e);
}

void arena_put_drop(struct arena *a, struct arena_entry *e)
{
	struct shard *s = shard_of(a, e->key);
	SCOPED_LOCK(&s->lock);
	kill_locked(s, e);
	unpin_locked(s, e);
}

uint8_t *arena_bytes(struct arena *a, const struct arena_entry *e, uint32_t at, uint32_t *ret_len)
{
	uint32_t within = at % ARENA_GRANULE, left = e->len - at;
	*ret_len = left < ARENA_GRANULE - within ? left : ARENA_GRANULE - within;
	return a->base + (uint64_t)e->granules[at / ARENA_GRANULE] * ARENA_GRANULE + within;
}

void arena_copy(struct arena *a, const struct arena_entry *e, uint32_t at, uint32_t len, void *out)
{
	uint8_t *to = out;
	while (len) {
		uint32_t n;
		const uint8_t *from = arena_bytes(a, e, at, &n);
		n = n < len ? n : len;
		memcpy(to, from, n);
		to += n;
		at += n;
		len -= n;
	}
}

static bool evict_one_locked(struct arena *a, struct shard *s)
{
	for (uint32_t i = s->oldest; i != NONE; i = s->entries[i].newer) {
		struct arena_entry *e = &s->entries[i];
		if (e->pins)
			continue;
		if (a->on_evict)
			a->on_evict(a->arg, e->key);
		kill_locked(s, e);
		atomic_fetch_add_explicit(&a->evicted, 1, memory_order_relaxed);
		return true;
	}
	return false;
}

static struct arena_entry *take_entry_locked(struct shard *s)
{
	if (s->free_entry != NONE) {
		struct arena_entry *e = &s->entries[s->free_entry];
		s->free_entry = e->chain;
		return e;
	}
	return s->entries_used < s->n ? &s->entries[s->entries_used++] : NULL;
}

static void index_locked(struct shard *s, struct arena_entry *e, struct cache_key key, uint32_t len)
{
	uint32_t *head = chain_of(s, key);
	e->key = key;
	e->len = len;
	e->pins = 0;
	e->sum = 0;
	atomic_store_explicit(&e->seen, 0, memory_order_relaxed);
	atomic_store_explicit(&e->trusted, false, memory_order_relaxed);
	e->chain = *head;
	*head = (uint32_t)(e - s->entries);
}

struct arena_entry *arena_reserve(struct arena *a, struct cache_key key, uint32_t len)
{
	struct shard *s = shard_of(a, key);
	uint32_t need = granules_for(len);
	assert(len && len <= FRAME_DECODED_MAX);
	SCOPED_LOCK(&s->lock);
	if (need > s->n || find_locked(s, key))
		return NULL;
	while (s->n - used_locked(s) < need)
		if (!evict_one_locked(a, s))
			return NULL;
	struct arena_entry *e = take_entry_locked(s);
	if (!e)
		return NULL; /* dead ones are still held */
	for (uint32_t i = 0; i < need; i++)
		e->granules[i] = s->granules_back ? s->granules[--s->granules_back]
						  : s->first + s->granules_used++;
	index_locked(s, e, key, len);
	e->state = FILLING;
	e->pins = 1;
	return e;
}

void arena_commit(struct arena *a, struct arena_entry *e)
{
	struct shard *s = shard_of(a, e->key);
	SCOPED_LOCK(&s->lock);
	if (e->state == FILLING) { /* else forgotten meanwhile */
		e->state = READY;
		lru_add_locked(s, e);
	}
	unpin_locked(s, e);
}

bool arena_above(struct arena *a, struct cache_key key, unsigned percent)
{
	struct shard *s = shard_of(a, key);
	SCOPED_LOCK(&s->lock);
	return (uint64_t)used_locked(s) * 100 > (uint64_t)s->n * percent;
}

void arena_shrink(struct arena *a, unsigned percent)
{
	for (unsigned i = 0; i < a->shards; i++) {
		struct shard *s = &a->v[i];
		bool more = true;
		while (more) { /* the lock is let go of now and then: readers want it */
			SCOPED_LOCK(&s->lock);
			for (int n = 0; more && n < 16; n++)
				more = (uint64_t)used_locked(s) * 100 > (uint64_t)s->n * percent &&
				       evict_one_locked(a, s);
		}
	}
}

void arena_forget_pack(struct arena *a, uint64_t pack)
{
	for (unsigned i = 0; i < a->shards; i++) {
		struct shard *s = &a->v[i];
		SCOPED_LOCK(&s->lock);
		for (uint32_t j = 0; j < s->entries_used; j++) {
			struct arena_entry *e = &s->entries[j];
			if (e->key.pack == pack && (e->state == READY || e->state == FILLING))
				kill_locked(s, e);
		}
	}
}

void arena_usage(struct arena *a, uint64_t *ret_bytes, uint64_t *ret_entries)
{
	*ret_bytes = *ret_entries = 0;
	for (unsigned i = 0; i < a->shards; i++) {
		SCOPED_LOCK(&a->v[i].lock);
		*ret_bytes += (uint64_t)used_locked(&a->v[i]) * ARENA_GRANULE;
		*ret_entries += a->v[i].ready;
	}
}

uint64_t arena_evicted(struct arena *a)
{
	return atomic_load_explicit(&a->evicted, memory_order_relaxed);
}

unsigned arena_shards(struct arena *a)
{
	return a->shards;
}

void arena_each(struct arena *a, void (*fn)(void *arg, const struct arena_entry *e), void *arg)
{
	for (unsigned i = 0; i < a->shards; i++) {
		struct shard *s = &a->v[i];
		SCOPED_LOCK(&s->lock);
		for (uint32_t j = s->oldest; j != NONE; j = s->entries[j].newer)
			fn(arg, &s->entries[j]);
	}
}

int arena_restore_begin(struct arena *a)
{
	for (unsigned i = 0; i < a->shards; i++) {
		a->v[i].taken = calloc(a->v[i].n, 1);
		if (!a->v[i].taken) {
			while (i--)
				free(TAKE_PTR(a->v[i].taken));
			return -ENOMEM;
		}
	}
	return 0;
}

bool arena_restore(struct arena *a, struct cache_key key, uint32_t len, uint64_t sum,
		   const uint32_t *granules)
{
	struct shard *s = shard_of(a, key);
	uint32_t n = granules_for(len);
	if (!len || len > FRAME_DECODED_MAX || find_locked(s, key) || s->entries_used == s->n)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t g = granules[i] - s->first;
		bool fits = granules[i] >= s->first && g < s->n && !s->taken[g];
		if (fits)
			s->taken[g] = 1;
		else
			for (uint32_t j = 0; j < i; j++)
				s->taken[granules[j] - s->first] = 0;
		if (!fits)
			return false;
	}
	struct arena_entry *e = &s->entries[s->entries_used++]; /* none was given back yet */
	memcpy(e->granules, granules, n * sizeof *granules);
	index_locked(s, e, key, len);
	e->sum = sum;
	e->state = READY;
	lru_add_locked(s, e);
	return true;
}

void arena_restore_end(struct arena *a)
{
	for (unsigned i = 0; i < a->shards; i++) {
		struct shard *s = &a->v[i];
		s->granules_used = s->n;
		s->granules_back = 0;
		for (uint32_t g = s->n; g--;)
			if (!s->taken[g])
				s->granules[s->granules_back++] = s->first + g;
		free(TAKE_PTR(s->taken));
	}
}
