// SPDX-License-Identifier: MIT
/* repair: makes right what check.h finds wrong in a pool.
 *
 * Every step is one batch of the kv engine that makes the pool better and leaves it no worse
 * elsewhere, so a repair may be interrupted at any moment and begun again. Rows are rebuilt from what
 * still says the same thing (frames from packs, inodes from names and maps, counters by counting).
 * What nothing can bring back is not invented: bytes that are gone read as an error from then on, and
 * are known to be lost (META_LOST_CHUNK); names that lead to nothing are removed; inodes without a
 * name move to /lost+found.
 *
 * Needs, beside what checking needs, 40 bytes of memory for each frame in the packs when these have
 * to be read, and 32 for each inode whose row is lost.
 */
#ifndef FOLDFS_REPAIR_H
#define FOLDFS_REPAIR_H
#include "check.h"

struct repair_options {
	bool safe_only; /* only what check calls safe was found: look for nothing else */
	unsigned areas; /* enum check_area: what was found wrong */
	/* One sentence for each thing that was done; the first argument is `arg`. */
	void (*done)(void *arg, const char *sentence);
	void (*progress)(void *arg, const char *what, uint64_t done, uint64_t total); /* or NULL */
	bool (*stopped)(void *arg); /* asked now and then; true ends it with -EINTR (or NULL) */
	void *arg;
};

struct repair_result {
	uint64_t repaired;
};

/* The pool was opened by pool_open_bare() for writing. Durable on return. 0 when all steps were taken
 * (a check tells whether that was enough), -EINTR, -errno. */
int repair_pool(struct pool *pool, const struct repair_options *opt,
		struct repair_result *ret_result);

/* Opens the packs for writing, in a pool that pool_open_bare() opened for writing: packs without a
 * footer get one, and packs that a crash left, and nothing refers to, are removed. */
int repair_packs_open(struct pool *pool);
#endif
