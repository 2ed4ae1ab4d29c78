// SPDX-License-Identifier: MIT
#include "fake_kv.h"
#include "cleanup.h"
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

struct row {
	size_t klen, vlen;
	bool damaged;
	uint8_t bytes[]; /* key, value */
};

struct table {
	struct row **v;
	size_t n, cap;
};

struct kv {
	pthread_mutex_t lock; /* of all below */
	struct table table[KV_TABLES];
	uint64_t id, lsn, gets, iters;
	int fail;
	bool yield; /* set before there are threads */
};

struct op {
	enum kv_table table;
	struct row *row;
	bool delete;
};

struct kv_batch {
	struct op *v;
	size_t n, cap;
	struct kv_barrier *barriers;
};

struct kv_iter {
	struct kv *kv;
	enum kv_table table;
	bool down, inclusive;
	uint8_t at[KV_KEY_MAX];
	size_t at_len;
	struct buf row;
};

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static struct row *row_new(const void *key, size_t klen, const void *val, size_t vlen)
{
	assert(klen <= KV_KEY_MAX && vlen <= KV_VALUE_MAX);
	struct row *row = must(malloc(sizeof *row + klen + vlen));
	row->klen = klen;
	row->vlen = vlen;
	row->damaged = false;
	memcpy(row->bytes, key, klen);
	if (vlen)
		memcpy(row->bytes + klen, val, vlen);
	return row;
}

static int key_compare(const void *a, size_t alen, const void *b, size_t blen)
{
	int r = memcmp(a, b, alen < blen ? alen : blen);
	return r ? r : (alen > blen) - (alen < blen);
}

/* The first row with a key >= this one. */
static size_t table_find(const struct table *t, const void *key, size_t klen, bool *ret_equal)
{
	size_t lo = 0, hi = t->n;
	*ret_equal = false;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int r = key_compare(t->v[mid]->bytes, t->v[mid]->klen, key, klen);
		if (r == 0)
			*ret_equal = true;
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void table_put(struct table *t, struct row *row)
{
	bool equal;
	size_t i = table_find(t, row->bytes, row->klen, &equal);
	if (equal) {
		free(t->v[i]);
		t->v[i] = row;
		return;
	}
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->v = must(realloc(t->v, t->cap * sizeof *t->v));
	}
	memmove(&t->v[i + 1], &t->v[i], (t->n - i) * sizeof *t->v);
	t->v[i] = row;
	t->n++;
}

static void table_delete(struct table *t, const void *key, size_t klen)
{
	bool equal;
	size_t i = table_find(t, key, klen, &equal);
	if (!equal)
		return;
	free(t->v[i]);
	t->n--;
	memmove(&t->v[i], &t->v[i + 1], (t->n - i) * sizeof *t->v);
}

struct kv *fake_kv_new(void)
{
	static _Atomic uint64_t last_id;
	struct kv *kv = must(calloc(1, sizeof *kv));
	kv->id = ++last_id;
	pthread_mutex_init(&kv->lock, NULL);
	return kv;
}

void fake_kv_free(struct kv *kv)
{
	for (int t = 0; t < KV_TABLES; t++) {
		for (size_t i = 0; i < kv->table[t].n; i++)
			free(kv->table[t].v[i]);
		free(kv->table[t].v);
	}
	pthread_mutex_destroy(&kv->lock);
	free(kv);
}

size_t fake_kv_rows(struct kv *kv, enum kv_table t)
{
	SCOPED_LOCK(&kv->lock);
	return kv->table[t].n;
}

size_t fake_kv_bytes(struct kv *kv, enum kv_table t)
{
	SCOPED_LOCK(&kv->lock);
	size_t bytes = 0;
	for (size_t i = 0; i < kv->table[t].n; i++)
		bytes += kv->table[t].v[i]->klen + kv->table[t].v[i]->vlen;
	return bytes;
}

void fake_kv_damage(struct kv *kv, enum kv_table t, const void *key, size_t klen)
{
	SCOPED_LOCK(&kv->lock);
	bool equal;
	size_t i = table_find(&kv->table[t], key, klen, &equal);
	assert(equal);
	kv->table[t].v[i]->damaged = true;
}

void fake_kv_fail_commits(struct kv *kv, int err)
{
	SCOPED_LOCK(&kv->lock);
	kv->fail = err;
}

void fake_kv_yield(struct kv *kv)
{
	kv->yield = true;
}

void fake_kv_counts(struct kv *kv, uint64_t *ret_gets, uint64_t *ret_iters)
{
	SCOPED_LOCK(&kv->lock);
	*ret_gets = kv->gets;
	*ret_iters = kv->iters;
}

void fake_kv_set(struct kv *kv, enum kv_table t, const void *key, size_t klen, const void *val,
		 size_t vlen)
{
	SCOPED_LOCK(&kv->lock);
	if (val)
		table_put(&kv->table[t], row_new(key, klen, val, vlen));
	else
		table_delete(&kv->table[t], key, klen);
}

uint64_t kv_id(const struct kv *kv)
{
	return kv->id;
}

struct kv_batch *kv_batch_new(void)
{
	return must(calloc(1, sizeof(struct kv_batch)));
}

static void batch_add(struct kv_batch *b, struct op op)
{
	if (b->n == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 16;
		b->v = must(realloc(b->v, b->cap * sizeof *b->v));
	}
	b->v[b->n++] = op;
}

void kv_batch_put(struct kv_batch *b, enum kv_table t, const void *key, size_t klen,
		  const void *val, size_t vlen)
{
	batch_add(b, (struct op){ .table = t, .row = row_new(key, klen, val, vlen) });
}

void kv_batch_delete(struct kv_batch *b, enum kv_table t, const void *key, size_t klen)
{
	batch_add(b, (struct op){ .table = t, .row = row_new(key, klen, NULL, 0), .delete = true });
}

bool kv_batch_empty(const struct kv_batch *b)
{
	return b->n == 0;
}

void kv_batch_set_reserve(struct kv_batch *b)
{
	(void)b;
}

void kv_batch_barrier(struct kv_batch *b, struct kv_barrier *barrier)
{
	barrier->next = b->barriers;
	b->barriers = barrier;
}

void kv_batch_free(struct kv_batch *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n; i++)
		free(b->v[i].row);
	while (b->barriers) {
		struct kv_barrier *barrier = b->barriers;
		b->barriers = barrier->next;
		barrier->release(barrier);
	}
	free(b->v);
	free(b);
}

int kv_commit(struct kv *kv, struct kv_batch *b, uint64_t *ret_lsn)
{
	if (kv->yield)
		sched_yield();
	pthread_mutex_lock(&kv->lock);
	int r = kv->fail;
	for (size_t i = 0; i < b->n && !r; i++) {
		struct op *op = &b->v[i];
		if (op->delete) {
			table_delete(&kv->table[op->table], op->row->bytes, op->row->klen);
			continue;
		}
		table_put(&kv->table[op->table], op->row);
		op->row = NULL;
	}
	if (!r && ret_lsn)
		*ret_lsn = kv->lsn + 1;
	kv->lsn += !r;
	pthread_mutex_unlock(&kv->lock);
	kv_batch_free(b);
	return r;
}

static int get_row(struct kv *kv, enum kv_table t, const void *key, size_t klen, struct buf *val)
{
	SCOPED_LOCK(&kv->lock);
	bool equal;
	size_t i = table_find(&kv->table[t], key, klen, &equal);
	kv->gets++;
	if (!equal)
		return -ENOENT;
	const struct row *row = kv->table[t].v[i];
	if (row->damaged)
		return -EUCLEAN;
	buf_put(val, row->bytes + row->klen, row->vlen);
	return val->failed ? -ENOMEM : 0;
}

int kv_sync(struct kv *kv, uint64_t lsn)
{
	(void)kv;
	(void)lsn;
	return 0;
}

int kv_get(struct kv *kv, enum kv_table t, const void *key, size_t klen, struct buf *val)
{
	int r = get_row(kv, t, key, klen, val);
	if (kv->yield)
		sched_yield();
	return r;
}

struct kv_iter *kv_iter_new(struct kv *kv, enum kv_table t, const void *from, size_t len, bool down)
{
	struct kv_iter *it = must(calloc(1, sizeof *it));
	it->kv = kv;
	it->table = t;
	it->down = down;
	it->inclusive = true;
	it->at_len = len;
	if (len)
		memcpy(it->at, from, len);
	SCOPED_LOCK(&kv->lock);
	kv->iters++;
	return it;
}

int kv_iter_next(struct kv_iter *it, struct slice *ret_key, struct slice *ret_val)
{
	SCOPED_LOCK(&it->kv->lock);
	const struct table *t = &it->kv->table[it->table];
	bool equal;
	size_t i = table_find(t, it->at, it->at_len, &equal);
	if (it->down) {
		if (equal && it->inclusive)
			i++;
		if (i == 0)
			return 0;
		i--;
	} else {
		if (equal && !it->inclusive)
			i++;
		if (i == t->n)
			return 0;
	}
	const struct row *row = t->v[i];
	it->inclusive = false;
	it->at_len = row->klen;
	memcpy(it->at, row->bytes, row->klen);
	buf_reset(&it->row);
	buf_put(&it->row, row->bytes, row->klen + row->vlen);
	*ret_key = slice_of(it->row.data, row->klen);
	*ret_val = slice_of(it->row.data + row->klen, row->vlen);
	return row->damaged ? -EUCLEAN : 1;
}

void kv_iter_free(struct kv_iter *it)
{
	if (it)
		buf_done(&it->row);
	free(it);
}
