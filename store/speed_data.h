// SPDX-License-Identifier: MIT
/* speed_data: bytes that are different in every chunk and shrink to about a half, as zeros and repeats would say
 * nothing. */
#ifndef FOLDFS_SPEED_DATA_H
#define FOLDFS_SPEED_DATA_H
#include "clock.h"
#include <string.h>

static inline uint64_t speed_data_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Half of the bytes are words of a small vocabulary. */
static inline void speed_data_fill(uint8_t *data, size_t len, uint64_t seed)
{
	static const char words[16][9] = { "chunk   ", "pack    ", "frame   ", "extent  ",
					   "inode   ", "dirent  ", "segment ", "digest  ",
					   "staging ", "destage ", "scrub   ", "gc      ",
					   "log     ", "sync    ", "cache   ", "pool    " };
	uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t at = 0; at + 16 <= len; at += 16) {
		uint64_t r = speed_data_random(&state);
		memcpy(data + at, words[r % 16], 8);
		memcpy(data + at + 8, &r, 8);
	}
}

static inline double speed_rate(uint64_t n, uint64_t ns)
{
	return ns ? (double)n * 1e9 / (double)ns : 0;
}
#endif
