// SPDX-License-Identifier: MIT
/* quiet: has the machine nothing else to do?
 *
 * For one thread that works only while nobody else wants the processors: what it takes itself is not counted.
 */
#ifndef FOLDFS_QUIET_H
#define FOLDFS_QUIET_H
#include <stdbool.h>
#include <stdint.h>

struct quiet {
	uint64_t looked_ns; /* 0: never */
	double busy_s, all_s, own_s;
	bool verdict;
};

/* Since the last look, a second ago or more, others took at most this share of all processors' time. Looks at
 * most once a second, in between the verdict stays; false at first, and where the machine does not tell. 100: always
 * true. `q` begins as zeros and belongs to the calling thread. */
bool quiet_now(struct quiet *q, unsigned percent);
#endif
