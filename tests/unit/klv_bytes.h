// SPDX-License-Identifier: MIT
/* klv_bytes: KLVs of MXF, put into a buffer. */
#ifndef FOLDFS_TEST_KLV_BYTES_H
#define FOLDFS_TEST_KLV_BYTES_H
#include "bytes.h"

#define KLV_HEADER_PARTITION "\x06\x0e\x2b\x34\2\5\1\1\x0d\1\2\1\1\2\4\0"
#define KLV_BODY_PARTITION "\x06\x0e\x2b\x34\2\5\1\1\x0d\1\2\1\1\3\4\0"
#define KLV_FILL "\x06\x0e\x2b\x34\1\1\1\2\3\1\2\x10\1\0\0\0"
#define KLV_ESSENCE "\x06\x0e\x2b\x34\1\2\1\1\x0d\1\3\1" /* and four bytes more */
#define KLV_SOUND KLV_ESSENCE "\x16\1\3\1"
#define KLV_MPEG_FRAME KLV_ESSENCE "\x15\1\5\0"
#define KLV_MPEG_CLIP KLV_ESSENCE "\x15\1\6\0"
#define KLV_RAW_FRAME KLV_ESSENCE "\x15\1\2\0"
#define KLV_RAW_CLIP KLV_ESSENCE "\x15\1\3\0"
#define KLV_VC3_FRAME KLV_ESSENCE "\x15\1\x0c\0"
#define KLV_VC3_CLIP KLV_ESSENCE "\x15\1\x0d\0"

/* Key and length, the latter in 1 + n bytes; 1 if n is 0. */
static inline void klv_put_head(struct buf *b, const char *key, uint64_t len, unsigned n)
{
	buf_put(b, key, 16);
	if (n)
		buf_put_u8(b, (uint8_t)(0x80 | n));
	for (unsigned i = n ? n : 1; i; i--)
		buf_put_u8(b, (uint8_t)(i > 8 ? 0 : len >> 8 * (i - 1)));
}

static inline void klv_put(struct buf *b, const char *key, const void *value, size_t len)
{
	klv_put_head(b, key, len, 3);
	buf_put(b, value, len);
}
#endif
