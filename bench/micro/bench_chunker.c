// SPDX-License-Identifier: MIT
/* bench_chunker [TREE...]: how fast the chunkers cut and, of files below the TREEs, how much of them
 * they find twice.
 *
 * Speed is the best of several turns in CPU time of one thread, over random bytes, text-like bytes
 * and as much of the files as fits, with the default lengths. Buffers are as large as the portions
 * that destage has just read, so in the cache of the core; one is too large for that. Duplicates
 * are compared at equal mean lengths: mincdc's window is moved until its chunks are as long as fastcdc's.
 */
#include "chunker.h"
#include "digest.h"
#include "in_threads.h"
#include "prng.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define PORTION ((size_t)1 << 20)
#define MUCH ((size_t)64 << 20) /* cut in one turn, of which the clock sees no less */
#define SECONDS 0.5		/* of each measurement */
#define SEEN_MAX ((size_t)1 << 22)

struct file {
	uint8_t *data;
	size_t len;
};
static struct file *files;
static size_t n_files, files_len;

static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void bench_one(const struct chunker *c, const char *name, const uint8_t *data, size_t len)
{
	size_t chunks = 0;
	double best = 1e9;

	for (double all = 0; all < SECONDS;) {
		size_t turns = MUCH / len;
		double start = cpu_seconds();
		for (size_t turn = 0; turn < turns; turn++) {
			chunks = 0;
			for (size_t at = 0; at < len; chunks++)
				at += chunker_cut(c, data + at, len - at, true);
		}
		double took = (cpu_seconds() - start) / (double)turns;
		best = took < best ? took : best;
		all += took * (double)turns;
	}
	printf("  %-14s %6.2f GB/s  mean %6.1f KiB\n", name, (double)len / best / 1e9,
	       (double)len / (double)(chunks ? chunks : 1) / 1024);
}

static void bench_cuts(const char *what, const uint8_t *data, size_t len)
{
	struct chunker_params params = CHUNKER_DEFAULT;
	struct mincdc_finder finder;
	struct chunker c;
	char name[32];

	if (!len)
		return;
	printf("%s\n", what);
	params.kind = CHUNKER_FASTCDC;
	chunker_init(&c, &params);
	bench_one(&c, "fastcdc", data, len);
	params.kind = CHUNKER_MINCDC;
	for (unsigned i = 0; (finder = mincdc_finder(i)).name; i++) {
		chunker_init(&c, &params);
		c.mincdc.find = finder.find;
		snprintf(name, sizeof name, "mincdc %s", finder.name);
		bench_one(&c, name, data, len);
	}
}

static void bench_zeros(uint8_t *data, size_t len)
{
	double best = 1e9;
	memset(data, 0, len);
	for (double all = 0; all < SECONDS;) {
		double start = cpu_seconds();
		for (size_t turn = 0; turn < MUCH / len; turn++)
			if (zero_run(data, len) != len)
				abort();
		double took = (cpu_seconds() - start) / (double)(MUCH / len);
		best = took < best ? took : best;
		all += took * (double)(MUCH / len);
	}
	printf("zeros\n  %-14s %6.2f GB/s\n", "zero_run", (double)len / best / 1e9);
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

static int read_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type != FTW_F || !S_ISREG(st->st_mode) || !st->st_size)
		return 0;
	if (!(n_files & (n_files + 1)))
		files = realloc(files, 2 * (n_files + 1) * sizeof *files);
	FILE *f = fopen(path, "rb");
	struct file file = { malloc((size_t)st->st_size), 0 };
	if (!files || !file.data || !f) {
		perror(path);
		exit(1);
	}
	file.len = fread(file.data, 1, (size_t)st->st_size, f);
	fclose(f);
	files_len += file.len;
	files[n_files++] = file;
	return 0;
}

static size_t fill_from_files(uint8_t *data, size_t len)
{
	size_t at = 0;
	for (size_t i = 0; i < n_files && at < len; i++) {
		size_t n = files[i].len < len - at ? files[i].len : len - at;
		memcpy(data + at, files[i].data, n);
		at += n;
	}
	return at;
}

/* An open hash table; true when the digest was there already. */
static bool seen_before(struct digest *seen, const struct digest *d)
{
	static const struct digest none;
	uint64_t at;
	memcpy(&at, d, sizeof at);
	for (at %= SEEN_MAX; !digest_equal(&seen[at], &none); at = (at + 1) % SEEN_MAX)
		if (digest_equal(&seen[at], d))
			return true;
	seen[at] = *d;
	return false;
}

struct outcome {
	size_t chunks, unique_bytes;
	double mean;
};

/* Without `seen` only lengths are looked at. */
static struct outcome cut_files(const struct chunker *c, struct digest *seen)
{
	struct outcome o = { 0 };
	if (seen)
		memset(seen, 0, SEEN_MAX * sizeof *seen);
	for (size_t i = 0; i < n_files; i++) {
		size_t n;
		for (size_t at = 0; at < files[i].len; at += n, o.chunks++) {
			const uint8_t *p = files[i].data + at;
			struct digest d;
			n = chunker_cut(c, p, files[i].len - at, true);
			if (!seen)
				continue;
			if (o.chunks == SEEN_MAX / 2) {
				fprintf(stderr, "bench_chunker: too many chunks\n");
				exit(1);
			}
			digest_of(p, n, &d);
			if (!seen_before(seen, &d))
				o.unique_bytes += n;
		}
	}
	o.mean = (double)files_len / (double)o.chunks;
	return o;
}

static void print_outcome(const char *name, const struct chunker *c, struct digest *seen)
{
	struct outcome o = cut_files(c, seen);
	printf("  %-18s %9zu chunks, mean %7.1f KiB, duplicates %6.2f %%\n", name, o.chunks,
	       o.mean / 1024, 100 * (double)(files_len - o.unique_bytes) / (double)files_len);
}

/* Moves the window until the mean length is that of `like`. */
static struct chunker as_long_as(const struct chunker *like)
{
	double want = cut_files(like, NULL).mean;
	struct chunker c;
	struct chunker_params p = like->params;
	uint32_t least = p.avg / 4, most = p.avg * 4;

	p.kind = CHUNKER_MINCDC;
	chunker_init(&c, &p);
	while (most - least > p.avg / 256) {
		uint32_t avg = least + (most - least) / 2;
		mincdc_init(&c.mincdc, avg / 4, avg, avg * 4);
		if (cut_files(&c, NULL).mean < want)
			least = avg;
		else
			most = avg;
	}
	return c;
}

static void compare_duplicates(void)
{
	struct digest *seen = malloc(SEEN_MAX * sizeof *seen);
	if (!seen)
		exit(1);
	for (uint32_t avg = 16 * 1024; avg <= 64 * 1024; avg *= 4) {
		struct chunker_params p = { CHUNKER_FASTCDC, avg / 4, avg, avg * 4 };
		struct chunker fast, min, even;
		chunker_init(&fast, &p);
		p.kind = CHUNKER_MINCDC;
		chunker_init(&min, &p);
		even = as_long_as(&fast);
		printf("%zu files, %.1f MB, %u/%u/%u KiB\n", n_files, (double)files_len / 1e6,
		       p.min / 1024, p.avg / 1024, p.max / 1024);
		print_outcome("fastcdc", &fast, seen);
		print_outcome("mincdc", &min, seen);
		print_outcome("mincdc, same mean", &even, seen);
	}
	free(seen);
}

struct scaling {
	const struct chunker *c;
	const uint8_t *data;
};

static double cut_portion(void *arg, struct in_threads_own *own)
{
	struct scaling *s = arg;
	const uint8_t *data =
		s->data + own->at % (MUCH / PORTION) * PORTION; /* its own, always the same */
	for (size_t at = 0; at < PORTION; own->sum++)
		at += chunker_cut(s->c, data + at, PORTION - at, true);
	return (double)PORTION / 1e9;
}

static void bench_scaling(const uint8_t *data)
{
	struct chunker_params params = CHUNKER_DEFAULT;
	struct chunker c;
	struct scaling s = { &c, data };
	params.kind = CHUNKER_FASTCDC;
	chunker_init(&c, &params);
	in_threads("fastcdc, random, by threads", "GB/s", cut_portion, &s);
	params.kind = CHUNKER_MINCDC;
	chunker_init(&c, &params);
	in_threads("mincdc, random, by threads", "GB/s", cut_portion, &s);
}

int main(int argc, char **argv)
{
	uint64_t seed = 1;
	uint8_t *data = malloc(MUCH);
	if (!data)
		return 1;
	for (int i = 1; i < argc; i++)
		if (nftw(argv[i], read_file, 32, FTW_PHYS) < 0) {
			perror(argv[i]);
			return 1;
		}
	prng_fill(&seed, data, MUCH);
	bench_cuts("random", data, PORTION);
	bench_cuts("random, 64 MiB", data, MUCH);
	bench_scaling(data);
	fill_text(&seed, data, PORTION);
	bench_cuts("text", data, PORTION);
	bench_cuts("files", data, fill_from_files(data, PORTION));
	memset(data, 'x', PORTION);
	bench_cuts("all the same", data, PORTION);
	bench_zeros(data, PORTION);
	if (n_files)
		compare_duplicates();
	for (size_t i = 0; i < n_files; i++)
		free(files[i].data);
	free(files);
	free(data);
	return 0;
}
