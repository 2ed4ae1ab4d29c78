// SPDX-License-Identifier: MIT
#include "seal.h"
#include "chunk_row.h"
#include "codec.h"
#include "pack_format.h"

static void seal_blocks(uint8_t *payload, size_t left, const struct frame_header *h, uint64_t first)
{
	uint32_t n;
	for (uint32_t block = 0, at = 0; at < h->decoded_len; at += n, block++) {
		n = h->decoded_len - at < RAW_BLOCK ? h->decoded_len - at : RAW_BLOCK;
		if (left < n + 8)
			return;
		uint64_t seed = (first << 16 | h->part) ^ (uint64_t)block * 0x9e3779b97f4a7c15u;
		put_le64(payload + n, checksum64_seeded(payload, n, seed));
		payload += n + 8;
		left -= n + 8;
	}
}

static void seal_payload(uint8_t *at, size_t left, size_t head, struct frame_header *h)
{
	struct chunk_entry first;
	if (h->codec == CODEC_RAW) {
		memcpy(&first, at + sizeof *h, sizeof first);
		seal_blocks(at + head, left - head, h, first.id);
	} else if (h->payload_len <= left - head) {
		h->payload_sum = checksum64(at + head, h->payload_len);
		memcpy(at, h, sizeof *h);
	}
}

size_t seal_frame(uint8_t *at, size_t left, uint64_t pack, uint64_t offset, unsigned what)
{
	struct frame_header h;
	uint64_t place[2] = { pack, offset };
	if (left < sizeof h)
		return 0;
	memcpy(&h, at, sizeof h);
	size_t head = sizeof h + (size_t)h.chunks * sizeof(struct chunk_entry);
	if (h.magic != FRAME_MAGIC || !h.chunks || h.chunks > FRAME_CHUNKS_MAX || head > left)
		return 0;
	if (what & SEAL_PAYLOADS)
		seal_payload(at, left, head, &h);
	if (what & SEAL_HEADS) {
		h.head_sum = 0;
		h.head_sum = checksum64_seeded(&h, sizeof h, checksum64(place, sizeof place));
		h.head_sum = checksum64_seeded(at + sizeof h, head - sizeof h, h.head_sum);
		memcpy(at, &h, sizeof h);
	}
	size_t len = (head + h.payload_len + FRAME_ALIGN - 1) & ~(size_t)(FRAME_ALIGN - 1);
	return len;
}

static void seal_footer(uint8_t *file, size_t len)
{
	struct footer_tail tail;
	if (len < sizeof tail)
		return;
	memcpy(&tail, file + len - sizeof tail, sizeof tail);
	size_t room = (len - sizeof tail) / sizeof(struct footer_entry);
	if (tail.magic != PACK_FOOTER_MAGIC || tail.frames > room)
		return;
	size_t covered = tail.frames * sizeof(struct footer_entry) + sizeof tail - 8;
	put_le64(file + len - 8, checksum64(file + len - 8 - covered, covered));
}

void seal_pack(uint8_t *file, size_t len, uint64_t pack, unsigned what)
{
	if (what & SEAL_PACK_HEADER && len >= sizeof(struct pack_header))
		put_le64(file + offsetof(struct pack_header, sum),
			 checksum64(file, offsetof(struct pack_header, sum)));
	for (size_t at = sizeof(struct pack_header); at < len; at += FRAME_ALIGN)
		seal_frame(file + at, len - at, pack, at, what);
	if (what & SEAL_FOOTER)
		seal_footer(file, len);
}
