// SPDX-License-Identifier: MIT
/* bench_daemon: what foldfs bench has the pool's daemon do: destage, and nothing of it left in the page cache. */
#ifndef FOLDFS_BENCH_DAEMON_H
#define FOLDFS_BENCH_DAEMON_H
#include "speed.h"

struct bench_daemon {
	const char *pool;
	const volatile sig_atomic_t *stop;
	uint64_t until_ns;
	uint64_t files_bytes; /* of what was destaged before */
	time_t began;
};

/* For speed_stored(); refers to *d. Failures have been complained about, then it is -EREMOTEIO. */
struct speed_daemon bench_daemon(struct bench_daemon *d, const char *pool,
				 const volatile sig_atomic_t *stop);
#endif
