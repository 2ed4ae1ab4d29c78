// SPDX-License-Identifier: MIT
/* usage: what the pool's files are and what they need, counted from the index's rows.
 *
 * Nothing is kept up to date for this: each call reads the rows anew (about a second per million
 * files), so what it says cannot drift from what is there.
 */
#ifndef FOLDFS_USAGE_H
#define FOLDFS_USAGE_H
#include "pool.h"

struct usage {
	uint64_t files, directories, others; /* inodes by kind */
	uint64_t apparent;		     /* sum of the files' sizes */
	uint64_t mapped;		     /* bytes of files that lie in packs, holes left out */
	uint64_t inlined;		     /* bytes of small files kept in the index */
	uint64_t staged_files;		     /* have a staging file */
	uint64_t unique;		     /* bytes of distinct chunks, garbage included */
	uint64_t compressed;		     /* what these take in packs */
	uint64_t chunks, frames;
	uint64_t packs, pack_bytes; /* pack files in the pool and their length */
	uint64_t elsewhere;	    /* length of packs in other tiers */
	uint64_t damaged;	    /* rows that could not be read */
};

/* 0 or -errno. */
int usage_count(struct pool *pool, struct usage *ret_usage);
#endif
