// SPDX-License-Identifier: MIT
/* wal: the write-ahead log as the engine uses it. wal.c opens with its specification. */
#ifndef FOLDFS_WAL_H
#define FOLDFS_WAL_H
#include "kv.h"
#include "wal_frame.h"

struct wal;
struct wal_segment;

struct wal_options {
	int dirfd;
	struct wal_identity id;
	enum kv_wal_backend backend;
	unsigned sync_interval_ms;
	unsigned note_ms; /* as in kv_options */
	uint32_t named;	  /* wal_seq_tag() that the base has, of a segment of `old` */
	size_t segment_bytes;
	bool compress;
	uint64_t keep_after, keep_least;			  /* as wal_keep() */
	void (*on_failure)(void *arg, int err, const char *what); /* once, no locks held */
	void *arg;
};

/* Begins a new segment for the frames after last_lsn and starts the log's threads. `old` are the
 * segments of the log so far (taken over on success), last_seq the highest number in use. */
int wal_start(const struct wal_options *opt, uint64_t last_lsn, uint64_t last_seq,
	      struct wal_segment *old, struct wal **ret_wal);

/* Queues a frame; copies the payload, takes the barriers unless it fails. One caller at a time.
 * -ENOSPC (or what allocating said): no preallocated room and none to be had. */
int wal_append(struct wal *w, struct slice payload, struct kv_barrier *barriers,
	       bool may_use_reserve, uint64_t *ret_lsn);

int wal_sync(struct wal *w, uint64_t lsn); /* lsn: of an appended frame */
/* fn(arg, 0) once lsn is durable or (arg, -errno); `hurry` asks for a flush now. */
void wal_when_durable(struct wal *w, uint64_t lsn, bool hurry, void (*fn)(void *arg, int err),
		      void *arg);
uint64_t wal_durable_lsn(struct wal *w);
uint64_t wal_last_lsn(struct wal *w); /* of the last frame appended, also while its barriers run */

/* A segment's number as the base keeps it: 31 bits, never 0. */
uint32_t wal_seq_tag(uint64_t seq);
/* The tag of the newest segment that must be there whenever this log is read again: its header, and
 * what names it in the segment before, are durable. */
uint32_t wal_newest(struct wal *w);
/* The base names this segment now, durably: it stays, whatever is trimmed. */
void wal_named(struct wal *w, uint32_t tag);
/* Frames up to lsn are in the base. */
void wal_trim(struct wal *w, uint64_t lsn);
/* Frames above `after` stay even so; while room is short, only those above `least`, or none. UINT64_MAX:
 * nothing is kept. */
void wal_keep(struct wal *w, uint64_t after, uint64_t least);
/* Room is short: gives up some of what is kept. False: there was nothing to give. */
bool wal_give_room(struct wal *w);

/* Ends the threads; frames not yet durable are dropped. `in_base`: all frames are in the base, so only
 * what is kept stays. */
int wal_stop(struct wal *w, bool in_base); /* NULL is fine */
void wal_stats(struct wal *w, struct kv_stats *ret_stats);
#endif
