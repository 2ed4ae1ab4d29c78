// SPDX-License-Identifier: MIT
#include "kv_pool.h"
#include "memtable.h"
#include <pthread.h>

static void put(struct memtable *m, const char *key, const char *val)
{
	size_t vlen = val ? strlen(val) : 0;
	assert_true(memtable_reserve(m, strlen(key) + vlen + MEM_ROW_OVERHEAD));
	memtable_put(m, KV_INODE, slice_of(key, strlen(key)), val,
		     val ? (uint32_t)vlen : MEM_DELETED);
}

static const char *get(struct memtable *m, const char *key)
{
	static char text[64];
	const struct mem_value *v = memtable_get(m, KV_INODE, slice_of(key, strlen(key)));
	if (!v)
		return "nothing";
	if (v->len == MEM_DELETED)
		return "deleted";
	snprintf(text, sizeof text, "%.*s", (int)v->len, (const char *)v->bytes);
	return text;
}

static const char *at(const struct mem_node *n)
{
	static char text[64];
	if (!n)
		return "end";
	struct slice k = mem_node_key(n);
	snprintf(text, sizeof text, "%.*s", (int)k.len, (const char *)k.at);
	return text;
}

static void rows_are_found_overwritten_and_deleted(void **state)
{
	(void)state;
	struct memtable *m = memtable_new(100000);
	assert_true(memtable_empty(m));
	put(m, "b", "1");
	put(m, "a", "2");
	put(m, "longer than a prefix, b", "4");
	put(m, "longer than a prefix, a", "3");
	put(m, "b", "5");
	assert_string_equal(get(m, "a"), "2");
	assert_string_equal(get(m, "b"), "5");
	assert_string_equal(get(m, "longer than a prefix, a"), "3");
	assert_string_equal(get(m, "longer than a prefix"), "nothing");
	put(m, "a", NULL);
	assert_string_equal(get(m, "a"), "deleted");
	put(m, "a", "");
	assert_string_equal(get(m, "a"), "");
	assert_null(memtable_get(m, KV_XATTR, slice_of("a", 1)));
	assert_false(memtable_empty(m));
	memtable_free(m);
}

static void zero_bytes_count(void **state)
{
	(void)state;
	struct memtable *m = memtable_new(100000);
	const char *keys[] = { "a", "a\0", "a\0\0", "a\0b", "a\1" };
	size_t lens[] = { 1, 2, 3, 3, 2 };
	for (size_t i = 5; i-- > 0;) {
		assert_true(memtable_reserve(m, 100 + MEM_ROW_OVERHEAD));
		memtable_put(m, KV_META, slice_of(keys[i], lens[i]), "x", 1);
	}
	const struct mem_node *n = memtable_seek(m, KV_META, slice_of(NULL, 0), false, false);
	for (size_t i = 0; i < 5; i++) {
		assert_non_null(n);
		assert_int_equal(mem_node_key(n).len, lens[i]);
		assert_memory_equal(mem_node_key(n).at, keys[i], lens[i]);
		n = memtable_step(m, KV_META, n, false);
	}
	assert_null(n);
	memtable_free(m);
}

static void seeks_stop_where_they_should(void **state)
{
	(void)state;
	struct memtable *m = memtable_new(100000);
	struct slice none = slice_of(NULL, 0);
	assert_null(memtable_seek(m, KV_INODE, none, false, false));
	assert_null(memtable_seek(m, KV_INODE, none, true, false));
	put(m, "d", "");
	put(m, "b", "");
	put(m, "f", "");
#define SEEK(key, down, past) at(memtable_seek(m, KV_INODE, slice_of(key, 1), down, past))
	assert_string_equal(SEEK("a", false, false), "b");
	assert_string_equal(SEEK("b", false, false), "b");
	assert_string_equal(SEEK("b", false, true), "d");
	assert_string_equal(SEEK("g", false, false), "end");
	assert_string_equal(SEEK("g", true, false), "f");
	assert_string_equal(SEEK("f", true, false), "f");
	assert_string_equal(SEEK("f", true, true), "d");
	assert_string_equal(SEEK("a", true, false), "end");
#undef SEEK
	assert_string_equal(at(memtable_seek(m, KV_INODE, none, true, false)), "f");
	assert_string_equal(at(memtable_seek(m, KV_INODE, none, false, false)), "b");
	memtable_free(m);
}

/* Against a plain array: random, increasing and decreasing runs, which take the finger's paths. */
static void random_runs_stay_sorted(void **state)
{
	(void)state;
	enum { SPACE = 4096 };
	static int64_t model[SPACE];
	struct memtable *m = memtable_new(100000);
	uint32_t seed = 1;
	memset(model, -1, sizeof model);
	for (int64_t i = 0; i < 50000; i++) {
		static uint32_t k;
		int mode = (int)(i >> 7) % 3;
		seed = seed * 1664525u + 1013904223u;
		k = mode == 0 ? seed >> 8 : mode == 1 ? k + 1 : k - 1;
		k %= SPACE;
		uint8_t key[12] = { 0 };
		put_be64(key, k / 7);
		put_be16(key + 8, (uint16_t)(k % 7));
		assert_true(memtable_reserve(m, 32 + MEM_ROW_OVERHEAD));
		memtable_put(m, KV_EXTENT, slice_of(key, 10), &i, sizeof i);
		model[k] = i;
	}
	const struct mem_node *n = memtable_seek(m, KV_EXTENT, slice_of(NULL, 0), false, false);
	for (uint32_t k = 0; k < SPACE; k++) {
		if (model[k] < 0)
			continue;
		struct slice key = mem_node_key(n);
		assert_int_equal(get_be64(key.at) * 7 + get_be16(key.at + 8), k);
		assert_memory_equal(mem_node_value(n)->bytes, &model[k], 8);
		const struct mem_node *back = memtable_step(m, KV_EXTENT, n, true);
		assert_true(!back || memtable_step(m, KV_EXTENT, back, false) == n);
		n = memtable_step(m, KV_EXTENT, n, false);
	}
	assert_null(n);
	memtable_free(m);
}

enum { READERS = 3, ROWS = 20000 };
struct shared {
	struct memtable *m;
	_Atomic uint64_t written;
	_Atomic bool wrong;
};

static void key_of(uint64_t i, uint8_t key[8])
{
	put_be64(key, i * 0x9e3779b97f4a7c15u);
}

static void *reader_main(void *arg)
{
	struct shared *s = arg;
	for (uint64_t n = 0; n < ROWS;) {
		n = atomic_load(&s->written);
		uint8_t key[8];
		key_of(n ? n - 1 : 0, key);
		const struct mem_value *v = memtable_get(s->m, KV_INODE, slice_of(key, 8));
		if (n && (!v || v->len != 8 || get_le64(v->bytes) + 1 < n))
			s->wrong = true;
		uint64_t before = 0;
		const struct mem_node *at_node =
			memtable_seek(s->m, KV_INODE, slice_of(key, 8), false, false);
		for (int i = 0; i < 50 && at_node; i++) {
			uint64_t k = get_be64(mem_node_key(at_node).at);
			if (i && k <= before)
				s->wrong = true;
			before = k;
			at_node = memtable_step(s->m, KV_INODE, at_node, i % 10 == 9);
			if (i % 10 == 9)
				before = 0;
		}
	}
	return NULL;
}

static void readers_run_beside_the_writer(void **state)
{
	(void)state;
	struct shared s = { .m = memtable_new(100000) };
	pthread_t t[READERS];
	for (int i = 0; i < READERS; i++)
		pthread_create(&t[i], NULL, reader_main, &s);
	for (uint64_t i = 0; i < ROWS; i++) {
		uint8_t key[8], val[8];
		key_of(i, key);
		put_le64(val, i);
		assert_true(memtable_reserve(s.m, 16 + MEM_ROW_OVERHEAD));
		memtable_put(s.m, KV_INODE, slice_of(key, 8), val, 8);
		atomic_store(&s.written, i + 1);
		if (i % 3 == 0) { /* overwrites of old rows, never to something older */
			key_of(i / 2, key);
			assert_true(memtable_reserve(s.m, 16 + MEM_ROW_OVERHEAD));
			memtable_put(s.m, KV_INODE, slice_of(key, 8), val, 8);
		}
	}
	for (int i = 0; i < READERS; i++)
		pthread_join(t[i], NULL);
	assert_false(s.wrong);
	memtable_free(s.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_found_overwritten_and_deleted),
		cmocka_unit_test(zero_bytes_count),
		cmocka_unit_test(seeks_stop_where_they_should),
		cmocka_unit_test(random_runs_stay_sorted),
		cmocka_unit_test(readers_run_beside_the_writer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
