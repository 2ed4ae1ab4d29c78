// SPDX-License-Identifier: MIT
/* memtable: the rows of recent batches, sorted, in memory.
 *
 * One writer at a time (the caller sees to it), any number of readers beside it without locks. Rows
 * are never removed: a delete is a row that says so, an overwrite swaps the row's value. Everything
 * lives until memtable_free(), so pointers handed out stay good while the reader pins the table.
 */
#ifndef FOLDFS_MEMTABLE_H
#define FOLDFS_MEMTABLE_H
#include "kv.h"
#include <stdatomic.h>

#define MEM_MAX_HEIGHT 12
#define MEM_DELETED UINT32_MAX
/* What a row may need beyond its key and value bytes. */
#define MEM_ROW_OVERHEAD (64 + MEM_MAX_HEIGHT * sizeof(void *))

struct mem_value {
	uint32_t len; /* MEM_DELETED: the key is gone */
	uint8_t bytes[];
};

struct mem_node {
	_Atomic(const struct mem_value *) value;
	uint64_t prefix;	/* the key's first eight bytes as a number, zero-padded */
	struct mem_node *chain; /* of the same bucket, older */
	uint32_t hash;
	uint16_t klen;
	uint8_t height;
	uint8_t table;
	_Atomic(struct mem_node *) next[]; /* `height` of them, then the key */
};

struct memtable;

/* For about that much in rows; more is slower, not wrong. NULL: no memory. */
struct memtable *memtable_new(size_t expected_bytes);
void memtable_free(struct memtable *m);
size_t memtable_bytes(const struct memtable *m); /* memory in use by rows; writer only */
bool memtable_empty(const struct memtable *m);

/* Writer: makes sure that rows of this much (keys, values, MEM_ROW_OVERHEAD each) cannot fail. */
bool memtable_reserve(struct memtable *m, size_t bytes);
/* val NULL with vlen MEM_DELETED deletes. Needs a reservation. */
void memtable_put(struct memtable *m, enum kv_table t, struct slice key, const void *val,
		  uint32_t vlen);

/* The row's value now, NULL if the table says nothing about the key. */
const struct mem_value *memtable_get(const struct memtable *m, enum kv_table t, struct slice key);

/* First row with key >= (or > when `past`) the key, downwards: last row with key <= (or <). A NULL
 * key.at starts at the end the direction starts from. NULL: none. */
const struct mem_node *memtable_seek(const struct memtable *m, enum kv_table t, struct slice key,
				     bool down, bool past);
const struct mem_node *memtable_step(const struct memtable *m, enum kv_table t,
				     const struct mem_node *n, bool down);

static inline struct slice mem_node_key(const struct mem_node *n)
{
	return slice_of(&n->next[n->height], n->klen);
}
static inline const struct mem_value *mem_node_value(const struct mem_node *n)
{
	return atomic_load_explicit(&n->value, memory_order_acquire);
}
static inline int slice_compare(struct slice a, struct slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.at, b.at, n) : 0;
	return c ? c : (a.len > b.len) - (a.len < b.len);
}
#endif
