// SPDX-License-Identifier: MIT
/* check: does everything in a pool that is open, and in nobody else's hands, agree with everything
 * else? Reads only.
 *
 * Checked are the rows of the index against each other (names and inodes, maps and segments and
 * their reference counts, chunks and packs, numbers given out), and the index against the files that
 * it names: staging files, and every frame's head in the packs. The bytes of files are not read;
 * that is scrubbing.
 *
 * Chunks that an earlier repair found to be gone are known (KV_META, META_LOST_CHUNK): what refers to
 * them is told by file and range, and is no error.
 *
 * Needs 40 bytes of memory per inode, 40 per segment, 4 per chunk.
 */
#ifndef FOLDFS_CHECK_H
#define FOLDFS_CHECK_H
#include "pool.h"

struct check_options {
	bool full; /* every digest, not a sample; every name looked up as a program would */
	/* One sentence for each thing that is wrong; the first argument is `arg`. */
	void (*error)(void *arg, const char *sentence);
	/* What is unusual but as it may be after a crash (may be NULL). */
	void (*note)(void *arg, const char *sentence);
	/* Which bytes of which file cannot be read any more (may be NULL). */
	void (*lost)(void *arg, const char *sentence);
	/* Which tier could not be looked at, since its place is not there: no error (may be NULL). */
	void (*absent)(void *arg, const char *sentence);
	/* What is being looked at, and how far that is; total 0: unknown (may be NULL). */
	void (*progress)(void *arg, const char *what, uint64_t done, uint64_t total);
	/* Asked now and then; true ends the check with -EINTR (may be NULL). */
	bool (*stopped)(void *arg);
	void *arg;
};

/* What errors are about: which repairs are called for. */
enum check_area {
	CHECK_AREA_POOL = 1,   /* superblock, log */
	CHECK_AREA_CHUNKS = 2, /* packs, frames, references to chunks */
	CHECK_AREA_FILES = 4,  /* everything else */
};

struct check_result {
	uint64_t errors, notes;
	uint64_t rotten;  /* rows that cannot be read, among the errors */
	uint64_t safe;	  /* of the errors: counters and marks that follow from other rows */
	uint64_t beside;  /* of the errors: files are gone that no row can bring back */
	uint64_t lost;	  /* stretches of files that cannot be read */
	uint64_t strays;  /* packs that no row knows and nothing refers to: opening removes them */
	uint64_t unknown; /* packs that no row knows and that may be needed */
	unsigned areas;	  /* enum check_area */
	uint64_t files, directories, others, names, orphans;
	uint64_t extents, segments, chunks, frames, packs, digests;
};

/* 0 when all could be looked at, whatever was found; -errno when it could not go on. The pool is
 * open in any way, pool_open_bare() at least. */
int check_pool(struct pool *pool, const struct check_options *opt, struct check_result *ret_result);
#endif
