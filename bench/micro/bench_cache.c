// SPDX-License-Identifier: MIT
/* bench_cache DIR [ROUNDS]: the block cache with frames of 256 KiB of noise, for each value of its options
 * huge_pages and interleave, with 1, 2, 4, ... threads up to one per core. In each round (default 5) every
 * setting has its turn, the first one first in one round and last in the next. Medians (and ranges) over the
 * rounds of the sum of what the threads did, by the wall clock, and of the ratio to the first setting within a round.
 *
 *   fresh, put    GB/s of cache_put() to the ring: its first lap, and when each evicts another
 *   admit         GB/s from the ring to the region
 *   ring, region  hits per second, of pieces of 64 and 4 KiB at random
 *   miss          per second
 *   cold          one thread: region's pages dropped by the kernel, 300 pieces at random; per second, and
 *                 KiB that came from the disk for each */
#include "cache.h"
#include "chunk_row.h"
#include "cleanup.h"
#include "clock.h"
#include "prng.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAME FRAME_DECODED_MAX
#define RING ((size_t)32 << 20) /* as the daemon has it */
#define REGION ((size_t)256 << 20)
#define NOISE ((size_t)64 << 20)
#define RING_FRAMES 96u /* shards are not filled evenly */
#define REGION_FRAMES 640u
#define COLD_READS 300u
#define RUN_MS 150u
#define SETTINGS 4u
#define ROUNDS_MAX 32u
#define THREADS_MAX 256u
#define STEPS_MAX 9u

static const char *const setting_names[] = { "plain", "huge", "spread", "both" };

enum figure {
	FRESH,
	PUT,
	ADMIT,
	RING_64K,
	RING_4K,
	REGION_64K,
	REGION_4K,
	MISS,
	COLD_64K,
	COLD_64K_KIB,
	COLD_4K,
	COLD_4K_KIB,
	FIGURES
};

static const char *const figure_names[] = {
	"fresh, GB/s",	 "put, GB/s",	    "admit, GB/s",    "ring 64K, k/s",
	"ring 4K, k/s",	 "region 64K, k/s", "region 4K, k/s", "miss, k/s",
	"cold 64K, k/s", "cold 64K, KiB",   "cold 4K, k/s",   "cold 4K, KiB",
};

struct bench {
	uint8_t *noise;
	char dir[300];
	int dirfd;
	struct cache *c;
	uint64_t keys[REGION_FRAMES];
	unsigned n_keys;
	uint32_t piece;
	uint64_t limit; /* of operations for each thread */
	_Atomic uint64_t next_key;
	pthread_barrier_t start;
	_Atomic bool stop;
};

struct user {
	pthread_t thread;
	struct bench *b;
	void (*op)(struct user *u);
	uint8_t *out;
	uint64_t seed, ops;
	double per_s;
};

static double results[FIGURES][STEPS_MAX][SETTINGS][ROUNDS_MAX];

static void must(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "bench_cache: %s: %s\n", what, strerror(-r));
	exit(1);
}

static struct cache_key key_of(uint64_t i)
{
	return (struct cache_key){ 1 + i % 7, 64 + i * 4096 };
}

static const uint8_t *bytes_of(struct bench *b, uint64_t i)
{
	return b->noise + i * 0x9e3779b97f4a7c15u % (NOISE / 64) * 64;
}

static void put_new(struct user *u)
{
	uint64_t i = atomic_fetch_add_explicit(&u->b->next_key, 1, memory_order_relaxed);
	cache_put(u->b->c, key_of(i), bytes_of(u->b, i), FRAME);
}

static void read_known(struct user *u)
{
	struct bench *b = u->b;
	uint64_t i = b->keys[prng_below(&u->seed, b->n_keys)];
	uint32_t at = (uint32_t)prng_below(&u->seed, FRAME / b->piece) * b->piece;
	must(cache_read(b->c, key_of(i), at, b->piece, u->out) ? 0 : -ENOENT, "hit");
	if (u->ops % 64 == 0)
		must(memcmp(u->out, bytes_of(b, i) + at, b->piece) ? -EUCLEAN : 0, "bytes");
}

static void read_unknown(struct user *u)
{
	uint64_t i = (1ull << 40) + prng_below(&u->seed, 1u << 20);
	must(cache_read(u->b->c, key_of(i), 0, 4096, u->out) ? -EEXIST : 0, "miss");
}

static void *user_main(void *arg)
{
	struct user *u = arg;
	pthread_barrier_wait(&u->b->start);
	uint64_t began = clock_mono_ns();
	for (; u->ops < u->b->limit && !atomic_load_explicit(&u->b->stop, memory_order_relaxed);
	     u->ops++)
		u->op(u);
	u->per_s = (double)u->ops * 1e9 / (double)(clock_mono_ns() - began);
	return NULL;
}

/* Operations per second of all threads, for a while or until each has done so many. */
static double run(struct bench *b, unsigned threads, void (*op)(struct user *u), uint64_t limit)
{
	static struct user users[THREADS_MAX];
	static uint64_t seed;
	double sum = 0;
	b->limit = limit ? limit : UINT64_MAX;
	atomic_store(&b->stop, false);
	pthread_barrier_init(&b->start, NULL, threads + 1);
	for (unsigned i = 0; i < threads; i++) {
		users[i] = (struct user){ .b = b, .op = op, .out = malloc(FRAME), .seed = ++seed };
		must(users[i].out ? 0 : -ENOMEM, "memory");
		memset(users[i].out, 1, FRAME);
		must(-pthread_create(&users[i].thread, NULL, user_main, &users[i]), "thread");
	}
	pthread_barrier_wait(&b->start);
	if (!limit)
		usleep(RUN_MS * 1000);
	atomic_store(&b->stop, !limit);
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(users[i].thread, NULL);
		sum += users[i].per_s;
		free(users[i].out);
	}
	pthread_barrier_destroy(&b->start);
	return sum;
}

static double read_pieces(struct bench *b, unsigned threads, uint32_t piece)
{
	b->piece = piece;
	return run(b, threads, read_known, 0) * 1e-3;
}

static void open_cache(struct bench *b, unsigned setting, size_t region)
{
	struct cache_options opt = { .dirfd = b->dirfd,
				     .region_bytes = region,
				     .ring_bytes = RING,
				     .huge_pages = setting & 1,
				     .interleave = setting & 2 };
	must(cache_open(&opt, &b->c), "cache");
	atomic_store(&b->next_key, 0);
}

static void find_keys(struct bench *b, unsigned n)
{
	b->n_keys = 0;
	for (uint64_t i = 0; i < n; i++)
		if (cache_has(b->c, key_of(i)))
			b->keys[b->n_keys++] = i;
	must(b->n_keys > n / 2 ? 0 : -ENOSPC, "frames");
}

static void with_ring(struct bench *b, unsigned setting, unsigned threads, double ret[FIGURES])
{
	open_cache(b, setting, 0);
	ret[FRESH] = run(b, threads, put_new, RING_FRAMES / threads) * FRAME * 1e-9;
	find_keys(b, RING_FRAMES);
	ret[RING_64K] = read_pieces(b, threads, 64 << 10);
	ret[RING_4K] = read_pieces(b, threads, 4 << 10);
	ret[MISS] = run(b, threads, read_unknown, 0) * 1e-3;
	ret[PUT] = run(b, threads, put_new, 0) * FRAME * 1e-9;
	cache_close(b->c);
}

/* What the first use of a frame leaves is got ready outside of the clock by way of `put_new`. */
static void admit_one(struct user *u)
{
	uint64_t i = atomic_fetch_add_explicit(&u->b->next_key, 1, memory_order_relaxed);
	must(cache_read(u->b->c, key_of(i), 0, 1, u->out) ? 0 : -ENOENT, "ring");
}

static double fill_region(struct bench *b, unsigned threads)
{
	double frames = 0, seconds = 0;
	uint8_t byte;
	const unsigned batch = 32; /* fits the ring, however its shards are filled */
	for (unsigned done = 0; done < REGION_FRAMES; done += batch) {
		for (uint64_t i = done; i < done + batch; i++) {
			cache_put(b->c, key_of(i), bytes_of(b, i), FRAME);
			cache_read(b->c, key_of(i), 0, 1, &byte);
		}
		unsigned each = batch / threads;
		atomic_store(&b->next_key, done);
		seconds += each * threads / run(b, threads, admit_one, each);
		frames += each * threads;
	}
	return frames / seconds * FRAME * 1e-9;
}

/* As if the kernel had needed the memory. */
static void drop_region(struct bench *b)
{
	char line[4352];
	FILE *f = fopen("/proc/self/maps", "r");
	must(f ? 0 : -errno, "maps");
	while (fgets(line, sizeof line, f)) {
		unsigned long from, to;
		if (strstr(line, "/region\n") && sscanf(line, "%lx-%lx", &from, &to) == 2)
			must(madvise((void *)from, to - from, MADV_DONTNEED) ? -errno : 0, "unmap");
	}
	fclose(f);
	CLEANUP_CLOSE int fd = openat(b->dirfd, "region", O_RDONLY | O_CLOEXEC);
	must(fd < 0 || fdatasync(fd) ? -errno : 0, "region");
	must(-posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), "drop");
}

static uint64_t read_from_disk(void)
{
	char line[128];
	uint64_t bytes = 0;
	FILE *f = fopen("/proc/self/io", "r");
	must(f ? 0 : -errno, "io");
	while (fgets(line, sizeof line, f))
		sscanf(line, "read_bytes: %lu", &bytes);
	fclose(f);
	return bytes;
}

static void read_cold(struct bench *b, uint32_t piece, double *ret_k_s, double *ret_kib)
{
	drop_region(b);
	uint64_t before = read_from_disk();
	b->piece = piece;
	*ret_k_s = run(b, 1, read_known, COLD_READS) * 1e-3;
	*ret_kib = (double)(read_from_disk() - before) / 1024 / COLD_READS;
}

static void with_region(struct bench *b, unsigned setting, unsigned threads, double ret[FIGURES])
{
	open_cache(b, setting, REGION);
	ret[ADMIT] = fill_region(b, threads);
	find_keys(b, REGION_FRAMES);
	ret[REGION_64K] = read_pieces(b, threads, 64 << 10);
	ret[REGION_4K] = read_pieces(b, threads, 4 << 10);
	if (threads == 1) {
		read_cold(b, 64 << 10, &ret[COLD_64K], &ret[COLD_64K_KIB]);
		read_cold(b, 4 << 10, &ret[COLD_4K], &ret[COLD_4K_KIB]);
	}
	cache_close(b->c);
	unlinkat(b->dirfd, "table", 0);
	unlinkat(b->dirfd, "region", 0);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void print_row(enum figure f, unsigned step, unsigned rounds)
{
	printf("  %-16s", figure_names[f]);
	for (unsigned s = 0; s < SETTINGS; s++) {
		double v[ROUNDS_MAX], of[ROUNDS_MAX];
		for (unsigned i = 0; i < rounds; i++) {
			v[i] = results[f][step][s][i];
			of[i] = v[i] / results[f][step][0][i];
		}
		qsort(v, rounds, sizeof *v, compare_doubles);
		qsort(of, rounds, sizeof *of, compare_doubles);
		printf(" | %s %.4g (%.4g-%.4g)", setting_names[s], v[rounds / 2], v[0],
		       v[rounds - 1]);
		if (s)
			printf(" x%.2f (%.2f-%.2f)", of[rounds / 2], of[0], of[rounds - 1]);
	}
	putchar('\n');
}

static void one_round(struct bench *b, unsigned step, unsigned threads, unsigned round)
{
	for (unsigned k = 0; k < SETTINGS; k++) {
		double got[FIGURES] = { 0 };
		unsigned s = round % 2 ? SETTINGS - 1 - k : k;
		with_ring(b, s, threads, got);
		with_region(b, s, threads, got);
		for (unsigned f = 0; f < FIGURES; f++)
			results[f][step][s][round] = got[f];
	}
}

int main(int argc, char **argv)
{
	struct bench b = { 0 };
	uint64_t seed = 1;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned most = cores > (long)RING_FRAMES / 3 ? RING_FRAMES / 3 : (unsigned)cores;
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 5;
	if (argc < 2 || !rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: bench_cache DIR [ROUNDS]\n");
		return 2;
	}
	snprintf(b.dir, sizeof b.dir, "%.200s/bench-cache-XXXXXX", argv[1]);
	must(mkdtemp(b.dir) ? 0 : -errno, argv[1]);
	b.dirfd = open(b.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	b.noise = malloc(NOISE + FRAME);
	must(b.noise && b.dirfd >= 0 ? 0 : -errno, "start");
	prng_fill(&seed, b.noise, NOISE + FRAME);
	for (unsigned step = 0, threads = 1;; step++) {
		for (unsigned i = 0; i < rounds; i++)
			one_round(&b, step, threads, i);
		printf("%u thread%s\n", threads, threads > 1 ? "s" : "");
		for (enum figure f = 0; f < (threads == 1 ? FIGURES : COLD_64K); f++)
			print_row(f, step, rounds);
		fflush(stdout);
		if (threads == most)
			break;
		threads = threads * 2 < most ? threads * 2 : most;
	}
	close(b.dirfd);
	free(b.noise);
	return rmdir(b.dir) ? 1 : 0;
}
