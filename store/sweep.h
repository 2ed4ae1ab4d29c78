// SPDX-License-Identifier: MIT
/* sweep: empties one pack. Dead chunks lose their digests and rows, live ones move to gc's pack.
 *
 * The moves and the doom of one pack are one batch as a rule (of some thousand frames, several);
 * each leaves every live chunk with one row that leads to it.
 *
 * Where there is no room to move anything: frames in which all is dead lose their rows (sweep_drop), and
 * what no row leads to any more is given back in place (sweep_trim).
 */
#ifndef FOLDFS_SWEEP_H
#define FOLDFS_SWEEP_H
#include "gc.h"
#include "marks.h"

enum sweep_fate {
	SWEEP_HERE,
	SWEEP_LEAVING, /* with the batch that is being made */
	SWEEP_GONE,    /* its row is, or leads elsewhere; committed */
};

/* A frame row of a pack that shall go. */
struct sweep_frame {
	uint64_t pack, first_id, offset;
	uint32_t stored_len;
	uint16_t part;
	uint8_t fate;  /* enum sweep_fate */
	bool adjacent; /* the row before it in KV_CHUNK is of the same pack */
};

struct sweep;

struct sweep_options {
	const struct gc_options *gc; /* stays valid */
	struct marks *marks;
	/* Told after each frame written how many bytes it took; may sleep. */
	void (*pace)(void *arg, uint64_t bytes);
	void *arg;
};

int sweep_new(const struct sweep_options *opt, struct sweep **ret_s);
void sweep_free(struct sweep *s); /* NULL is fine */
/* The pack's frames in key order, all of them. 1: the pack is doomed in a committed batch; 0: it
 * holds something that can't be read, which stays where it is; or -errno, with what was moved
 * before committed: it may be called again, for the rest. *ret_moved: stored bytes written.
 * *ret_lsn: of the batch, for kv_sync(). */
int sweep_pack(struct sweep *s, uint64_t pack, struct sweep_frame *frames, size_t n,
	       uint64_t *ret_moved, uint64_t *ret_lsn);
/* Moving leaves this much of the disk to the log and the index; SWEEP_FLOOR unless told otherwise. */
#define SWEEP_FLOOR (512u << 10)
#define SWEEP_FLOOR_LEAST (64u << 10)
void sweep_leave(struct sweep *s, uint32_t bytes);
/* Only removes the rows of frames in which all is dead. */
int sweep_drop(struct sweep *s, uint64_t pack, struct sweep_frame *frames, size_t n,
	       uint64_t *ret_lsn);
/* Gives back all of the pack but those of its frames (all it had rows of) that are not gone. What
 * made them go is durable (kv_sync). *ret_bytes: on failure too. */
int sweep_trim(struct sweep *s, uint64_t pack, const struct sweep_frame *frames, size_t n,
	       uint64_t *ret_bytes);
#endif
