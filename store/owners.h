// SPDX-License-Identifier: MIT
/* owners: which files a set of chunks belongs to, and what these are called. For reports about damage:
 * each call reads whole tables, and goes on past rows that are damaged themselves. */
#ifndef FOLDFS_OWNERS_H
#define FOLDFS_OWNERS_H
#include "kv.h"
#include <stddef.h>

struct owner {
	uint64_t ino;
	char *path; /* from the root, one of its names; NULL when it has none any more */
};

/* The files that show any of these chunks (ascending ids), and those among `inos` (in any order).
 * Ascending inode numbers, each once; owners_free(). */
int owners_find(struct kv *kv, const uint64_t *chunks, size_t n_chunks, const uint64_t *inos,
		size_t n_inos, struct owner **ret_owners, size_t *ret_n);
void owners_free(struct owner *owners, size_t n);
#endif
