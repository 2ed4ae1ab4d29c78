// SPDX-License-Identifier: MIT
/* cond: condition variables whose time limits are moments of clock_mono_ns(), which no clock that is
 * set moves. */
#ifndef FOLDFS_COND_H
#define FOLDFS_COND_H
#include "clock.h"
#include <pthread.h>

static inline void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}
/* Wakes up at `ns` at the latest; the lock is held before and after. ETIMEDOUT, or 0. */
static inline int cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000),
			       .tv_nsec = (long)(ns % 1000000000) };
	return pthread_cond_timedwait(cond, lock, &ts);
}
#endif
