// SPDX-License-Identifier: MIT
/* packs_input: small valid frames and packs, to start from. */
#ifndef FOLDFS_FUZZ_PACKS_INPUT_H
#define FOLDFS_FUZZ_PACKS_INPUT_H
#include "frame.h"
#include "fuzz.h"

#define INPUT_UUID ((const uint8_t *)"a uuid of a pool")

/* Appends a frame with chunks first_id, first_id + 1 ... of `len` bytes; level 0: raw. `offset` is
 * its place in the pack. */
void input_frame(struct buf *b, uint64_t pack, uint64_t offset, uint64_t first_id, unsigned chunks,
		 uint32_t len, int level);
/* Appends a pack: a raw and a compressed frame, ids from 1 to 5, and a footer if it is `sealed`. */
void input_pack(struct buf *b, uint64_t pack, bool sealed);
#endif
