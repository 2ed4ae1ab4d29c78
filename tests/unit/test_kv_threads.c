// SPDX-License-Identifier: MIT
/* Committers, syncers, readers, scanners, checkpoints and loads at the same time. */
#include "kv_pool.h"
#include "kv_internal.h"
#include <pthread.h>
#include <stdatomic.h>

enum { WRITERS = 3, ROUNDS = 400, SPAN = 64 };

struct world {
	struct kv *kv;
	_Atomic int wrong, called, barriers_run, barriers_released;
	_Atomic bool stop;
	_Atomic uint64_t done[WRITERS];
};

struct worker {
	struct world *w;
	unsigned id;
};

#define CHECK(w, cond)                                                                             \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "wrong: %s, line %d\n", #cond, __LINE__);                  \
			atomic_fetch_add(&(w)->wrong, 1);                                          \
		}                                                                                  \
	} while (0)

struct counted_barrier {
	struct kv_barrier b;
	struct world *w;
};

static int barrier_run(struct kv_barrier *b)
{
	atomic_fetch_add(&((struct counted_barrier *)b)->w->barriers_run, 1);
	return 0;
}

static void barrier_release(struct kv_barrier *b)
{
	atomic_fetch_add(&((struct counted_barrier *)b)->w->barriers_released, 1);
	free(b);
}

static void durable(void *arg, int err)
{
	struct world *w = arg;
	CHECK(w, err == 0);
	atomic_fetch_add(&w->called, 1);
}

static size_t key_of(unsigned writer, uint64_t i, uint8_t key[16])
{
	put_be64(key, writer);
	put_be64(key + 8, i % SPAN);
	return 16;
}

/* Each batch writes a row and its twin in another table with the same number. */
static void *writer_main(void *arg)
{
	struct worker *me = arg;
	struct world *w = me->w;
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		struct kv_batch *b = kv_batch_new();
		uint8_t key[16], val[200] = { 0 };
		uint64_t lsn;
		size_t klen = key_of(me->id, i, key);
		put_le64(val, i);
		kv_batch_put(b, KV_INODE, key, klen, val, sizeof val);
		kv_batch_put(b, KV_EXTENT, key, klen, val, 8);
		if (i % 7 == 0) {
			struct counted_barrier *bar = calloc(1, sizeof *bar);
			bar->w = w;
			bar->b = (struct kv_barrier){ .run = barrier_run,
						      .release = barrier_release,
						      .key = me->id };
			kv_batch_barrier(b, &bar->b);
		}
		CHECK(w, kv_commit(w->kv, b, &lsn) == 0);
		atomic_store(&w->done[me->id], i);
		if (i % 5 == 0) {
			CHECK(w, kv_sync(w->kv, lsn) == 0);
			CHECK(w, kv_durable_lsn(w->kv) >= lsn);
		} else if (i % 5 == 1)
			kv_when_durable(w->kv, lsn, durable, w);
		else if (i % 5 == 2)
			kv_sync_async(w->kv, lsn, durable, w);
	}
	return NULL;
}

/* What a writer has committed before the lookup must be there, or something newer. */
static void *reader_main(void *arg)
{
	struct world *w = arg;
	struct buf val = { 0 };
	for (unsigned n = 0; !atomic_load(&w->stop); n++) {
		uint8_t key[16];
		unsigned id = n % WRITERS;
		uint64_t done = atomic_load(&w->done[id]);
		if (!done)
			continue;
		size_t klen = key_of(id, done, key);
		buf_reset(&val);
		int r = kv_get(w->kv, n & 1 ? KV_INODE : KV_EXTENT, key, klen, &val);
		CHECK(w, r == 0);
		if (r == 0)
			CHECK(w, get_le64(val.data) >= done);
	}
	buf_done(&val);
	return NULL;
}

static void *scanner_main(void *arg)
{
	struct world *w = arg;
	for (unsigned n = 0; !atomic_load(&w->stop); n++) {
		bool down = n & 1;
		uint8_t before[16];
		struct slice k, v;
		uint64_t rows = 0, least = 0;
		for (unsigned i = 0; i < WRITERS; i++) {
			uint64_t done = atomic_load(&w->done[i]);
			least += done < SPAN ? done : SPAN;
		}
		struct kv_iter *it = kv_iter_new(w->kv, KV_INODE, NULL, 0, down);
		while (kv_iter_next(it, &k, &v) > 0) {
			int c = rows++ ? memcmp(k.at, before, 16) : 0;
			CHECK(w, rows == 1 || (down ? c < 0 : c > 0));
			memcpy(before, k.at, 16);
		}
		CHECK(w, rows >= least && rows <= WRITERS * SPAN);
		kv_iter_free(it);
	}
	return NULL;
}

static int load_one(void *arg, struct slice *key, struct slice *val)
{
	uint64_t *left = arg;
	static const uint8_t zeros[16];
	if (!*left)
		return 0;
	--*left;
	*key = *val = slice_of(zeros, sizeof zeros);
	return 1;
}

static void *keeper_main(void *arg)
{
	struct world *w = arg;
	struct kv_stats s;
	while (!atomic_load(&w->stop)) {
		uint64_t one = 1;
		CHECK(w, kv_checkpoint(w->kv) == 0);
		CHECK(w, kv_load_sorted(w->kv, KV_DIGEST, load_one, &one, NULL, NULL, 0) == 0);
		kv_get_stats(w->kv, &s);
	}
	return NULL;
}

/* The LMDB map moves while everything else goes on. */
static void grow_map(struct kv *kv)
{
	for (int i = 0; i < 3; i++) {
		pthread_mutex_lock(&kv->base_lock);
		readers_pause(&kv->readers);
		assert_int_equal(lmdb_base_grow(kv->base), 0);
		readers_resume(&kv->readers);
		pthread_mutex_unlock(&kv->base_lock);
		usleep(5000);
	}
}

static void run_world(struct pool *p)
{
	struct world w = { .kv = pool_open(p) };
	struct worker workers[WRITERS];
	pthread_t t[WRITERS], reader, scanner, keeper;
	for (unsigned i = 0; i < WRITERS; i++) {
		workers[i] = (struct worker){ &w, i };
		pthread_create(&t[i], NULL, writer_main, &workers[i]);
	}
	pthread_create(&reader, NULL, reader_main, &w);
	pthread_create(&scanner, NULL, scanner_main, &w);
	pthread_create(&keeper, NULL, keeper_main, &w);
	grow_map(w.kv);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
	atomic_store(&w.stop, true);
	pthread_join(reader, NULL);
	pthread_join(scanner, NULL);
	pthread_join(keeper, NULL);
	assert_int_equal(kv_sync(w.kv, UINT64_MAX), 0);
	assert_int_equal(kv_close(w.kv), 0);
	assert_int_equal(w.wrong, 0);
	assert_int_equal(w.called, WRITERS * ROUNDS * 2 / 5);
	assert_int_equal(w.barriers_released, WRITERS * (ROUNDS / 7));
	assert_true(w.barriers_run <= w.barriers_released && w.barriers_run > 0);
	assert_int_equal(p->failures, 0);
}

static void all_at_once_standard(void **state)
{
	(void)state;
	struct pool p;
	pool_make(&p);
	p.opt.memtable_bytes = 16 << 10;
	p.opt.sync_interval_ms = 3;
	run_world(&p);
	pool_remove(&p);
}

static void all_at_once_io_uring(void **state)
{
	(void)state;
	struct pool p;
	pool_make(&p);
	p.opt.wal_backend = KV_WAL_IO_URING;
	p.opt.wal_segment_bytes = 64 << 10;
	p.opt.wal_compress = true;
	run_world(&p);
	pool_remove(&p);
}

/* A short-lived thread's reader slot, with its LMDB transaction, passes to the next thread. */
static void *get_once(void *arg)
{
	struct buf val = { 0 };
	int r = kv_get(arg, KV_INODE, "a", 1, &val);
	buf_done(&val);
	return (void *)(intptr_t)r;
}

static void threads_come_and_go(void **state)
{
	(void)state;
	struct pool p;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	assert_int_equal(put1(kv, KV_INODE, "a", "1", NULL), 0);
	assert_int_equal(kv_checkpoint(kv), 0);
	for (int i = 0; i < 3000; i++) { /* more than LMDB has reader slots */
		pthread_t t;
		void *r;
		assert_int_equal(pthread_create(&t, NULL, get_once, kv), 0);
		pthread_join(t, &r);
		assert_null(r);
	}
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_at_once_standard),
		cmocka_unit_test(all_at_once_io_uring),
		cmocka_unit_test(threads_come_and_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
