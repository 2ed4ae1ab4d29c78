// SPDX-License-Identifier: MIT
/* fastcdc: content-defined cuts by a gear hash with normalized chunk lengths.
 *
 * W. Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data
 * Deduplication" (USENIX ATC 2016), and "The Design of Fast Content-Defined Chunking for Data
 * Deduplication Based Storage Systems" (IEEE TPDS 2020), normalization level 2. Used through
 * chunker.h, which checks the parameters.
 */
#ifndef FOLDFS_FASTCDC_H
#define FOLDFS_FASTCDC_H
#include <stddef.h>
#include <stdint.h>

#define FASTCDC_WINDOW 63u /* a cut depends on this many bytes before it */

struct fastcdc {
	uint32_t min, normal, max;
	uint64_t mask_hard; /* up to the normal length: cuts are rare */
	uint64_t mask_easy; /* beyond it: sixteen times as likely */
};

void fastcdc_init(struct fastcdc *f, uint32_t min, uint32_t avg, uint32_t max);
/* The first cut in the data, max at the latest; 0 when there is none in len < max bytes. */
size_t fastcdc_cut(const struct fastcdc *f, const uint8_t *data, size_t len);

/* The 256 random words of the hash. They decide every cut, so they are part of the pool's format. */
const uint64_t *fastcdc_gear(void);
#endif
