// SPDX-License-Identifier: MIT
/* The processor. Each step goes on for a while, not for so many bytes: on a slow machine it takes no longer. */
#include "speed.h"
#include "cleanup.h"
#include "codec.h"
#include "digest.h"
#include "speed_data.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define SAMPLE ((size_t)32 << 20)
#define FRAME ((size_t)256 << 10)
#define CHUNK ((size_t)64 << 10)
#define STEP_NS 1000000000ull
#define THREADS_MAX 256u

struct cpu_work {
	const struct chunker *chunker;
	int level;
	const uint8_t *data; /* SAMPLE bytes */
	uint8_t *out;	     /* FRAME bytes */
	uint64_t done;	     /* bytes */
	uint64_t stored;
	uint64_t until_ns;
	int err;
};

static size_t cut(const struct cpu_work *w, size_t at)
{
	return chunker_cut(w->chunker, w->data + at, SAMPLE - at, true);
}

static void encode(struct cpu_work *w, size_t at)
{
	enum codec codec;
	size_t n = FRAME;
	int r = codec_encode(w->level, w->data + at, FRAME, w->out, FRAME, &codec, &n);
	w->err = r < 0 ? r : w->err;
	w->stored += n;
}

/* Everything that destage does to bytes that are new. */
static void *store_all(void *arg)
{
	struct cpu_work *w = arg;
	struct digest digest;
	for (size_t at = 0; clock_mono_ns() < w->until_ns; at = (at + FRAME) % SAMPLE) {
		for (size_t in = 0; in < FRAME;) {
			size_t n = cut(w, at + in);
			n = n < FRAME - in ? n : FRAME - in;
			digest_of(w->data + at + in, n, &digest);
			in += n;
		}
		encode(w, at);
		w->done += FRAME;
	}
	return NULL;
}

static double measure_chunks(const struct cpu_work *w)
{
	uint64_t begin = clock_mono_ns(), done = 0;
	for (size_t at = 0; clock_mono_ns() < begin + STEP_NS; at = at < SAMPLE ? at : 0) {
		size_t n = cut(w, at);
		at += n;
		done += n;
	}
	return speed_rate(done, clock_mono_ns() - begin);
}

static double measure_digests(const struct cpu_work *w)
{
	uint64_t begin = clock_mono_ns(), done = 0;
	struct digest digest;
	for (size_t at = 0; clock_mono_ns() < begin + STEP_NS; at = (at + CHUNK) % SAMPLE) {
		digest_of(w->data + at, CHUNK, &digest);
		done += CHUNK;
	}
	return speed_rate(done, clock_mono_ns() - begin);
}

static int measure_codec(struct cpu_work *w, struct speed_cpu *ret)
{
	uint64_t begin = clock_mono_ns(), done = 0;
	enum codec codec;
	size_t len;
	CLEANUP_FREE uint8_t *back = malloc(FRAME);
	if (!back)
		return -ENOMEM;
	w->stored = 0;
	for (size_t at = 0; clock_mono_ns() < begin + STEP_NS; at = (at + FRAME) % SAMPLE) {
		encode(w, at);
		done += FRAME;
	}
	ret->compress = speed_rate(done, clock_mono_ns() - begin);
	ret->ratio = (double)done / (double)w->stored;
	int r = codec_encode(w->level, w->data, FRAME, w->out, FRAME, &codec, &len);
	begin = clock_mono_ns();
	done = 0;
	while (r == 0 && codec == CODEC_ZSTD && clock_mono_ns() < begin + STEP_NS / 2) {
		r = codec_decode(codec, w->out, len, back, FRAME);
		done += FRAME;
	}
	ret->decompress = speed_rate(done, clock_mono_ns() - begin);
	return r < 0 ? r : w->err;
}

static int measure_together(const struct cpu_work *like, struct speed_cpu *ret)
{
	pthread_t threads[THREADS_MAX];
	CLEANUP_FREE struct cpu_work *work = calloc(ret->cores, sizeof *work);
	unsigned started = 0;
	uint64_t done = 0, begin = clock_mono_ns();
	int r = work ? 0 : -ENOMEM;
	for (; r == 0 && started < ret->cores; started++) {
		work[started] = *like;
		work[started].done = 0;
		work[started].until_ns = begin + STEP_NS;
		work[started].out = malloc(FRAME);
		if (!work[started].out ||
		    pthread_create(&threads[started], NULL, store_all, &work[started])) {
			free(work[started].out);
			r = -ENOMEM;
			break;
		}
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		free(work[i].out);
		done += work[i].done;
		r = r < 0 ? r : work[i].err;
	}
	ret->together = speed_rate(done, clock_mono_ns() - begin);
	return r;
}

static int stopped(const struct speed_bounds *bounds)
{
	return bounds->stop && *bounds->stop ? -ECANCELED : 0;
}

int speed_cpu(const struct chunker_params *params, int level, const struct speed_bounds *bounds,
	      struct speed_cpu *ret)
{
	struct chunker chunker;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	CLEANUP_FREE uint8_t *data = malloc(SAMPLE), *out = malloc(FRAME);
	*ret = (struct speed_cpu){ .cores = cores < 1			? 1
					    : cores > (long)THREADS_MAX ? THREADS_MAX
									: (unsigned)cores };
	int r = data && out ? chunker_init(&chunker, params) : -ENOMEM;
	if (r < 0)
		return r;
	speed_data_fill(data, SAMPLE, 1);
	struct cpu_work w = { .chunker = &chunker, .level = level, .data = data, .out = out };
	ret->chunk = measure_chunks(&w);
	r = stopped(bounds);
	if (r == 0)
		ret->digest = measure_digests(&w);
	if (r == 0 && (r = stopped(bounds)) == 0)
		r = measure_codec(&w, ret);
	if (r == 0 && (r = stopped(bounds)) == 0)
		r = measure_together(&w, ret);
	return r < 0 ? r : stopped(bounds);
}
