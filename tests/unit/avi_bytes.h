// SPDX-License-Identifier: MIT
/* avi_bytes: puts chunks of RIFF, and what a small AVI film needs, into a buffer. */
#ifndef FOLDFS_TEST_AVI_BYTES_H
#define FOLDFS_TEST_AVI_BYTES_H
#include "bytes.h"

static inline void avi_put_chunk(struct buf *b, const char *id, const void *p, size_t len)
{
	buf_put(b, id, 4);
	buf_put_le32(b, (uint32_t)len);
	buf_put(b, p, len);
	if (len & 1)
		buf_put_u8(b, 0);
}

/* Begins a list ("LIST" or "RIFF") that avi_end() gives its size; returns where that stands. */
static inline size_t avi_begin(struct buf *b, const char *id, const char *kind)
{
	buf_put(b, id, 4);
	buf_put_le32(b, 0);
	if (kind)
		buf_put(b, kind, 4);
	return b->len - (kind ? 8 : 4);
}

static inline void avi_end(struct buf *b, size_t at)
{
	put_le32(b->data + at, (uint32_t)(b->len - at - 4));
}

/* strh and strf of a stream. `code` is of four letters for video, the two bytes of a tag for audio. */
static inline void avi_put_format(struct buf *b, const char *type, const char *code)
{
	uint8_t strh[56] = { 0 }, strf[40] = { 0 };
	bool video = !memcmp(type, "vids", 4);
	memcpy(strh, type, 4);
	memcpy(strf + (video ? 16 : 0), code, video ? 4 : 2);
	avi_put_chunk(b, "strh", strh, sizeof strh);
	avi_put_chunk(b, "strf", strf, video ? 40 : 18);
}

static inline void avi_put_stream(struct buf *b, const char *type, const char *code)
{
	size_t strl = avi_begin(b, "LIST", "strl");
	avi_put_format(b, type, code);
	avi_end(b, strl);
}

/* RIFF, and a head with video (XVID) as stream 0 and sound (mp3) as stream 1. RIFF's size is 0. */
static inline void avi_put_front(struct buf *b)
{
	avi_begin(b, "RIFF", "AVI ");
	size_t hdrl = avi_begin(b, "LIST", "hdrl");
	avi_put_chunk(b, "avih", "what the head of an AVI says", 28);
	avi_put_stream(b, "vids", "XVID");
	avi_put_stream(b, "auds", "\x55\0");
	avi_end(b, hdrl);
}

/* A chunk of a sample; returns where its payload begins. */
static inline size_t avi_put_sample(struct buf *b, const char *id, size_t len)
{
	buf_put(b, id, 4);
	buf_put_le32(b, (uint32_t)len);
	memset(buf_extend(b, len + (len & 1)), 0x5a, len + (len & 1));
	return b->len - len - (len & 1);
}

static inline void avi_put_row(struct buf *b, const char *id, uint32_t flags, size_t at, size_t len)
{
	buf_put(b, id, 4);
	buf_put_le32(b, flags);
	buf_put_le32(b, (uint32_t)at);
	buf_put_le32(b, (uint32_t)len);
}

/* The head of an index of OpenDML, rows of so many longs. */
static inline void avi_put_index(struct buf *b, unsigned longs, uint8_t type, uint32_t n,
				 const char *id, uint64_t base)
{
	uint8_t head[4] = { (uint8_t)longs, 0, 0, type };
	buf_put(b, head, 4);
	buf_put_le32(b, n);
	buf_put(b, id, 4);
	buf_put_le64(b, base);
	buf_put_le32(b, 0);
}
#endif
