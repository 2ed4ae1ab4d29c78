// SPDX-License-Identifier: MIT
/* A skip list per table over one arena. The writer fills a node completely and then links it from
 * the bottom level up with release stores; readers follow with acquire loads, so they see a node
 * either not at all or whole. An overwrite publishes a new value the same way and leaves the old
 * one in the arena: a key that is written very often costs memory until the next checkpoint, and no
 * reader has to be waited for.
 *
 * Keys of a filesystem arrive in runs (one directory, one file, increasing ids), so the writer
 * remembers per table the path of its last insertion (the finger) and searches from there: O(log of
 * the distance), which is one comparison or two for increasing keys. (Pugh, "Skip Lists: A
 * Probabilistic Alternative to Balanced Trees", 1990; "A Skip List Cookbook" for search fingers.)
 *
 * Most lookups are of one key, and most of those are for rows that are not here but in LMDB. A hash
 * table over the same nodes answers them with one or two cache misses instead of a dozen. Its size
 * is fixed: growing it under readers would cost more than somewhat longer chains.
 */
#include "memtable.h"
#include "digest.h"
#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>

#define ARENA_BLOCK ((size_t)1 << 20)
#define USUAL_ROW 256 /* bytes in memory; one bucket for each expected row */
#define MIN_BUCKETS 64
#define MAX_BUCKETS ((size_t)1 << 24)

struct arena_block {
	struct arena_block *next;
	size_t size, used;
	alignas(16) uint8_t bytes[];
};

struct memtable {
	struct arena_block *blocks; /* the newest is allocated from */
	size_t bytes;
	uint64_t random;
	bool filled;
	_Atomic(struct mem_node *) *buckets;
	uint32_t bucket_mask;
	struct mem_node *head[KV_TABLES];
	struct mem_node *finger[KV_TABLES][MEM_MAX_HEIGHT];
};

/* A key with its prefix ready for comparison. */
struct probe {
	struct slice key;
	uint64_t prefix;
};

static uint64_t key_prefix(struct slice key)
{
	uint8_t raw[8] = { 0 };
	if (key.len >= 8)
		return get_be64(key.at);
	if (key.len)
		memcpy(raw, key.at, key.len);
	return get_be64(raw);
}

static struct probe probe_of(struct slice key)
{
	return (struct probe){ .key = key, .prefix = key_prefix(key) };
}

/* Equal prefixes of keys shorter than eight bytes leave the decision to the lengths: the padding
 * is the smallest byte. */
static int compare(const struct mem_node *n, const struct probe *p)
{
	if (n->prefix != p->prefix)
		return n->prefix < p->prefix ? -1 : 1;
	struct slice k = mem_node_key(n);
	size_t shared = k.len < p->key.len ? k.len : p->key.len;
	int c = shared > 8 ? memcmp(k.at + 8, p->key.at + 8, shared - 8) : 0;
	return c ? c : (k.len > p->key.len) - (k.len < p->key.len);
}

static uint32_t key_hash(enum kv_table t, struct slice key)
{
	return (uint32_t)checksum64_seeded(key.at, key.len, (uint64_t)t);
}

static struct mem_node *find_hashed(const struct memtable *m, enum kv_table t,
				    const struct probe *p, uint32_t hash)
{
	struct mem_node *n =
		atomic_load_explicit(&m->buckets[hash & m->bucket_mask], memory_order_acquire);
	while (n && (n->hash != hash || n->table != t || compare(n, p) != 0))
		n = n->chain;
	return n;
}

static struct mem_node *next_of(const struct mem_node *n, unsigned level)
{
	return atomic_load_explicit(&n->next[level], memory_order_acquire);
}

static bool arena_grow(struct memtable *m, size_t bytes)
{
	size_t size = bytes > ARENA_BLOCK - sizeof(struct arena_block)
			      ? bytes
			      : ARENA_BLOCK - sizeof(struct arena_block);
	struct arena_block *b = malloc(sizeof *b + size);
	if (!b)
		return false;
	*b = (struct arena_block){ .next = m->blocks, .size = size };
	m->blocks = b;
	return true;
}

static void *arena_take(struct memtable *m, size_t bytes)
{
	struct arena_block *b = m->blocks;
	bytes = (bytes + 7) & ~(size_t)7;
	assert(b->size - b->used >= bytes);
	void *p = b->bytes + b->used;
	b->used += bytes;
	m->bytes += bytes;
	return p;
}

static struct mem_node *node_new(struct memtable *m, struct slice key, unsigned height)
{
	struct mem_node *n = arena_take(m, sizeof *n + height * sizeof n->next[0] + key.len);
	n->prefix = key_prefix(key);
	n->klen = (uint16_t)key.len;
	n->height = (uint8_t)height;
	atomic_init(&n->value, NULL);
	for (unsigned l = 0; l < height; l++)
		atomic_init(&n->next[l], NULL);
	if (key.len)
		memcpy(&n->next[height], key.at, key.len);
	return n;
}

struct memtable *memtable_new(size_t expected_bytes)
{
	struct memtable *m = calloc(1, sizeof *m);
	size_t buckets = MIN_BUCKETS;
	while (buckets < expected_bytes / USUAL_ROW && buckets < MAX_BUCKETS)
		buckets *= 2;
	if (!m || !(m->buckets = calloc(buckets, sizeof *m->buckets)) || !arena_grow(m, 0)) {
		memtable_free(m);
		return NULL;
	}
	m->bucket_mask = (uint32_t)(buckets - 1);
	m->random = 0x9e3779b97f4a7c15u;
	for (unsigned t = 0; t < KV_TABLES; t++) {
		m->head[t] = node_new(m, slice_of(NULL, 0), MEM_MAX_HEIGHT);
		for (unsigned l = 0; l < MEM_MAX_HEIGHT; l++)
			m->finger[t][l] = m->head[t];
	}
	return m;
}

void memtable_free(struct memtable *m)
{
	if (!m)
		return;
	for (struct arena_block *b = m->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	free(m->buckets);
	free(m);
}

size_t memtable_bytes(const struct memtable *m)
{
	return m->bytes;
}

bool memtable_empty(const struct memtable *m)
{
	return !m->filled;
}

bool memtable_reserve(struct memtable *m, size_t bytes)
{
	return m->blocks->size - m->blocks->used >= bytes || arena_grow(m, bytes);
}

/* A quarter of the nodes of each level reach the next: 1.33 pointers per node. */
static unsigned random_height(struct memtable *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	unsigned h = 1 + (unsigned)__builtin_ctzll(m->random | (uint64_t)1 << 62) / 2;
	return h < MEM_MAX_HEIGHT ? h : MEM_MAX_HEIGHT;
}

/* prev[l] becomes the last node of level l before the key, for each level; starts at the finger
 * when the key lies behind it. */
static void find_path(struct memtable *m, enum kv_table t, const struct probe *p,
		      struct mem_node *prev[MEM_MAX_HEIGHT])
{
	struct mem_node **finger = m->finger[t];
	unsigned level = MEM_MAX_HEIGHT;
	struct mem_node *n = m->head[t];
	if (finger[0] != n && compare(finger[0], p) < 0) {
		/* Upwards until the key lies before the finger's next node: from there on
		 * up the finger's path is also this key's. */
		for (level = 0; level < MEM_MAX_HEIGHT; level++) {
			struct mem_node *next = next_of(finger[level], level);
			if (!next || compare(next, p) >= 0)
				break;
		}
		for (unsigned l = level; l < MEM_MAX_HEIGHT; l++)
			prev[l] = finger[l];
		n = finger[level ? level - 1 : 0];
	}
	while (level-- > 0) {
		for (struct mem_node *next; (next = next_of(n, level)) && compare(next, p) < 0;)
			n = next;
		prev[level] = n;
	}
}

static const struct mem_value *value_new(struct memtable *m, const void *val, uint32_t vlen)
{
	size_t bytes = vlen == MEM_DELETED ? 0 : vlen;
	struct mem_value *v = arena_take(m, sizeof *v + bytes);
	v->len = vlen;
	if (bytes)
		memcpy(v->bytes, val, bytes);
	return v;
}

static void hash_node(struct memtable *m, enum kv_table t, struct mem_node *n, uint32_t hash)
{
	_Atomic(struct mem_node *) *bucket = &m->buckets[hash & m->bucket_mask];
	n->hash = hash;
	n->table = (uint8_t)t;
	n->chain = atomic_load_explicit(bucket, memory_order_relaxed);
	atomic_store_explicit(bucket, n, memory_order_release);
}

void memtable_put(struct memtable *m, enum kv_table t, struct slice key, const void *val,
		  uint32_t vlen)
{
	struct probe p = probe_of(key);
	struct mem_node *prev[MEM_MAX_HEIGHT];
	const struct mem_value *v = value_new(m, val, vlen);
	uint32_t hash = key_hash(t, key);
	m->filled = true;
	struct mem_node *n = find_hashed(m, t, &p, hash);
	if (n) {
		atomic_store_explicit(&n->value, v, memory_order_release);
		return;
	}
	find_path(m, t, &p, prev);
	unsigned height = random_height(m);
	n = node_new(m, key, height);
	atomic_init(&n->value, v);
	hash_node(m, t, n, hash);
	for (unsigned l = 0; l < height; l++) {
		atomic_init(&n->next[l], next_of(prev[l], l));
		atomic_store_explicit(&prev[l]->next[l], n, memory_order_release);
		prev[l] = n;
	}
	memcpy(m->finger[t], prev, sizeof prev);
}

/* The last node before the key (with `through`: or at it); the head if there is none. *ret_next is the
 * node that was found to be behind the key, or NULL. Whoever asked the node before for its next one
 * later might get one that was put between them meanwhile, and that lies before the key. */
static const struct mem_node *find_before(const struct memtable *m, enum kv_table t,
					  const struct probe *p, bool through,
					  const struct mem_node **ret_next)
{
	const struct mem_node *n = m->head[t], *stop = NULL;
	for (unsigned level = MEM_MAX_HEIGHT; level-- > 0;)
		for (const struct mem_node *next; (next = next_of(n, level)) && next != stop;) {
			int c = compare(next, p);
			if (c > 0 || (c == 0 && !through)) {
				stop = next;
				break;
			}
			n = next;
		}
	*ret_next = stop;
	return n;
}

static const struct mem_node *find_last(const struct memtable *m, enum kv_table t)
{
	const struct mem_node *n = m->head[t];
	for (unsigned level = MEM_MAX_HEIGHT; level-- > 0;)
		for (const struct mem_node *next; (next = next_of(n, level));)
			n = next;
	return n;
}

const struct mem_value *memtable_get(const struct memtable *m, enum kv_table t, struct slice key)
{
	struct probe p = probe_of(key);
	const struct mem_node *n = find_hashed(m, t, &p, key_hash(t, key));
	return n ? mem_node_value(n) : NULL;
}

const struct mem_node *memtable_seek(const struct memtable *m, enum kv_table t, struct slice key,
				     bool down, bool past)
{
	const struct mem_node *n, *next;
	struct probe p = probe_of(key);
	if (!down && !key.at)
		return next_of(m->head[t], 0);
	n = key.at ? find_before(m, t, &p, down ? !past : past, &next) : find_last(m, t);
	if (!down)
		return next;
	return n == m->head[t] ? NULL : n;
}

const struct mem_node *memtable_step(const struct memtable *m, enum kv_table t,
				     const struct mem_node *n, bool down)
{
	return down ? memtable_seek(m, t, mem_node_key(n), true, true) : next_of(n, 0);
}
