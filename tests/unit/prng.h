// SPDX-License-Identifier: MIT
/* prng: repeatable random numbers for tests and benches (SplitMix64). */
#ifndef FOLDFS_PRNG_H
#define FOLDFS_PRNG_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t prng_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}
static inline uint64_t prng_below(uint64_t *state, uint64_t limit)
{
	return prng_next(state) % limit;
}
static inline void prng_fill(uint64_t *state, void *out, size_t len)
{
	uint8_t *p = out;
	for (uint64_t v; len > 0;) {
		size_t n = len < sizeof v ? len : sizeof v;
		v = prng_next(state);
		memcpy(p, &v, n);
		p += n;
		len -= n;
	}
}
#endif
