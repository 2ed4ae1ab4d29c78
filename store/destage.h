// SPDX-License-Identifier: MIT
/* destage: staged bytes become chunks. Read, cut, hash, look up, pack, and give the file its map.
 *
 * A source is one stretch of one file, read through a callback, so that the daemon can hand in
 * memory, a staging file, or a staging file laid over what was destaged before. It is worked off in
 * windows of up to DESTAGE_WINDOW bytes; each window's pieces are handed to commit() once everything
 * they refer to is in packs and indexed. Runs of zeros of 4 KiB and more become holes.
 */
#ifndef FOLDFS_DESTAGE_H
#define FOLDFS_DESTAGE_H
#include "chunker.h"
#include "film_plan.h"
#include "packer.h"
#include "workers.h"

#define DESTAGE_WINDOW (32u << 20)

struct destage;

struct destage_options {
	struct packer *packer;
	struct chunker_params chunker;
	unsigned workers; /* 0 = one per core */
};

/* Embedded by the caller; valid until done() was called. */
struct destage_source {
	uint64_t at, len; /* the stretch, set before destage_start() */
	uint64_t hint_us; /* free for the caller */

	/* Fills buf with the bytes at `at`; exactly len of them (past the end of a file: zeros), or
	 * -errno. Some bytes are asked for twice. read() and commit() of one source are never called
	 * side by side. */
	int (*read)(struct destage_source *s, void *buf, size_t len, uint64_t at);
	/* [at, at+len) consists of these pieces (lengths add up to len; chunk 0 = zeros). Windows
	 * come in order, one at a time. The callee checks that the bytes did not change meanwhile,
	 * and commits. Anything but 0 ends the source; done() gets it. */
	int (*commit)(struct destage_source *s, uint64_t at, uint64_t len,
		      const struct piece *pieces, size_t n);
	/* Called once, last; 0, what commit() or read() returned, or why storing failed. */
	void (*done)(struct destage_source *s, int err);
	/* How to make chunks of a film, for a source that is all of the file; NULL: by content. Destage
	 * takes it. If it does not fit the bytes, the rest is stored as if there were none. */
	struct film_plan *plan;
	bool small_together; /* at most a chunk or two: wait for a frame to fill, or the next flush */

	/* destage's own */
	struct destage *destage;
	struct destage_run *run;
	struct job job;
	struct destage_source *older, *newer;
	uint64_t number;
};

int destage_open(const struct destage_options *opt, struct destage **ret_d);
/* Waits for all sources, then frees. */
void destage_close(struct destage *d);
/* Queues it; every source is called back. Never blocks. */
void destage_start(struct destage *d, struct destage_source *s);
/* Everything queued before this call has been committed or given up when it returns: also seals
 * partly filled frames. Blocks. */
void destage_flush(struct destage *d);
/* Seals the partly filled frame, so that what waits for it commits soon. Does not wait. */
void destage_nudge(struct destage *d);
/* The same, and for a moment workers give way to nobody: somebody waits for destage. */
void destage_hurry(struct destage *d);
/* Every window begun before this call has been committed or given up when it returns. Blocks. */
void destage_settle(struct destage *d);
/* Somebody waits for the disk: workers leave it to others for a tenth of a second. Who calls again and again has it
 * so for ten seconds, and seven eighths of the time from then on. */
void destage_give_way(struct destage *d);
/* Workers also ask, again and again, whether others are at work on the disk who don't tell: true has the same effect
 * as destage_give_way(). No source may be queued while this is set or, by NULL, ended. */
void destage_watch(struct destage *d, bool (*at_work)(void *arg), void *arg);
uint64_t destage_gave_way(struct destage *d); /* how often a worker did */
uint64_t destage_pending_bytes(struct destage *d);
#endif
