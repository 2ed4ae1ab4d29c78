// SPDX-License-Identifier: MIT
/* rbsp: the bits of a NAL unit of H.264 or HEVC, without the bytes 03 that keep start codes out. */
#ifndef FOLDFS_RBSP_H
#define FOLDFS_RBSP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rbsp {
	const uint8_t *p;
	size_t len, at;
	unsigned zeros; /* zero bytes just before `at` */
	uint8_t byte;	/* the one that bits come from */
	unsigned left;	/* of its bits */
	bool bad;	/* more was asked for than the unit has; all that follows is 0 */
};

/* Bytes of a NAL unit after its header; they may run on into the next start code: it ends there. */
struct rbsp rbsp_of(const uint8_t *p, size_t len);
uint8_t rbsp_byte(struct rbsp *r);		/* drops what is left of the present one */
uint32_t rbsp_bits(struct rbsp *r, unsigned n); /* n <= 32 */
uint32_t rbsp_ue(struct rbsp *r);		/* an Exp-Golomb number below 2^32 - 1 */
int32_t rbsp_se(struct rbsp *r);
void rbsp_skip(struct rbsp *r, unsigned n); /* bits */
#endif
