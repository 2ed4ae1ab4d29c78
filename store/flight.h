// SPDX-License-Identifier: MIT
/* flight: frames on their way into packs, completed in the order they were begun.
 *
 * A frame in flight has ids and a sequence number (1, 2, ...) and no row yet. Threads store frames
 * side by side; the row of each is committed, with the pack's barrier, when all before it are
 * through. One that fails takes its own chunks with it and nothing else.
 */
#ifndef FOLDFS_FLIGHT_H
#define FOLDFS_FLIGHT_H
#include "digests.h"
#include "packer.h"
#include "workers.h"

struct flight;

struct flight_options {
	struct kv *kv;
	struct packs *packs;
	struct digests *digests;
	int level;
	enum pack_stream stream;
	/* For every chunk of a frame that failed, before its waits are told: forget it. */
	void (*failed)(void *arg, const struct digest *digest, uint64_t id);
	void *arg;
};

struct flight_frame {
	uint64_t seq, first_id, last_id;
	struct frame_builder *fb; /* for the caller to fill until flight_store() */
	/* the rest is flight's own */
	struct chunk_entry *known; /* copy of what it holds, or fb->entries */
	uint32_t n, parts;
	struct kv_batch *batch;
	uint64_t stored_bytes, lsn, failed_to;
	struct packed_wait *waits, **waits_tail;
	struct flight_frame *next; /* among the full or the failed ones */
	int err;
	bool done;
};

int flight_open(const struct flight_options *opt, struct flight **ret_fl);
void flight_close(
	struct flight *fl); /* when every frame begun was stored or failed; NULL is fine */

/* Begins the next frame, whose ids start at first_id. Calls follow each other in id order: hold the
 * lock that gives out ids. -EAGAIN: too many are in flight, flight_throttle() and try again. */
int flight_begin(struct flight *fl, uint64_t first_id, struct flight_frame **ret_frame);
/* Waits until there is room to begin frames. Hold nothing that others need to get theirs stored. */
void flight_throttle(struct flight *fl);
/* Compresses and appends what the builder holds, here or on a helper, or an earlier frame here; its
 * rows follow in order. Consumes the frame. */
void flight_store(struct flight *fl, struct flight_frame *f);
/* The same for one chunk longer than a frame, in parts that become visible together. */
void flight_store_parts(struct flight *fl, struct flight_frame *f, const struct digest *digest,
			const void *data, uint32_t len);

/* Lends it the workers' idle threads, at most `max` at a time. NULL takes them back: nothing is
 * queued on them any more, and what is there was stored when workers_stop() returns. */
int flight_help(struct flight *fl, struct workers *w, unsigned max);

/* Which frame in flight holds this id; 0: none, its row is committed. */
uint64_t flight_find(struct flight *fl, uint64_t id);
void flight_when_stored(struct flight *fl, uint64_t frame, struct packed_wait *w);
/* Returns when every frame up to seq was stored, its waits told and its chunks known to the digests, or
 * failed. All of them must be on their way. Not for who is told. */
void flight_wait(struct flight *fl, uint64_t seq);
uint64_t flight_last(struct flight *fl); /* the latest begun */
/* Makes what was stored durable, and tells the digests so. */
int flight_sync(struct flight *fl);
void flight_totals(struct flight *fl, uint64_t *ret_frames, uint64_t *ret_stored_bytes,
		   uint64_t *ret_helped);
#endif
