// SPDX-License-Identifier: MIT
/* fault: named places where a test can inject an error or stop the process.
 *
 * FOLDFS_FAULT="name:N=EIO" makes the N-th pass through `name` fail once with that error,
 * "name:N+=ENOSPC" from the N-th on, "name:N=crash" ends the process with _exit(99) there, and
 * "*" matches every name. "name:N+=skip" is for the points of a sync: it then does nothing and reports
 * success, so that a test of power cuts can show that it would notice. Without the variable a fault
 * point costs one predictable branch.
 */
#ifndef FOLDFS_FAULT_H
#define FOLDFS_FAULT_H
#include <stdbool.h>

#define FAULT_SKIP 1

extern bool fault_armed;
int fault_hit_slow(const char *name);
void fault_arm(const char *spec); /* NULL disarms; called with the environment at start-up */

/* 0, or the -errno this point shall fail with; at the points of a sync also FAULT_SKIP. */
static inline int fault_hit(const char *name)
{
	bool armed = __atomic_load_n(&fault_armed, __ATOMIC_RELAXED);
	return __builtin_expect(armed, 0) ? fault_hit_slow(name) : 0;
}
#endif
