// SPDX-License-Identifier: MIT
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "listers.h"

static void look_up(struct listers *l, pid_t pid, unsigned times)
{
	while (times--)
		listers_looked_up(l, pid);
}

static void who_asks_for_its_names_wants_attributes(void **state)
{
	(void)state;
	static struct listers l;
	assert_false(listers_want_attributes(&l, 7));
	listers_listed(&l, 7, 1000);
	look_up(&l, 7, 200);
	assert_false(listers_want_attributes(&l, 7));
	look_up(&l, 7, 50);
	assert_true(listers_want_attributes(&l, 7));
	assert_false(listers_want_attributes(&l, 8));
	listers_listed(&l, 7, 5000); /* and then it only listed */
	assert_false(listers_want_attributes(&l, 7));
}

static void few_lookups_say_nothing(void **state)
{
	(void)state;
	static struct listers l;
	listers_listed(&l, 7, 10);
	look_up(&l, 7, 60);
	assert_false(listers_want_attributes(&l, 7));
	look_up(&l, 9, 1000); /* has listed nothing */
	assert_false(listers_want_attributes(&l, 9));
}

static void large_counts_keep_their_ratio(void **state)
{
	(void)state;
	static struct listers l;
	listers_listed(&l, 7, 1000000);
	look_up(&l, 7, 20000);
	assert_true(listers_want_attributes(&l, 7));
	listers_listed(&l, 7, 1000000);
	assert_false(listers_want_attributes(&l, 7));
	look_up(&l, 7, 100000);
	assert_true(listers_want_attributes(&l, 7));
	assert_false(listers_want_attributes(&l, 8));
}

static void a_newer_thread_takes_the_place(void **state)
{
	(void)state;
	static struct listers l;
	listers_listed(&l, 7, 1000);
	look_up(&l, 7, 1000);
	listers_listed(&l, 7 + LISTERS, 1);
	assert_false(listers_want_attributes(&l, 7));
	assert_false(listers_want_attributes(&l, 7 + LISTERS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_asks_for_its_names_wants_attributes),
		cmocka_unit_test(few_lookups_say_nothing),
		cmocka_unit_test(large_counts_keep_their_ratio),
		cmocka_unit_test(a_newer_thread_takes_the_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
