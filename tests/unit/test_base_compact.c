// SPDX-License-Identifier: MIT
/* An index that has shrunk gives its free pages back when it is closed; a failure or an end in the
 * midst of that takes nothing. */
#include "kv_pool.h"
#include "base_verify.h"
#include <string.h>
#include <sys/wait.h>

#define ROWS 700
#define ROW_BYTES (64 << 10)
#define KEEP 10 /* each KEEPth row stays */
#define NEW_NAME "data.mdb.new"

static void row_of(unsigned i, char key[16], char *val, size_t len)
{
	snprintf(key, 16, "row %u", i);
	memset(val, 'a' + (int)(i % 26), len);
	memcpy(val, key, strlen(key));
}

static char value[ROW_BYTES];

/* 45 MB of rows, of which a tenth stays. */
static void fill_and_shrink(struct kv *kv)
{
	char key[16];
	for (unsigned i = 0; i < ROWS; i++) {
		struct kv_batch *b = kv_batch_new();
		row_of(i, key, value, sizeof value);
		kv_batch_put(b, KV_INLINE, key, strlen(key), value, sizeof value);
		assert_int_equal(kv_commit(kv, b, NULL), 0);
	}
	assert_int_equal(kv_checkpoint(kv), 0);
	for (unsigned i = 0; i < ROWS; i++) {
		row_of(i, key, value, sizeof value);
		if (i % KEEP)
			assert_int_equal(del1(kv, KV_INLINE, key), 0);
	}
	assert_int_equal(kv_checkpoint(kv), 0);
}

static off_t index_size(struct pool *p)
{
	struct stat st;
	assert_int_equal(fstatat(p->index_fd, "data.mdb", &st, 0), 0);
	return st.st_size;
}

static void assert_kept_rows(struct pool *p)
{
	char key[16], why[160];
	CLEANUP_BUF struct buf b = { 0 };
	assert_int_equal(base_verify(p->index_fd, why, sizeof why), 0);
	struct kv *kv = pool_open(p);
	assert_int_equal(faccessat(p->index_fd, NEW_NAME, F_OK, 0), -1);
	for (unsigned i = 0; i < ROWS; i++) {
		row_of(i, key, value, sizeof value);
		b.len = 0;
		int r = kv_get(kv, KV_INLINE, key, strlen(key), &b);
		assert_int_equal(r, i % KEEP ? -ENOENT : 0);
		if (r == 0)
			assert_memory_equal(b.data, value, sizeof value);
	}
	assert_int_equal(put1(kv, KV_INODE, "new", "row", NULL), 0);
	assert_int_equal(kv_checkpoint(kv), 0);
	assert_row(kv, KV_INODE, "new", "row");
	assert_int_equal(kv_close(kv), 0);
	assert_int_equal(base_verify(p->index_fd, why, sizeof why), 0);
}

static void what_is_free_is_given_back(void **state)
{
	(void)state;
	struct pool p;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	fill_and_shrink(kv);
	off_t before = index_size(&p);
	assert_true(before > 40 << 20);
	assert_int_equal(kv_close(kv), 0);
	assert_true(index_size(&p) < before / 4);
	assert_kept_rows(&p);
	pool_remove(&p);
}

static void fails_harmlessly(const char *fault)
{
	struct pool p;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	fill_and_shrink(kv);
	fault_arm(fault);
	assert_int_equal(kv_close(kv), 0);
	fault_arm(NULL);
	assert_true(index_size(&p) > 40 << 20);
	assert_int_equal(faccessat(p.index_fd, NEW_NAME, F_OK, 0), -1);
	assert_kept_rows(&p);
	pool_remove(&p);
}

static void a_failure_takes_nothing(void **state)
{
	(void)state;
	fails_harmlessly("fsync:1=EIO");
	fails_harmlessly("compact:1=EIO");
}

static void an_end_in_its_midst_takes_nothing(void **state)
{
	(void)state;
	struct pool p;
	pool_make(&p);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct kv *kv = pool_open(&p);
		fill_and_shrink(kv);
		fault_arm("compact:1=crash");
		kv_close(kv);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 99);
	assert_int_equal(faccessat(p.index_fd, NEW_NAME, F_OK, 0), 0);
	assert_kept_rows(&p);
	pool_remove(&p);
}

static void a_full_index_stays_as_it_is(void **state)
{
	(void)state;
	struct pool p;
	struct stat before, after;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	assert_int_equal(put1(kv, KV_INODE, "one", "1", NULL), 0);
	assert_int_equal(kv_checkpoint(kv), 0);
	assert_int_equal(fstatat(p.index_fd, "data.mdb", &before, 0), 0);
	assert_int_equal(kv_close(kv), 0);
	assert_int_equal(fstatat(p.index_fd, "data.mdb", &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	pool_remove(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_free_is_given_back),
		cmocka_unit_test(a_failure_takes_nothing),
		cmocka_unit_test(an_end_in_its_midst_takes_nothing),
		cmocka_unit_test(a_full_index_stays_as_it_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
