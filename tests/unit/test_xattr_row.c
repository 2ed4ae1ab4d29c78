// SPDX-License-Identifier: MIT
#include "xattr_row.h"
#include "cleanup.h"
#include "fake_kv.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void put(struct kv *kv, uint64_t ino, const char *name, const void *val, size_t len)
{
	struct kv_batch *b = kv_batch_new();
	xattr_put(b, ino, name, val, len);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
}

static void test_attributes_come_and_go(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	CLEANUP_BUF struct buf val = { 0 };
	CLEANUP_BUF struct buf names = { 0 };
	assert_int_equal(xattr_get(kv, 5, "user.a", &val), -ENODATA);
	put(kv, 5, "user.a", "one", 3);
	put(kv, 5, "user.ab", NULL, 0);
	put(kv, 6, "user.c", "three", 5);
	assert_int_equal(xattr_get(kv, 5, "user.a", &val), 0);
	assert_int_equal(val.len, 3);
	assert_memory_equal(val.data, "one", 3);
	assert_int_equal(xattr_get(kv, 5, "user.ab", &val), 0);
	assert_int_equal(val.len, 3); /* appended nothing */
	assert_int_equal(xattr_get(kv, 5, "user.c", &val), -ENODATA);
	assert_int_equal(xattr_get(kv, 5, "", &val), -ENODATA);
	assert_int_equal(xattr_list(kv, 5, &names), 0);
	assert_int_equal(names.len, 15);
	assert_memory_equal(names.data, "user.a\0user.ab", 15);

	struct kv_batch *b = kv_batch_new();
	xattr_delete(b, 5, "user.a");
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(xattr_get(kv, 5, "user.a", &val), -ENODATA);
	b = kv_batch_new();
	assert_int_equal(xattr_delete_all(kv, b, 5), 0);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(fake_kv_rows(kv, KV_XATTR), 1);
	buf_reset(&names);
	assert_int_equal(xattr_list(kv, 5, &names), 0);
	assert_int_equal(names.len, 0);
	fake_kv_free(kv);
}

static void test_limits(void **state)
{
	(void)state;
	static uint8_t big[XATTR_VALUE_MAX + 1];
	struct kv *kv = fake_kv_new();
	CLEANUP_BUF struct buf val = { 0 };
	char name[257];
	memset(name, 'n', sizeof name);
	name[256] = 0;
	assert_int_equal(xattr_get(kv, 5, name, &val), -ENODATA);
	name[255] = 0;
	put(kv, 5, name, big, XATTR_VALUE_MAX);
	assert_int_equal(xattr_get(kv, 5, name, &val), 0);
	assert_int_equal(val.len, XATTR_VALUE_MAX);
	fake_kv_set(kv, KV_XATTR, "\0\0\0\0\0\0\0\x5user.x", 14, big, sizeof big);
	assert_int_equal(xattr_get(kv, 5, "user.x", &val), -EUCLEAN);
	assert_int_equal(val.len, XATTR_VALUE_MAX);
	fake_kv_free(kv);
}

static void test_damage(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	CLEANUP_BUF struct buf out = { 0 };
	put(kv, 5, "user.a", "one", 3);
	put(kv, 5, "user.b", "two", 3);
	put(kv, 6, "user.c", "three", 5);
	fake_kv_damage(kv, KV_XATTR, "\0\0\0\0\0\0\0\x5user.a", 14);
	fake_kv_damage(kv, KV_XATTR, "\0\0\0\0\0\0\0\x6user.c", 14);
	assert_int_equal(xattr_get(kv, 5, "user.a", &out), -EUCLEAN);
	assert_int_equal(xattr_list(kv, 5, &out), -EUCLEAN);
	struct kv_batch *b = kv_batch_new();
	assert_int_equal(xattr_delete_all(kv, b, 5), 0);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(fake_kv_rows(kv, KV_XATTR), 1);
	buf_reset(&out);
	assert_int_equal(xattr_list(kv, 5, &out), 0);

	fake_kv_set(kv, KV_XATTR, "\0\0\0\0\0\0\0\x5us\0er", 13, "v", 1);
	assert_int_equal(xattr_list(kv, 5, &out), -EUCLEAN);
	fake_kv_free(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attributes_come_and_go),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_damage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
