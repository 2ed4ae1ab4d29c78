// SPDX-License-Identifier: MIT
/* LMDB's file rots: bits, bytes and pages of it are changed at random, while the pool is closed and while
 * it is open. Reading everything must give what was there or -EUCLEAN: no crash, no loop, nothing
 * that is wrong; and restore_index() must bring everything back.
 *
 * FOLDFS_ROT is the number of damages of each kind (100). With FOLDFS_ROT_VERBOSE each is told.
 */
#include "pool_bed.h"
#include "base_verify.h"
#include "guard.h"
#include "pool_impl.h"
#include "restore.h"
#include <signal.h>
#include <sys/wait.h>

#define FILES 3000u
#define RESTORE_EVERY 25u /* restoring takes its time: so many damages share one */

/* What is asked by key, beside the scans: keys that are there, and some that are not. */
struct asked {
	enum kv_table table;
	size_t len;
	uint8_t key[64];
	uint64_t hash;
	bool there;
};

struct rot {
	struct pool_bed b;
	struct holdings want;
	struct asked asked[4000];
	size_t n_asked;
	uint64_t size, seed;
	unsigned tried, detected, harmless, wrong, refused;
};

static void remember_keys(struct rot *rt)
{
	for (unsigned t = 0; t < KV_TABLES; t++) {
		struct kv_iter *it = kv_iter_new(rt->b.pool->kv, (enum kv_table)t, NULL, 0, false);
		struct slice key, val;
		for (unsigned i = 0; kv_iter_next(it, &key, &val) == 1; i++) {
			if (t == KV_DIGEST || key.len > 60 || i % 7 || t == KV_META ||
			    rt->n_asked + 2 > sizeof rt->asked / sizeof *rt->asked)
				continue;
			struct asked *a = &rt->asked[rt->n_asked++];
			*a = (struct asked){ .table = (enum kv_table)t,
					     .len = key.len,
					     .hash = checksum64(val.at, val.len),
					     .there = true };
			memcpy(a->key, key.at, key.len);
			rt->asked[rt->n_asked] = *a; /* the same and a zero: surely not there */
			rt->asked[rt->n_asked].there = false;
			rt->asked[rt->n_asked++].key[key.len] = 0;
			rt->asked[rt->n_asked - 1].len++;
		}
		kv_iter_free(it);
	}
}

static int rot_setup(void **state)
{
	struct rot *rt = calloc(1, sizeof *rt);
	struct stat st;
	bed_make(&rt->b, NULL);
	bed_fill(&rt->b, FILES);
	bed_close(&rt->b);
	bed_open(&rt->b);
	bed_holdings(rt->b.pool->kv, &rt->want);
	remember_keys(rt);
	bed_close(&rt->b);
	char path[128];
	snprintf(path, sizeof path, "%s/index/data.mdb", rt->b.path);
	assert_int_equal(stat(path, &st), 0);
	rt->size = (uint64_t)st.st_size;
	rt->seed = 4711;
	*state = rt;
	return 0;
}

static int rot_teardown(void **state)
{
	struct rot *rt = *state;
	bed_remove(&rt->b);
	free(rt);
	return 0;
}

static unsigned times(void)
{
	const char *n = getenv("FOLDFS_ROT");
	return n ? (unsigned)strtoul(n, NULL, 10) : 100;
}

/* 0: all as it was; 1: -EUCLEAN was met; 2: something wrong was served. */
static int read_all(struct rot *rt, struct kv *kv)
{
	struct holdings have = { 0 };
	CLEANUP_BUF struct buf val = { 0 };
	int result = 0;
	bed_holdings(kv, &have);
	if (have.errors)
		result = 1;
	else if (!holdings_equal(&have, &rt->want))
		return 2;
	for (size_t i = 0; i < rt->n_asked; i++) {
		const struct asked *a = &rt->asked[i];
		buf_reset(&val);
		int r = kv_get(kv, a->table, a->key, a->len, &val);
		if (r == -EUCLEAN)
			result = 1;
		else if (r != (a->there ? 0 : -ENOENT) ||
			 (a->there && checksum64(val.data, val.len) != a->hash))
			return 2;
	}
	return result;
}

/* One damage: a bit, some bytes, a page of noise or zeros, a page in another's place. */
static void damage(struct rot *rt, int fd, unsigned kind)
{
	uint8_t page[4096], byte;
	uint64_t at = prng_below(&rt->seed, rt->size), from = prng_below(&rt->seed, rt->size);
	off_t start = (off_t)(at & ~(uint64_t)4095);
	if (kind % 8 < 5) {
		if (kind % 8 < 2) /* where pages have their structure */
			at = (at & ~(uint64_t)4095) + prng_below(&rt->seed, 64);
		assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
		byte ^= (uint8_t)(1u << prng_below(&rt->seed, 8));
		assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
		return;
	}
	if (kind % 8 == 5)
		prng_fill(&rt->seed, page, sizeof page);
	else if (kind % 8 == 6)
		memset(page, 0, sizeof page);
	else
		assert_int_equal(pread(fd, page, sizeof page, (off_t)(from & ~(uint64_t)4095)),
				 sizeof page);
	assert_int_equal(pwrite(fd, page, sizeof page, start), sizeof page);
}

static int open_index(const struct pool_bed *b)
{
	char path[128];
	snprintf(path, sizeof path, "%s/index/data.mdb", b->path);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void put_back(struct rot *rt)
{
	char cmd[256];
	snprintf(cmd, sizeof cmd, "cp --sparse=never '%s/good' '%s/index/data.mdb'", rt->b.path,
		 rt->b.path);
	assert_int_equal(system(cmd), 0);
}

static void keep_good(struct rot *rt)
{
	char cmd[256];
	snprintf(cmd, sizeof cmd, "cp '%s/index/data.mdb' '%s/good'", rt->b.path, rt->b.path);
	assert_int_equal(system(cmd), 0);
}

static void judge(struct rot *rt, int result, unsigned kind)
{
	rt->tried++;
	rt->detected += result == 1;
	rt->harmless += result == 0;
	rt->wrong += result == 2;
	if (getenv("FOLDFS_ROT_VERBOSE") || result == 2)
		printf("damage %u (kind %u): %d\n", rt->tried, kind % 8, result);
}

/* A child does the reading: whatever it does to its memory or LMDB's locks ends with it. */
static int in_child(int (*fn)(struct rot *rt, unsigned kind), struct rot *rt, unsigned kind)
{
	int status;
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		guard_install(); /* the test library has its own handlers */
		alarm(100);
		_exit(fn(rt, kind));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status))
		fail_msg("reading ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* As a mount does; when that refuses, as a mount -o ro or fsck -n does. */
static int open_and_read(struct rot *rt, unsigned kind)
{
	(void)kind;
	struct pool *pool;
	struct pool_error err;
	int r = pool_open(rt->b.path, NULL, true, 0, &pool, &err);
	if (r == -EUCLEAN)
		return 1;
	if (r < 0)
		return 3;
	if (read_all(rt, pool->kv) == 1 || pool->recovery.index_damaged)
		return 1; /* the second: the mount's log says so */
	return read_all(rt, pool->kv);
}

static int diagnose(struct rot *rt, unsigned kind)
{
	(void)kind;
	enum restore_need need;
	struct pool_error err;
	int r = restore_diagnose(rt->b.path, &need, &err);
	return r < 0 ? 100 - r : (int)need;
}

static void restore_and_compare(struct rot *rt)
{
	struct restore_options opt = { 0 };
	struct restore_result res;
	struct pool_error err;
	int r = restore_index(rt->b.path, &opt, &res, &err);
	if (r < 0)
		fail_msg("%d %s", r, err.text);
	assert_int_equal(in_child(diagnose, rt, 0), RESTORE_NOTHING);
	assert_int_equal(in_child(open_and_read, rt, 0), 0);
}

static void while_closed(void **state)
{
	struct rot *rt = *state;
	unsigned restored = 0, unseen = 0;
	rt->tried = rt->detected = rt->harmless = rt->wrong = 0;
	keep_good(rt);
	for (unsigned i = 0; i < times(); i++) {
		int fd = open_index(&rt->b);
		damage(rt, fd, i);
		close(fd);
		int result = in_child(open_and_read, rt, i);
		judge(rt, result, i);
		int need = in_child(diagnose, rt, i);
		/* The converse may be: diagnosing reads what no question has led to. */
		unseen += result != 0 && need == RESTORE_NOTHING;
		if (need != RESTORE_NOTHING && restored++ % RESTORE_EVERY == 0)
			restore_and_compare(rt);
		put_back(rt);
	}
	printf("closed: %u damages, %u detected, %u harmless, %u served wrong, %u not diagnosed\n",
	       rt->tried, rt->detected, rt->harmless, rt->wrong, unseen);
	assert_int_equal(rt->wrong, 0);
	assert_int_equal(unseen, 0);
	assert_int_equal(rt->detected + rt->harmless, rt->tried);
}

/* The same, but the daemon's map shows the damage at once. */
static int read_while_open(struct rot *rt, unsigned kind)
{
	struct pool *pool;
	struct pool_error err;
	if (pool_open(rt->b.path, NULL, true, 0, &pool, &err) < 0)
		return 3;
	int fd = open_index(&rt->b);
	damage(rt, fd, kind);
	close(fd);
	return read_all(rt, pool->kv);
}

static void while_open(void **state)
{
	struct rot *rt = *state;
	rt->tried = rt->detected = rt->harmless = rt->wrong = 0;
	keep_good(rt);
	for (unsigned i = 0; i < times(); i++) {
		rt->seed = 1000 + i; /* the child's draws are its own */
		judge(rt, in_child(read_while_open, rt, i), i);
		put_back(rt);
	}
	printf("open: %u damages, %u detected, %u harmless, %u served wrong\n", rt->tried,
	       rt->detected, rt->harmless, rt->wrong);
	assert_int_equal(rt->wrong, 0);
	assert_int_equal(rt->detected + rt->harmless, rt->tried);
}

/* Writing into a rotten index: the engine fails with -EUCLEAN, or has noticed nothing and all is well. */
static int write_while_open(struct rot *rt, unsigned kind)
{
	struct pool_bed *b = &rt->b;
	struct kv_stats s;
	if (pool_open(b->path, NULL, false, 0, &b->pool, &b->err) < 0)
		return 3;
	int fd = open_index(b);
	damage(rt, fd, kind);
	close(fd);
	uint8_t key[8];
	for (unsigned i = 0; i < 400; i++) {
		struct kv_batch *batch = kv_batch_new();
		put_be64(key, INO_FIRST + prng_below(&rt->seed, FILES));
		kv_batch_put(batch, KV_INLINE, key, sizeof key, "new", 3);
		put_be64(key, INO_FIRST + prng_below(&rt->seed, FILES));
		kv_batch_delete(batch, KV_INLINE, key, sizeof key);
		kv_commit(b->pool->kv, batch, NULL);
	}
	int r = kv_checkpoint(b->pool->kv);
	kv_get_stats(b->pool->kv, &s);
	if (s.failed && s.failed != -EUCLEAN)
		return 3;
	int closed = pool_close(b->pool);
	return r == -EUCLEAN || closed == -EUCLEAN || s.failed ? 1 : r || closed ? 3 : 0;
}

static void while_writing(void **state)
{
	struct rot *rt = *state;
	struct pool_bed copy;
	unsigned failed = 0, fine = 0, n = times() / 4;
	struct rot *work = malloc(sizeof *work);
	for (unsigned i = 0; i < n; i++) {
		*work = *rt;
		bed_copy(&rt->b, &copy);
		work->b = copy;
		work->seed = 77000 + i;
		int result = in_child(write_while_open, work, i);
		assert_true(result == 0 || result == 1);
		failed += result == 1;
		fine += result == 0;
		/* Whatever happened: diagnosed or sound, never a crash. */
		if (in_child(diagnose, work, i) == RESTORE_INDEX) {
			struct restore_options opt = { 0 };
			struct restore_result res;
			struct pool_error err;
			int r = restore_index(copy.path, &opt, &res, &err);
			if (r < 0)
				fail_msg("%d %s", r, err.text);
			assert_int_equal(in_child(diagnose, work, i), RESTORE_NOTHING);
		}
		bed_remove(&copy);
	}
	free(work);
	printf("writing: %u damages, %u stopped the engine, %u did not matter\n", n, failed, fine);
}

static int fault_here(void *arg)
{
	(void)arg;
	volatile uint8_t *volatile nowhere = (volatile uint8_t *)(uintptr_t)8;
	return *nowhere;
}

/* A fault outside the guard is still one. */
static void a_bug_still_crashes(void **state)
{
	(void)state;
	int status;
	guard_install();
	assert_int_equal(guard_call(fault_here, NULL), -EUCLEAN);
	fflush(NULL);
	pid_t pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		guard_install();
		guard_call(fault_here, NULL);
		_exit(fault_here(NULL));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bug_still_crashes),
		cmocka_unit_test_setup_teardown(while_closed, rot_setup, rot_teardown),
		cmocka_unit_test_setup_teardown(while_open, rot_setup, rot_teardown),
		cmocka_unit_test_setup_teardown(while_writing, rot_setup, rot_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
