// SPDX-License-Identifier: MIT
/* bench_destage DIR FILE...: destages each file (up to 1 GiB of it, from memory) into a new pool in
 * DIR, at several levels: GB/s of input per second of CPU, and of time, for new bytes, for the same
 * bytes again, and again when they must be read and compared first; and as many small files. Beside
 * it zstd alone on frames of 256 KiB. */
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

static void zstd_alone(int level, const uint8_t *data, size_t len)
{
	static uint8_t out[FRAME * 2];
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
	double start = cpu_seconds();
	for (size_t at = 0; at + FRAME <= len; at += FRAME)
		ZSTD_compress2(c, out, sizeof out, data + at, FRAME);
	printf("  zstd alone %5.2f |", (double)len / (cpu_seconds() - start) * 1e-9);
	ZSTD_freeCCtx(c);
}

int main(int argc, char **argv)
{
	uint8_t *data = malloc(BYTES);
	size_t most = 0;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned workers = cores > 16 ? 16 : cores < 1 ? 1 : (unsigned)cores;
	if (!data || argc < 3) {
		fprintf(stderr, "usage: bench_destage DIR FILE...\n");
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		must(file ? 0 : -errno, argv[i]);
		size_t len = fread(data, 1, BYTES, file);
		fclose(file);
		most = len > most ? len : most;
		printf("%s: %zu MiB\n", argv[i], len >> 20);
		for (unsigned k = 0; k < 4; k++) {
			static const int levels[] = { 0, -5, 1, 3 };
			struct bench b = { 0 };
			printf("%3d", levels[k]);
			if (levels[k])
				zstd_alone(levels[k], data, len);
			open_pool(&b, argv[1], levels[k], workers);
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
	struct rusage ru;
	getrusage(RUSAGE_SELF, &ru);
	printf("peak memory beside the input: %ld MiB\n",
	       (ru.ru_maxrss >> 10) - (long)(most >> 20));
	free(data);
	return 0;
}
