// SPDX-License-Identifier: MIT
/* bench_chunker [FILE]: the chunker alone, on random bytes, on text-like bytes and on a file.
 * Best of several passes, in CPU time of one thread. */
#include "chunker.h"
#include "prng.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BYTES ((size_t)64 << 20)
#define PASSES 7

static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void bench_cuts(const char *name, const uint8_t *data, size_t len)
{
	struct chunker c;
	size_t chunks = 0;
	double best = 1e9;

	chunker_init(&c, &CHUNKER_DEFAULT);
	for (int pass = 0; pass < PASSES; pass++) {
		double start = cpu_seconds();
		chunks = 0;
		for (size_t at = 0; at < len; chunks++)
			at += chunker_cut(&c, data + at, len - at, true);
		double took = cpu_seconds() - start;
		best = took < best ? took : best;
	}
	printf("fastcdc %-8s %6.2f GB/s  mean %6.1f KiB\n", name, (double)len / best / 1e9,
	       (double)len / (double)(chunks ? chunks : 1) / 1024);
}

static void bench_zeros(uint8_t *data, size_t len)
{
	double best = 1e9;
	memset(data, 0, len);
	for (int pass = 0; pass < PASSES; pass++) {
		double start = cpu_seconds();
		if (zero_run(data, len) != len)
			abort();
		double took = cpu_seconds() - start;
		best = took < best ? took : best;
	}
	printf("zero_run         %6.2f GB/s\n", (double)len / best / 1e9);
}

/* Words of a small vocabulary: the bytes repeat, their order does not. */
static void fill_text(uint64_t *seed, uint8_t *data, size_t len)
{
	char words[512][10];
	for (unsigned i = 0; i < 512; i++) {
		unsigned n = 2 + (unsigned)prng_below(seed, 7);
		for (unsigned k = 0; k < n; k++)
			words[i][k] = (char)('a' + prng_below(seed, 26));
		words[i][n] = ' ';
		words[i][n + 1] = 0;
	}
	for (size_t at = 0; at < len;) {
		const char *w = words[prng_below(seed, 512)];
		size_t n = strlen(w);
		n = n < len - at ? n : len - at;
		memcpy(data + at, w, n);
		at += n;
	}
}

int main(int argc, char **argv)
{
	uint64_t seed = 1;
	uint8_t *data = malloc(BYTES);
	if (!data)
		return 1;
	prng_fill(&seed, data, BYTES);
	bench_cuts("random", data, BYTES);
	fill_text(&seed, data, BYTES);
	bench_cuts("text", data, BYTES);
	if (argc > 1) {
		FILE *f = fopen(argv[1], "rb");
		if (!f) {
			perror(argv[1]);
			return 1;
		}
		size_t len = fread(data, 1, BYTES, f);
		fclose(f);
		bench_cuts("file", data, len);
	}
	bench_zeros(data, BYTES);
	free(data);
	return 0;
}
