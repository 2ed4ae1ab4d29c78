// SPDX-License-Identifier: MIT
/* Most of a pool's bytes may be films, pictures and archives. zstd is slow to find out that it can do
 * nothing for them: level 3 takes 0.36 GB/s on an MP4 and 0.57 on .gz files where it gains 0 and 1.7 %.
 * (Only on pure noise it gives up by itself, at 3-4 GB/s.) So samples of the frame are looked at first:
 *
 *   1. Order-0 entropy of 8 pieces of 1 KiB, 8 us per 256 KiB. Below 7.5 bits the Huffman stage
 *      alone pays, and the frame is compressed. This is what the second step cannot see: zstd's
 *      fast levels leave literals as they are, so base64 or float32 weights look random to them.
 *   2. Otherwise 4 pieces of 4 KiB through zstd -1, 7 us for noise: matches that save 3 % there make
 *      it worth compressing the whole.
 *
 * Measured at level 3 on 16 MiB each in frames of 256 KiB, without -> with the probe: MP4 0.36 -> 2.4
 * GB/s, .gz 0.57 -> 8.7 (stored 0.983 -> 0.998), PNG/JPEG mixed 0.15 -> 0.22 (0.891 -> 0.893), 16-bit
 * audio 0.68 -> 26; noise 3.5 -> 23; ELF, text, float32 unchanged. Eight pieces in step 2 find .gz
 * headers and half the speed; sampling at level 1 costs 20 times as much and finds no more.
 *
 * The probe itself takes a tenth as long as level 3 does for data that is easy to compress. So after
 * frames in a row that shrank well it is left out: a wrong try costs one frame's time, and the next
 * frame is looked at again.
 *
 * What passes is compressed into a buffer that is too small for a frame that does not pay, so that
 * zstd stops there by itself.
 */
#include "codec.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#define PROBE_LEAST_LEN (32u * 1024) /* shorter frames are simply tried */
#define ENTROPY_PIECES 8u
#define ENTROPY_PIECE 1024u
#define ENTROPY_PAYS 7.5f /* bits per byte */
#define MATCH_PIECES 4u
#define MATCH_PIECE 4096u
#define MATCH_LEVEL (-1)
#define MATCH_BYTES (MATCH_PIECES * MATCH_PIECE)
#define TRUSTED_AFTER 2u /* frames in a row that lost an eighth at least */
#define MATCH_PAYS (MATCH_BYTES / 100 * 97)

struct codec_thread {
	ZSTD_CCtx *encoder, *prober;
	ZSTD_DCtx *decoder;
	unsigned shrunk; /* frames in a row that the encoder made much shorter */
	uint8_t sample[MATCH_BYTES], packed[MATCH_PAYS];
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_error;

static void thread_free(void *arg)
{
	struct codec_thread *t = arg;
	ZSTD_freeCCtx(t->encoder);
	ZSTD_freeCCtx(t->prober);
	ZSTD_freeDCtx(t->decoder);
	free(t);
}

static void make_key(void)
{
	key_error = pthread_key_create(&key, thread_free);
}

static struct codec_thread *thread_get(void)
{
	pthread_once(&key_once, make_key);
	if (key_error)
		return NULL;
	struct codec_thread *t = pthread_getspecific(key);
	if (t)
		return t;
	t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->encoder = ZSTD_createCCtx();
	t->prober = ZSTD_createCCtx();
	t->decoder = ZSTD_createDCtx();
	if (!t->encoder || !t->prober || !t->decoder || pthread_setspecific(key, t)) {
		thread_free(t);
		return NULL;
	}
	return t;
}

/* The i-th of n pieces, spread evenly from the first byte to the last. */
static const uint8_t *piece_at(const uint8_t *data, size_t len, size_t i, size_t n, size_t piece)
{
	return data + (len - piece) / (n - 1) * i;
}

static float sample_entropy(const uint8_t *data, size_t len)
{
	/* Four counters per byte value, as equal neighbours would wait for each other's store. */
	uint16_t count[4][256] = { 0 };
	const float total = ENTROPY_PIECES * ENTROPY_PIECE;
	float sum = 0;

	for (size_t i = 0; i < ENTROPY_PIECES; i++) {
		const uint8_t *p = piece_at(data, len, i, ENTROPY_PIECES, ENTROPY_PIECE);
		for (size_t k = 0; k < ENTROPY_PIECE; k += 4) {
			count[0][p[k]]++;
			count[1][p[k + 1]]++;
			count[2][p[k + 2]]++;
			count[3][p[k + 3]]++;
		}
	}
	for (unsigned v = 0; v < 256; v++) {
		unsigned n = count[0][v] + count[1][v] + count[2][v] + count[3][v];
		if (n)
			sum += (float)n * log2f((float)n);
	}
	return log2f(total) - sum / total;
}

static bool sample_matches(struct codec_thread *t, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < MATCH_PIECES; i++)
		memcpy(t->sample + i * MATCH_PIECE,
		       piece_at(data, len, i, MATCH_PIECES, MATCH_PIECE), MATCH_PIECE);
	return !ZSTD_isError(ZSTD_compress2(t->prober, t->packed, sizeof t->packed, t->sample,
					    sizeof t->sample));
}

static bool worth_trying(struct codec_thread *t, const void *data, size_t len)
{
	if (len < PROBE_LEAST_LEN || t->shrunk >= TRUSTED_AFTER ||
	    sample_entropy(data, len) < ENTROPY_PAYS)
		return true;
	ZSTD_CCtx_setParameter(t->prober, ZSTD_c_compressionLevel, MATCH_LEVEL);
	return sample_matches(t, data, len);
}

/* n: what zstd made of it; 0 or an error: nothing. Short frames say nothing about long ones. */
static void note_result(struct codec_thread *t, size_t len, size_t n)
{
	bool well = n && !ZSTD_isError(n) && n <= len - len / 8;
	if (!well)
		t->shrunk = 0;
	else if (len >= PROBE_LEAST_LEN && t->shrunk < TRUSTED_AFTER)
		t->shrunk++;
}

int codec_encode(int level, const void *in, size_t len, void *out, size_t cap,
		 enum codec *ret_codec, size_t *ret_len)
{
	size_t limit = len - CODEC_LEAST_SAVING(len), n = 0;

	if (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel())
		return -EINVAL;
	/* Below 16 bytes there is no saving to ask for, and zstd's own header is 9. */
	if (level && limit < len) {
		struct codec_thread *t = thread_get();
		if (!t)
			return -ENOMEM;
		if (worth_trying(t, in, len)) {
			ZSTD_CCtx_setParameter(t->encoder, ZSTD_c_compressionLevel, level);
			n = ZSTD_compress2(t->encoder, out, limit < cap ? limit : cap, in, len);
			if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
				return -ENOMEM;
		}
		note_result(t, len, n);
	}
	bool pays = n && !ZSTD_isError(n);
	*ret_codec = pays ? CODEC_ZSTD : CODEC_RAW;
	*ret_len = pays ? n : len;
	return 0;
}

/* Exactly one frame of today's format: the library also takes several in a row, skippable ones, and
 * formats of before 2016 whose decoders nobody has looked at since. */
static int decode_zstd(const void *in, size_t len, void *out, size_t out_len)
{
	static const uint8_t magic[4] = { 0x28, 0xb5, 0x2f, 0xfd };

	if (len < sizeof magic || memcmp(in, magic, sizeof magic))
		return -EUCLEAN;
	if (ZSTD_findFrameCompressedSize(in, len) != len)
		return -EUCLEAN;
	struct codec_thread *t = thread_get();
	if (!t)
		return -ENOMEM;
	size_t n = ZSTD_decompressDCtx(t->decoder, out, out_len, in, len);
	return n == out_len ? 0 : -EUCLEAN;
}

int codec_decode(enum codec codec, const void *in, size_t len, void *out, size_t out_len)
{
	switch (codec) {
	case CODEC_RAW:
		if (len != out_len)
			return -EUCLEAN;
		if (len)
			memcpy(out, in, len);
		return 0;
	case CODEC_ZSTD:
		return decode_zstd(in, len, out, out_len);
	}
	return -EUCLEAN;
}
