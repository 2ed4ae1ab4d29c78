// SPDX-License-Identifier: MIT
/* ts_bytes: packets of a transport stream, its tables and pictures, put into a buffer. */
#ifndef FOLDFS_TEST_TS_BYTES_H
#define FOLDFS_TEST_TS_BYTES_H
#include "bytes.h"
#include <stdbool.h>
#include <string.h>

#define TS_PACKET 188u

enum { TS_START = 1, TS_RANDOM_ACCESS = 2, TS_SCRAMBLED = 4, TS_DAMAGED = 8 };

struct ts_bytes {
	struct buf b;
	bool m2ts;
	uint8_t counter[8192];
};

/* One packet with as much of the payload as goes in; the count. What is left over is stuffing before
 * the payload. */
static inline size_t ts_put_packet(struct ts_bytes *t, unsigned pid, unsigned flags,
				   struct slice payload)
{
	bool field = flags & TS_RANDOM_ACCESS || payload.len < TS_PACKET - 4;
	size_t room = TS_PACKET - 4 - (flags & TS_RANDOM_ACCESS ? 2 : 0);
	size_t n = payload.len < room ? payload.len : room;
	if (t->m2ts)
		buf_put(&t->b, "time", 4);
	buf_put_u8(&t->b, 0x47);
	buf_put_u8(&t->b, (uint8_t)(pid >> 8 | (flags & TS_START ? 0x40 : 0) |
				    (flags & TS_DAMAGED ? 0x80 : 0)));
	buf_put_u8(&t->b, (uint8_t)pid);
	buf_put_u8(&t->b, (uint8_t)((flags & TS_SCRAMBLED ? 0x80 : 0) | (field ? 0x30 : 0x10) |
				    (t->counter[pid]++ & 15)));
	if (field) {
		size_t rest = TS_PACKET - 5 - n;
		buf_put_u8(&t->b, (uint8_t)rest);
		if (rest)
			buf_put_u8(&t->b, flags & TS_RANDOM_ACCESS ? 0x40 : 0);
		for (size_t i = 1; i < rest; i++)
			buf_put_u8(&t->b, 0xff);
	}
	buf_put(&t->b, payload.at, n);
	return n;
}

/* In as many packets as it takes; the flags are of the first. */
static inline void ts_put(struct ts_bytes *t, unsigned pid, unsigned flags, struct slice payload)
{
	do {
		size_t n = ts_put_packet(t, pid, flags, payload);
		payload.at += n;
		payload.len -= n;
		flags &= TS_SCRAMBLED;
	} while (payload.len);
}

static inline uint32_t ts_crc(const uint8_t *p, size_t len)
{
	uint32_t crc = UINT32_MAX;
	for (size_t i = 0; i < len; i++) {
		crc ^= (uint32_t)p[i] << 24;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc << 1 ^ (crc >> 31 ? 0x04c11db7u : 0);
	}
	return crc;
}

/* A section whose body lies between the 8 bytes that all have and the checksum. */
static inline void ts_section(struct buf *ret, unsigned table, unsigned id, struct slice body)
{
	size_t from = ret->len, rest = 5 + body.len + 4;
	buf_put_u8(ret, (uint8_t)table);
	buf_put_u8(ret, (uint8_t)(0xb0 | rest >> 8));
	buf_put_u8(ret, (uint8_t)rest);
	buf_put_u8(ret, (uint8_t)(id >> 8));
	buf_put_u8(ret, (uint8_t)id);
	buf_put(ret, "\xc1\0\0", 3);
	buf_put(ret, body.at, body.len);
	uint32_t crc = ts_crc(ret->data + from, ret->len - from);
	for (unsigned shift = 32; shift; shift -= 8)
		buf_put_u8(ret, (uint8_t)(crc >> (shift - 8)));
}

static inline void ts_put_section(struct ts_bytes *t, unsigned pid, unsigned table, unsigned id,
				  struct slice body)
{
	struct buf s = { 0 };
	buf_put_u8(&s, 0);
	ts_section(&s, table, id, body);
	while (s.len % (TS_PACKET - 4))
		buf_put_u8(&s, 0xff);
	ts_put(t, pid, TS_START, slice_of(s.data, s.len));
	buf_done(&s);
}

/* One programme. */
static inline void ts_put_pat(struct ts_bytes *t, unsigned number, unsigned pid)
{
	uint8_t body[4] = { (uint8_t)(number >> 8), (uint8_t)number, (uint8_t)(0xe0 | pid >> 8),
			    (uint8_t)pid };
	ts_put_section(t, 0, 0, 1, slice_of(body, sizeof body));
}

/* A PMT with sound, and a video stream if `type` is not 0. */
static inline void ts_put_pmt(struct ts_bytes *t, unsigned pid, unsigned number, unsigned type,
			      unsigned video)
{
	uint8_t body[4 + 5 + 3 + 5] = { 0xe1, 0, 0xf0, 0, 0x0f, 0xe1, 0x77, 0xf0, 3, 0x0a, 1, 2 };
	body[12] = (uint8_t)type;
	body[13] = (uint8_t)(0xe0 | video >> 8);
	body[14] = (uint8_t)video;
	body[15] = 0xf0;
	ts_put_section(t, pid, 2, number, slice_of(body, type ? sizeof body : 12));
}

/* A picture in a PES whose header has `extra` bytes. */
static inline void ts_put_picture(struct ts_bytes *t, unsigned pid, unsigned flags, unsigned extra,
				  struct slice picture)
{
	struct buf pes = { 0 };
	buf_put(&pes, "\0\0\1\xe0\0\0\x80\0", 8);
	buf_put_u8(&pes, (uint8_t)extra);
	for (unsigned i = 0; i < extra; i++)
		buf_put_u8(&pes, 0xff);
	buf_put(&pes, picture.at, picture.len);
	ts_put(t, pid, flags | TS_START, slice_of(pes.data, pes.len));
	buf_done(&pes);
}
#endif
