// SPDX-License-Identifier: MIT
/* bench_wal DIR: the write-ahead log alone, in an empty directory DIR, by either way of writing it, as it is
 * and compressed: entries of 100 bytes and 4 KiB, half of them random, appended without waiting (one thread) and
 * each made durable before the next (1, 4 and 16 threads, which share flushes): entries a second. */
#include "clock.h"
#include "prng.h"
#include "wal.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS_MAX = 16, ENTRY_MAX = 4096, RUN_MS = 1000, TRIM_EVERY = 4096 };

struct bench {
	struct wal *wal;
	pthread_mutex_t lock; /* one appends at a time */
	size_t len;
	bool sync;
	uint64_t end_ns;
	_Atomic uint64_t done;
};

static void must(int r, const char *what)
{
	if (r == 0)
		return;
	fprintf(stderr, "bench_wal: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void append(struct bench *b, const uint8_t *entry, uint64_t *ret_lsn)
{
	pthread_mutex_lock(&b->lock);
	must(wal_append(b->wal, slice_of(entry, b->len), NULL, false, ret_lsn), "append");
	if (*ret_lsn % TRIM_EVERY == 0)
		wal_trim(b->wal, wal_durable_lsn(b->wal));
	pthread_mutex_unlock(&b->lock);
}

static void *user_main(void *arg)
{
	struct bench *b = arg;
	uint8_t entry[ENTRY_MAX] = { 0 };
	uint64_t seed = (uintptr_t)entry, lsn, n = 0;
	prng_fill(&seed, entry, b->len / 2);
	while (clock_mono_ns() < b->end_ns) {
		memcpy(entry, &n, sizeof n);
		append(b, entry, &lsn);
		if (b->sync)
			must(wal_sync(b->wal, lsn), "sync");
		n++;
	}
	atomic_fetch_add(&b->done, n);
	return NULL;
}

static void measure(struct bench *b, unsigned threads)
{
	pthread_t id[THREADS_MAX];
	struct kv_stats before = { 0 }, after = { 0 };
	wal_stats(b->wal, &before);
	uint64_t begin = clock_mono_ns();
	b->end_ns = begin + RUN_MS * 1000000ull;
	atomic_store(&b->done, 0);
	for (unsigned i = 0; i < threads; i++)
		must(-pthread_create(&id[i], NULL, user_main, b), "thread");
	for (unsigned i = 0; i < threads; i++)
		pthread_join(id[i], NULL);
	must(wal_sync(b->wal, wal_last_lsn(b->wal)), "sync");
	double s = (double)(clock_mono_ns() - begin) / 1e9, n = (double)atomic_load(&b->done);
	wal_stats(b->wal, &after);
	uint64_t flushes = after.wal_syncs - before.wal_syncs;
	printf("  %4zu bytes, %s, %2u threads: %9.0f /s, %7.1f MB/s, %6.1f entries a flush\n",
	       b->len, b->sync ? "synced" : "queued", threads, n / s, n * (double)b->len / s / 1e6,
	       n / (double)(flushes ? flushes : 1));
	fflush(stdout);
}

static void run(const char *dir, enum kv_wal_backend backend, bool compress)
{
	struct wal_options opt = { .backend = backend,
				   .sync_interval_ms = 1000,
				   .segment_bytes = (size_t)64 << 20,
				   .compress = compress,
				   .keep_after = UINT64_MAX,
				   .keep_least = UINT64_MAX };
	static struct bench b = { .lock = PTHREAD_MUTEX_INITIALIZER };
	char path[600];
	snprintf(path, sizeof path, "%.500s/%s%s", dir,
		 backend == KV_WAL_IO_URING ? "io_uring" : "standard",
		 compress ? "-compressed" : "");
	must(mkdir(path, 0700) ? -errno : 0, path);
	opt.dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(opt.dirfd < 0 ? -errno : 0, path);
	must(wal_start(&opt, 0, 0, NULL, &b.wal), "start");
	struct kv_stats s = { 0 };
	wal_stats(b.wal, &s);
	printf("%s%s\n", s.wal_backend, compress ? ", compressed" : "");
	for (b.len = 100; b.len <= ENTRY_MAX; b.len = b.len == 100 ? ENTRY_MAX : SIZE_MAX) {
		b.sync = false;
		measure(&b, 1);
		b.sync = true;
		for (unsigned threads = 1; threads <= THREADS_MAX; threads *= 4)
			measure(&b, threads);
	}
	must(wal_stop(b.wal, true), "stop");
	close(opt.dirfd);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: bench_wal DIR\n");
		return 2;
	}
	for (int compress = 0; compress <= 1; compress++) {
		run(argv[1], KV_WAL_STANDARD, compress);
		run(argv[1], KV_WAL_IO_URING, compress);
	}
	return 0;
}
