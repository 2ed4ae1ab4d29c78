// SPDX-License-Identifier: MIT
/* What foldfs bench advises, by what it has found. */
#include "speed.h"
#include "fuse_switch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static enum fuse_switch kernel;

enum fuse_switch __wrap_fuse_switch(void);
enum fuse_switch __wrap_fuse_switch(void)
{
	return kernel;
}

static const struct speed_cpu cpu = { .ratio = 1.5, .together = 1e9 };
static const struct speed_files good = { .write = 1e9, .sync_ms = 1 };

static bool advises(const struct speed_files *device, const struct speed_files *mount,
		    const char *words)
{
	const char *advice[SPEED_ADVICE_MAX];
	size_t n = speed_advice(&cpu, device, mount, advice), found = 0;
	assert_in_range(n, 1, SPEED_ADVICE_MAX);
	for (size_t i = 0; i < n; i++)
		found += strstr(advice[i], words) != NULL;
	return found;
}

static void test_nothing_stands_out(void **state)
{
	(void)state;
	kernel = FUSE_SWITCH_NONE;
	assert_true(advises(&good, &good, "Nothing stands out"));
	kernel = FUSE_SWITCH_ON;
	assert_true(advises(&good, &good, "Nothing stands out"));
}

static void test_a_kernel_that_is_told_not_to_offer_io_uring(void **state)
{
	(void)state;
	kernel = FUSE_SWITCH_OFF;
	assert_true(advises(&good, &good, "over io_uring"));
	assert_false(advises(&good, &good, "Nothing stands out"));
	assert_false(advises(&good, NULL, "over io_uring"));
}

static void test_slow_parts(void **state)
{
	(void)state;
	kernel = FUSE_SWITCH_NONE;
	struct speed_files slow = { .write = 1e8, .sync_ms = 20 };
	assert_true(advises(&slow, NULL, "wal_dir"));
	assert_true(advises(&slow, NULL, "higher zstd_level"));
	assert_true(advises(&good, &slow, "written clearly slower"));
	assert_true(advises(&good, &slow, "several times what the disk needs"));
	assert_true(advises(&good, &slow, "(foldfs stats, waiting_files)")); /* fs/status.c */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_stands_out),
		cmocka_unit_test(test_a_kernel_that_is_told_not_to_offer_io_uring),
		cmocka_unit_test(test_slow_parts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
