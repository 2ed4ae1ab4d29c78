// SPDX-License-Identifier: MIT
/* stream_bytes: units of small video streams, with their start codes, as arrays of bytes. */
#ifndef FOLDFS_TEST_STREAM_BYTES_H
#define FOLDFS_TEST_STREAM_BYTES_H
#include "bytes.h"

struct unit_bytes {
	const char *at;
	size_t len;
};

#define UNIT(text) ((struct unit_bytes){ text, sizeof(text) - 1 })

/* H.264, 320 x 180, high profile; slices have their first bytes only. */
#define H264_AUD UNIT("\0\0\0\1\x09\xf0")
#define H264_SPS                                                                                   \
	UNIT("\0\0\0\1\x67\x64\0\x0c\xac\xd9\x41\x41\x9f\x9f\1\x10\0\0\3\0\x10\0\0\3\3\x20\xf1"    \
	     "\x42\x99\x60")
#define H264_PPS UNIT("\0\0\0\1\x68\xeb\xe3\xcb\x22\xc0")
#define H264_SEI UNIT("\0\0\1\6\5\4text\x80") /* user data */
#define H264_RECOVERY UNIT("\0\0\1\6\5\4text\6\1\x80\x80")
#define H264_IDR UNIT("\0\0\1\x65\x88\x84\x15\x10\x23\xfd\x77\x9c\xcb")
#define H264_IDR_MORE                                                                              \
	UNIT("\0\0\1\x65\x04\x22\x21\x10\x23\xfd\x77\x9c\xcb") /* not the first slice */
#define H264_P UNIT("\0\0\0\1\x41\x9a\x24\x6c\x49\xff\xb8\x36\x11")
#define H264_P_MORE UNIT("\0\0\1\x41\x1a\x24\x6c\x49\xff\xb8\x36\x11")

/* HEVC, 320 x 180 */
#define HEVC_AUD UNIT("\0\0\0\1\x46\1\x50")
#define HEVC_VPS                                                                                   \
	UNIT("\0\0\0\1\x40\1\x0c\1\xff\xff\1\x60\0\0\3\0\x90\0\0\3\0\0\3\0\x3c\x95\x98\x09")
#define HEVC_SPS                                                                                   \
	UNIT("\0\0\0\1\x42\1\1\1\x60\0\0\3\0\x90\0\0\3\0\0\3\0\x3c\xa0\x0a\x08\x0b\x9f\x79\x65"    \
	     "\x66\x92\x4c\xaf\1\x68\x08\0\0\3\0\x08\0\0\3\0\xc8\x40")
#define HEVC_PPS UNIT("\0\0\0\1\x44\1\xc1\x72\xb4\x62\x40")
#define HEVC_SEI UNIT("\0\0\1\x4e\1\5\4text\x80")
#define HEVC_IDR UNIT("\0\0\1\x26\1\xaf\x16\x4c\x11\x22\x33")
#define HEVC_CRA UNIT("\0\0\1\x2a\1\xaf\x16\x4c\x11\x22\x33")
#define HEVC_CRA_MORE UNIT("\0\0\1\x2a\1\x2f\x16\x4c\x11\x22\x33")
#define HEVC_P UNIT("\0\0\1\2\1\xd0\x16\x4c\x11\x22\x33")

#define MPEG2_SEQUENCE UNIT("\0\0\1\xb3\x14\0\xb4\x33\xff\xff\xe1\x18")
#define MPEG2_EXTENSION UNIT("\0\0\1\xb5\x14\x8a\0\1\0\0")
#define MPEG2_GROUP UNIT("\0\0\1\xb8\0\x08\0\x40")
#define MPEG2_I UNIT("\0\0\1\0\0\x0f\xff\xf8")
#define MPEG2_P UNIT("\0\0\1\0\0\xd7\xff\xfb\x80")
#define MPEG2_SLICE UNIT("\0\0\1\1\x12\x34\x56\x78\x9a\xbc")

static inline void put_unit(struct buf *b, struct unit_bytes u)
{
	buf_put(b, u.at, u.len);
}

#define put_units(b, ...)                                                                          \
	do {                                                                                       \
		const struct unit_bytes units_[] = { __VA_ARGS__ };                                \
		for (size_t i_ = 0; i_ < sizeof units_ / sizeof *units_; i_++)                     \
			put_unit(b, units_[i_]);                                                   \
	} while (0)

/* Bytes of a slice, among which is no start code. */
static inline void put_payload(struct buf *b, size_t len)
{
	while (len--)
		buf_put_u8(b, (uint8_t)(0x40 + len % 0x80));
}
#endif
