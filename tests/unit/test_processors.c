// SPDX-License-Identifier: MIT
/* Where threads run: on one processor of this process's, anywhere again, and what the kernel says of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "processors.h"
#include <errno.h>
#include <sched.h>
#include <unistd.h>

static void a_thread_stays_where_it_is_told_to(void **state)
{
	cpu_set_t all, now;
	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
	assert_int_equal(processors_stay_on(sched_getcpu()), -EINVAL); /* not noted yet */
	assert_int_equal(processors_note(), CPU_COUNT(&all) > 1);
	for (int p = 0; p < CPU_SETSIZE; p++) {
		if (!CPU_ISSET(p, &all)) {
			assert_int_equal(processors_stay_on(p), -EINVAL);
			continue;
		}
		assert_int_equal(processors_stay_on(p), 0);
		assert_int_equal(sched_getcpu(), p);
		assert_int_equal(processors_of(gettid()), p);
	}
	assert_int_equal(processors_stay_on(-1), -EINVAL);
	assert_int_equal(processors_stay_on(CPU_SETSIZE), -EINVAL);
	assert_int_equal(processors_anywhere(), 0);
	assert_int_equal(sched_getaffinity(0, sizeof now, &now), 0);
	assert_true(CPU_EQUAL(&now, &all));
	assert_int_equal(processors_of(0x7fffffff), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_stays_where_it_is_told_to),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
