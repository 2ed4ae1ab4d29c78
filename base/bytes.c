// SPDX-License-Identifier: MIT
#include "bytes.h"
#include <stdlib.h>

const uint8_t *take_bytes(struct slice *s, size_t len)
{
	if (s->bad || s->len < len) {
		s->bad = true;
		return NULL;
	}
	const uint8_t *p = s->at;
	s->at += len;
	s->len -= len;
	return p;
}

uint8_t take_u8(struct slice *s)
{
	const uint8_t *p = take_bytes(s, 1);
	return p ? *p : 0;
}

uint32_t take_le32(struct slice *s)
{
	const uint8_t *p = take_bytes(s, 4);
	return p ? get_le32(p) : 0;
}

uint64_t take_le64(struct slice *s)
{
	const uint8_t *p = take_bytes(s, 8);
	return p ? get_le64(p) : 0;
}

uint64_t take_varint(struct slice *s)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t c = take_u8(s);
		if (shift == 63 && c > 1)
			break;
		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80))
			return s->bad ? 0 : v;
	}
	s->bad = true;
	return 0;
}

int64_t take_svarint(struct slice *s)
{
	uint64_t u = take_varint(s);
	return (int64_t)(u >> 1) ^ -(int64_t)(u & 1);
}

void *buf_extend(struct buf *b, size_t len)
{
	if (b->failed)
		return NULL;
	if (len > b->cap - b->len || !b->data) { /* NULL means failure: room for nothing is room */
		size_t cap = b->cap ? b->cap : 256;
		while (cap - b->len < len)
			cap *= 2;
		uint8_t *p = realloc(b->data, cap);
		if (!p) {
			b->failed = true;
			return NULL;
		}
		b->data = p;
		b->cap = cap;
	}
	void *p = b->data + b->len;
	b->len += len;
	return p;
}

void buf_put(struct buf *b, const void *p, size_t len)
{
	void *d = len ? buf_extend(b, len) : NULL;
	if (d)
		memcpy(d, p, len);
}

void buf_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_put_le32(struct buf *b, uint32_t v)
{
	uint8_t raw[4];
	put_le32(raw, v);
	buf_put(b, raw, sizeof raw);
}

void buf_put_le64(struct buf *b, uint64_t v)
{
	uint8_t raw[8];
	put_le64(raw, v);
	buf_put(b, raw, sizeof raw);
}

void buf_put_varint(struct buf *b, uint64_t v)
{
	uint8_t raw[10];
	size_t n = 0;
	do {
		raw[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
	} while (v);
	buf_put(b, raw, n);
}

void buf_put_svarint(struct buf *b, int64_t v)
{
	buf_put_varint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}
