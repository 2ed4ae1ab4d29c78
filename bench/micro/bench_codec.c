// SPDX-License-Identifier: MIT
/* bench_codec FILE...: for each file, in frames of 256 KiB, what zstd alone and the codec with its
 * probe make of it: stored part, GB/s of input in CPU time of one thread, and the speed of decoding. */
#include "codec.h"
#include "in_threads.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#define FRAME ((size_t)256 << 10)
#define BYTES ((size_t)32 << 20)

struct frames {
	size_t n, len[BYTES / FRAME];
	enum codec codec[BYTES / FRAME];
	uint8_t *stored; /* FRAME bytes each */
};

static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void encode_all(int level, const uint8_t *data, struct frames *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (codec_encode(level, data + i * FRAME, FRAME, f->stored + i * FRAME, FRAME,
				 &f->codec[i], &f->len[i]))
			abort();
}

static void bench_level(int level, const uint8_t *data, struct frames *f)
{
	static uint8_t out[FRAME * 2];
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t alone = 0, stored = 0, total = f->n * FRAME;

	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
	double start = cpu_seconds();
	for (size_t i = 0; i < f->n; i++) {
		size_t n = ZSTD_compress2(c, out, sizeof out, data + i * FRAME, FRAME);
		alone += n < FRAME ? n : FRAME;
	}
	double took_alone = cpu_seconds() - start;
	ZSTD_freeCCtx(c);

	start = cpu_seconds();
	encode_all(level, data, f);
	double took = cpu_seconds() - start;
	for (size_t i = 0; i < f->n; i++) {
		stored += f->len[i];
		if (f->codec[i] == CODEC_RAW)
			memcpy(f->stored + i * FRAME, data + i * FRAME, FRAME);
	}

	start = cpu_seconds();
	for (size_t i = 0; i < f->n; i++)
		if (codec_decode(f->codec[i], f->stored + i * FRAME, f->len[i], out, FRAME))
			abort();
	double took_back = cpu_seconds() - start;
	printf("  %2d: zstd %.3f %5.2f GB/s  codec %.3f %5.2f  decode %5.2f |", level,
	       (double)alone / (double)total, (double)total / took_alone / 1e9,
	       (double)stored / (double)total, (double)total / took / 1e9,
	       (double)total / took_back / 1e9);
}

struct scaling {
	const uint8_t *data;
	size_t frames;
};

static double encode_one(void *arg, struct in_threads_own *own)
{
	struct scaling *s = arg;
	uint8_t stored[FRAME];
	enum codec codec;
	size_t len;
	if (codec_encode(3, s->data + own->at++ % s->frames * FRAME, FRAME, stored, FRAME, &codec,
			 &len))
		abort();
	return (double)FRAME / 1e9;
}

int main(int argc, char **argv)
{
	uint8_t *data = malloc(BYTES);
	struct frames f = { .stored = malloc(BYTES) };

	if (!data || !f.stored)
		return 1;
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		if (!file) {
			perror(argv[i]);
			return 1;
		}
		f.n = fread(data, 1, BYTES, file) / FRAME;
		fclose(file);
		const char *name = strrchr(argv[i], '/');
		printf("%-12.12s", name ? name + 1 : argv[i]);
		for (int k = 0; k < 3 && f.n; k++)
			bench_level((const int[]){ 1, 3, 9 }[k], data, &f);
		putchar('\n');
		if (f.n)
			in_threads("  codec, level 3, by threads", "GB/s", encode_one,
				   &(struct scaling){ data, f.n });
	}
	free(f.stored);
	free(data);
	return 0;
}
