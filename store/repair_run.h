// SPDX-License-Identifier: MIT
/* repair_run: what fsck does to a pool that nobody has open, from beginning to end.
 *
 *   1  is LMDB's file sound, is the log? (restore.h) If not, the index is restored from a dump and the
 *      log; when there is no dump it is begun anew, and what packs say of chunks goes into it
 *   2  check; done if nothing is wrong, or nothing shall be corrected
 *   3  rows cannot be read, or are gone: the index is restored if there is a dump, and checked again
 *   4  repair (repair.h), and check again
 *
 * Each of these may be interrupted, and all of it run again.
 */
#ifndef FOLDFS_REPAIR_RUN_H
#define FOLDFS_REPAIR_RUN_H
#include "check.h"

enum repair_sentence { REPAIR_ERROR, REPAIR_NOTE, REPAIR_LOST, REPAIR_DONE, REPAIR_ABSENT };

struct repair_call {
	bool full;	/* check_options.full; and packs are looked into whatever is found */
	bool corrects;	/* packs that a crash left may be removed, which loses nothing */
	bool safe_only; /* correct only if all errors are check_result.safe */
	/* Shall what was found be corrected? Asked before anything is changed. */
	bool (*ask)(void *arg, const char *question);
	void (*say)(void *arg, enum repair_sentence kind, const char *sentence);
	void (*progress)(void *arg, const char *what, uint64_t done, uint64_t total);
	bool (*stopped)(void *arg); /* true: end with -EINTR */
	void *arg;
};

struct repair_report {
	struct check_result result; /* of the last check */
	uint64_t errors;	    /* found at first */
	uint64_t left;		    /* still there */
	uint64_t repaired;	    /* sentences of REPAIR_DONE */
	bool unchecked;		    /* the index cannot be read: its rows were not looked at */
};

/* 0 when it was checked, whatever was found; -EINTR; or -errno and a sentence in err: -EUCLEAN for a
 * pool that cannot be opened because of damage, -EBUSY, -ENOENT, ... */
int repair_run(const char *path, const struct repair_call *call, struct repair_report *ret_report,
	       struct pool_error *err);
#endif
