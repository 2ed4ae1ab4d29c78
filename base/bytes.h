// SPDX-License-Identifier: MIT
/* bytes: little-endian fields, big-endian keys, varints and a growable byte buffer.
 *
 * Everything on disk is little-endian except keys of sorted tables, which are big-endian so that
 * memcmp order is numeric order. Varints are LEB128, at most ten bytes. Readers walk a
 * `struct slice`; a read past its end sets `bad` and returns 0, so that a parser may read a whole
 * record and check once.
 */
#ifndef FOLDFS_BYTES_H
#define FOLDFS_BYTES_H
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get_le16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return le16toh(v);
}
static inline uint32_t get_le32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return le32toh(v);
}
static inline uint64_t get_le64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return le64toh(v);
}
static inline uint64_t get_be64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return be64toh(v);
}
static inline uint32_t get_be32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return be32toh(v);
}
static inline uint16_t get_be16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return be16toh(v);
}
static inline void put_le16(void *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof v);
}
static inline void put_le32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof v);
}
static inline void put_le64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof v);
}
static inline void put_be32(void *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof v);
}

static inline void put_be64(void *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof v);
}
static inline void put_be16(void *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof v);
}

/* Bytes somebody else owns. As a reader: take_* advance `at`, `bad` records a read past the end. */
struct slice {
	const uint8_t *at;
	size_t len;
	bool bad;
};

static inline struct slice slice_of(const void *p, size_t len)
{
	return (struct slice){ .at = p, .len = len };
}
const uint8_t *take_bytes(struct slice *s, size_t len); /* NULL when fewer are left */
uint8_t take_u8(struct slice *s);
uint32_t take_le32(struct slice *s);
uint64_t take_le64(struct slice *s);
uint64_t take_varint(struct slice *s);
int64_t take_svarint(struct slice *s); /* zigzag */

/* A growable byte buffer; zero-initialise, buf_done() frees. A failed allocation sets `failed`
 * and later puts do nothing, so that a writer may check once at the end. */
struct buf {
	uint8_t *data;
	size_t len, cap;
	bool failed;
};

void *buf_extend(struct buf *b, size_t len); /* room for len more bytes, counted; NULL on failure */
void buf_put(struct buf *b, const void *p, size_t len);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_le32(struct buf *b, uint32_t v);
void buf_put_le64(struct buf *b, uint64_t v);
void buf_put_varint(struct buf *b, uint64_t v);
void buf_put_svarint(struct buf *b, int64_t v);
static inline void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}
void buf_done(struct buf *b);
#endif
