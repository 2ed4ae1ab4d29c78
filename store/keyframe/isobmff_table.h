// SPDX-License-Identifier: MIT
/* isobmff_table: a table of a box, entry after entry, through a buffer of its own: those of a track
 * are walked in step, and may be larger than what memory should hold of them.
 */
#ifndef FOLDFS_ISOBMFF_TABLE_H
#define FOLDFS_ISOBMFF_TABLE_H
#include "isobmff_box.h"

#define ISOBMFF_TABLE_BUFFER 16384u

/* Where a table is. It has no more entries than the box has room for, whatever the box says. */
struct isobmff_span {
	uint64_t at, n;
	unsigned width; /* of an entry, bytes; from 1 to 32 */
};

struct isobmff_table {
	struct film_source *s;
	unsigned *left;		  /* entries that may still be looked at, of any table */
	struct isobmff_span rest; /* not yet in the buffer */
	size_t used, have;	  /* bytes of it */
	uint8_t buffer[ISOBMFF_TABLE_BUFFER];
};

struct isobmff_span isobmff_span_of(const struct isobmff_box *b, uint64_t skip, unsigned width,
				    uint64_t n);
void isobmff_table_open(struct isobmff_table *t, struct film_source *s, unsigned *left,
			struct isobmff_span span);
/* Points *ret at the next entry, valid until the next call. 1; 0 at the end; -errno of reading;
 * -E2BIG: none may be looked at any more. */
int isobmff_table_next(struct isobmff_table *t, const uint8_t **ret);
#endif
