// SPDX-License-Identifier: MIT
/* Input: u8 flags, le16 decoded length; bytes to decode, or with ENCODE to encode and back. */
#include "codec.h"
#include "cleanup.h"
#include "fuzz.h"
#include <errno.h>

enum { ZSTD = 1, ENCODE = 2 };

static bool round_trip(struct slice in, int level)
{
	CLEANUP_FREE uint8_t *packed = malloc(in.len + 1), *out = malloc(in.len + 1);
	enum codec codec;
	size_t n;
	must(codec_encode(level, in.at, in.len, packed, in.len, &codec, &n) == 0);
	if (codec == CODEC_RAW) {
		must(n == in.len);
		return true;
	}
	must(n < in.len && codec_decode(codec, packed, n, out, in.len) == 0);
	must(!memcmp(out, in.at, in.len));
	return true;
}

bool fuzz_one(struct slice in)
{
	uint8_t flags = take_u8(&in);
	struct slice len = take_up_to(&in, 2);
	if (len.len < 2)
		return false;
	if (flags & ENCODE)
		return round_trip(in, flags >> 2 & 3);
	size_t out_len = get_le16(len.at);
	CLEANUP_FREE uint8_t *out = malloc(out_len);
	int r = codec_decode(flags & ZSTD ? CODEC_ZSTD : CODEC_RAW, in.at, in.len, out, out_len);
	must(r == 0 || r == -EUCLEAN);
	return r == 0;
}

void fuzz_seeds(void)
{
	static const char text[] = "once upon a time, upon a time, upon a time there was a frame; "
				   "once upon a time, upon a time, upon a time there was a frame";
	struct buf raw = { 0 }, zstd = { 0 }, encode = { 0 };
	uint8_t packed[sizeof text];
	enum codec codec;
	size_t n;
	buf_put(&raw, "\0\x05\0hello", 8);
	fuzz_seed_buf("raw", &raw);
	must(codec_encode(3, text, sizeof text, packed, sizeof packed, &codec, &n) == 0);
	must(codec == CODEC_ZSTD);
	buf_put_u8(&zstd, ZSTD);
	buf_put_u8(&zstd, sizeof text);
	buf_put_u8(&zstd, 0);
	buf_put(&zstd, packed, n);
	fuzz_seed_buf("zstd", &zstd);
	buf_put(&encode, "\x06\0\0", 3);
	buf_put(&encode, text, sizeof text);
	fuzz_seed_buf("encode", &encode);
}
