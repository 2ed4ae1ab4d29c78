// SPDX-License-Identifier: MIT
/* ebml: elements and numbers of EBML (RFC 8794), which Matroska is made of.
 *
 * A number is 1 to 8 bytes long: as many as the first byte has leading zero bits, and one more; the
 * bit that ends them is no part of the value. An element is an id (1 to 4 bytes, kept with that bit), a
 * size (all bits one: not known) and so many bytes of payload.
 */
#ifndef FOLDFS_EBML_H
#define FOLDFS_EBML_H
#include "film_source.h"

#define EBML_NUMBER_MAX 8u
#define EBML_HEADER_MAX (4u + EBML_NUMBER_MAX)

struct ebml {
	uint32_t id;
	bool unknown;	  /* the size is not known and `size` 0 */
	uint64_t payload; /* where it begins in the file */
	uint64_t size;	  /* of the payload as claimed: below 2^56 and maybe beyond the file */
};

/* A number at the start of p; its length, or 0 when it isn't there wholly. */
unsigned ebml_number(const uint8_t *p, size_t len, uint64_t *ret);
/* The largest number of that many bytes, which stands for an unknown size. */
uint64_t ebml_ones(unsigned len);
/* An unsigned integer as elements hold them: big-endian, 0 to 8 bytes; 0 when longer. */
uint64_t ebml_uint(const uint8_t *p, size_t len);

/* The element at the start of p, which lies at `at` in the file: its header's length; -ENODATA: it
 * is longer than len; -EBADMSG: there is none. */
int ebml_parse(const uint8_t *p, size_t len, uint64_t at, struct ebml *ret);
/* The same for the element at `at` of the file; 0 or an error, -ENODATA at its end. */
int ebml_read(struct film_source *s, uint64_t at, struct ebml *ret);
#endif
