// SPDX-License-Identifier: MIT
/* clock: nanoseconds since 1970 for what users see, monotonic time for everything else. */
#ifndef FOLDFS_CLOCK_H
#define FOLDFS_CLOCK_H
#include <stdint.h>
#include <time.h>

/* The kernel's own clock for inodes, one tick coarse: a finer one would be ahead of the times that the
 * kernel sets, and a file just written would look as if it had been read since. */
static inline int64_t clock_wall_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
/* What a row can hold of it: a time before 1677 or after 2262 becomes the first or last there is. */
static inline int64_t clock_ns_of(const struct timespec *t)
{
	int64_t ns;
	if (__builtin_mul_overflow((int64_t)t->tv_sec, (int64_t)1000000000, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
		return t->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}
static inline uint64_t clock_mono_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline uint64_t clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000u;
}
#endif
