// SPDX-License-Identifier: MIT
/* codec: compresses a frame's bytes if that pays, and takes them apart again.
 *
 * Contexts belong to the calling thread and live until it ends. Any thread may call.
 */
#ifndef FOLDFS_CODEC_H
#define FOLDFS_CODEC_H
#include <stddef.h>
#include <stdint.h>

/* On disk (pack_format.h): these numbers never change. */
enum codec { CODEC_RAW = 0, CODEC_ZSTD = 1 };

/* A frame that would shrink by less than this part of its length is stored raw. */
#define CODEC_LEAST_SAVING(len) ((len) / 16)

/* Compresses into `out` (cap >= len - CODEC_LEAST_SAVING(len) never refuses what would pay).
 * CODEC_RAW in *ret_codec: it does not pay, *ret_len = len, store `in` itself; what is in `out` then
 * means nothing. level 0: always raw; else zstd's, negative ones too. 0, -ENOMEM, -EINVAL (level). */
int codec_encode(int level, const void *in, size_t len, void *out, size_t cap,
		 enum codec *ret_codec, size_t *ret_len);

/* Fills `out` with exactly out_len bytes, or -EUCLEAN whatever the input holds (then `out` may have
 * been written to). -ENOMEM. `in` and `out` do not overlap. */
int codec_decode(enum codec codec, const void *in, size_t len, void *out, size_t out_len);
#endif
