// SPDX-License-Identifier: MIT
/* sweep: empties one pack. Dead chunks lose their digests and rows, live ones move to gc's pack.
 *
 * The moves and the doom of one pack are one batch as a rule (of some thousand frames, several);
 * each leaves every live chunk with one row that leads to it.
 */
#ifndef FOLDFS_SWEEP_H
#define FOLDFS_SWEEP_H
#include "gc.h"
#include "marks.h"

/* A frame row of a pack that shall go. */
struct sweep_frame {
	uint64_t pack, first_id;
	uint16_t part;
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
 * before committed. *ret_moved: stored bytes written. *ret_lsn: of the batch, for kv_sync(). */
int sweep_pack(struct sweep *s, uint64_t pack, const struct sweep_frame *frames, size_t n,
	       uint64_t *ret_moved, uint64_t *ret_lsn);
#endif
