// SPDX-License-Identifier: MIT
/* film_source over a file of known bytes that counts what is read of it. */
#include "keyframe/film_source.h"
#include "bytes.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

/* A file of `size` bytes, of which `there` still are. */
struct fake {
	uint64_t there;
	uint64_t read; /* bytes asked for */
	unsigned calls;
	size_t last; /* bytes asked for by the last call */
	int error;
};

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static ssize_t fake_read(void *arg, void *buf, size_t len, uint64_t at)
{
	struct fake *f = arg;
	f->calls++;
	f->read += len;
	f->last = len;
	if (f->error)
		return f->error;
	size_t n = at >= f->there ? 0 : len < f->there - at ? len : (size_t)(f->there - at);
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = byte_at(at + i);
	return (ssize_t)n;
}

static void open_fake(struct film_source *s, struct fake *f, uint64_t size)
{
	*f = (struct fake){ .there = size };
	assert_int_equal(film_source_open(s, NULL, size), 0);
	s->read = fake_read;
	s->arg = f;
}

static void expect_bytes(const uint8_t *p, uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], byte_at(at + i));
}

static void expect_get(struct film_source *s, uint64_t at, size_t len)
{
	const uint8_t *p = NULL;
	assert_int_equal(film_source_get(s, at, len, &p), 0);
	expect_bytes(p, at, len);
}

static void gives_the_bytes_asked_for(void **state)
{
	static const size_t lens[] = { 1, 7, 4095, 4096, 4097, 70000, FILM_WINDOW };
	struct film_source s;
	struct fake f;
	(void)state;
	open_fake(&s, &f, 3 * FILM_WINDOW + 5);
	s.budget = UINT64_MAX;
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
		for (uint64_t at = 0; at + lens[i] <= s.size; at += 50021 + lens[i] / 3)
			expect_get(&s, at, lens[i]);
	for (uint64_t at = s.size; at > 60000; at -= 60000)
		expect_get(&s, at - 100, 100);
	film_source_done(&s);
}

static void what_is_in_the_window_is_not_read_again(void **state)
{
	struct film_source s;
	struct fake f;
	(void)state;
	open_fake(&s, &f, FILM_WINDOW);
	expect_get(&s, 1000, 16);
	assert_int_equal(f.calls, 1);
	expect_get(&s, 1000, 4096);
	expect_get(&s, 5000, 96);
	assert_int_equal(f.calls, 1);
	expect_get(&s, 999, 1); /* before it */
	assert_int_equal(f.calls, 2);
	film_source_done(&s);
}

static void who_goes_on_gets_more_each_time(void **state)
{
	struct film_source s;
	struct fake f;
	(void)state;
	open_fake(&s, &f, 64 * (uint64_t)FILM_WINDOW);
	for (uint64_t at = 0; at < s.size; at += 100)
		expect_get(&s, at, 100 < s.size - at ? 100 : (size_t)(s.size - at));
	assert_true(f.calls < 64 + 12);
	assert_int_equal(f.last, s.size - s.at);
	/* the ends of windows, where a step lay across them, were read twice */
	assert_true(f.read < s.size + f.calls * 100);
	film_source_done(&s);
}

/* Headers before large payloads, of which some lie across the end of a window by chance. */
static void who_jumps_reads_little(void **state)
{
	struct film_source s;
	struct fake f;
	unsigned jumps = 0;
	(void)state;
	open_fake(&s, &f, 64 * (uint64_t)FILM_WINDOW);
	for (uint64_t at = 0; at + 4200 < s.size; at += 100000, jumps++) {
		expect_get(&s, at, 16);
		if (jumps % 10 == 0)
			expect_get(&s, at + 4090, 16);
	}
	assert_true(f.read <= jumps * 4096u + jumps / 10 * 8192u + 8192u);
	film_source_done(&s);
}

static void outside_the_file_there_is_nothing(void **state)
{
	struct film_source s;
	struct fake f;
	const uint8_t *p = NULL;
	(void)state;
	open_fake(&s, &f, 10000);
	assert_int_equal(film_source_get(&s, 9999, 2, &p), -ENODATA);
	assert_int_equal(film_source_get(&s, 10001, 0, &p), -ENODATA);
	assert_int_equal(film_source_get(&s, UINT64_MAX, 1, &p), -ENODATA);
	assert_int_equal(film_source_get(&s, UINT64_MAX - 5, 16, &p), -ENODATA);
	assert_int_equal(film_source_get(&s, 0, FILM_WINDOW + 1, &p), -ENODATA);
	assert_null(p);
	assert_int_equal(f.calls, 0);
	expect_get(&s, 9999, 1);
	assert_int_equal(film_source_some(&s, 10000, 5, &p), 0);
	assert_int_equal(film_source_some(&s, UINT64_MAX, 5, &p), 0);
	assert_int_equal(film_source_some(&s, 9990, 100, &p), 10);
	expect_bytes(p, 9990, 10);
	film_source_done(&s);
}

static void some_gives_a_window_at_most(void **state)
{
	struct film_source s;
	struct fake f;
	const uint8_t *p = NULL;
	(void)state;
	open_fake(&s, &f, 3 * FILM_WINDOW);
	assert_int_equal(film_source_some(&s, 77, 2 * FILM_WINDOW, &p), FILM_WINDOW);
	expect_bytes(p, 77, FILM_WINDOW);
	film_source_done(&s);
}

static void the_budget_is_kept(void **state)
{
	struct film_source s;
	struct fake f;
	const uint8_t *p = NULL;
	(void)state;
	open_fake(&s, &f, 1 << 20);
	assert_int_equal(s.budget, (4u << 20) + (64u << 20));
	s.budget = 10000;
	expect_get(&s, 0, 1);
	expect_get(&s, 500000, 1);
	expect_get(&s, 300000, 1); /* fewer than a step are left */
	assert_int_equal(f.read, 10000);
	expect_get(&s, 300001, 100); /* is there already */
	assert_int_equal(film_source_get(&s, 1000, 1, &p), -EDQUOT);
	assert_int_equal(film_source_some(&s, 1000, 10, &p), -EDQUOT);
	assert_int_equal(f.read, 10000);
	film_source_done(&s);
	assert_int_equal(film_source_open(&s, NULL, INT64_MAX), 0);
	assert_true(s.budget > INT64_MAX);
	film_source_done(&s);
}

static void errors_of_reading_are_handed_on(void **state)
{
	struct film_source s;
	struct fake f;
	const uint8_t *p = NULL;
	(void)state;
	open_fake(&s, &f, 1 << 20);
	expect_get(&s, 0, 100);
	f.error = -EIO;
	assert_int_equal(film_source_get(&s, 90000, 1, &p), -EIO);
	assert_int_equal(film_source_some(&s, 90000, 1, &p), -EIO);
	f.error = 0;
	expect_get(&s, 90000, 1);
	expect_get(&s, 0, 100);
	film_source_done(&s);
}

static void a_file_that_shrinks_ends_early(void **state)
{
	struct film_source s;
	struct fake f;
	const uint8_t *p = NULL;
	(void)state;
	open_fake(&s, &f, 1 << 20);
	expect_get(&s, 0, 100);
	f.there = 50000;
	assert_int_equal(film_source_get(&s, 49990, 100, &p), -ENODATA);
	expect_get(&s, 49990, 10);
	assert_int_equal(film_source_some(&s, 49000, 5000, &p), 1000);
	expect_bytes(p, 49000, 1000);
	assert_int_equal(film_source_some(&s, 50000, 10, &p), 0);
	assert_int_equal(film_source_get(&s, 90000, 1, &p), -ENODATA);
	expect_get(&s, 100, 10);
	film_source_done(&s);
}

static void a_file_that_grows_ends_where_it_did(void **state)
{
	CLEANUP_CLOSE int fd = memfd_create("film", MFD_CLOEXEC);
	uint8_t data[6000];
	const uint8_t *p = NULL;
	struct film_source s;
	(void)state;
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = byte_at(i);
	assert_int_equal(io_write(fd, data, 5000, 0), 0);
	assert_int_equal(film_source_open(&s, &fd, 5000), 0);
	expect_get(&s, 4990, 10);
	assert_int_equal(io_write(fd, data, sizeof data, 0), 0);
	assert_int_equal(film_source_get(&s, 4990, 20, &p), -ENODATA);
	assert_int_equal(film_source_some(&s, 10, 6000, &p), 4990);
	expect_bytes(p, 10, 4990);
	assert_int_equal(ftruncate(fd, 3000), 0);
	assert_int_equal(film_source_get(&s, 0, 4000, &p), -ENODATA);
	expect_get(&s, 0, 3000);
	film_source_done(&s);
}

/* Over pictures of some KB all is read in few calls, over larger ones a page before each. */
static void small_jumps_cost_no_calls(void **state)
{
	(void)state;
	for (unsigned jump = 5000; jump < 60000; jump += 25000) {
		struct film_source s;
		struct fake f;
		open_fake(&s, &f, 64 << 20);
		for (uint64_t at = 0; at + 100 < s.size; at += jump)
			expect_get(&s, at, 20);
		if (jump < 8192) {
			assert_in_range(f.calls, 1, s.size / 65536);
			assert_in_range(f.read, s.size / 2, s.size);
		} else {
			assert_in_range(f.read, 1, 4096ull * f.calls);
		}
		film_source_done(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_bytes_asked_for),
		cmocka_unit_test(what_is_in_the_window_is_not_read_again),
		cmocka_unit_test(who_goes_on_gets_more_each_time),
		cmocka_unit_test(who_jumps_reads_little),
		cmocka_unit_test(outside_the_file_there_is_nothing),
		cmocka_unit_test(some_gives_a_window_at_most),
		cmocka_unit_test(the_budget_is_kept),
		cmocka_unit_test(errors_of_reading_are_handed_on),
		cmocka_unit_test(a_file_that_shrinks_ends_early),
		cmocka_unit_test(a_file_that_grows_ends_where_it_did),
		cmocka_unit_test(small_jumps_cost_no_calls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
