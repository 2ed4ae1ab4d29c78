// SPDX-License-Identifier: MIT
/* bench_digests [MILLIONS [DIR]]: random digests added one after the other (default 5 million, in a
 * new directory under DIR), then looked up. Per tenth: adds per second and bytes written per entry
 * (/proc/self/io: what went to the filesystem, rewritten pages included); at the end and after
 * opening it again: lookups of present and of absent digests, memory. One thread; then lookups and
 * more adds, in thousands a second, by threads. */
#include "digests.h"
#include "cleanup.h"
#include "clock.h"
#include "in_threads.h"
#include "prng.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LOOKUPS 1000000u
#define CHUNK_BYTES 65536.0

struct place {
	char dir[512], index[520], wal[520];
	int index_fd, wal_fd;
};

static void die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static void place_make(struct place *p, const char *under)
{
	snprintf(p->dir, sizeof p->dir, "%s/bench-digests-XXXXXX", under);
	if (!mkdtemp(p->dir))
		die(p->dir, errno);
	snprintf(p->index, sizeof p->index, "%s/i", p->dir);
	snprintf(p->wal, sizeof p->wal, "%s/w", p->dir);
	if (mkdir(p->index, 0700) || mkdir(p->wal, 0700))
		die(p->dir, errno);
	p->index_fd = open(p->index, O_RDONLY | O_DIRECTORY);
	p->wal_fd = open(p->wal, O_RDONLY | O_DIRECTORY);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void open_all(struct place *p, struct kv **kv, struct digests **d)
{
	struct kv_options opt = { .index_dirfd = p->index_fd,
				  .wal_dirfd = p->wal_fd,
				  .index_path = p->index };
	struct digests_options dopt = { .index_dirfd = p->index_fd };
	struct kv_recovery rec;
	uint64_t start = clock_mono_ns();
	int r = kv_open(&opt, kv, &rec);
	if (r == 0)
		r = digests_open(*kv, &dopt, d);
	if (r < 0)
		die("open", r);
	printf("open %.3f s\n", (double)(clock_mono_ns() - start) / 1e9);
}

static void close_all(struct kv *kv, struct digests *d)
{
	uint64_t start = clock_mono_ns();
	int r = digests_close(d);
	if (r == 0)
		r = kv_close(kv);
	if (r < 0)
		die("close", r);
	printf("close %.3f s\n", (double)(clock_mono_ns() - start) / 1e9);
}

static uint64_t bytes_written(void)
{
	unsigned long long n = 0;
	char line[128];
	FILE *f = fopen("/proc/self/io", "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "write_bytes: %llu", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

static unsigned long resident_anonymous_mib(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib >> 10;
}

static struct digest digest_no(uint64_t n)
{
	struct digest d;
	uint64_t state = n * 0x2545f4914f6cdd1du;
	prng_fill(&state, &d, sizeof d);
	return d;
}

static void add_all(struct digests *d, uint64_t total)
{
	for (uint64_t tenth = 0; tenth < 10; tenth++) {
		uint64_t from = total / 10 * tenth, to = total / 10 * (tenth + 1), longest = 0;
		uint64_t written = bytes_written(), start = clock_mono_ns(), before = start;
		for (uint64_t i = from; i < to; i++) {
			struct digest digest = digest_no(i);
			int r = digests_add(d, &digest, i + 1);
			if (r < 0)
				die("add", r);
			if (i % 64)
				continue;
			digests_settle(d, i + 1);
			uint64_t now = clock_mono_ns();
			longest = now - before > longest ? now - before : longest;
			before = now;
		}
		double took = (double)(clock_mono_ns() - start) / 1e9, n = (double)(to - from);
		double each = (double)(bytes_written() - written) / n;
		printf("%5.1f M: %8.0f adds/s, %5.0f bytes written each (%.2f %% of 64 KiB), "
		       "longest wait %.2f s, %lu MiB\n",
		       (double)to / 1e6, n / took, each, each / CHUNK_BYTES * 100,
		       (double)longest / 1e9, resident_anonymous_mib());
		fflush(stdout);
	}
}

static void find_some(struct digests *d, const char *name, uint64_t from, uint64_t count)
{
	uint64_t seed = 5, id, found = 0, start = clock_mono_ns();
	for (unsigned i = 0; i < LOOKUPS; i++) {
		struct digest digest = digest_no(from + prng_below(&seed, count));
		int r = digests_find(d, &digest, &id);
		if (r < 0)
			die("find", r);
		found += (unsigned)r;
	}
	printf("%-22s %9.0f finds/s, %5.1f %% found\n", name,
	       LOOKUPS / ((double)(clock_mono_ns() - start) / 1e9), (double)found * 100 / LOOKUPS);
}

struct shared {
	struct digests *d;
	uint64_t from, count; /* of the digests looked up */
	_Atomic uint64_t next;
};

static double find_thousand(void *arg, struct in_threads_own *own)
{
	struct shared *s = arg;
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t id = 0;
		struct digest digest = digest_no(s->from + prng_below(&own->at, s->count));
		int r = digests_find(s->d, &digest, &id);
		if (r < 0)
			die("find", r);
		own->sum += id;
	}
	return 1;
}

static double add_thousand(void *arg, struct in_threads_own *own)
{
	struct shared *s = arg;
	uint64_t first = atomic_fetch_add(&s->next, 1000);
	for (uint64_t i = first; i < first + 1000; i++) {
		struct digest digest = digest_no(i);
		int r = digests_add(s->d, &digest, i + 1);
		if (r < 0)
			die("add", r);
	}
	own->sum += first;
	return 1;
}

static void by_threads(struct digests *d, uint64_t total)
{
	struct shared s = { .d = d, .count = total, .next = total };
	in_threads("find present, by threads", "k/s", find_thousand, &s);
	s.from = UINT64_C(1) << 48;
	s.count = UINT64_C(1) << 40;
	in_threads("find absent, by threads", "k/s", find_thousand, &s);
	in_threads("add, by threads", "k/s", add_thousand, &s);
}

static void wait_for_filter(struct digests *d)
{
	struct digests_stats st;
	uint64_t start = clock_mono_ns();
	do
		digests_get_stats(d, &st);
	while (!st.filter_ready && !usleep(1000));
	printf("filter ready after %.3f s, %u of 64 slices read, %.1f MiB\n",
	       (double)(clock_mono_ns() - start) / 1e9, st.filter_slices_read,
	       (double)st.filter_bytes / (1 << 20));
}

static void print_stats(struct kv *kv, struct digests *d)
{
	struct digests_stats st;
	struct kv_stats k;
	digests_get_stats(d, &st);
	kv_get_stats(kv, &k);
	printf("%.1f M in memory (%zu MiB), %.1f M in LMDB (%.0f bytes each), %.0f per load; "
	       "filter %.1f "
	       "MiB, %.2f %% false positives\n",
	       (double)st.in_memory / 1e6, (size_t)st.memory_bytes >> 20, (double)st.in_base / 1e6,
	       (double)k.lmdb_bytes_file / (double)(st.in_base + 1),
	       (double)st.loaded / (double)(st.loads + !st.loads),
	       (double)st.filter_bytes / (1 << 20),
	       (double)st.false_positive * 100 /
		       (double)(st.false_positive + st.filter_negative + 1));
}

int main(int argc, char **argv)
{
	uint64_t total = (uint64_t)((argc > 1 ? strtod(argv[1], NULL) : 5) * 1e6);
	struct place p;
	struct kv *kv;
	struct digests *d;

	place_make(&p, argc > 2 ? argv[2] : getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	open_all(&p, &kv, &d);
	add_all(d, total);
	find_some(d, "present", 0, total);
	find_some(d, "absent", UINT64_C(1) << 48, UINT64_C(1) << 40);
	print_stats(kv, d);
	by_threads(d, total);
	close_all(kv, d);
	open_all(&p, &kv, &d);
	wait_for_filter(d);
	find_some(d, "present, just opened", 0, total);
	find_some(d, "absent, just opened", UINT64_C(1) << 48, UINT64_C(1) << 40);
	print_stats(kv, d);
	close_all(kv, d);
	nftw(p.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
