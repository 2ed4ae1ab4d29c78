// SPDX-License-Identifier: MIT
#include "ids.h"
#include "fake_kv.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_ids_go_on_where_they_ended(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct ids *ids, *other;
	uint64_t id;
	assert_int_equal(ids_open(kv, "inode", 16, &ids), 0);
	assert_int_equal(ids_open(kv, "pack", 1, &other), 0);
	assert_int_equal(ids_reserved(ids), 16);
	for (uint64_t i = 16; i < 20000; i++) {
		assert_int_equal(ids_next(ids, &id), 0);
		assert_int_equal(id, i);
		assert_true(ids_reserved(ids) > id);
	}
	assert_int_equal(ids_next(other, &id), 0);
	assert_int_equal(id, 1);
	ids_close(ids);
	ids_close(other);
	assert_int_equal(ids_open(kv, "inode", 16, &ids), 0);
	assert_int_equal(ids_next(ids, &id), 0);
	assert_int_equal(id, 20000);
	ids_close(ids);
	ids_close(NULL);
	fake_kv_free(kv);
}

static void test_a_crash_skips_the_rest_of_a_block(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct ids *crashed, *ids;
	uint64_t id, last = 0;
	assert_int_equal(ids_open(kv, "inode", 16, &crashed), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(ids_next(crashed, &last), 0);
	assert_int_equal(ids_open(kv, "inode", 16, &ids), 0);
	assert_int_equal(ids_next(ids, &id), 0);
	assert_true(id > last && id == ids_reserved(crashed));
	ids_close(ids);
	fake_kv_fail_commits(kv, -EIO);
	ids_close(crashed);
	fake_kv_free(kv);
}

static void test_no_id_without_its_reservation(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct ids *ids;
	uint64_t id = 77;
	assert_int_equal(ids_open(kv, "inode", 16, &ids), 0);
	fake_kv_fail_commits(kv, -EIO);
	assert_int_equal(ids_next(ids, &id), -EIO);
	assert_int_equal(id, 77);
	fake_kv_fail_commits(kv, 0);
	assert_int_equal(ids_next(ids, &id), 0);
	assert_int_equal(id, 16);
	ids_close(ids);
	fake_kv_free(kv);
}

static void test_damage(void **state)
{
	(void)state;
	static const struct {
		const char *val;
		size_t len;
	} bad[] = { { "\1\0\0\0\0\0\0", 7 },
		    { "\xf\0\0\0\0\0\0\0", 8 },
		    { "\0\0\0\0\0\0\0\x80", 8 },
		    { "", 0 } };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct kv *kv = fake_kv_new();
		struct ids *ids;
		fake_kv_set(kv, KV_META, "ids.inode", 9, bad[i].val, bad[i].len);
		assert_int_equal(ids_open(kv, "inode", 16, &ids), -EUCLEAN);
		fake_kv_free(kv);
	}
	struct kv *kv = fake_kv_new();
	struct ids *ids;
	uint64_t id;
	fake_kv_set(kv, KV_META, "ids.inode", 9, "\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
	assert_int_equal(ids_open(kv, "inode", 16, &ids), 0);
	assert_int_equal(ids_next(ids, &id), -ENOSPC);
	ids_close(ids);
	fake_kv_free(kv);
}

#define THREADS 4
#define EACH 10000

struct taker {
	struct ids *ids;
	uint8_t *seen;
};

static void *take(void *arg)
{
	struct taker *t = arg;
	for (unsigned i = 0; i < EACH; i++) {
		uint64_t id;
		if (ids_next(t->ids, &id) || id >= THREADS * EACH || t->seen[id]++)
			return "twice";
	}
	return NULL;
}

static void test_threads_never_get_the_same(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct taker t = { .seen = calloc(THREADS, EACH) };
	pthread_t threads[THREADS];
	assert_int_equal(ids_open(kv, "inode", 0, &t.ids), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take, &t), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		void *complaint;
		pthread_join(threads[i], &complaint);
		assert_null(complaint);
	}
	ids_close(t.ids);
	free(t.seen);
	fake_kv_free(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids_go_on_where_they_ended),
		cmocka_unit_test(test_a_crash_skips_the_rest_of_a_block),
		cmocka_unit_test(test_no_id_without_its_reservation),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_threads_never_get_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
