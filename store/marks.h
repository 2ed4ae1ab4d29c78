// SPDX-License-Identifier: MIT
/* marks: what a gc pass knows about each chunk: nothing, live, or condemned. Two bits per id.
 *
 * A chunk changes only from unknown to live or from unknown to condemned, whichever comes first,
 * and never again: so who is told that a chunk is live may go on using it. Lock-free, any thread.
 */
#ifndef FOLDFS_MARKS_H
#define FOLDFS_MARKS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct marks;

/* Ids at and beyond `limit` are live for good. 4 MB per stored TB of 64 KiB chunks; memory for long
 * stretches of dead ids is never touched. */
int marks_new(uint64_t limit, struct marks **ret_m);
void marks_free(struct marks *m); /* NULL is fine */
/* Makes an unknown chunk live. False: it is condemned. */
bool marks_keep(struct marks *m, uint64_t id);
/* Condemns an unknown chunk. False: it is live. */
bool marks_condemn(struct marks *m, uint64_t id);
bool marks_live(const struct marks *m, uint64_t id);
#endif
