// SPDX-License-Identifier: MIT
/* isobmff_box: the boxes that an ISO base media file (ISO/IEC 14496-12) or a QuickTime film is made of.
 *
 *   u32 size, with these 8 bytes    0: up to the end of what it stands in; 1: the size is 64 bits wide
 *   u32 type, four letters
 *   u64 size                        only then
 *   content                         often boxes again, or u8 version, u24 flags and then fields
 *
 * Numbers are big-endian. A box that claims more than what it stands in has room for ends there: so
 * does a file that was cut off, and what it still holds is good.
 */
#ifndef FOLDFS_ISOBMFF_BOX_H
#define FOLDFS_ISOBMFF_BOX_H
#include "film_source.h"

#define ISOBMFF_TYPE(a, b, c, d)                                                                   \
	((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

struct isobmff_box {
	uint32_t type;
	uint64_t start, at, end; /* of the box, of its content, of both; in the file */
};

/* Boxes one after the other within [at, end) of the file. */
struct isobmff_boxes {
	struct film_source *s;
	uint64_t at, end;
	unsigned *left; /* how many may still be looked at */
};

/* 1 and the next box; 0: there is none, what is there is none, or no more may be looked at; -errno of
 * reading. */
int isobmff_box_next(struct isobmff_boxes *it, struct isobmff_box *ret);
/* Points *ret at len bytes of the content from `skip` on. 1; 0: the box is shorter; -errno. */
int isobmff_box_bytes(struct film_source *s, const struct isobmff_box *b, uint64_t skip, size_t len,
		      const uint8_t **ret);
#endif
