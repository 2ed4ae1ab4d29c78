// SPDX-License-Identifier: MIT
/* Input: u8 chunk to look for, le16 byte in it; rows of the index (rows_input.h). */
#include "chunk_row.h"
#include "rows_input.h"
#include <errno.h>

static bool expected(int r)
{
	return r == 0 || r == -EUCLEAN || r == -ENOENT;
}

static void check_row(const struct frame_row *row)
{
	uint64_t sum = 0;
	must(row->n && row->n <= FRAME_CHUNKS_MAX && row->decoded_len <= FRAME_DECODED_MAX);
	for (uint32_t i = 0; i < row->n; i++) {
		must(row->chunks[i].length && (!i || row->chunks[i].id > row->chunks[i - 1].id));
		sum += row->chunks[i].length;
	}
	must(sum == row->decoded_len);
}

/* A valid row that is put again is the same row. */
static int check_frames(struct kv *kv)
{
	struct kv_iter *it = kv_iter_new(kv, KV_CHUNK, "", 0, false);
	struct slice key, val;
	int valid = 0;
	while (kv_iter_next(it, &key, &val) == 1) {
		struct frame_row row, again;
		if (frame_decode_row(key, val, &row) < 0)
			continue;
		check_row(&row);
		struct kv *copy = fake_kv_new();
		struct kv_batch *b = kv_batch_new();
		chunk_put_frame(b, &row);
		must(kv_commit(copy, b, NULL) == 0);
		uint32_t at, left;
		must(chunk_find(copy, row.chunks[0].id, row.part * FRAME_DECODED_MAX, &again, &at,
				&left) == 0);
		must(again.n == row.n && again.decoded_len == row.decoded_len && at == 0 &&
		     again.pack == row.pack && again.offset == row.offset);
		frame_row_done(&row);
		frame_row_done(&again);
		fake_kv_free(copy);
		valid++;
	}
	kv_iter_free(it);
	return valid;
}

static int check_packs(struct kv *kv)
{
	struct kv_iter *it = kv_iter_new(kv, KV_PACK, "", 0, false);
	struct slice key, val;
	int valid = 0;
	while (kv_iter_next(it, &key, &val) == 1) {
		struct pack_row row, again;
		if (pack_decode_row(key, val, &row) < 0)
			continue;
		struct kv *copy = fake_kv_new();
		struct kv_batch *b = kv_batch_new();
		pack_put(b, &row);
		must(kv_commit(copy, b, NULL) == 0 && pack_get(copy, row.id, &again) == 0);
		must(row.state == again.state && row.bytes == again.bytes &&
		     row.created == again.created && row.verified == again.verified);
		fake_kv_free(copy);
		valid++;
	}
	kv_iter_free(it);
	return valid;
}

bool fuzz_one(struct slice in)
{
	uint64_t id = take_u8(&in), last = 0;
	uint32_t offset = take_u8(&in), at, left;
	offset |= (uint32_t)take_u8(&in) << 16;
	struct kv *kv = input_rows(&in);
	struct frame_row row;
	int r = chunk_find(kv, id, offset, &row, &at, &left);
	must(expected(r));
	if (r == 0) {
		check_row(&row);
		must(left && at < row.decoded_len && left <= row.decoded_len - at);
		frame_row_done(&row);
	}
	must(expected(chunk_last_id(kv, &last)));
	int valid = check_frames(kv) + check_packs(kv);
	fake_kv_free(kv);
	return r == 0 && valid;
}

void fuzz_seeds(void)
{
	struct kv *kv = fake_kv_new();
	struct kv_batch *b = kv_batch_new();
	struct buf out = { 0 };
	struct frame_chunk many[] = { { 5, 100 }, { 6, 70000 }, { 9, 1 } }, big = { 20, 262144 };
	struct frame_row rows[] = {
		{ .pack = 3,
		  .offset = 64,
		  .stored_len = 600,
		  .n = 3,
		  .chunks = many,
		  .decoded_len = 70101,
		  .codec = 1 },
		{ .pack = 3,
		  .offset = 664,
		  .stored_len = 270000,
		  .n = 1,
		  .chunks = &big,
		  .decoded_len = 262144 },
		{ .pack = 4,
		  .offset = 64,
		  .stored_len = 270000,
		  .n = 1,
		  .chunks = &big,
		  .decoded_len = 262144,
		  .part = 1 },
	};
	struct pack_row pack = { .id = 3,
				 .state = PACK_SEALED,
				 .bytes = 1 << 20,
				 .first_chunk = 5,
				 .created = 1700000000,
				 .verified = 1700086400 };
	for (unsigned i = 0; i < 3; i++)
		chunk_put_frame(b, &rows[i]);
	pack_put(b, &pack);
	must(kv_commit(kv, b, NULL) == 0);
	buf_put(&out, "\x06\x10\0", 3);
	input_all_rows(&out, kv);
	fuzz_seed("in_a_frame", out.data, out.len);
	memcpy(out.data, "\x14\x10\x04", 3);
	fuzz_seed_buf("in_a_part", &out);
	fake_kv_free(kv);
}
