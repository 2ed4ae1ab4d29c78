// SPDX-License-Identifier: MIT
/* Counts and notes against a plain array, with numbers chosen to collide and shift. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include "lookups.h"

#define NUMBERS 3000

static void agrees_with_a_model(void **state)
{
	(void)state;
	static uint64_t count[NUMBERS];
	static unsigned notes[NUMBERS];
	struct lookups *l = lookups_new();
	assert_non_null(l);
	srand(7);
	for (unsigned step = 0; step < 400000; step++) {
		unsigned i = (unsigned)rand() % NUMBERS;
		uint64_t ino = i + 1;
		switch (rand() % 4) {
		case 0:
		case 1:
			assert_int_equal(lookups_add(l, ino), 0);
			count[i]++;
			break;
		case 2: {
			uint64_t n = (uint64_t)(rand() % 5) + 1;
			int r = lookups_forget(l, ino, n);
			if (count[i] && count[i] <= n) {
				assert_int_equal(r, (int)notes[i]);
				count[i] = notes[i] = 0;
			} else {
				assert_int_equal(r, -1);
				count[i] -= count[i] ? n : 0;
			}
			break;
		}
		default: {
			unsigned set = (unsigned)rand() % 4, clear = (unsigned)rand() % 4;
			assert_int_equal(lookups_note(l, ino, set, clear), notes[i]);
			if (count[i])
				notes[i] = (notes[i] | set) & ~clear;
		}
		}
		assert_int_equal(lookups_count(l, ino), count[i]);
	}
	for (unsigned i = 0; i < NUMBERS; i++)
		assert_int_equal(lookups_count(l, i + 1), count[i]);
	lookups_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(agrees_with_a_model) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
