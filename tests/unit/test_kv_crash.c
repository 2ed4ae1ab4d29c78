// SPDX-License-Identifier: MIT
/* A child process lives through openings, commits, syncs, checkpoints and closings, and is stopped
 * at its first, second, third ... write or sync, until it gets to its end. Each time the pool must
 * open to a prefix of the batches that contains all acknowledged ones.
 *
 * The kernel survives, so nothing written is lost here; test_wal takes blocks away.
 */
#include "kv_pool.h"
#include <sys/mman.h>
#include <sys/wait.h>

enum { BATCHES = 60 };

struct ledger {
	_Atomic uint64_t committed, acknowledged;
};

static void commit_number(struct kv *kv, uint64_t i)
{
	struct kv_batch *b = kv_batch_new();
	uint8_t key[8], val[3000] = { 0 };
	put_be64(key, i);
	put_le64(val, i);
	kv_batch_put(b, KV_SEGMENT, key, sizeof key, val, sizeof val);
	kv_batch_put(b, KV_META, "last", 4, val, 8);
	if (i > 10) { /* old rows go away again */
		put_be64(key, i - 10);
		kv_batch_delete(b, KV_SEGMENT, key, sizeof key);
	}
	if (kv_commit(kv, b, NULL))
		_exit(98);
}

static uint64_t last_number(struct kv *kv)
{
	CLEANUP_BUF struct buf last = { 0 };
	int r = kv_get(kv, KV_META, "last", 4, &last);
	assert_true(r == 0 || r == -ENOENT);
	return r == 0 ? get_le64(last.data) : 0;
}

static void assert_prefix(struct kv *kv, uint64_t least, uint64_t most)
{
	struct slice k, v;
	uint64_t n = last_number(kv), at = n > 10 ? n - 9 : 1;
	assert_true(n >= least && n <= most);
	assert_int_equal(kv_last_lsn(kv), n);
	struct kv_iter *it = kv_iter_new(kv, KV_SEGMENT, NULL, 0, false);
	for (; at <= n; at++) {
		assert_int_equal(kv_iter_next(it, &k, &v), 1);
		assert_int_equal(get_be64(k.at), at);
		assert_int_equal(get_le64(v.at), at);
	}
	assert_int_equal(kv_iter_next(it, &k, &v), 0);
	kv_iter_free(it);
}

/* Every seventh batch is synced, every 19th checkpointed, every 25th ends a life. */
static void child_life(struct pool *p, struct ledger *l, const char *fault)
{
	struct kv *kv;
	fault_arm(fault);
	if (kv_open(&p->opt, &kv, &p->rec))
		_exit(97);
	for (uint64_t i = 1; i <= BATCHES; i++) {
		l->committed = i;
		commit_number(kv, i);
		if (i % 7 == 0 && kv_sync(kv, UINT64_MAX) == 0)
			l->acknowledged = i;
		if (i % 19 == 0 && kv_checkpoint(kv) == 0)
			l->acknowledged = i;
		if (i % 25 == 0) {
			if (kv_close(kv))
				_exit(96);
			l->acknowledged = i;
			if (kv_open(&p->opt, &kv, &p->rec))
				_exit(95);
		}
	}
	_exit(kv_close(kv) ? 94 : 0);
}

static int run_child(struct pool *p, struct ledger *l, const char *fault)
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		child_life(p, l, fault);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void crash_everywhere(enum kv_wal_backend backend, bool compress, const char *point)
{
	struct ledger *l =
		mmap(NULL, sizeof *l, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 99;
	for (unsigned n = 1; status == 99; n++) {
		struct pool p;
		char fault[64];
		pool_make(&p);
		p.opt.wal_backend = backend;
		p.opt.wal_compress = compress;
		p.opt.wal_segment_bytes = 64 << 10;
		*l = (struct ledger){ 0 };
		snprintf(fault, sizeof fault, "%s:%u=crash", point, n);
		status = run_child(&p, l, fault);
		assert_true(status == 99 || status == 0);
		struct kv *kv = pool_open(&p);
		assert_prefix(kv, l->acknowledged, l->committed);
		uint64_t last = last_number(kv);
		commit_number(kv, last + 1);
		assert_int_equal(kv_close(kv), 0);
		kv = pool_open(&p);
		assert_prefix(kv, last + 1, last + 1);
		assert_int_equal(kv_close(kv), 0);
		pool_remove(&p);
		assert_true(n < 2000);
	}
	munmap(l, sizeof *l);
}

static void crash_at_every_point(void **state)
{
	(void)state;
	crash_everywhere(KV_WAL_STANDARD, false, "*");
}

static void crash_at_every_point_io_uring_compressed(void **state)
{
	(void)state;
	crash_everywhere(KV_WAL_IO_URING, true, "*");
}

/* A crash during the recovery from a crash. */
static void crash_in_recovery(void **state)
{
	(void)state;
	struct ledger *l =
		mmap(NULL, sizeof *l, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pool crashed;
	pool_make(&crashed);
	crashed.opt.wal_segment_bytes = 64 << 10;
	assert_int_equal(run_child(&crashed, l, "wal_sync:4=crash"), 99);
	uint64_t least = l->acknowledged, most = l->committed;
	int status = 99;
	for (unsigned n = 1; status == 99; n++) {
		struct pool p;
		char fault[64];
		pool_copy(&crashed, &p);
		p.opt.wal_segment_bytes = 64 << 10;
		snprintf(fault, sizeof fault, "*:%u=crash", n);
		pid_t pid = fork();
		if (pid == 0) {
			struct kv *kv;
			fault_arm(fault);
			_exit(kv_open(&p.opt, &kv, &p.rec) ? 97 : kv_close(kv) ? 96 : 0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		status = WEXITSTATUS(status);
		assert_true(status == 99 || status == 0);
		struct kv *kv = pool_open(&p);
		assert_prefix(kv, least, most);
		assert_int_equal(kv_close(kv), 0);
		pool_remove(&p);
	}
	pool_remove(&crashed);
	munmap(l, sizeof *l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crash_at_every_point),
		cmocka_unit_test(crash_at_every_point_io_uring_compressed),
		cmocka_unit_test(crash_in_recovery),
	};
	if (access("/dev/shm", W_OK) == 0) /* hundreds of pools: no real syncs needed */
		setenv("TMPDIR", "/dev/shm", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
