// SPDX-License-Identifier: MIT
/* numa: memory from all nodes in turn, instead of the one of whoever touches it first.
 *
 * By the kernel's own calls (mbind(2), set_mempolicy(2)). Each gives -ENOSYS where the kernel knows no nodes,
 * and -EPERM where a sandbox forbids them; nothing has changed then. One node is as good as many.
 */
#ifndef FOLDFS_NUMA_H
#define FOLDFS_NUMA_H
#include <stddef.h>

#define NUMA_NODES_MAX 1024u

struct numa_policy {
	int mode;
	unsigned long nodes[NUMA_NODES_MAX / 8 / sizeof(unsigned long)];
};

/* For pages of this mapping that nobody has touched yet. */
int numa_spread_mapping(void *base, size_t len);
/* For what the calling thread brings into memory, the page cache of files included, until
 * numa_restore_thread() is given what it found before. */
int numa_spread_thread(struct numa_policy *ret_before);
void numa_restore_thread(const struct numa_policy *before);
#endif
