// SPDX-License-Identifier: MIT
/* bench_destage DIR FILE...: destages each file (up to 1 GiB of it, from memory) into a new pool in
 * DIR, at several levels: GB/s of input per second of CPU, and of time, for new bytes, for the same
 * bytes again, and again when they must be read and compared first; and as many small files. Beside
 * it zstd alone on frames of 256 KiB.
 *
 * bench_destage one DIR FILE...: each file as one source at level 3, with 1, 2, 4, ... workers up to
 * one per core, beside zstd in as many threads, in turns and several times over: medians. `of zstd`
 * is the median of the ratios within a round, so it stands where other work shares the machine. */
#include "cleanup.h"
#include "clock.h"
#include "destage.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <zstd.h>

#define FRAME ((size_t)256 << 10)
#define BYTES ((size_t)1 << 30)
#define AGE 1000
#define SMALL 4096u
#define SMALL_FILES 100000u
#define ROUNDS 5u
#define THREADS_MAX 64u

struct bench {
	char dir[256], index[300];
	int fds[3];
	struct kv *kv;
	struct extents *x;
	struct digests *digests;
	struct packs *packs;
	struct cache *cache;
	struct chunks *chunks;
	struct packer *packer;
	struct destage *destage;
};

static void must(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "bench_destage: %s: %s\n", what, strerror(-r));
	exit(1);
}

static int sub_dir(struct bench *b, const char *name)
{
	char path[300];
	snprintf(path, sizeof path, "%s/%s", b->dir, name);
	mkdir(path, 0700);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd < 0 ? -errno : 0, path);
	return fd;
}

static void open_pool(struct bench *b, const char *dir, int level, unsigned workers)
{
	struct kv_recovery rec;
	snprintf(b->dir, sizeof b->dir, "%.200s/bench-destage-XXXXXX", dir);
	must(mkdtemp(b->dir) ? 0 : -errno, dir);
	snprintf(b->index, sizeof b->index, "%s/index", b->dir);
	b->fds[0] = sub_dir(b, "index");
	b->fds[1] = sub_dir(b, "wal");
	b->fds[2] = sub_dir(b, "packs");
	struct kv_options ko = { .index_dirfd = b->fds[0],
				 .wal_dirfd = b->fds[1],
				 .index_path = b->index,
				 .sync_interval_ms = 1000 };
	struct digests_options dopt = { .index_dirfd = b->fds[0] };
	must(kv_open(&ko, &b->kv, &rec), "kv");
	must(extents_open(b->kv, &b->x), "extents");
	must(digests_open(b->kv, &dopt, &b->digests), "digests");
	struct packs_options po = { .dirfd = b->fds[2], .kv = b->kv };
	struct cache_options co = { .dirfd = -1 };
	must(packs_open(&po, &b->packs), "packs");
	must(cache_open(&co, &b->cache), "cache");
	must(chunks_open(b->kv, b->packs, b->cache, &b->chunks), "chunks");
	struct packer_options pko = { .extents = b->x,
				      .packs = b->packs,
				      .chunks = b->chunks,
				      .digests = b->digests,
				      .level = level,
				      .verify_age_s = AGE };
	must(packer_open(&pko, &b->packer), "packer");
	struct destage_options dso = { .packer = b->packer,
				       .chunker = CHUNKER_DEFAULT,
				       .workers = workers };
	must(destage_open(&dso, &b->destage), "destage");
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
	(void)s;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void close_pool(struct bench *b)
{
	destage_close(b->destage);
	must(packer_close(b->packer), "packer");
	must(digests_close(b->digests), "digests");
	chunks_close(b->chunks);
	cache_close(b->cache);
	must(packs_close(b->packs), "packs");
	extents_close(b->x);
	must(kv_close(b->kv), "kv");
	for (unsigned i = 0; i < 3; i++)
		close(b->fds[i]);
	nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct input {
	struct destage_source s; /* first */
	struct bench *b;
	const uint8_t *data;
	struct inode_row row;
};

static int input_read(struct destage_source *s, void *buf, size_t len, uint64_t at)
{
	memcpy(buf, ((struct input *)s)->data + at, len);
	return 0;
}

static int input_commit(struct destage_source *s, uint64_t at, uint64_t len,
			const struct piece *pieces, size_t n)
{
	struct input *in = (struct input *)s;
	struct change *c = change_new(in->b->x);
	if (!c)
		return -ENOMEM;
	int r = extents_replace(c, &in->row, at, len, pieces, n);
	if (r < 0) {
		change_drop(c);
		return r;
	}
	in->row.size = at + len;
	inode_row_put(change_batch(c), &in->row);
	return change_commit(c, NULL);
}

static void input_done(struct destage_source *s, int err)
{
	(void)s;
	must(err, "destage");
}

static void input_start(struct input *in, struct bench *b, const uint8_t *data, size_t len)
{
	static uint64_t ino = 100;
	in->b = b;
	in->data = data;
	in->row = (struct inode_row){ .ino = ino++, .mode = S_IFREG, .nlink = 1 };
	in->s.len = len;
	in->s.read = input_read;
	in->s.commit = input_commit;
	in->s.done = input_done;
	destage_start(b->destage, &in->s);
}

static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void destage_all(struct bench *b, const uint8_t *data, size_t len, unsigned parts,
			const char *what)
{
	struct input in[16] = { 0 };
	double cpu = cpu_seconds();
	uint64_t start = clock_mono_ns();
	for (unsigned i = 0; i < parts; i++)
		input_start(&in[i], b, data + len / parts * i, len / parts);
	destage_flush(b->destage);
	double took = (double)(clock_mono_ns() - start) * 1e-9;
	cpu = cpu_seconds() - cpu;
	printf("  %s %5.2f GB/s of CPU, %5.2f GB/s |", what, (double)len / cpu * 1e-9,
	       (double)len / took * 1e-9);
	fflush(stdout);
}

/* The same as files of 4 KiB, which share frames. */
static void destage_small(struct bench *b, const uint8_t *data, size_t len)
{
	size_t n = len / SMALL < SMALL_FILES ? len / SMALL : SMALL_FILES;
	struct input *in = calloc(n, sizeof *in);
	must(in ? 0 : -ENOMEM, "memory");
	double cpu = cpu_seconds();
	uint64_t start = clock_mono_ns();
	for (size_t i = 0; i < n; i++) {
		in[i].s.small_together = true;
		input_start(&in[i], b, data + i * SMALL, SMALL);
	}
	destage_flush(b->destage);
	double took = (double)(clock_mono_ns() - start) * 1e-9;
	cpu = cpu_seconds() - cpu;
	printf("  4 KiB files: %.0f k/s of CPU, %.0f k/s |", (double)n / cpu * 1e-3,
	       (double)n / took * 1e-3);
	free(in);
}

static int age_one(void *arg, const struct pack_row *row)
{
	struct pack_row older = *row;
	older.created = older.verified = row->created - 10 * AGE;
	pack_put(arg, &older);
	return 0;
}

/* Packs look old, and the packer's memory of them is dropped as after a gc pass. */
static void age_packs(struct bench *b)
{
	struct kv_batch *batch = kv_batch_new();
	must(packs_each(b->packs, age_one, batch), "packs");
	must(kv_commit(b->kv, batch, NULL), "commit");
	packer_set_mark(b->packer, NULL, NULL);
}

struct zstd_share {
	pthread_t thread;
	const uint8_t *data;
	size_t len;
	int level;
};

static void *zstd_run(void *arg)
{
	struct zstd_share *s = arg;
	uint8_t *out = malloc(FRAME * 2);
	ZSTD_CCtx *c = ZSTD_createCCtx();
	must(out && c ? 0 : -ENOMEM, "memory");
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, s->level);
	for (size_t at = 0; at + FRAME <= s->len; at += FRAME)
		ZSTD_compress2(c, out, FRAME * 2, s->data + at, FRAME);
	ZSTD_freeCCtx(c);
	free(out);
	return NULL;
}

/* Bytes over time and over CPU time, in GB/s. */
struct pace {
	double wall, cpu;
};

static struct pace zstd_threads(int level, const uint8_t *data, size_t len, unsigned threads)
{
	struct zstd_share shares[THREADS_MAX];
	double cpu = cpu_seconds();
	uint64_t start = clock_mono_ns();
	for (unsigned i = 0; i < threads; i++) {
		shares[i].data = data + len / threads * i;
		shares[i].len = len / threads;
		shares[i].level = level;
		must(-pthread_create(&shares[i].thread, NULL, zstd_run, &shares[i]), "thread");
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(shares[i].thread, NULL);
	return (struct pace){ (double)len / (double)(clock_mono_ns() - start),
			      (double)len / (cpu_seconds() - cpu) * 1e-9 };
}

static void zstd_alone(int level, const uint8_t *data, size_t len)
{
	printf("  zstd alone %5.2f |", zstd_threads(level, data, len, 1).cpu);
}

static struct pace destage_one(struct bench *b, const uint8_t *data, size_t len)
{
	struct input in = { 0 };
	double cpu = cpu_seconds();
	uint64_t start = clock_mono_ns();
	input_start(&in, b, data, len);
	destage_flush(b->destage);
	return (struct pace){ (double)len / (double)(clock_mono_ns() - start),
			      (double)len / (cpu_seconds() - cpu) * 1e-9 };
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof *v, compare_doubles);
	return v[ROUNDS / 2];
}

enum figure { ZSTD, ZSTD_CPU, NEW, NEW_CPU, KNOWN, KNOWN_CPU, OF_ZSTD, OF_ZSTD_CPU, FIGURES };

static void one_file(const char *dir, const uint8_t *data, size_t len, unsigned workers)
{
	double v[FIGURES][ROUNDS];
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct bench b = { 0 };
		struct pace zstd = zstd_threads(3, data, len, workers);
		open_pool(&b, dir, 3, workers);
		struct pace new = destage_one(&b, data, len), known = destage_one(&b, data, len);
		close_pool(&b);
		const double got[FIGURES] = { zstd.wall,
					      zstd.cpu,
					      new.wall,
					      new.cpu,
					      known.wall,
					      known.cpu,
					      new.wall / zstd.wall,
					      new.cpu / zstd.cpu };
		for (unsigned k = 0; k < FIGURES; k++)
			v[k][i] = got[k];
	}
	printf("%3u", workers);
	static const char *const names[] = { "zstd", NULL, "new", NULL, "known", NULL };
	for (unsigned k = ZSTD; k <= KNOWN; k += 2)
		printf("  %s %.2f GB/s, %.2f of CPU |", names[k], median(v[k]), median(v[k + 1]));
	printf("  of zstd %.2f, in CPU time %.2f\n", median(v[OF_ZSTD]), median(v[OF_ZSTD_CPU]));
	fflush(stdout);
}

static void every_kind(const char *dir, const uint8_t *data, size_t len, unsigned workers)
{
	for (unsigned k = 0; k < 4; k++) {
		static const int levels[] = { 0, -5, 1, 3 };
		struct bench b = { 0 };
		printf("%3d", levels[k]);
		if (levels[k])
			zstd_alone(levels[k], data, len);
		open_pool(&b, dir, levels[k], workers);
		destage_all(&b, data, len, workers, "new");
		destage_all(&b, data, len, workers, "known");
		age_packs(&b);
		destage_all(&b, data, len, workers, "old");
		destage_all(&b, data, len, workers, "read lately");
		destage_small(&b, data, len);
		close_pool(&b);
		putchar('\n');
	}
}

int main(int argc, char **argv)
{
	uint8_t *data = malloc(BYTES);
	size_t most = 0;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned workers = cores > 16 ? 16 : cores < 1 ? 1 : (unsigned)cores;
	bool one = argc > 1 && !strcmp(argv[1], "one");
	if (!data || argc < 3 + one) {
		fprintf(stderr, "usage: bench_destage [one] DIR FILE...\n");
		return 2;
	}
	const char *dir = argv[1 + one];
	for (int i = 2 + one; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		must(file ? 0 : -errno, argv[i]);
		size_t len = fread(data, 1, BYTES, file);
		fclose(file);
		most = len > most ? len : most;
		printf("%s: %zu MiB\n", argv[i], len >> 20);
		if (!one)
			every_kind(dir, data, len, workers);
		for (unsigned w = 1; one; w = w * 2 < workers ? w * 2 : workers) {
			one_file(dir, data, len, w);
			if (w == workers)
				break;
		}
	}
	struct rusage ru;
	getrusage(RUSAGE_SELF, &ru);
	printf("peak memory beside the input: %ld MiB\n",
	       (ru.ru_maxrss >> 10) - (long)(most >> 20));
	free(data);
	return 0;
}
