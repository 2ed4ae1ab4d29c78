// SPDX-License-Identifier: MIT
/* in_threads: the same work in 1, 2, 4, ... threads up to one per core, and how it scales. */
#ifndef FOLDFS_IN_THREADS_H
#define FOLDFS_IN_THREADS_H
#include "clock.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define IN_THREADS_MAX 256u
#define IN_THREADS_MS 500u

/* A thread's own, in a cache line of its own. */
struct in_threads_own {
	_Alignas(64) uint64_t at; /* where it goes on; begins elsewhere in each thread */
	uint64_t sum;		  /* what a compiler must not leave out goes here */
};

/* Does a little of the work; returns how much that was, in the bench's unit. */
typedef double (*in_threads_fn)(void *arg, struct in_threads_own *own);

struct in_thread {
	struct in_threads_own own;
	pthread_t id;
	in_threads_fn fn;
	void *arg;
	atomic_bool *stop;
	double done;
};

static inline void *in_thread_main(void *arg)
{
	struct in_thread *t = arg;
	while (!atomic_load(t->stop))
		t->done += t->fn(t->arg, &t->own);
	return NULL;
}

/* Units per second of n threads together. */
static inline double in_threads_run(unsigned n, in_threads_fn fn, void *arg)
{
	struct in_thread threads[IN_THREADS_MAX];
	atomic_bool stop = false;
	double done = 0;
	uint64_t begin = clock_mono_ns();
	for (unsigned i = 0; i < n; i++) {
		threads[i] = (struct in_thread){
			.own.at = i * 7919ull, .fn = fn, .arg = arg, .stop = &stop
		};
		pthread_create(&threads[i].id, NULL, in_thread_main, &threads[i]);
	}
	nanosleep(&(struct timespec){ .tv_nsec = IN_THREADS_MS * 1000000l }, NULL);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < n; i++) {
		pthread_join(threads[i].id, NULL);
		done += threads[i].done;
	}
	return done / ((double)(clock_mono_ns() - begin) / 1e9);
}

/* One line: units per second with one thread, and with more, as a ratio to it, too. */
static inline void in_threads(const char *what, const char *unit, in_threads_fn fn, void *arg)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned most = cores < 1 ? 1 : cores > IN_THREADS_MAX ? IN_THREADS_MAX : (unsigned)cores;
	double one = in_threads_run(1, fn, arg);
	printf("%-40s %10.2f %s", what, one, unit);
	for (unsigned n = 2; n <= most; n = n * 2 > most && n < most ? most : n * 2) {
		double all = in_threads_run(n, fn, arg);
		printf("; %u threads %.2f, %.2f x", n, all, all / one);
	}
	printf("\n");
	fflush(stdout);
}
#endif
