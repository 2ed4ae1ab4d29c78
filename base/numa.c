// SPDX-License-Identifier: MIT
/* libnuma would be one more library for three system calls. Which nodes there are is asked each time: what a
 * process may use can change under it, and the calls take less than a microsecond together. */
#include "numa.h"
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BITS (NUMA_NODES_MAX + 1) /* the kernel leaves the last one out */

static int get_policy(struct numa_policy *p, unsigned long flags)
{
	return syscall(SYS_get_mempolicy, &p->mode, p->nodes, BITS, NULL, flags) ? -errno : 0;
}

int numa_spread_mapping(void *base, size_t len)
{
	struct numa_policy all = { 0 };
	int r = get_policy(&all, MPOL_F_MEMS_ALLOWED);
	if (r == 0 && syscall(SYS_mbind, base, len, MPOL_INTERLEAVE, all.nodes, BITS, 0))
		r = -errno;
	return r;
}

int numa_spread_thread(struct numa_policy *ret_before)
{
	struct numa_policy all = { 0 }, before = { 0 };
	int r = get_policy(&before, 0);
	if (r == 0)
		r = get_policy(&all, MPOL_F_MEMS_ALLOWED);
	if (r == 0 && syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, all.nodes, BITS))
		r = -errno;
	if (r == 0)
		*ret_before = before;
	return r;
}

void numa_restore_thread(const struct numa_policy *before)
{
	(void)syscall(SYS_set_mempolicy, before->mode, before->nodes, BITS);
}
