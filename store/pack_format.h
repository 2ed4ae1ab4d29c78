// SPDX-License-Identifier: MIT
/* pack_format: every byte of a pack file. Little-endian.
 *
 *   pack   := header frame* footer?            (a footer seals the pack; an open one has none)
 *   frame  := frame_header chunk_entry*n payload padding   (zeros up to a multiple of FRAME_ALIGN)
 *   footer := footer_entry*frames footer_tail
 *
 * A frame's payload is, by codec:
 *   CODEC_ZSTD  one zstd frame, guarded by `payload_sum` over its stored bytes;
 *   CODEC_RAW   the decoded bytes cut into blocks of RAW_BLOCK (the last may be shorter), each
 *               followed by its own XXH3-64, so that 4 KiB can be read, and verified, alone.
 *               Block i lies at payload + i * (RAW_BLOCK + 8), and its sum is seeded with
 *               (first chunk id << 16 | part) ^ i * 0x9e3779b97f4a7c15. `payload_sum` is 0.
 * `head_sum` covers the frame header (itself as zero) and all chunk entries, and is seeded with
 * the pack id and the frame's offset, so that a frame in the wrong place is never valid:
 * XXH3-64 of the entries, seeded with that of the header, seeded with that of (pack, offset).
 * A sealed pack holds the frames that its footer lists, by offset. An open one is scanned from
 * `header`, frame by frame, to the end of the file; where no valid frame begins (a write failed
 * there, or never reached the disk) the next valid head at a multiple of FRAME_ALIGN is looked for.
 */
#ifndef FOLDFS_PACK_FORMAT_H
#define FOLDFS_PACK_FORMAT_H
#include "digest.h"
#include <assert.h>
#include <stdint.h>

#define PACK_MAGIC 0x6b6361706c6f66ffull /* "\xfffolpack" */
#define PACK_VERSION 1u
#define PACK_FOOTER_MAGIC 0x746f6f666c6f66ffull
#define FRAME_MAGIC 0x6d726666u /* "ffrm" */
#define FRAME_ALIGN 8u
#define RAW_BLOCK 4096u
#define RAW_STRIDE (RAW_BLOCK + 8u)

struct pack_header { /* at 0 */
	uint64_t magic;
	uint32_t version; /* 1 */
	uint32_t flags;	  /* 0 */
	uint8_t pool_uuid[16];
	uint64_t pack;
	uint64_t created; /* seconds since 1970 */
	uint64_t reserved;
	uint64_t sum; /* XXH3-64 of the bytes before it */
};
static_assert(sizeof(struct pack_header) == 64, "pack header");

struct frame_header {
	uint32_t magic;
	uint8_t codec;
	uint8_t flags; /* 0 */
	uint16_t part; /* of a chunk longer than a frame; else 0 */
	uint32_t chunks;
	uint32_t decoded_len;
	uint32_t payload_len; /* stored bytes after the entries */
	uint32_t chunk_len;   /* of the whole chunk when it spans frames; else 0 */
	uint64_t payload_sum;
	uint64_t head_sum;
};
static_assert(sizeof(struct frame_header) == 40, "frame header");

struct chunk_entry {
	uint64_t id;	 /* ascending within a frame */
	uint32_t length; /* bytes in this frame */
	uint32_t reserved;
	struct digest digest; /* of the whole chunk */
};
static_assert(sizeof(struct chunk_entry) == 48, "chunk entry");

struct footer_entry {
	uint64_t offset;
	uint64_t first_chunk;
	uint32_t stored_len; /* header, entries, payload and padding */
	uint32_t decoded_len;
};
static_assert(sizeof(struct footer_entry) == 24, "footer entry");

struct footer_tail { /* the last bytes of a sealed pack */
	uint64_t magic;
	uint64_t pack;
	uint64_t frames;
	uint64_t last_chunk;
	uint64_t sum; /* XXH3-64 over all footer entries and the tail up to here */
};
static_assert(sizeof(struct footer_tail) == 40, "footer tail");
#endif
