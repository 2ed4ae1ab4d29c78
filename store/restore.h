// SPDX-License-Identifier: MIT
/* restore: an index made anew, from a dump in the packs directory and the log, when LMDB's file is
 * rotten or gone; or, when only the log is damaged, an index that needs no more of it.
 *
 * For a pool that nobody has open: each call takes POOL/lock for its own duration (-EBUSY) and
 * reads superblock and foldfs.conf itself. Afterwards pool_open() works as always, opened for
 * writing it reads the digests again from the packs (packer_open()), which takes one read per frame.
 *
 * Promises of restore_index() and restore_log(), at any failure or power cut: POOL/index/data.mdb is
 * either what it was or the whole new index, durable, never a mixture; the log's files are not
 * touched; nothing else in the pool is changed. Leftovers of an interrupted call are in
 * POOL/index/restore/ and go with the next call. So it may be repeated as often as one likes.
 * What data.mdb was stays as POOL/index/data.mdb.damaged until the next call that gets to the end.
 *
 * The new index holds every table as of the last batch in the log (ret->last_lsn), save KV_DIGEST and
 * the digests' row of KV_META. It holds nothing that was not acknowledged or about to be: same
 * state as after a power cut at that moment, unless entries were given up. Rows are as they were written; whether they agree
 * with each other and with the packs is check_pool()'s to say.
 */
#ifndef FOLDFS_RESTORE_H
#define FOLDFS_RESTORE_H
#include "pool.h"

enum restore_need {
	RESTORE_NOTHING, /* index and log can be opened; rows are not checked, nor bytes in packs */
	RESTORE_LOG,	 /* the index is sound, but log entries that it needs are damaged */
	RESTORE_LOG_GONE,    /* or in no file that is there, or not one of the log: elsewhere? */
	RESTORE_INDEX,	     /* the index cannot be relied on: restore_index() */
	RESTORE_INDEX_ALONE, /* nor is there a log, which may be elsewhere: a dump alone is old */
};

struct restore_options {
	/* Entries of the log that were durable may be given up when they cannot be read, or when there
	 * is no log. Later ones that can be read are applied all the same: what fits nothing any more is
	 * for repair_pool() to find. Without it such a log is -EUCLEAN and nothing is changed. */
	bool give_up_entries;
	/* rows or entries done so far, total 0: unknown (may be NULL). Not 0: stop, with that result. */
	int (*progress)(void *arg, const char *what, uint64_t done, uint64_t total);
	void *arg;
};

struct restore_result {
	uint64_t generation;	      /* of the dump used; 0: none (restore_log) */
	int64_t dumped;		      /* when it was begun, seconds since 1970 */
	unsigned bad_dumps;	      /* newer ones that did not verify, or whose log is gone */
	uint64_t start_lsn, last_lsn; /* the log was applied after the first, to the last */
	uint64_t rows, entries;	      /* taken from the dump / entries applied */
	uint64_t gap_lsn;	      /* the last entry before the first that is lost */
	uint64_t lost_entries;	      /* given up, at least this many; 0: it is not known */
	bool lost;		      /* some were given up */
	char text[512]; /* one sentence for the user: what was used and what is lost */
};

/* Reads the whole structure of LMDB's file, and the log; changes nothing. err->text says in a
 * sentence what is wrong when *ret_need is not RESTORE_NOTHING, or why it failed: -ENOENT (no pool),
 * -EBUSY, -ESTALE (another pool's log), -errno. */
int restore_diagnose(const char *path, enum restore_need *ret_need, struct pool_error *err);

/* -ENOENT: there is no dump that could be used (err->text says so); -EUCLEAN: see give_up_entries;
 * -EBUSY, -ENOSPC, -errno. *ret_result is filled in on success only. */
int restore_index(const char *path, const struct restore_options *opt,
		  struct restore_result *ret_result, struct pool_error *err);

/* For RESTORE_LOG and RESTORE_LOG_GONE: copies the index and applies what can be read of the log.
 * give_up_entries must be set (-EINVAL); otherwise as restore_index(). */
int restore_log(const char *path, const struct restore_options *opt,
		struct restore_result *ret_result, struct pool_error *err);
#endif
