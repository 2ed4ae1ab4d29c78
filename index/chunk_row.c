// SPDX-License-Identifier: MIT
/* Ids that follow each other and lengths below 64 KiB cost three bytes a chunk. A frame's decoded
 * length is the sum of its chunks, so it is not stored.
 */
#include "chunk_row.h"
#include "cleanup.h"
#include <assert.h>
#include <errno.h>

#define CHUNK_PARTS_MAX (CHUNK_LENGTH_MAX / FRAME_DECODED_MAX)
#define FRAME_STORED_MAX (2u * FRAME_DECODED_MAX) /* what no sensible frame and header exceed */
#define FRAME_ROW_MAX (64u + FRAME_CHUNKS_MAX * 15u)
#define PACK_TIER_MAX 15u

void frame_row_done(struct frame_row *row)
{
	free(row->chunks);
	row->chunks = NULL;
	row->n = 0;
}

static void frame_key(uint64_t first, uint16_t part, uint8_t key[10])
{
	put_be64(key, first);
	put_be16(key + 8, part);
}

void chunk_put_frame(struct kv_batch *b, const struct frame_row *row)
{
	uint8_t key[10], room[FRAME_ROW_MAX];
	struct buf val = { .data = room, .cap = sizeof room };
	uint64_t sum = 0;
	assert(row->n >= 1 && row->n <= FRAME_CHUNKS_MAX && (row->part == 0 || row->n == 1));
	frame_key(row->chunks[0].id, row->part, key);
	buf_put_varint(&val, row->pack);
	buf_put_varint(&val, row->offset);
	buf_put_varint(&val, row->stored_len);
	buf_put_u8(&val, row->codec);
	buf_put_varint(&val, row->n);
	uint64_t expected = row->chunks[0].id;
	for (uint32_t i = 0; i < row->n; i++) {
		const struct frame_chunk *c = &row->chunks[i];
		assert(c->id >= expected && c->length);
		buf_put_varint(&val, (uint64_t)c->length << 1 | (c->id != expected));
		if (c->id != expected)
			buf_put_varint(&val, c->id - expected);
		expected = c->id + 1;
		sum += c->length;
	}
	assert(sum == row->decoded_len && sum <= FRAME_DECODED_MAX && val.data == room);
	kv_batch_put(b, KV_CHUNK, key, sizeof key, val.data, val.len);
}

void chunk_delete_frame(struct kv_batch *b, uint64_t first_id, uint16_t part)
{
	uint8_t key[10];
	frame_key(first_id, part, key);
	kv_batch_delete(b, KV_CHUNK, key, sizeof key);
}

/* Reads n chunks, the first of which has the id `expected`. */
static bool take_chunks(struct slice *s, uint64_t expected, struct frame_row *row)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < row->n; i++) {
		uint64_t head = take_varint(s), length = head >> 1;
		uint64_t skipped = head & 1 ? take_varint(s) : 0;
		if (s->bad || length == 0 || length > FRAME_DECODED_MAX - sum ||
		    (i == 0 && skipped) || expected > INT64_MAX || skipped > INT64_MAX - expected)
			return false;
		row->chunks[i].id = expected + skipped;
		row->chunks[i].length = (uint32_t)length;
		expected += skipped + 1;
		sum += length;
	}
	row->decoded_len = (uint32_t)sum;
	return s->len == 0;
}

int frame_decode_row(struct slice key, struct slice val, struct frame_row *ret_row)
{
	if (key.len != 10)
		return -EUCLEAN;
	uint64_t first = get_be64(key.at);
	struct slice s = val;
	struct frame_row row = { .part = get_be16(key.at + 8) };
	row.pack = take_varint(&s);
	row.offset = take_varint(&s);
	uint64_t stored_len = take_varint(&s);
	row.codec = take_u8(&s);
	uint64_t n = take_varint(&s);
	if (s.bad || first == 0 || row.part >= CHUNK_PARTS_MAX || n < 1 || n > FRAME_CHUNKS_MAX ||
	    (row.part && n != 1) || n > s.len || stored_len < 1 || stored_len > FRAME_STORED_MAX ||
	    row.offset > INT64_MAX - FRAME_STORED_MAX || row.pack > INT64_MAX)
		return -EUCLEAN;
	row.stored_len = (uint32_t)stored_len;
	row.n = (uint32_t)n;
	row.chunks = calloc(row.n, sizeof *row.chunks);
	if (!row.chunks)
		return -ENOMEM;
	if (!take_chunks(&s, first, &row)) {
		frame_row_done(&row);
		return -EUCLEAN;
	}
	*ret_row = row;
	return 0;
}

int chunk_get_frame(struct kv *kv, uint64_t first_id, uint16_t part, struct frame_row *ret_row)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t key[10];
	frame_key(first_id, part, key);
	int r = kv_get(kv, KV_CHUNK, key, sizeof key, &val);
	if (r < 0)
		return r;
	return frame_decode_row(slice_of(key, sizeof key), slice_of(val.data, val.len), ret_row);
}

/* The last frame row whose key is at most (id, part). 0, -ENOENT, -errno. */
static int frame_at_or_before(struct kv *kv, uint64_t id, uint16_t part, struct frame_row *ret_row)
{
	uint8_t from[10];
	frame_key(id, part, from);
	struct kv_iter *it = kv_iter_new(kv, KV_CHUNK, from, sizeof from, true);
	if (!it)
		return -ENOMEM;
	struct slice key, val;
	int r = kv_iter_next(it, &key, &val);
	r = r < 0 ? r : r == 0 ? -ENOENT : frame_decode_row(key, val, ret_row);
	kv_iter_free(it);
	return r;
}

int chunk_find(struct kv *kv, uint64_t id, uint32_t offset, struct frame_row *ret_row,
	       uint32_t *ret_at, uint32_t *ret_left)
{
	if (id == 0 || offset >= CHUNK_LENGTH_MAX)
		return id ? -EUCLEAN : -ENOENT;
	uint16_t part = (uint16_t)(offset / FRAME_DECODED_MAX);
	uint32_t within = offset % FRAME_DECODED_MAX, at = 0;
	struct frame_row row;
	int r = frame_at_or_before(kv, id, part, &row);
	if (r)
		return r;
	uint32_t i = 0;
	while (i < row.n && row.chunks[i].id < id)
		at += row.chunks[i++].length;
	if (i == row.n || row.chunks[i].id != id) {
		frame_row_done(&row);
		return -ENOENT;
	}
	/* The chunk is there, but no byte `offset` in it: whoever refers to that is damaged. */
	if (row.part != part || within >= row.chunks[i].length) {
		frame_row_done(&row);
		return -EUCLEAN;
	}
	*ret_at = at + within;
	*ret_left = row.chunks[i].length - within;
	*ret_row = row;
	return 0;
}

int chunk_last_id(struct kv *kv, uint64_t *ret_id)
{
	struct frame_row row;
	int r = frame_at_or_before(kv, UINT64_MAX, UINT16_MAX, &row);
	if (r == -ENOENT) {
		*ret_id = 0;
		return 0;
	}
	if (r)
		return r;
	*ret_id = row.chunks[row.n - 1].id;
	frame_row_done(&row);
	return 0;
}

int pack_decode_row(struct slice key, struct slice val, struct pack_row *ret_row)
{
	if (key.len != 8)
		return -EUCLEAN;
	struct slice s = val;
	struct pack_row row = { .id = get_be64(key.at) };
	row.state = take_u8(&s);
	row.tier = take_u8(&s);
	row.bytes = take_varint(&s);
	row.first_chunk = take_varint(&s);
	row.created = take_svarint(&s);
	row.verified = (int64_t)((uint64_t)row.created + (uint64_t)take_svarint(&s));
	if (s.bad || s.len || row.state < PACK_OPEN || row.state > PACK_DOOMED ||
	    row.tier > PACK_TIER_MAX || row.bytes > INT64_MAX || row.first_chunk > INT64_MAX)
		return -EUCLEAN;
	*ret_row = row;
	return 0;
}

int pack_get(struct kv *kv, uint64_t id, struct pack_row *ret_row)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t key[8];
	put_be64(key, id);
	int r = kv_get(kv, KV_PACK, key, sizeof key, &val);
	return r ? r
		 : pack_decode_row(slice_of(key, sizeof key), slice_of(val.data, val.len), ret_row);
}

void pack_encode_row(const struct pack_row *row, struct buf *val)
{
	buf_put_u8(val, row->state);
	buf_put_u8(val, row->tier);
	buf_put_varint(val, row->bytes);
	buf_put_varint(val, row->first_chunk);
	buf_put_svarint(val, row->created);
	buf_put_svarint(val, (int64_t)((uint64_t)row->verified - (uint64_t)row->created));
}

void pack_put(struct kv_batch *b, const struct pack_row *row)
{
	uint8_t key[8], room[64];
	struct buf val = { .data = room, .cap = sizeof room };
	put_be64(key, row->id);
	pack_encode_row(row, &val);
	kv_batch_put(b, KV_PACK, key, sizeof key, val.data, val.len);
}

void pack_delete(struct kv_batch *b, uint64_t id)
{
	uint8_t key[8];
	put_be64(key, id);
	kv_batch_delete(b, KV_PACK, key, sizeof key);
}
