// SPDX-License-Identifier: MIT
/* mincdc: content-defined cuts where a hash of the last four bytes is least within a window.
 *
 * After MinCDC by Orson Peters (https://github.com/orlp/mincdc, https://docs.rs/mincdc): of all
 * places where the next chunk may end, that whose four last bytes have the smallest hash, and the
 * first of equal ones. There is no threshold, so lengths need no limit beyond the window, and no
 * place depends on the one before it, so they are looked at many at once. The hash, the window and
 * the end of the stream are this project's own; cuts are not those of the Rust library. Used through
 * chunker.h, which checks the parameters.
 *
 * The window lies around avg, as wide as min and max allow on the narrower side: for 16/64/256 KiB it
 * is 16..112 KiB. Lengths spread evenly over it, so their mean is avg.
 */
#ifndef FOLDFS_MINCDC_H
#define FOLDFS_MINCDC_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The four bytes as a little-endian number x have the hash ~(x * MINCDC_FACTOR): part of the pool's
 * format. Zeros have the greatest of all. */
#define MINCDC_FACTOR 0x9e370001u

/* Which of the n >= 1 windows data[i] ... data[i + 3] has the smallest hash, the first of equal
 * ones. Reads n + 3 bytes. */
typedef size_t mincdc_find(const uint8_t *data, size_t n);

struct mincdc_finder {
	const char *name; /* of the instruction set */
	mincdc_find *find;
};

struct mincdc {
	uint32_t low, avg, high; /* of lengths */
	mincdc_find *find;
};

/* Takes the fastest finder that this processor has; they all find the same. */
void mincdc_init(struct mincdc *m, uint32_t min, uint32_t avg, uint32_t max);
/* The first cut in the data; 0 when len < high and they are not the `last` bytes. The last ones are
 * one chunk when they are no more than avg. */
size_t mincdc_cut(const struct mincdc *m, const uint8_t *data, size_t len, bool last);

/* The finders that this processor has, the plain one first and the fastest last; name is NULL after
 * them. */
struct mincdc_finder mincdc_finder(unsigned i);

mincdc_find mincdc_find_plain;
#ifdef __x86_64__
mincdc_find mincdc_find_sse41, mincdc_find_avx2, mincdc_find_avx512;
#endif
#endif
