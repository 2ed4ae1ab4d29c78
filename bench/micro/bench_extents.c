// SPDX-License-Identifier: MIT
/* bench_extents DIR [MILLIONS]: maps of files of a thousand, a hundred thousand and MILLIONS (default 10)
 * million chunks, in an index in the empty directory DIR, which it leaves: how fast they are built (as destage
 * commits them), and then, out of LMDB, how many a second are found: the chunk at a random offset;
 * the inode's row and data after a random offset (open and SEEK_DATA). Page faults say how much of the index
 * was touched anew. SEEK_HOLE in a file without holes, from its start, looks at every row: it is shown once. */
#include "clock.h"
#include "extents.h"
#include "prng.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { LOOKUPS = 500000, PER_CHANGE = 4 * SEGMENT_PIECES };

struct bench {
	struct kv *kv;
	struct extents *x;
	uint64_t seed, next_chunk;
	struct inode_row row;
};

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "bench_extents: %s: %s\n", what, strerror(-r));
	exit(1);
}

static long faults(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt + u.ru_majflt;
}

/* Lengths as chunkers make them; one chunk of eight was stored before. */
static uint64_t make_pieces(struct bench *b, struct piece *v, size_t n)
{
	uint64_t len = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t known = prng_below(&b->seed, b->next_chunk);
		v[i] = (struct piece){ .length = 16384 + prng_below(&b->seed, 98304), .repeat = 1 };
		v[i].chunk = known && prng_below(&b->seed, 8) == 0 ? known : b->next_chunk++;
		len += v[i].length;
	}
	return len;
}

static void append(struct bench *b, struct piece *v, size_t n)
{
	uint64_t len = make_pieces(b, v, n);
	struct change *c = change_new(b->x);
	must(c ? 0 : -ENOMEM, "change");
	must(extents_replace(c, &b->row, b->row.size, len, v, n), "replace");
	b->row.size += len;
	inode_row_put(change_batch(c), &b->row);
	must(change_commit(c, NULL), "commit");
}

static void build(struct bench *b, uint64_t ino, uint64_t chunks)
{
	struct piece *v = calloc(PER_CHANGE, sizeof *v);
	must(v ? 0 : -ENOMEM, "pieces");
	b->row = (struct inode_row){ .ino = ino, .mode = S_IFREG | 0600, .nlink = 1 };
	uint64_t start = clock_mono_ns();
	for (uint64_t left = chunks, n; left; left -= n) {
		n = left < PER_CHANGE ? left : PER_CHANGE;
		append(b, v, n);
	}
	must(kv_checkpoint(b->kv), "checkpoint");
	double s = (double)(clock_mono_ns() - start) / 1e9;
	printf("%9" PRIu64 " chunks, %.1f GB: built in %.2f s, %.0f chunks/s\n", chunks,
	       (double)b->row.size / 1e9, s, (double)chunks / s);
	free(v);
}

static void report(const char *what, uint64_t n, uint64_t start_ns, long faults_before)
{
	double s = (double)(clock_mono_ns() - start_ns) / 1e9;
	printf("  %-18s %9.0f /s, %6.3f us, %.4f page faults each\n", what, (double)n / s,
	       s * 1e6 / (double)n, (double)(faults() - faults_before) / (double)n);
	fflush(stdout);
}

static void lookups(struct bench *b)
{
	struct map_vec map = { 0 };
	long before = faults();
	uint64_t start = clock_mono_ns();
	for (unsigned i = 0; i < LOOKUPS; i++) {
		uint64_t at = prng_below(&b->seed, b->row.size);
		map.n = 0;
		must(extents_map(b->x, &b->row, at, 1, &map), "map");
		must(map.n == 1 && map.v[0].at == at ? 0 : -EUCLEAN, "what was found");
	}
	report("offset to chunk", LOOKUPS, start, before);
	map_vec_done(&map);
}

static void opens(struct bench *b)
{
	long before = faults();
	uint64_t start = clock_mono_ns();
	for (unsigned i = 0; i < LOOKUPS; i++) {
		struct inode_row row;
		uint64_t found, at = prng_below(&b->seed, b->row.size);
		must(inode_row_get(b->kv, b->row.ino, &row), "inode");
		must(extents_seek(b->x, &row, at, true, &found), "seek");
		must(found == at ? 0 : -EUCLEAN, "where data is");
	}
	report("open and SEEK_DATA", LOOKUPS, start, before);
}

static void whole_seek(struct bench *b)
{
	uint64_t found, start = clock_mono_ns();
	long before = faults();
	must(extents_seek(b->x, &b->row, 0, false, &found), "seek");
	must(found == b->row.size ? 0 : -EUCLEAN, "where the hole is");
	report("SEEK_HOLE, no hole", 1, start, before);
}

static int sub_dir(const char *dir, const char *name, char *path, size_t size)
{
	snprintf(path, size, "%.500s/%s", dir, name);
	must(mkdir(path, 0700) ? -errno : 0, path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd < 0 ? -errno : 0, path);
	return fd;
}

int main(int argc, char **argv)
{
	char index_path[520], wal_path[520];
	struct bench b = { .seed = 1, .next_chunk = 1 };
	struct kv_options opt = { .index_path = index_path, .sync_interval_ms = 1000 };
	struct kv_recovery rec;
	if (argc < 2) {
		fprintf(stderr, "usage: bench_extents DIR [MILLIONS]\n");
		return 2;
	}
	double millions = argc > 2 ? strtod(argv[2], NULL) : 10;
	const uint64_t chunks[] = { 1000, 100000, (uint64_t)(millions * 1e6) };
	opt.index_dirfd = sub_dir(argv[1], "index", index_path, sizeof index_path);
	opt.wal_dirfd = sub_dir(argv[1], "wal", wal_path, sizeof wal_path);
	must(kv_open(&opt, &b.kv, &rec), "open");
	must(extents_open(b.kv, &b.x), "extents");
	for (unsigned i = 0; i < sizeof chunks / sizeof *chunks; i++) {
		build(&b, INO_FIRST + i, chunks[i]);
		for (int turn = 0; turn < 2; turn++) {
			lookups(&b);
			opens(&b);
		}
		whole_seek(&b);
	}
	extents_close(b.x);
	must(kv_close(b.kv), "close");
	return 0;
}
