// SPDX-License-Identifier: MIT
#include "neighbours.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct digest digest_no(uint64_t i)
{
	struct digest d;
	digest_of(&i, sizeof i, &d);
	return d;
}

/* Digests that share their first bytes, hence their set. */
static struct digest same_set(uint8_t i)
{
	struct digest d = { { 1, 2, 3, 4, 5, 6, 7, 8 } };
	d.bytes[31] = i;
	return d;
}

static uint64_t id_of(struct neighbours *n, struct digest d)
{
	struct neighbour *e = neighbours_find(n, &d);
	return e ? e->id : 0;
}

static void finds_what_was_put(void **state)
{
	(void)state;
	struct neighbours *n;
	assert_int_equal(neighbours_new(1 << 20, &n), 0);
	assert_true(neighbours_bytes(n) <= 1 << 20);
	for (uint64_t i = 1; i <= 1000; i++) {
		struct digest d = digest_no(i);
		assert_null(neighbours_find(n, &d));
		neighbours_put(n, &d, i, (int64_t)i * 10);
	}
	for (uint64_t i = 1; i <= 1000; i++) {
		struct digest d = digest_no(i);
		struct neighbour *e = neighbours_find(n, &d);
		assert_non_null(e);
		assert_int_equal(e->id, i);
		assert_int_equal(e->trusted_until, i * 10);
	}
	neighbours_clear(n);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_int_equal(id_of(n, digest_no(i)), 0);
	neighbours_free(n);
}

static void the_longest_unused_of_a_set_goes(void **state)
{
	(void)state;
	struct neighbours *n;
	assert_int_equal(neighbours_new(0, &n), 0);
	for (uint8_t i = 1; i <= 8; i++) {
		struct digest d = same_set(i);
		neighbours_put(n, &d, i, 0);
	}
	assert_int_equal(id_of(n, same_set(1)), 1); /* used again: 2 is the oldest now */
	struct digest d = same_set(9);
	neighbours_put(n, &d, 9, 0);
	assert_int_equal(id_of(n, same_set(2)), 0);
	for (uint8_t i = 3; i <= 9; i++)
		assert_int_equal(id_of(n, same_set(i)), i);
	assert_int_equal(id_of(n, same_set(1)), 1);
	neighbours_free(n);
}

static void removes_only_the_id_it_was_told(void **state)
{
	(void)state;
	struct neighbours *n;
	assert_int_equal(neighbours_new(0, &n), 0);
	for (uint8_t i = 1; i <= 8; i++) {
		struct digest d = same_set(i);
		neighbours_put(n, &d, i, 0);
	}
	struct digest d = same_set(4);
	neighbours_put(n, &d, 40, 0);
	neighbours_remove(n, &d, 4);
	assert_int_equal(id_of(n, d), 40);
	neighbours_remove(n, &d, 40);
	assert_int_equal(id_of(n, d), 0);
	for (uint8_t i = 1; i <= 8; i++)
		assert_int_equal(id_of(n, same_set(i)), i == 4 ? 0 : i);
	neighbours_put(n, &d, 41, 0); /* the free place is used before anything is pushed out */
	for (uint8_t i = 1; i <= 8; i++)
		assert_int_equal(id_of(n, same_set(i)), i == 4 ? 41 : i);
	neighbours_free(n);
}

static void loading_a_frame_keeps_what_is_known(void **state)
{
	(void)state;
	struct neighbours *n;
	struct chunk_entry entries[20];
	assert_int_equal(neighbours_new(1 << 16, &n), 0);
	for (unsigned i = 0; i < 20; i++)
		entries[i] = (struct chunk_entry){ .id = 100 + i, .digest = digest_no(i) };
	neighbours_put(n, &entries[3].digest, 7, 1);
	neighbours_load(n, entries, 20, 50);
	for (unsigned i = 0; i < 20; i++) {
		struct neighbour *e = neighbours_find(n, &entries[i].digest);
		assert_non_null(e);
		assert_int_equal(e->id, i == 3 ? 7 : 100 + i);
		assert_int_equal(e->trusted_until, i == 3 ? 1 : 50);
	}
	neighbours_free(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_was_put),
		cmocka_unit_test(the_longest_unused_of_a_set_goes),
		cmocka_unit_test(removes_only_the_id_it_was_told),
		cmocka_unit_test(loading_a_frame_keeps_what_is_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
