// SPDX-License-Identifier: MIT
/* A frame is laid out twice: frame_seal() does what costs time (compression, block checksums) on
 * any thread and without knowing the place; frame_place() then writes the small head, whose sum is
 * seeded with that place. A frame that was written to the wrong place, or is read from one, is
 * therefore never valid, and a scan that has lost its way may trust the first head that checks.
 *
 * Blocks of a raw frame are read alone, without the head. So that they too are bound to what they
 * belong to, their sums are seeded with the frame's first chunk id, its part and the block number:
 * together with a row of the index (which names the id) a block proves itself.
 *
 * Everything here may be given hostile bytes: lengths are checked before they are used, and a head
 * is believed only when its sum is right *and* its numbers agree with each other.
 * On disk is little-endian; entries are used in place, hence the assertion below.
 */
#include "frame.h"
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "frame heads are used as they lie on disk");

static uint32_t align_up(uint32_t v)
{
	return (v + FRAME_ALIGN - 1) & ~(FRAME_ALIGN - 1);
}

static uint32_t head_len(uint32_t chunks)
{
	return (uint32_t)(sizeof(struct frame_header) + chunks * sizeof(struct chunk_entry));
}

static uint32_t raw_payload_len(uint32_t decoded_len)
{
	return decoded_len + (decoded_len + RAW_BLOCK - 1) / RAW_BLOCK * (RAW_STRIDE - RAW_BLOCK);
}

static uint64_t place_seed(uint64_t pack, uint64_t offset)
{
	uint64_t place[2] = { pack, offset };
	return checksum64(place, sizeof place);
}

static uint64_t block_seed(struct frame_name name, uint32_t block)
{
	return (name.first_chunk << 16 | name.part) ^ (uint64_t)block * 0x9e3779b97f4a7c15u;
}

int frame_builder_new(struct frame_builder **ret_fb)
{
	struct frame_builder *fb = calloc(1, sizeof *fb);
	if (!fb)
		return -ENOMEM;
	fb->data = malloc(FRAME_DECODED_MAX);
	if (!fb->data) {
		free(fb);
		return -ENOMEM;
	}
	*ret_fb = fb;
	return 0;
}

void frame_builder_reset(struct frame_builder *fb)
{
	fb->len = fb->n = fb->chunk_len = 0;
	fb->part = 0;
	fb->codec = CODEC_RAW;
	buf_reset(&fb->stored);
}

void frame_builder_free(struct frame_builder *fb)
{
	if (!fb)
		return;
	buf_done(&fb->stored);
	free(fb->data);
	free(fb);
}

bool frame_fits(const struct frame_builder *fb, size_t len)
{
	return fb->n < FRAME_CHUNKS_MAX && len <= FRAME_DECODED_MAX - fb->len;
}

void frame_add(struct frame_builder *fb, uint64_t id, const struct digest *digest, const void *data,
	       uint32_t len)
{
	assert(len && frame_fits(fb, len));
	assert(!fb->n || fb->entries[fb->n - 1].id < id);
	fb->entries[fb->n++] = (struct chunk_entry){ .id = id, .length = len, .digest = *digest };
	memcpy(fb->data + fb->len, data, len);
	fb->len += len;
}

static void lay_out_raw(const struct frame_builder *fb, uint8_t *to)
{
	struct frame_name name = { fb->entries[0].id, fb->part };
	for (uint32_t at = 0; at < fb->len; at += RAW_BLOCK) {
		uint32_t n = fb->len - at < RAW_BLOCK ? fb->len - at : RAW_BLOCK;
		memcpy(to, fb->data + at, n);
		put_le64(to + n, checksum64_seeded(to, n, block_seed(name, at / RAW_BLOCK)));
		to += n + (RAW_STRIDE - RAW_BLOCK);
	}
}

int frame_seal(struct frame_builder *fb, int level)
{
	assert(fb->n && fb->len);
	uint32_t head = head_len(fb->n);
	size_t room = raw_payload_len(fb->len), payload_len = 0;
	enum codec codec = CODEC_RAW;
	buf_reset(&fb->stored);
	uint8_t *stored = buf_extend(&fb->stored, head + room + FRAME_ALIGN);
	if (!stored)
		return -ENOMEM;
	int r = codec_encode(level, fb->data, fb->len, stored + head, room, &codec, &payload_len);
	if (r < 0)
		return r;
	if (codec == CODEC_RAW) {
		lay_out_raw(fb, stored + head);
		payload_len = raw_payload_len(fb->len);
	}
	struct frame_header h = {
		.magic = FRAME_MAGIC,
		.codec = (uint8_t)codec,
		.part = fb->part,
		.chunks = fb->n,
		.decoded_len = fb->len,
		.payload_len = (uint32_t)payload_len,
		.chunk_len = fb->chunk_len,
		.payload_sum = codec == CODEC_RAW ? 0 : checksum64(stored + head, payload_len),
	};
	fb->codec = h.codec;
	memcpy(stored, &h, sizeof h);
	memcpy(stored + sizeof h, fb->entries, fb->n * sizeof *fb->entries);
	fb->stored.len = align_up(head + h.payload_len);
	memset(stored + head + payload_len, 0, fb->stored.len - head - payload_len);
	return 0;
}

/* The sum is taken with its own field as zero. */
static uint64_t head_sum(const uint8_t *bytes, uint32_t len, uint64_t pack, uint64_t offset)
{
	struct frame_header h;
	memcpy(&h, bytes, sizeof h);
	h.head_sum = 0;
	uint64_t seed = checksum64_seeded(&h, sizeof h, place_seed(pack, offset));
	return checksum64_seeded(bytes + sizeof h, len - sizeof h, seed);
}

void frame_rebind(void *bytes, uint32_t chunks, uint64_t pack, uint64_t offset)
{
	assert(offset % FRAME_ALIGN == 0);
	put_le64((uint8_t *)bytes + offsetof(struct frame_header, head_sum),
		 head_sum(bytes, head_len(chunks), pack, offset));
}

void frame_place(struct frame_builder *fb, uint64_t pack, uint64_t offset,
		 struct frame_chunk *chunks, struct frame_row *ret_row)
{
	assert(fb->stored.len);
	frame_rebind(fb->stored.data, fb->n, pack, offset);
	for (uint32_t i = 0; i < fb->n; i++)
		chunks[i] = (struct frame_chunk){ fb->entries[i].id, fb->entries[i].length };
	*ret_row = (struct frame_row){
		.pack = pack,
		.offset = offset,
		.stored_len = (uint32_t)fb->stored.len,
		.decoded_len = fb->len,
		.part = fb->part,
		.codec = fb->codec,
		.n = fb->n,
		.chunks = chunks,
	};
}

/* What can be told from the fixed part, so that a torn one is refused before its counts are used. */
static bool header_plausible(const struct frame_header *h)
{
	if (h->magic != FRAME_MAGIC || h->flags || !h->chunks || h->chunks > FRAME_CHUNKS_MAX ||
	    h->decoded_len < h->chunks || h->decoded_len > FRAME_DECODED_MAX)
		return false;
	if (h->codec == CODEC_RAW) {
		if (h->payload_sum || h->payload_len != raw_payload_len(h->decoded_len))
			return false;
	} else if (h->codec != CODEC_ZSTD || !h->payload_len || h->payload_len > h->decoded_len) {
		return false; /* what does not get shorter is stored raw */
	}
	if (!h->chunk_len)
		return h->part == 0;
	uint64_t before = (uint64_t)h->part * FRAME_DECODED_MAX;
	if (h->chunks != 1 || h->chunk_len > CHUNK_LENGTH_MAX || before >= h->chunk_len)
		return false;
	uint64_t left = h->chunk_len - before;
	return h->decoded_len == (left < FRAME_DECODED_MAX ? left : FRAME_DECODED_MAX);
}

static bool entries_plausible(const struct frame_header *h, const struct chunk_entry *e)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < h->chunks; i++) {
		if (!e[i].id || !e[i].length || e[i].reserved || (i && e[i].id <= e[i - 1].id))
			return false;
		sum += e[i].length;
	}
	return sum == h->decoded_len;
}

int frame_parse_head(const void *bytes, size_t len, uint64_t pack, uint64_t offset,
		     struct frame_head *ret_head, size_t *ret_need)
{
	struct frame_header h;
	assert((uintptr_t)bytes % _Alignof(struct chunk_entry) == 0);
	*ret_need = sizeof h;
	if (len < sizeof h)
		return -EAGAIN;
	memcpy(&h, bytes, sizeof h);
	if (!header_plausible(&h))
		return -EUCLEAN;
	*ret_need = head_len(h.chunks);
	if (len < *ret_need)
		return -EAGAIN;
	const struct chunk_entry *entries = (const void *)((const uint8_t *)bytes + sizeof h);
	if (head_sum(bytes, head_len(h.chunks), pack, offset) != h.head_sum ||
	    !entries_plausible(&h, entries))
		return -EUCLEAN;
	*ret_head = (struct frame_head){
		.h = h,
		.entries = entries,
		.payload_at = head_len(h.chunks),
		.stored_len = align_up(head_len(h.chunks) + h.payload_len),
	};
	return 0;
}

bool frame_has_part(const struct frame_head *head, const struct frame_row *row)
{
	uint32_t at = 0;
	bool same = head->stored_len == row->stored_len && head->h.part == row->part &&
		    row->n < head->h.chunks;
	for (uint32_t i = 0; same && i < row->n; i++) {
		while (at < head->h.chunks && head->entries[at].id < row->chunks[i].id)
			at++;
		same = at < head->h.chunks && head->entries[at].id == row->chunks[i].id &&
		       head->entries[at].length == row->chunks[i].length;
	}
	return same;
}

static bool block_is_right(struct frame_name name, uint32_t block, const uint8_t *bytes,
			   uint32_t size)
{
	return checksum64_seeded(bytes, size, block_seed(name, block)) == get_le64(bytes + size);
}

static bool payload_is_right(const struct frame_header *h, const uint8_t *payload)
{
	return checksum64(payload, h->payload_len) == h->payload_sum;
}

int frame_decode(const struct frame_head *head, const void *bytes, void *out)
{
	const struct frame_header *h = &head->h;
	const uint8_t *payload = (const uint8_t *)bytes + head->payload_at;
	if (h->codec == CODEC_RAW) {
		struct frame_name name = { head->entries[0].id, h->part };
		return frame_raw_copy(name, h->decoded_len, payload, 0, h->decoded_len, out);
	}
	if (!payload_is_right(h, payload))
		return -EUCLEAN;
	return codec_decode((enum codec)h->codec, payload, h->payload_len, out, h->decoded_len);
}

int frame_check_sums(const struct frame_head *head, const void *bytes)
{
	const struct frame_header *h = &head->h;
	const uint8_t *from = (const uint8_t *)bytes + head->payload_at;
	struct frame_name name = { head->entries[0].id, h->part };
	if (h->codec != CODEC_RAW)
		return payload_is_right(h, from) ? 0 : -EUCLEAN;
	for (uint32_t at = 0; at < h->decoded_len; at += RAW_BLOCK) {
		uint32_t left = h->decoded_len - at, size = left < RAW_BLOCK ? left : RAW_BLOCK;
		if (!block_is_right(name, at / RAW_BLOCK, from, size))
			return -EUCLEAN;
		from += RAW_STRIDE;
	}
	return 0;
}

void frame_raw_range(uint32_t decoded_len, uint32_t at, uint32_t len, uint32_t *ret_from,
		     uint32_t *ret_len)
{
	assert(len && at < decoded_len && len <= decoded_len - at);
	uint32_t first = at / RAW_BLOCK, behind = (at + len - 1) / RAW_BLOCK + 1;
	uint32_t end = behind * RAW_STRIDE, all = raw_payload_len(decoded_len);
	*ret_from = first * RAW_STRIDE;
	*ret_len = (end < all ? end : all) - *ret_from;
}

int frame_raw_copy(struct frame_name name, uint32_t decoded_len, const void *stored_range,
		   uint32_t at, uint32_t len, void *out)
{
	const uint8_t *from = stored_range;
	uint8_t *to = out;
	while (len) {
		uint32_t block = at / RAW_BLOCK, skip = at % RAW_BLOCK;
		uint32_t size = decoded_len - block * RAW_BLOCK;
		size = size < RAW_BLOCK ? size : RAW_BLOCK;
		if (!block_is_right(name, block, from, size))
			return -EUCLEAN;
		uint32_t n = size - skip < len ? size - skip : len;
		memcpy(to, from + skip, n);
		from += size + (RAW_STRIDE - RAW_BLOCK);
		to += n;
		at += n;
		len -= n;
	}
	return 0;
}
