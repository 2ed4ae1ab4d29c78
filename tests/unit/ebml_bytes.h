// SPDX-License-Identifier: MIT
/* ebml_bytes: puts elements of EBML, and what a small Matroska film needs, into a buffer. */
#ifndef FOLDFS_TEST_EBML_BYTES_H
#define FOLDFS_TEST_EBML_BYTES_H
#include "bytes.h"

#define EBML_UNKNOWN UINT64_MAX

enum {
	EL_EBML = 0x1a45dfa3,
	EL_DOCTYPE = 0x4282,
	EL_SEGMENT = 0x18538067,
	EL_INFO = 0x1549a966,
	EL_TRACKS = 0x1654ae6b,
	EL_ENTRY = 0xae,
	EL_NUMBER = 0xd7,
	EL_TYPE = 0x83,
	EL_CODEC = 0x86,
	EL_PRIVATE = 0x63a2,
	EL_ENCODINGS = 0x6d80,
	EL_ENCODING = 0x6240,
	EL_SCOPE = 0x5032,
	EL_CLUSTER = 0x1f43b675,
	EL_TIME = 0xe7,
	EL_SIMPLE = 0xa3,
	EL_GROUP = 0xa0,
	EL_BLOCK = 0xa1,
	EL_REFERENCE = 0xfb,
	EL_VOID = 0xec,
	EL_CUES = 0x1c53bb6b,
	EL_TAGS = 0x1254c367,
};

static inline void ebml_put_be(struct buf *b, uint64_t v, unsigned len)
{
	while (len--)
		buf_put_u8(b, (uint8_t)(v >> 8 * len));
}

static inline void ebml_put_id(struct buf *b, uint32_t id)
{
	ebml_put_be(b, id, id > 0xffffff ? 4 : id > 0xffff ? 3 : id > 0xff ? 2 : 1);
}

/* A number of that many bytes. */
static inline void ebml_put_number(struct buf *b, uint64_t v, unsigned len)
{
	ebml_put_be(b, v | UINT64_C(1) << 7 * len, len);
}

/* The head of an element, its size in that many bytes; EBML_UNKNOWN in all ones. */
static inline void ebml_put_head(struct buf *b, uint32_t id, uint64_t size, unsigned len)
{
	ebml_put_id(b, id);
	ebml_put_number(b, size == EBML_UNKNOWN ? (UINT64_C(1) << 7 * len) - 1 : size, len);
}

static inline void ebml_put(struct buf *b, uint32_t id, const void *p, size_t len)
{
	ebml_put_head(b, id, len, len < 127 ? 1 : 4);
	buf_put(b, p, len);
}

static inline void ebml_put_text(struct buf *b, uint32_t id, const char *text)
{
	ebml_put(b, id, text, strlen(text));
}

static inline void ebml_put_uint(struct buf *b, uint32_t id, uint8_t v)
{
	ebml_put(b, id, &v, 1);
}

/* Begins an element that ebml_end() gives its size; returns where that stands. */
static inline size_t ebml_begin(struct buf *b, uint32_t id)
{
	ebml_put_head(b, id, EBML_UNKNOWN, 8);
	return b->len - 8;
}

static inline void ebml_end(struct buf *b, size_t at)
{
	put_be64(b->data + at, (b->len - at - 8) | UINT64_C(1) << 56);
}

static inline void ebml_put_start(struct buf *b, const char *doctype)
{
	size_t at = ebml_begin(b, EL_EBML);
	ebml_put_uint(b, 0x4286, 1);
	ebml_put_text(b, EL_DOCTYPE, doctype);
	ebml_end(b, at);
}

static inline void ebml_put_entry(struct buf *b, uint8_t number, uint8_t type, const char *codec)
{
	size_t at = ebml_begin(b, EL_ENTRY);
	ebml_put_uint(b, EL_NUMBER, number);
	ebml_put_uint(b, EL_TYPE, type);
	ebml_put_text(b, EL_CODEC, codec);
	ebml_end(b, at);
}

/* A video track 1 (h264) and an audio track 2 (mp3). */
static inline void ebml_put_tracks(struct buf *b)
{
	size_t at = ebml_begin(b, EL_TRACKS);
	ebml_put_entry(b, 1, 1, "V_MPEG4/ISO/AVC");
	ebml_put_entry(b, 2, 2, "A_MPEG/L3");
	ebml_end(b, at);
}

static inline void ebml_put_fill(struct buf *b, size_t len)
{
	uint8_t *p = buf_extend(b, len);
	if (p)
		memset(p, 0x5a, len);
}

/* The head of a block with so many bytes of payload behind it. Returns where the payload is. */
static inline size_t ebml_put_block(struct buf *b, uint32_t id, uint8_t track, uint8_t flags,
				    size_t len)
{
	ebml_put_head(b, id, 4 + len, 4);
	ebml_put_number(b, track, 1);
	ebml_put_be(b, 0, 2);
	buf_put_u8(b, flags);
	ebml_put_fill(b, len);
	return b->len - len;
}

/* A block in a group, with a reference or without. */
static inline size_t ebml_put_group(struct buf *b, uint8_t track, bool reference, size_t len)
{
	size_t at = ebml_begin(b, EL_GROUP), payload = ebml_put_block(b, EL_BLOCK, track, 0, len);
	if (reference)
		ebml_put_uint(b, EL_REFERENCE, 0xff);
	ebml_end(b, at);
	return payload;
}
#endif
