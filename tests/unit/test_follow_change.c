// SPDX-License-Identifier: MIT
/* What makes one state out of another: against states made up at random. */
#include "kv_pool.h"
#include "chunk_row.h"
#include "digests_format.h"
#include "dirent_row.h"
#include "follow_change.h"
#include "inode_row.h"
#include "prng.h"
#include "replica_format.h"
#include "tiers.h"
#include <dirent.h>

#define ROUNDS 60
#define KEYS 40

struct row {
	uint8_t key[24], val[64];
	size_t klen, vlen;
};

struct rows { /* of each table, in key order */
	struct row v[KV_TABLES][KEYS];
	size_t n[KV_TABLES];
};

static void put_row(struct rows *s, enum kv_table t, const void *key, size_t klen, const void *val,
		    size_t vlen)
{
	struct row *row = &s->v[t][s->n[t]++];
	memcpy(row->key, key, klen);
	memcpy(row->val, val, vlen);
	row->klen = klen;
	row->vlen = vlen;
}

static void put_dirent(struct rows *s, uint64_t parent, uint64_t n, uint64_t *rng)
{
	uint8_t key[16], val[64] = { DT_REG, (uint8_t)(1 + prng_below(rng, 100)) };
	put_be64(key, parent);
	put_be64(key + 8, DIRENT_FIRST_COOKIE + n);
	int len = sprintf((char *)val + 2, "name%u", (unsigned)prng_below(rng, 4));
	put_row(s, KV_DIRENT, key, sizeof key, val, 2 + (size_t)len);
}

static void put_pack(struct rows *s, uint64_t id, uint64_t *rng)
{
	uint8_t key[8];
	CLEANUP_BUF struct buf val = { 0 };
	struct pack_row row = { .id = id,
				.state = (uint8_t)(1 + prng_below(rng, 3)),
				.tier = (uint8_t)prng_below(rng, 4),
				.bytes = prng_below(rng, 3) };
	put_be64(key, id);
	pack_encode_row(&row, &val);
	put_row(s, KV_PACK, key, sizeof key, val.data, val.len);
}

/* Each row is there or not, and one of a few. */
static void make_up(struct rows *s, uint64_t *rng)
{
	static const enum kv_table plain[] = { KV_META,	   KV_INODE, KV_XATTR, KV_EXTENT,
					       KV_SEGMENT, KV_CHUNK, KV_INLINE };
	memset(s, 0, sizeof *s);
	for (uint64_t i = 0; i < KEYS / 2; i++) {
		if (prng_below(rng, 2))
			put_dirent(s, 1 + i / 5, i, rng);
		if (prng_below(rng, 2))
			put_pack(s, 1 + i, rng);
		for (size_t k = 0; k < sizeof plain / sizeof *plain; k++) {
			uint8_t key[12] = { 0 }, val = (uint8_t)prng_below(rng, 3);
			put_be64(key, 1 + i);
			if (prng_below(rng, 2))
				put_row(s, plain[k], key, plain[k] == KV_XATTR ? 12 : 8, &val,
					prng_below(rng, 2));
		}
	}
}

/* As it is where it is followed. */
static bool adapted(enum kv_table t, const struct row *row, struct row *out)
{
	struct pack_row pack;
	*out = *row;
	if (t != KV_PACK)
		return true;
	assert_int_equal(pack_decode_row(slice_of(row->key, row->klen),
					 slice_of(row->val, row->vlen), &pack),
			 0);
	if (pack.state == PACK_DOOMED)
		return false;
	pack.tier = pack.state == PACK_SEALED ? REPLICA_TIER : TIER_HOT;
	struct buf val = { .data = out->val, .cap = sizeof out->val };
	pack_encode_row(&pack, &val);
	out->vlen = val.len;
	return true;
}

static void expect(struct kv *kv, const struct rows *want)
{
	for (unsigned t = 0; t < KV_TABLES; t++) {
		struct kv_iter *it = kv_iter_new(kv, (enum kv_table)t, NULL, 0, false);
		struct slice key, val;
		size_t i = 0;
		assert_non_null(it);
		while (t != KV_META && kv_iter_next(it, &key, &val) > 0) {
			struct row row;
			while (i < want->n[t] && !adapted((enum kv_table)t, &want->v[t][i], &row))
				i++;
			assert_true(i < want->n[t]);
			i++;
			assert_int_equal(key.len, row.klen);
			assert_memory_equal(key.at, row.key, key.len);
			assert_int_equal(val.len, row.vlen);
			assert_memory_equal(val.at, row.val, val.len);
		}
		for (struct row row; t != KV_META && i < want->n[t]; i++)
			assert_false(adapted((enum kv_table)t, &want->v[t][i], &row));
		kv_iter_free(it);
	}
}

static bool has_number(const uint64_t *v, size_t n, uint64_t number)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] == number)
			return true;
	return false;
}

static const struct row *find_row(const struct rows *s, enum kv_table t, const struct row *row)
{
	for (size_t i = 0; i < s->n[t]; i++)
		if (s->v[t][i].klen == row->klen && !memcmp(s->v[t][i].key, row->key, row->klen))
			return &s->v[t][i];
	return NULL;
}

/* Everybody whom a difference concerns is told of. */
static void expect_told(const struct follow_change *c, const struct rows *a, const struct rows *b)
{
	static const enum kv_table of_inodes[] = { KV_INODE, KV_DIRENT, KV_XATTR, KV_EXTENT,
						   KV_INLINE };
	for (size_t k = 0; k < sizeof of_inodes / sizeof *of_inodes; k++)
		for (size_t i = 0; i < a->n[of_inodes[k]]; i++) {
			enum kv_table t = of_inodes[k];
			const struct row *row = &a->v[t][i], *now = find_row(b, t, row);
			if (now && now->vlen == row->vlen && !memcmp(now->val, row->val, row->vlen))
				continue;
			assert_true(has_number(c->inodes, c->n_inodes, get_be64(row->key)));
			bool named = t != KV_DIRENT;
			for (size_t m = 0; !named && m < c->n_moved; m++)
				named = c->moved[m].parent == get_be64(row->key) &&
					!strcmp((char *)c->names.data + c->moved[m].at,
						(const char *)row->val + 2);
			assert_true(named);
		}
}

static void feed(struct follow_change *c, const struct rows *to)
{
	for (unsigned t = 0; t < KV_TABLES; t++)
		for (size_t i = 0; i < to->n[t]; i++) {
			const struct row *row = &to->v[t][i];
			assert_int_equal(follow_change_compare(c, (enum kv_table)t,
							       slice_of(row->key, row->klen),
							       slice_of(row->val, row->vlen)),
					 0);
		}
	assert_int_equal(follow_change_compared(c), 0);
	follow_change_sort(c);
}

static void any_state_becomes_any_other(void **state)
{
	(void)state;
	struct pool p;
	struct kv *kv;
	uint64_t rng = 7;
	static struct rows at, to;
	pool_make(&p);
	assert_int_equal(kv_open(&p.opt, &kv, &p.rec), 0);
	memset(&at, 0, sizeof at);
	for (int round = 0; round < ROUNDS; round++) {
		struct follow_change c = { .kv = kv };
		make_up(&to, &rng);
		feed(&c, &to);
		expect_told(&c, &at, &to);
		expect_told(&c, &to, &at);
		assert_int_equal(follow_change_commit(&c), 0);
		follow_change_done(&c);
		expect(kv, &to);
		c = (struct follow_change){ .kv = kv };
		feed(&c, &to);
		for (size_t i = 0; i < c.n_batches; i++) /* the same once more: nothing to do */
			assert_true(kv_batch_empty(c.batches[i]));
		assert_int_equal(c.n_inodes, 0);
		follow_change_done(&c);
		at = to;
		if (round % 10 == 5)
			assert_int_equal(kv_checkpoint(kv), 0);
	}
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

/* What belongs to this pool alone is left alone, whatever the other one says. */
static void what_is_its_own_stays(void **state)
{
	(void)state;
	static const char *const own[] = { TIER_KEY "\x0f", FOLLOW_STATE_KEY, DIGESTS_ROW };
	struct pool p;
	struct kv *kv;
	pool_make(&p);
	assert_int_equal(kv_open(&p.opt, &kv, &p.rec), 0);
	struct kv_batch *b = kv_batch_new();
	for (size_t i = 0; i < 3; i++)
		kv_batch_put(b, KV_META, own[i], strlen(own[i]), "mine", 4);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	struct follow_change c = { .kv = kv };
	for (size_t i = 0; i < 3; i++) {
		struct slice key = slice_of(own[i], strlen(own[i]));
		assert_int_equal(follow_change_put(&c, KV_META, key, slice_of("yours", 5)), 0);
		assert_int_equal(follow_change_delete(&c, KV_META, key), 0);
	}
	assert_int_equal(follow_change_compared(&c), 0);
	assert_int_equal(follow_change_commit(&c), 0);
	follow_change_done(&c);
	for (size_t i = 0; i < 3; i++) {
		CLEANUP_BUF struct buf val = { 0 };
		assert_int_equal(kv_get(kv, KV_META, own[i], strlen(own[i]), &val), 0);
		assert_memory_equal(val.data, "mine", 4);
	}
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

static void rows_out_of_order_are_refused(void **state)
{
	(void)state;
	struct pool p;
	struct kv *kv;
	uint8_t key[8];
	pool_make(&p);
	assert_int_equal(kv_open(&p.opt, &kv, &p.rec), 0);
	struct follow_change c = { .kv = kv };
	put_be64(key, 5);
	struct slice k = slice_of(key, sizeof key), v = slice_of("x", 1);
	assert_int_equal(follow_change_compare(&c, KV_SEGMENT, k, v), 0);
	assert_int_equal(follow_change_compare(&c, KV_SEGMENT, k, v), -EUCLEAN);
	assert_int_equal(follow_change_compare(&c, KV_CHUNK, k, v), 0);
	assert_int_equal(follow_change_compare(&c, KV_SEGMENT, k, v), -EUCLEAN); /* twice */
	assert_int_equal(follow_change_put(&c, KV_INODE, slice_of(key, 3), v), -EUCLEAN);
	assert_int_equal(follow_change_put(&c, KV_PACK, k, v), -EUCLEAN);
	assert_int_equal(follow_change_put(&c, KV_DIRENT, k, v), -EUCLEAN);
	follow_change_done(&c);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_state_becomes_any_other),
		cmocka_unit_test(what_is_its_own_stays),
		cmocka_unit_test(rows_out_of_order_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
