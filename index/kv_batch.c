// SPDX-License-Identifier: MIT
#include "kv_batch.h"
#include "wal_format.h"
#include <errno.h>
#include <stdlib.h>

struct kv_batch *kv_batch_new(void)
{
	struct kv_batch *b = calloc(1, sizeof *b);
	if (b)
		b->barriers_tail = &b->barriers;
	return b;
}

static bool key_fits(struct kv_batch *b, enum kv_table t, size_t klen)
{
	if ((unsigned)t >= KV_TABLES || klen == 0 || klen > KV_KEY_MAX)
		b->err = -EINVAL;
	return !b->err;
}

void kv_batch_put(struct kv_batch *b, enum kv_table t, const void *key, size_t klen,
		  const void *val, size_t vlen)
{
	if (!b || !key_fits(b, t, klen))
		return;
	if (vlen > KV_VALUE_MAX) {
		b->err = -EINVAL;
		return;
	}
	buf_put_u8(&b->ops, (uint8_t)t);
	buf_put_varint(&b->ops, klen);
	buf_put_varint(&b->ops, vlen);
	buf_put(&b->ops, key, klen);
	buf_put(&b->ops, val, vlen);
	b->n_ops++;
}

void kv_batch_delete(struct kv_batch *b, enum kv_table t, const void *key, size_t klen)
{
	if (!b || !key_fits(b, t, klen))
		return;
	buf_put_u8(&b->ops, (uint8_t)t | WAL_OP_DELETE);
	buf_put_varint(&b->ops, klen);
	buf_put(&b->ops, key, klen);
	b->n_ops++;
}

void kv_batch_set_reserve(struct kv_batch *b)
{
	if (b)
		b->reserve = true;
}

bool kv_batch_empty(const struct kv_batch *b)
{
	return b->n_ops == 0 && !b->barriers;
}

void kv_batch_barrier(struct kv_batch *b, struct kv_barrier *barrier)
{
	if (!b) {
		barrier->release(barrier);
		return;
	}
	barrier->next = NULL;
	*b->barriers_tail = barrier;
	b->barriers_tail = &barrier->next;
}

void kv_batch_free(struct kv_batch *b)
{
	if (!b)
		return;
	for (struct kv_barrier *one = b->barriers, *next; one; one = next) {
		next = one->next;
		one->release(one);
	}
	buf_done(&b->ops);
	free(b);
}

int kv_op_take(struct slice *payload, struct kv_op *ret_op)
{
	if (!payload->len)
		return 0;
	uint8_t head = take_u8(payload);
	uint64_t klen = take_varint(payload), vlen = 0;
	if (!(head & WAL_OP_DELETE))
		vlen = take_varint(payload);
	if (payload->bad || klen == 0 || klen > KV_KEY_MAX || vlen > KV_VALUE_MAX ||
	    (head & ~WAL_OP_DELETE) >= KV_TABLES)
		return -EUCLEAN;
	ret_op->table = (enum kv_table)(head & ~WAL_OP_DELETE);
	ret_op->is_delete = head & WAL_OP_DELETE;
	ret_op->key = slice_of(take_bytes(payload, klen), klen);
	ret_op->val = slice_of(take_bytes(payload, vlen), vlen);
	return payload->bad ? -EUCLEAN : 1;
}
