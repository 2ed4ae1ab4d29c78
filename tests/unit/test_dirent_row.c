// SPDX-License-Identifier: MIT
/* Names. Names that share a hash cannot be found by chance, so rows of the right cookies are planted. */
#include "dirent_row.h"
#include "cleanup.h"
#include "damage.h"
#include "fake_kv.h"
#include "rows_format.h"
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static int put(struct kv *kv, uint64_t parent, const char *name, uint64_t ino, uint8_t type)
{
	struct kv_batch *b = kv_batch_new();
	int r = dirent_put(kv, b, parent, name, ino, type);
	if (r) {
		kv_batch_free(b);
		return r;
	}
	return kv_commit(kv, b, NULL);
}

static void delete (struct kv *kv, uint64_t parent, uint64_t cookie)
{
	struct kv_batch *b = kv_batch_new();
	dirent_delete(b, parent, cookie);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
}

/* A row as dirent_put() would write it if the name had this cookie. */
static void plant(struct kv *kv, uint64_t parent, uint64_t cookie, const char *name, uint64_t ino)
{
	uint8_t key[16], val[300];
	put_be64(key, parent);
	put_be64(key + 8, cookie);
	val[0] = DT_REG;
	val[1] = (uint8_t)ino;
	memcpy(val + 2, name, strlen(name));
	fake_kv_set(kv, KV_DIRENT, key, sizeof key, val, 2 + strlen(name));
}

static void test_names_come_and_go(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct dirent_row row;
	char name[300];
	assert_int_equal(dirent_get(kv, 5, "a", &row), -ENOENT);
	assert_int_equal(dirent_any(kv, 5), 0);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "file number %u", i);
		assert_int_equal(put(kv, 5, name, 1000 + i, DT_REG), 0);
	}
	print_message("dirent: %.1f bytes with its key, besides the name\n",
		      (double)fake_kv_bytes(kv, KV_DIRENT) / 1000 - 14.9);
	assert_int_equal(put(kv, 6, "other", 7, DT_DIR), 0);
	assert_int_equal(dirent_any(kv, 4), 0);
	assert_int_equal(dirent_any(kv, 5), 1);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "file number %u", i);
		assert_int_equal(dirent_get(kv, 5, name, &row), 0);
		assert_int_equal(row.ino, 1000 + i);
		assert_string_equal(row.name, name);
		assert_int_equal(row.name_len, strlen(name));
		assert_true(row.cookie >= DIRENT_FIRST_COOKIE && row.cookie <= INT64_MAX);
		if (i % 2)
			delete (kv, 5, row.cookie);
	}
	struct dirent_iter *it = dirent_iter_new(kv, 5, 0);
	unsigned n = 0;
	uint64_t last = 0;
	while (dirent_iter_next(it, &row) == 1) {
		assert_true(row.cookie > last && row.ino % 2 == 0);
		last = row.cookie;
		n++;
	}
	dirent_iter_free(it);
	assert_int_equal(n, 500);
	it = dirent_iter_new(kv, 5, last);
	assert_int_equal(dirent_iter_next(it, &row), 0);
	dirent_iter_free(it);
	it = dirent_iter_new(kv, 5, UINT64_MAX);
	assert_int_equal(dirent_iter_next(it, &row), 0);
	dirent_iter_free(it);
	fake_kv_free(kv);
}

static void test_replacing_keeps_the_cookie(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct dirent_row row, again;
	assert_int_equal(put(kv, 5, "name", 20, DT_REG), 0);
	assert_int_equal(dirent_get(kv, 5, "name", &row), 0);
	assert_int_equal(put(kv, 5, "name", 21, DT_DIR), 0);
	assert_int_equal(dirent_get(kv, 5, "name", &again), 0);
	assert_int_equal(again.cookie, row.cookie);
	assert_int_equal(again.ino, 21);
	assert_int_equal(again.type, DT_DIR);
	assert_int_equal(fake_kv_rows(kv, KV_DIRENT), 1);
	fake_kv_free(kv);
}

static void test_collisions(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct dirent_row row;
	char other[20];
	assert_int_equal(put(kv, 5, "name", 20, DT_REG), 0);
	assert_int_equal(dirent_get(kv, 5, "name", &row), 0);
	uint64_t first = row.cookie;
	assert_int_equal(first % 128, 0);
	delete (kv, 5, first);

	/* The lowest free cookie is taken, and stays the name's when one below becomes free. */
	plant(kv, 5, first, "x0", 30);
	plant(kv, 5, first + 1, "x1", 31);
	plant(kv, 5, first + 3, "x3", 33);
	assert_int_equal(dirent_get(kv, 5, "name", &row), -ENOENT);
	assert_int_equal(put(kv, 5, "name", 20, DT_REG), 0);
	assert_int_equal(dirent_get(kv, 5, "name", &row), 0);
	assert_int_equal(row.cookie, first + 2);
	delete (kv, 5, first);
	assert_int_equal(put(kv, 5, "name", 22, DT_REG), 0);
	assert_int_equal(dirent_get(kv, 5, "name", &row), 0);
	assert_int_equal(row.cookie, first + 2);
	assert_int_equal(row.ino, 22);
	assert_int_equal(fake_kv_rows(kv, KV_DIRENT), 3);
	delete (kv, 5, first + 2);

	for (unsigned i = 0; i < 128; i++) {
		snprintf(other, sizeof other, "x%u", i);
		plant(kv, 5, first + i, other, 30);
	}
	plant(kv, 5, first + 128, "next hash", 99);
	assert_int_equal(dirent_get(kv, 5, "name", &row), -ENOENT);
	assert_int_equal(put(kv, 5, "name", 20, DT_REG), -ENOSPC);
	assert_int_equal(put(kv, 6, "name", 20, DT_REG), 0);
	fake_kv_free(kv);
}

static void test_a_place_is_where_the_name_goes(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct kv_batch *b = kv_batch_new();
	struct dirent_row row = { .ino = 1 };
	struct dirent_target to = { .ino = 20, .type = DT_REG };
	uint64_t place = 7;
	assert_int_equal(dirent_find_place(kv, 5, "name", &row, &place), -ENOENT);
	assert_int_equal(place % 128, 0);
	assert_int_equal(row.ino, 1);
	plant(kv, 5, place, "of the same hash", 30);
	uint64_t first = place;
	assert_int_equal(dirent_find_place(kv, 5, "name", &row, &place), -ENOENT);
	assert_int_equal(place, first + 1);
	assert_int_equal(dirent_put_at(b, 5, place, "..", &to), -EINVAL);
	assert_int_equal(dirent_put_at(b, 5, 0, "name", &to), -ENOSPC);
	assert_int_equal(dirent_put_at(b, 5, place, "name", &to), 0);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	place = 7;
	assert_int_equal(dirent_find_place(kv, 5, "name", &row, &place), 0);
	assert_int_equal(row.cookie, first + 1);
	assert_int_equal(row.ino, 20);
	assert_int_equal(place, 7);
	fake_kv_free(kv);
}

static void test_the_seed_is_the_pools(void **state)
{
	(void)state;
	uint64_t cookie[3];
	for (uint64_t seed = 0; seed < 3; seed++) {
		struct kv *kv = fake_kv_new();
		struct dirent_row row;
		assert_int_equal(dirent_get(kv, 5, "name", &row), -ENOENT);
		if (seed) {
			uint8_t val[8];
			put_le64(val, seed);
			fake_kv_set(kv, KV_META, META_DIRENT_SEED, strlen(META_DIRENT_SEED), val,
				    8);
		}
		assert_int_equal(put(kv, 5, "name", 20, DT_REG), 0);
		assert_int_equal(dirent_get(kv, 5, "name", &row), 0);
		cookie[seed] = row.cookie;
		fake_kv_free(kv);
	}
	assert_true(cookie[0] != cookie[1] && cookie[1] != cookie[2]);
	struct kv *kv = fake_kv_new();
	struct dirent_row row;
	fake_kv_set(kv, KV_META, META_DIRENT_SEED, strlen(META_DIRENT_SEED), "short", 5);
	assert_int_equal(dirent_get(kv, 5, "name", &row), -EUCLEAN);
	fake_kv_free(kv);
}

static void test_names_that_cannot_be(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct dirent_row row;
	char name[300];
	memset(name, 'n', sizeof name);
	name[256] = 0;
	assert_int_equal(put(kv, 5, name, 20, DT_REG), -ENAMETOOLONG);
	assert_int_equal(dirent_get(kv, 5, name, &row), -ENAMETOOLONG);
	name[255] = 0;
	assert_int_equal(put(kv, 5, name, 20, DT_REG), 0);
	assert_int_equal(dirent_get(kv, 5, name, &row), 0);
	assert_string_equal(row.name, name);
	assert_int_equal(put(kv, 5, "", 20, DT_REG), -EINVAL);
	assert_int_equal(put(kv, 5, "a/b", 20, DT_REG), -EINVAL);
	assert_int_equal(put(kv, 5, ".", 20, DT_REG), -EINVAL);
	assert_int_equal(put(kv, 5, "..", 20, DT_REG), -EINVAL);
	assert_int_equal(put(kv, 5, "...", 20, DT_REG), 0);
	assert_int_equal(put(kv, 5, "\xff\xfe \n", 20, DT_REG), 0);
	assert_int_equal(dirent_get(kv, 5, "\xff\xfe \n", &row), 0);
	fake_kv_free(kv);
}

static void test_damage_is_told_and_kept_apart(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct dirent_row row;
	uint8_t key[16];
	assert_int_equal(put(kv, 5, "name", 20, DT_REG), 0);
	assert_int_equal(put(kv, 6, "name", 20, DT_REG), 0);
	assert_int_equal(dirent_get(kv, 6, "name", &row), 0);
	put_be64(key, 6);
	put_be64(key + 8, row.cookie);
	fake_kv_damage(kv, KV_DIRENT, key, sizeof key);
	assert_int_equal(dirent_get(kv, 6, "name", &row), -EUCLEAN);
	assert_int_equal(dirent_any(kv, 6), -EUCLEAN);
	struct dirent_iter *it = dirent_iter_new(kv, 5, 0);
	assert_int_equal(dirent_iter_next(it, &row), 1);
	assert_int_equal(dirent_iter_next(it, &row), 0);
	dirent_iter_free(it);
	fake_kv_free(kv);
}

static void decode_damaged(struct slice val)
{
	static const uint8_t key[16] = { [7] = 5, [8] = 1 };
	struct dirent_row row;
	int r = dirent_decode(slice_of(key, sizeof key), val, &row);
	assert_true(r == 0 || r == -EUCLEAN);
	if (r)
		return;
	assert_true(row.ino && row.name_len && strlen(row.name) == row.name_len);
	assert_null(strchr(row.name, '/'));
	assert_true(strcmp(row.name, ".") && strcmp(row.name, ".."));
}

static void test_damaged_rows(void **state)
{
	(void)state;
	struct dirent_row row;
	damage_each("\x08\xff\xff\x01name", 8, decode_damaged);
	damage_each("\x08\x20..", 4, decode_damaged);
	uint8_t long_name[300] = { DT_REG, 1 }, key[16] = { 0 };
	memset(long_name + 2, 'x', sizeof long_name - 2);
	put_be64(key + 8, 128);
	assert_int_equal(dirent_decode(slice_of(key, 16), slice_of(long_name, 257), &row), 0);
	assert_int_equal(dirent_decode(slice_of(key, 16), slice_of(long_name, 258), &row),
			 -EUCLEAN);
	assert_int_equal(dirent_decode(slice_of(key, 15), slice_of(long_name, 50), &row), -EUCLEAN);
	put_be64(key + 8, 127);
	assert_int_equal(dirent_decode(slice_of(key, 16), slice_of(long_name, 50), &row), -EUCLEAN);
	put_be64(key + 8, 1ull << 63);
	assert_int_equal(dirent_decode(slice_of(key, 16), slice_of(long_name, 50), &row), -EUCLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_come_and_go),
		cmocka_unit_test(test_replacing_keeps_the_cookie),
		cmocka_unit_test(test_collisions),
		cmocka_unit_test(test_a_place_is_where_the_name_goes),
		cmocka_unit_test(test_the_seed_is_the_pools),
		cmocka_unit_test(test_names_that_cannot_be),
		cmocka_unit_test(test_damage_is_told_and_kept_apart),
		cmocka_unit_test(test_damaged_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
