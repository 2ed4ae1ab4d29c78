// SPDX-License-Identifier: MIT
/* replica_held: what lies in a replica, by name, and since when no root needs it. */
#ifndef FOLDFS_REPLICA_HELD_H
#define FOLDFS_REPLICA_HELD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct replica_held { /* zero-initialise */
	void *tree;
	uint64_t n;
};

bool replica_held_has(const struct replica_held *h, const char *name, uint64_t *ret_bytes);
/* It lies there; bytes is the caller's own business. -ENOMEM. */
int replica_held_add(struct replica_held *h, const char *name, uint64_t bytes);
/* Root number `seq` needs it. */
void replica_held_need(struct replica_held *h, const char *name, uint64_t seq);
/* Lets go of what no root of number `seq` has needed for longer than `grace_ms`; remove() gives 0, or ends it. */
int replica_held_sweep(struct replica_held *h, uint64_t seq, uint64_t now_ms, uint64_t grace_ms,
		       int (*remove)(void *arg, const char *name), void *arg);
void replica_held_done(struct replica_held *h);
#endif
