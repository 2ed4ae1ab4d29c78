// SPDX-License-Identifier: MIT
/* sequel: which chunk was stored after which, for a few frames met lately.
 *
 * Who meets stored bytes mostly meets those that followed them, too. With the digest and length of
 * the chunk to be expected, destage can hash it without looking for its end first. A guess that is
 * wrong costs a hash; nothing is ever decided by it. Not safe from several threads.
 */
#ifndef FOLDFS_SEQUEL_H
#define FOLDFS_SEQUEL_H
#include "pack_format.h"

struct sequel;

int sequel_new(unsigned frames, struct sequel **ret_s);
void sequel_free(struct sequel *s); /* NULL is fine */
/* Takes the entries of a frame over, to be freed by it, and forgets the one longest not asked for. */
void sequel_put(struct sequel *s, struct chunk_entry *entries, uint32_t n);
/* The chunk after this one in its frame. 1; 0 when the frame isn't here; -1: it was the frame's
 * last chunk, and what followed isn't here. */
int sequel_next(struct sequel *s, uint64_t id, struct chunk_entry *ret_next);
#endif
