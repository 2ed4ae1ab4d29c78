// SPDX-License-Identifier: MIT
/* bench_kv DIR [ROWS]: speed of the kv engine in an empty directory DIR, which it fills and leaves.
 *
 * Each line is one measurement: operations a second, and processor time per operation, background
 * threads included, which says more on a machine that does other things. The spread of several
 * runs is the machine's. Keys look like the filesystem's: be64 inode, be64 offset; values of 100 bytes.
 */
#include "cleanup.h"
#include "clock.h"
#include "in_threads.h"
#include "kv.h"
#include "lmdb_base.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

enum { VALUE = 100, MAX_THREADS = 16 };

struct bench {
	struct kv *kv;
	uint64_t rows;
	uint64_t per_thread;
	_Atomic uint64_t next;
};

static void die(const char *what, int err)
{
	fprintf(stderr, "bench_kv: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void check(const char *what, int r)
{
	if (r < 0)
		die(what, r);
}

struct mark {
	uint64_t wall_ns, cpu_ns;
};

static uint64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct mark now(void)
{
	return (struct mark){ clock_mono_ns(), cpu_ns() };
}

static void report(const char *what, uint64_t ops, struct mark since)
{
	double s = (double)(clock_mono_ns() - since.wall_ns) / 1e9;
	double cpu = (double)(cpu_ns() - since.cpu_ns) / (double)ops;
	printf("%-40s %11.0f /s %9.0f ns cpu  (%" PRIu64 " in %.2f s)\n", what, (double)ops / s,
	       cpu, ops, s);
	fflush(stdout);
}

static uint64_t scatter(uint64_t i)
{
	return (i * 0x9e3779b97f4a7c15u) ^ (i >> 7);
}

static void key_of(uint64_t i, uint8_t key[16])
{
	put_be64(key, i >> 3);
	put_be64(key + 8, (i & 7) << 20);
}

static void put_one(struct kv_batch *b, enum kv_table t, uint64_t i)
{
	uint8_t key[16], val[VALUE] = { 0 };
	key_of(i, key);
	put_le64(val, i);
	kv_batch_put(b, t, key, sizeof key, val, sizeof val);
}

static void bench_puts(struct bench *w, const char *what, enum kv_table t, unsigned per_batch,
		       bool scattered)
{
	struct mark start = now();
	for (uint64_t i = 0; i < w->rows;) {
		struct kv_batch *b = kv_batch_new();
		for (unsigned n = 0; n < per_batch && i < w->rows; n++, i++)
			put_one(b, t, scattered ? scatter(i) % w->rows : i);
		check("commit", kv_commit(w->kv, b, NULL));
	}
	report(what, w->rows, start);
	check("sync", kv_sync(w->kv, UINT64_MAX));
}

static void bench_gets(struct bench *w, const char *what, enum kv_table t, uint64_t range,
		       bool scattered)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint64_t n = w->rows > 2000000 ? w->rows : 2000000;
	struct mark start = now();
	for (uint64_t i = 0; i < n; i++) {
		uint8_t key[16];
		key_of((scattered ? scatter(i) : i) % range, key);
		buf_reset(&val);
		check("get", kv_get(w->kv, t, key, sizeof key, &val));
	}
	report(what, n, start);
}

static double put_some(void *arg, struct in_threads_own *own)
{
	struct bench *w = arg;
	for (unsigned n = 0; n < 125; n++) {
		struct kv_batch *b = kv_batch_new();
		for (unsigned k = 0; k < 8; k++)
			put_one(b, KV_INLINE, own->at << 32 | own->sum++);
		check("commit", kv_commit(w->kv, b, NULL));
	}
	return 1;
}

static double get_some(void *arg, struct in_threads_own *own)
{
	struct bench *w = arg;
	CLEANUP_BUF struct buf val = { 0 };
	for (unsigned n = 0; n < 1000; n++) {
		uint8_t key[16];
		key_of(scatter(own->at++) % 10000, key);
		buf_reset(&val);
		check("get", kv_get(w->kv, KV_INODE, key, sizeof key, &val));
	}
	return 1;
}

static void bench_scan(struct bench *w, const char *what, enum kv_table t, bool down)
{
	struct slice k, v;
	uint64_t n = 0;
	struct mark start = now();
	struct kv_iter *it = kv_iter_new(w->kv, t, NULL, 0, down);
	while (kv_iter_next(it, &k, &v) > 0)
		n++;
	kv_iter_free(it);
	report(what, n, start);
}

static void bench_short_scans(struct bench *w, const char *what, enum kv_table t)
{
	struct slice k, v;
	uint64_t n = 200000;
	struct mark start = now();
	for (uint64_t i = 0; i < n; i++) {
		uint8_t key[16];
		key_of(scatter(i) % w->rows & ~(uint64_t)7, key);
		struct kv_iter *it = kv_iter_new(w->kv, t, key, 8, false);
		for (int rows = 0; rows < 8 && kv_iter_next(it, &k, &v) > 0; rows++)
			;
		kv_iter_free(it);
	}
	report(what, n, start);
}

static void *sync_main(void *arg)
{
	struct bench *w = arg;
	for (uint64_t n = 0; n < w->per_thread; n++) {
		struct kv_batch *b = kv_batch_new();
		uint64_t lsn;
		put_one(b, KV_XATTR, atomic_fetch_add(&w->next, 1));
		check("commit", kv_commit(w->kv, b, &lsn));
		check("sync", kv_sync(w->kv, lsn));
	}
	return NULL;
}

static void bench_syncs(struct bench *w, unsigned threads)
{
	pthread_t t[MAX_THREADS];
	char what[64];
	w->per_thread = threads == 1 ? 1000 : 500;
	struct mark start = now();
	for (unsigned i = 0; i < threads; i++)
		pthread_create(&t[i], NULL, sync_main, w);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	snprintf(what, sizeof what, "put + sync, %u threads", threads);
	report(what, w->per_thread * threads, start);
}

struct load {
	uint64_t i, end, stride, offset;
	uint8_t key[16], val[8];
};

static int load_next(void *arg, struct slice *key, struct slice *val)
{
	struct load *l = arg;
	if (l->i == l->end)
		return 0;
	put_be64(l->key, l->i++ * l->stride + l->offset);
	*key = slice_of(l->key, sizeof l->key);
	*val = slice_of(l->val, sizeof l->val);
	return 1;
}

static void bench_load(struct bench *w, const char *what, uint64_t stride, uint64_t offset)
{
	struct load l = { .end = w->rows, .stride = stride, .offset = offset };
	struct mark start = now();
	check("load", kv_load_sorted(w->kv, KV_DIGEST, load_next, &l, NULL, NULL, 0));
	report(what, w->rows, start);
}

static void run(struct bench *w)
{
	struct mark start;
	bench_puts(w, "put, 1 per batch, rising keys", KV_INODE, 1, false);
	bench_puts(w, "put, 8 per batch, rising keys", KV_EXTENT, 8, false);
	bench_puts(w, "put, 8 per batch, scattered keys", KV_CHUNK, 8, true);
	start = now();
	check("checkpoint", kv_checkpoint(w->kv));
	report("last checkpoint", 1, start);
	bench_gets(w, "get from LMDB, 10 k rows", KV_INODE, 10000, true);
	bench_gets(w, "get from LMDB, all rows scattered", KV_INODE, w->rows, true);
	bench_gets(w, "get from LMDB, in order", KV_INODE, w->rows, false);
	in_threads("get from LMDB, 10 k rows, by threads", "k/s", get_some, w);
	in_threads("put, 8 per batch, rising, by threads", "k/s", put_some, w);
	bench_scan(w, "scan LMDB up", KV_INODE, false);
	bench_scan(w, "scan LMDB down", KV_INODE, true);
	bench_short_scans(w, "scans of 8 rows, LMDB", KV_INODE);
	uint64_t all = w->rows;
	w->rows = 200000;
	bench_puts(w, "put, 8 per batch, 200 k rows", KV_SEGMENT, 8, false);
	bench_gets(w, "get from memtable, 200 k rows scattered", KV_SEGMENT, w->rows, true);
	bench_scan(w, "scan memtable up", KV_SEGMENT, false);
	bench_short_scans(w, "scans of 8 rows, memtable", KV_SEGMENT);
	w->rows = all;
	bench_syncs(w, 1);
	bench_syncs(w, 4);
	bench_syncs(w, 16);
	bench_load(w, "load_sorted into an empty table", 3, 0);
	bench_load(w, "load_sorted between all rows", 3, 1);
}

static void check_lmdb(int rc)
{
	if (rc) {
		fprintf(stderr, "bench_kv: LMDB: %s\n", mdb_strerror(rc));
		exit(1);
	}
}

/* LMDB's own gets of the same rows, in one transaction: what kv_get() can at most reach. */
static void bench_lmdb(const char *index_path, uint64_t rows)
{
	const uint64_t n = 2000000;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi table;
	check_lmdb(mdb_env_create(&env));
	check_lmdb(mdb_env_set_maxdbs(env, KV_TABLES));
	check_lmdb(mdb_env_open(env, index_path, MDB_RDONLY | MDB_NOLOCK | MDB_NORDAHEAD, 0));
	check_lmdb(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
	check_lmdb(mdb_dbi_open(txn, lmdb_table_name(KV_INODE), 0, &table));
	struct mark start = now();
	for (uint64_t i = 0; i < n; i++) {
		uint8_t key[16], row[4096];
		MDB_val k = { sizeof key, key }, v;
		key_of(scatter(i) % rows, key);
		check_lmdb(mdb_get(txn, table, &k, &v));
		memcpy(row, v.mv_data, v.mv_size < sizeof row ? v.mv_size : sizeof row);
	}
	report("LMDB's own get, all rows scattered", n, start);
	mdb_txn_abort(txn);
	mdb_env_close(env);
}

static void make_dirs(const char *dir, struct kv_options *opt, char *index_path, size_t size)
{
	char wal[512];
	snprintf(index_path, size, "%.500s/index", dir);
	snprintf(wal, sizeof wal, "%.500s/wal", dir);
	if (mkdir(index_path, 0700) || mkdir(wal, 0700))
		die(dir, -errno);
	opt->index_path = index_path;
	opt->index_dirfd = open(index_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	opt->wal_dirfd = open(wal, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int main(int argc, char **argv)
{
	char index_path[512];
	struct kv_options opt = { .sync_interval_ms = 1000 };
	struct kv_stats s;
	struct bench w = { .rows = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000 };
	if (argc < 2) {
		fprintf(stderr,
			"usage: bench_kv DIR [ROWS]   (BENCH_WAL=io_uring, BENCH_COMPRESS=1)\n");
		return 2;
	}
	const char *wal = getenv("BENCH_WAL");
	opt.wal_backend = wal && !strcmp(wal, "io_uring") ? KV_WAL_IO_URING : KV_WAL_STANDARD;
	opt.wal_compress = getenv("BENCH_COMPRESS");
	make_dirs(argv[1], &opt, index_path, sizeof index_path);
	check("open", kv_open(&opt, &w.kv, NULL));
	run(&w);
	kv_get_stats(w.kv, &s);
	printf("log: %s, %.0f MiB in %" PRIu64 " flushes; LMDB: %.0f MiB, %" PRIu64
	       " checkpoints\n",
	       s.wal_backend, (double)s.wal_bytes_written / 1048576, s.wal_syncs,
	       (double)s.lmdb_bytes_file / 1048576, s.checkpoints);
	struct mark start = now();
	check("close", kv_close(w.kv));
	report("close", 1, start);
	bench_lmdb(index_path, w.rows);
	return 0;
}
