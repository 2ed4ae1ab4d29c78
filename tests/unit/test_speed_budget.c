// SPDX-License-Identifier: MIT
/* foldfs bench on disks of any speed: a clock that only the disk moves. It ends in time, says what it has cut
 * short, and its figures are those of the disk all the same. */
#include "io.h"
#include "speed.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define S 1000000000ull
#define MIB ((uint64_t)1 << 20)
#define ALL_S 55 /* as bench.c has it */

static struct {
	uint64_t now;
	double speed;	    /* bytes per second of what is synced and read */
	uint64_t op_ns;	    /* of a call */
	uint64_t dirty;	    /* bytes */
	uint64_t stop_at;   /* a signal comes then; 0: never */
	uint64_t sync_most; /* nanoseconds */
} disk;
static volatile sig_atomic_t stop;

static void spend(double ns)
{
	disk.now += (uint64_t)ns;
	stop = disk.stop_at && disk.now >= disk.stop_at;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	(void)id;
	*t = (struct timespec){ (time_t)(disk.now / S), (long)(disk.now % S) };
	return 0;
}

int __wrap_io_write(int fd, const void *buf, size_t len, off_t at);
int __wrap_io_write(int fd, const void *buf, size_t len, off_t at)
{
	(void)fd, (void)buf, (void)at;
	disk.dirty += len;
	spend((double)disk.op_ns);
	return 0;
}

int __wrap_io_fdatasync(int fd);
int __wrap_io_fdatasync(int fd)
{
	(void)fd;
	double ns = (double)disk.op_ns + (double)disk.dirty * 1e9 / disk.speed;
	disk.sync_most = (uint64_t)ns > disk.sync_most ? (uint64_t)ns : disk.sync_most;
	disk.dirty = 0;
	spend(ns);
	return 0;
}

int __wrap_io_fsync(int fd);
int __wrap_io_fsync(int fd)
{
	return __wrap_io_fdatasync(fd);
}

int __wrap_io_read_exact(int fd, void *buf, size_t len, off_t at);
int __wrap_io_read_exact(int fd, void *buf, size_t len, off_t at)
{
	(void)fd, (void)buf, (void)at;
	spend((double)disk.op_ns + (double)len * 1e9 / disk.speed);
	return 0;
}

int __real_unlinkat(int dirfd, const char *name, int flags);
int __wrap_unlinkat(int dirfd, const char *name, int flags);
int __wrap_unlinkat(int dirfd, const char *name, int flags)
{
	disk.dirty = 0; /* what was not synced by now never will */
	spend((double)disk.op_ns);
	return __real_unlinkat(dirfd, name, flags);
}

/* ---- a daemon that destages at half of the disk's speed ---- */

static int begin(void *arg)
{
	(void)arg;
	return 0;
}

static int destage(void *arg, uint64_t bytes, uint64_t until_ns, uint64_t *ret_bytes)
{
	uint64_t ns = (uint64_t)((double)bytes * 2e9 / disk.speed);
	uint64_t most = until_ns - disk.now;
	(void)arg;
	bool done = ns <= most;
	spend((double)(done ? ns : most));
	*ret_bytes = done ? bytes : (uint64_t)((double)bytes * (double)most / (double)ns);
	return done;
}

static void drop(void *arg)
{
	(void)arg;
}

static const struct speed_daemon daemon_ = { begin, destage, drop, NULL };

/* ---- all of it ---- */

struct found {
	struct speed_cpu cpu;
	struct speed_files device, mount;
	struct speed_stored stored;
	struct speed_bounds bounds;
};

static char dir[] = "/tmp/speed_budget.XXXXXX";

static int setup(void **state)
{
	(void)state;
	memcpy(dir, "/tmp/speed_budget.XXXXXX", sizeof dir);
	return mkdtemp(dir) ? 0 : -1;
}

/* That it can be removed shows that it is empty. */
static int teardown(void **state)
{
	(void)state;
	return rmdir(dir);
}

static int run(double speed, uint64_t op_ns, struct found *ret)
{
	uint64_t stop_at = disk.stop_at;
	memset(&disk, 0, sizeof disk);
	disk.now = 1000 * S;
	disk.speed = speed;
	disk.op_ns = op_ns;
	disk.stop_at = stop_at ? disk.now + stop_at : 0;
	stop = 0;
	*ret = (struct found){ .cpu = { .together = 400e6 } };
	ret->bounds = (struct speed_bounds){ disk.now + ALL_S * S, &stop };
	spend(5e9); /* as the processor takes */
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	int r = speed_device(fd, 1024 * MIB, &ret->bounds, &ret->device);
	if (r == 0)
		r = speed_mount(fd, 1024 * MIB, &ret->bounds, &ret->mount);
	uint64_t bytes = speed_stored_bytes(&ret->cpu, &ret->device, &ret->mount);
	if (r == 0)
		r = speed_stored(fd, bytes, &daemon_, &ret->bounds, &ret->stored);
	close(fd);
	return r;
}

static uint64_t took_ns(const struct found *f)
{
	return disk.now + ALL_S * S - f->bounds.end_ns;
}

static void assert_about(double found, double expected)
{
	assert_true(found > expected * 0.9 && found < expected * 1.1);
}

static bool is_cut(unsigned cut, enum speed_part part)
{
	return cut & 1u << part;
}

static void check_disk(double speed, bool all)
{
	struct found f;
	assert_int_equal(run(speed, 20000, &f), 0);
	assert_true(took_ns(&f) < 60 * S);
	const struct speed_files *files[] = { &f.device, &f.mount };
	for (unsigned i = 0; i < 2; i++) {
		assert_about(files[i]->write, speed);
		assert_about(files[i]->read, speed);
		assert_about(files[i]->reread, speed);
		assert_int_equal(is_cut(files[i]->cut, SPEED_WRITE), !all);
		assert_int_equal(files[i]->bytes == 1024 * MIB, all);
	}
	assert_about(f.stored.destage, speed / 2);
	assert_false(is_cut(f.stored.cut, SPEED_DESTAGE));
	assert_about(f.stored.read, speed);
	assert_about(f.stored.reread, speed);
	assert_true(disk.sync_most < S);
}

static void test_disks_of_all_speeds(void **state)
{
	(void)state;
	check_disk(3e6, false);
	check_disk(30e6, false);
	check_disk(150e6, false);
	check_disk(1.5e9, true);
}

static void test_a_disk_that_hardly_moves(void **state)
{
	struct found f;
	(void)state;
	assert_int_equal(run(500e3, 50000000, &f), 0);
	assert_true(took_ns(&f) < 60 * S);
	assert_true(f.device.write > 0 && f.mount.unlinks > 0 && f.stored.destage > 0);
	assert_true(is_cut(f.mount.cut, SPEED_CREATE) && is_cut(f.mount.cut, SPEED_SYNC));
}

static void test_what_was_not_destaged_in_time_is_not_read(void **state)
{
	struct found f;
	(void)state;
	assert_int_equal(run(1e6, 1000000, &f), 0);
	assert_true(is_cut(f.stored.cut, SPEED_DESTAGE));
	assert_about(f.stored.destage, 0.5e6);
	assert_true(f.stored.read == 0 && f.stored.reread == 0);
}

static void test_slow_calls_are_cut_short(void **state)
{
	struct found f;
	(void)state;
	assert_int_equal(run(1e9, 5000000, &f), 0);
	assert_true(took_ns(&f) < 60 * S);
	assert_about(f.mount.creates, 200);
	assert_about(f.mount.unlinks, 200);
	assert_about(f.mount.sync_ms, 10);
	assert_true(is_cut(f.mount.cut, SPEED_CREATE) && is_cut(f.mount.cut, SPEED_UNLINK));
}

/* Whenever it is stopped, nothing is left: see teardown(). */
static void test_it_is_stopped(void **state)
{
	struct found f;
	(void)state;
	for (unsigned s = 6; s < 40; s += 3) {
		disk.stop_at = s * S;
		assert_int_equal(run(30e6, 5000000, &f), -ECANCELED);
		assert_true(took_ns(&f) < (s + 4) * S);
	}
	disk.stop_at = 0;
}

static void test_a_part_ends(void **state)
{
	struct speed_bounds b = { .end_ns = 100 * S };
	unsigned cut = 0;
	(void)state;
	disk.now = 10 * S;
	uint64_t until = speed_until(&b, SPEED_STAT);
	assert_int_equal(until, 11 * S);
	assert_int_equal(speed_goes_on(&b, SPEED_STAT, until, 5, &cut), 1);
	disk.now = 11 * S;
	assert_int_equal(speed_goes_on(&b, SPEED_STAT, until, 0, &cut), 1);
	assert_int_equal(cut, 0);
	assert_int_equal(speed_goes_on(&b, SPEED_STAT, until, 5, &cut), 0);
	assert_int_equal(cut, 1u << SPEED_STAT);
	disk.now = 99 * S + S / 2;
	assert_int_equal(speed_until(&b, SPEED_STAT), 100 * S);
}

static void test_steps(void **state)
{
	uint64_t step = MIB;
	(void)state;
	assert_int_equal(speed_sync_step(step, 0), 2 * MIB);
	assert_int_equal(speed_sync_step(step, 30 * S), MIB);
	assert_int_equal(speed_sync_step(8 * MIB, S), 4 * MIB);
	assert_int_equal(speed_sync_step(8 * MIB, S / 2), 8 * MIB);
	for (unsigned i = 0; i < 20; i++)
		step = speed_sync_step(step, 1000);
	assert_int_equal(step, 128 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_part_ends),
		cmocka_unit_test(test_steps),
		cmocka_unit_test_setup_teardown(test_disks_of_all_speeds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_that_hardly_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_was_not_destaged_in_time_is_not_read,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_calls_are_cut_short, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_is_stopped, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
