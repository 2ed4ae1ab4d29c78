// SPDX-License-Identifier: MIT
/* seal: puts right the sums of pack files, as pack_format.h says and without the code under test. */
#ifndef FOLDFS_FUZZ_SEAL_H
#define FOLDFS_FUZZ_SEAL_H
#include "fuzz.h"

enum seal_what { SEAL_PACK_HEADER = 1, SEAL_HEADS = 2, SEAL_PAYLOADS = 4, SEAL_FOOTER = 8 };

/* If a head with a plausible number of chunks begins at `at`: its sum, and those of what it says
 * is the payload as far as that is there. Returns the frame's length, 0 if there is none. */
size_t seal_frame(uint8_t *at, size_t left, uint64_t pack, uint64_t offset, unsigned what);
/* A whole pack file, each place where FRAME_MAGIC stands included. */
void seal_pack(uint8_t *file, size_t len, uint64_t pack, unsigned what);
#endif
