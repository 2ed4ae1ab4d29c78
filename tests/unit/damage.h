// SPDX-License-Identifier: MIT
/* damage: shows a decoder every way in which one byte of an encoding can be wrong or missing. */
#ifndef FOLDFS_DAMAGE_H
#define FOLDFS_DAMAGE_H
#include "bytes.h"
#include "prng.h"
#include <stdlib.h>

/* Calls decode() with each single-byte change (of a long encoding: eight of each byte's), each shorter and one longer copy, and with noise. Each
 * copy has an allocation of its own size, so that the address sanitizer sees a read past its end. */
static inline void damage_each(const void *good, size_t len, void (*decode)(struct slice val))
{
	uint64_t seed = len;
	unsigned step = len > 100 ? 31 : 1;
	uint8_t *copy = malloc(len + 1);
	for (size_t n = 0; n < len; n++) {
		uint8_t *part = malloc(n ? n : 1);
		memcpy(part, good, n);
		decode(slice_of(part, n));
		free(part);
	}
	memcpy(copy, good, len);
	copy[len] = 0;
	decode(slice_of(copy, len + 1));
	free(copy);
	copy = malloc(len);
	for (size_t i = 0; i < len; i++) {
		for (unsigned v = 1 + i % step; v < 256; v += step) {
			memcpy(copy, good, len);
			copy[i] ^= (uint8_t)v;
			decode(slice_of(copy, len));
		}
	}
	for (unsigned i = 0; i < 5000; i++) {
		if (i % 2)
			memcpy(copy, good, len);
		size_t at = i % 2 ? prng_below(&seed, len) : 0;
		prng_fill(&seed, copy + at, len - at);
		decode(slice_of(copy, len));
	}
	free(copy);
}
#endif
