// SPDX-License-Identifier: MIT
/* du: what some files take, alone and together with others.
 *
 * A chunk that several files refer to is stored once, so no sum over files is the pool's size. For
 * each entry (a file, or a directory with everything below it) two numbers say what it costs: the
 * stored bytes of all chunks it refers to, and of those that nothing else refers to: what comes back
 * when it is deleted (and gc has run). References are taken as gc takes them: a segment refers to
 * all of its chunks, whatever slice of it a file shows. The stored bytes of a frame are shared out
 * among its chunks by length.
 *
 * Needs 6 bytes of memory per chunk of the pool, and reads all rows of files, extents and segments.
 */
#ifndef FOLDFS_DU_H
#define FOLDFS_DU_H
#include "pool.h"

#define DU_ENTRIES_MAX 4096u

struct du_entry {
	uint64_t ino; /* set by the caller */
	uint64_t files, directories;
	uint64_t apparent;  /* sum of sizes */
	uint64_t mapped;    /* bytes in packs as files show them */
	uint64_t inlined;   /* bytes in the index */
	uint64_t staged;    /* bytes allocated in staging files */
	uint64_t chunks;    /* referred to */
	uint64_t stored;    /* bytes of these in packs */
	uint64_t exclusive; /* of these: nothing else refers to the chunk */
};

/* An inode in several entries (or below) counts for the first. -ENOENT: an entry has no row. */
int du_count(struct pool *pool, struct du_entry *entries, size_t n);
#endif
