// SPDX-License-Identifier: MIT
/* weaver: stores the streams of a film plan as chunks, and makes of their slices the file again.
 *
 * It goes through the file from its beginning. Where a stream has a stretch, the file gets a slice of
 * the stream's chunk; that chunk has been gathered from the whole file, and stored, when its first byte was
 * wanted. Every slice is compared with what the source has at its place before it is given out.
 */
#ifndef FOLDFS_WEAVER_H
#define FOLDFS_WEAVER_H
#include "cutter.h"
#include "film_plan.h"
#include "inode_row.h"
#include "packer.h"

struct weaver;
/* Its memory, up to 24 MiB: to get that anew costs a short film as much as all the rest. */
struct loom;
void loom_free(struct loom *loom); /* NULL is fine */

struct weaver_options {
	struct packer *packer;
	const struct chunker *chunker;
	struct film_plan *plan; /* becomes the weaver's, also on failure */
	/* As destage_source's; called from weaver_next() alone. */
	int (*read)(void *arg, void *buf, size_t len, uint64_t at);
	void *arg;
	/* Where one that nobody uses is taken from and left. */
	_Atomic(struct loom *) *spare;
};

int weaver_new(const struct weaver_options *opt, struct weaver **ret_w);
void weaver_free(struct weaver *w); /* NULL is fine */

struct woven {
	struct piece piece;   /* repeat 1; chunk 0: zeros */
	uint64_t first_frame; /* of those that hold what had to be stored for it, 0: nothing */
	uint64_t last_frame;
};
/* The next slice of the file, of at most `room` bytes: 1, or 0 at its end. -EBADMSG: the plan does not
 * fit the file, or a slice is not what the source has; the slices before were right. -errno of reading
 * and storing. */
int weaver_next(struct weaver *w, uint64_t room, struct woven *ret_woven);
#endif
