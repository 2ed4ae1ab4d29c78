// SPDX-License-Identifier: MIT
/* Digests from several threads at once, while slices are loaded and filters rebuilt. */
#include "digests_bed.h"

enum { THREADS = 3, PER_THREAD = 20000 };

struct thread {
	struct digests *d;
	unsigned no;
};

/* Key i of thread t is t * 2^20 + i, its id that plus one; every seventh is removed again. */
static uint64_t thread_key(unsigned no, uint64_t i)
{
	return (uint64_t)no << 20 | i;
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	uint64_t seed = t->no + 1;
	for (uint64_t i = 0; i < PER_THREAD; i++) {
		uint64_t key = thread_key(t->no, i);
		assert_int_equal(add(t->d, key, key + 1), 0);
		if (i % 7 == 6)
			assert_int_equal(drop(t->d, key, key + 1), 0);
		uint64_t other = prng_below(&seed, i + 1);
		key = thread_key(t->no, other);
		assert_int_equal(find(t->d, key), other % 7 == 6 ? 0 : key + 1);
		find(t->d, thread_key((t->no + 1) % THREADS, other));
		if (i % 4096 == 0)
			digests_settle(t->d, i);
	}
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	struct bed b;
	pthread_t id[THREADS];
	struct thread t[THREADS];
	bed_make(&b);
	for (unsigned i = 0; i < THREADS; i++) {
		t[i] = (struct thread){ .d = b.d, .no = i };
		assert_int_equal(pthread_create(&id[i], NULL, thread_main, &t[i]), 0);
	}
	assert_int_equal(digests_flush(b.d), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(id[i], NULL);
	for (unsigned no = 0; no < THREADS; no++) {
		for (uint64_t i = 0; i < PER_THREAD; i++) {
			uint64_t key = thread_key(no, i);
			assert_int_equal(find(b.d, key), i % 7 == 6 ? 0 : key + 1);
		}
	}
	bed_remove(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
