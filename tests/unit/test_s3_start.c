// SPDX-License-Identifier: MIT
/* A client of an object store for which there is no thread: an error, and nothing is left of it. */
#include "s3.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

int __real_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);

static bool refused;

/* As the C library does it: what *t is then is not said. */
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	if (!refused)
		return __real_pthread_create(t, attr, fn, arg);
	memset(t, 0x5a, sizeof *t);
	return EAGAIN;
}

static void test_no_thread(void **state)
{
	(void)state;
	char error[S3_TEXT_MAX] = "";
	struct s3_options opt;
	struct s3 *s3 = NULL;
	s3_defaults(&opt);
	opt.place = "s3://bucket/prefix";
	opt.endpoint = "http://127.0.0.1:1";
	refused = true;
	assert_int_equal(s3_open(&opt, error, &s3), -EAGAIN);
	assert_null(s3);
	assert_non_null(strstr(error, "the client can't be started"));
	refused = false;
	assert_int_equal(s3_open(&opt, error, &s3), 0);
	s3_close(s3);
}

int main(void)
{
	setenv("AWS_ACCESS_KEY_ID", "id", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_no_thread) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
