// SPDX-License-Identifier: MIT
/* packer: gives each new chunk an id and a place, and each known chunk its old id.
 *
 * All destage workers share one packer. Under its lock a chunk is looked up (neighbours, then
 * digests) and, when new, gets the next id and is copied into the frame being filled: ids follow
 * write order, chunks from many small files share frames, and the same bytes arriving twice at
 * once are stored once. A full frame is detached; the worker that filled it compresses and appends
 * it outside the lock, or one that would be idle does (packer_help). Frames complete in order:
 * packer_when_stored() runs when the frame and all before it are in a pack and their rows committed
 * (with the pack's barrier), so that a recipe committed from there can refer to them.
 */
#ifndef FOLDFS_PACKER_H
#define FOLDFS_PACKER_H
#include "chunks.h"
#include "digests.h"
#include "rotten.h"
#include "workers.h"

/* KV_META: every id given out is below this (le64). Kept by who deletes the rows of the last ids. */
#define PACKER_NEXT_KEY "next_chunk"

struct packer;

struct packer_options {
	struct extents *extents;
	struct packs *packs;
	struct chunks *chunks;
	struct digests *digests;
	struct rotten *rotten; /* NULL: what does not read back is stored under a new id */
	int level;	       /* zstd */
	unsigned verify_age_s; /* a duplicate's pack verified longer ago is read and compared */
	enum pack_stream stream;
};

struct packed {
	uint64_t id;
	uint64_t frame; /* 0: was stored before; else pass it to packer_when_stored() */
	bool duplicate;
};

/* Chunks of one stream that shall lie side by side. While it lasts, others who have new chunks wait for a
 * moment before they put theirs between; frames that become full are kept until its end. All zero at
 * first, and the packer's own. */
struct packer_stretch {
	struct flight_frame *full, *last; /* linked by `next` */
	unsigned n;
};

/* Waits to be told. `next` and `frame` are the packer's. run() is called once, on any thread, err 0
 * or why a frame could not be stored; it may commit but must not wait for other frames. Who relies
 * on several frames waits for the last and says in `first` which is the first (0: only that one):
 * err is then that of any frame between. */
struct packed_wait {
	void (*run)(struct packed_wait *w, int err);
	struct packed_wait *next;
	uint64_t first, frame;
};

/* Adds the digests that memory held at a crash again (digests_watermark). */
int packer_open(const struct packer_options *opt, struct packer **ret_p);
/* Stores what is left, and waits until it is durable. */
int packer_close(struct packer *p);
/* len <= CHUNK_LENGTH_MAX. May compress and append a full frame, or read a stored chunk, on this
 * thread. A failure to store is not reported here but to who waits for the frame. */
int packer_add(struct packer *p, const struct digest *digest, const void *data, uint32_t len,
	       struct packed *ret_packed);
/* The chunk that was stored after the one with this digest, if that can be told at little cost: the
 * one to be expected where stored bytes come again. May read a frame's head. */
bool packer_guess(struct packer *p, const struct digest *after, struct digest *ret_digest,
		  uint32_t *ret_len);
/* The same within a stretch of the calling thread's, which must be ended whatever this returns. */
int packer_add_side_by_side(struct packer *p, struct packer_stretch *stretch,
			    const struct digest *digest, const void *data, uint32_t len,
			    struct packed *ret_packed);
/* Compresses and appends what was kept; the stretch may be used again. */
void packer_end_stretch(struct packer *p, struct packer_stretch *stretch);
void packer_when_stored(struct packer *p, uint64_t frame, struct packed_wait *w);
/* Stores the frame being filled though it is not full, if it is not later than `frame`. Failures go
 * to those who wait. */
void packer_flush(struct packer *p, uint64_t frame);
/* Flushes, and returns when every frame begun before the call was stored, its waits told and its chunks known
 * to the digests, or failed. Not for a wait's run(). */
void packer_drain(struct packer *p);
/* Threads of these workers that have nothing to do store frames for those who fill them, at most
 * `max` at a time; see flight_help(). */
int packer_help(struct packer *p, struct workers *w, unsigned max);
/* Every id given out so far is below this. */
uint64_t packer_next_id(struct packer *p);
/* gc: while set, every duplicate hit is offered before packer_add() returns: true takes it as live,
 * false says that it is being collected, and the bytes are stored anew. Called under the packer's
 * lock. NULL ends it. */
void packer_set_mark(struct packer *p, bool (*mark)(void *arg, uint64_t chunk), void *arg);

/* Chunks have been noted as rotten: forgets what was believed from before. */
void packer_distrust(struct packer *p);

struct packer_stats {
	uint64_t chunks, duplicates, bytes_in, bytes_new, bytes_stored, frames;
	uint64_t helped; /* frames that were stored by a worker lent for it */
};
void packer_get_stats(struct packer *p, struct packer_stats *ret_stats);
#endif
