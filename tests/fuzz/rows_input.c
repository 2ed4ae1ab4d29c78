// SPDX-License-Identifier: MIT
#include "rows_input.h"

struct kv *input_rows(struct slice *in)
{
	struct kv *kv = fake_kv_new();
	while (in->len) {
		enum kv_table t = (enum kv_table)(take_u8(in) % KV_TABLES);
		size_t klen = take_u8(in), vlen = take_u8(in);
		vlen |= (size_t)take_u8(in) << 8;
		struct slice key = take_up_to(in, klen ? klen : 1), val = take_up_to(in, vlen);
		if (key.len)
			fake_kv_set(kv, t, key.at, key.len, val.at, val.len);
	}
	return kv;
}

void input_row(struct buf *b, enum kv_table t, struct slice key, struct slice val)
{
	buf_put_u8(b, (uint8_t)t);
	buf_put_u8(b, (uint8_t)key.len);
	buf_put_u8(b, (uint8_t)val.len);
	buf_put_u8(b, (uint8_t)(val.len >> 8));
	buf_put(b, key.at, key.len);
	buf_put(b, val.at, val.len);
}

void input_all_rows(struct buf *b, struct kv *kv)
{
	struct slice key, val;
	for (int t = 0; t < KV_TABLES; t++) {
		struct kv_iter *it = kv_iter_new(kv, (enum kv_table)t, "", 0, false);
		while (kv_iter_next(it, &key, &val) == 1)
			input_row(b, (enum kv_table)t, key, val);
		kv_iter_free(it);
	}
}

/* What fake_kv.c lacks and packs need: here everything is durable at once. */
void kv_when_durable(struct kv *kv, uint64_t lsn, void (*fn)(void *arg, int err), void *arg)
{
	(void)kv;
	(void)lsn;
	fn(arg, 0);
}

uint64_t kv_last_lsn(struct kv *kv)
{
	(void)kv;
	return 0;
}
