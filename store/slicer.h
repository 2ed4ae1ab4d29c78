// SPDX-License-Identifier: MIT
/* slicer: a portion of a stream cut into chunks and runs of zeros, and the chunks hashed. */
#ifndef FOLDFS_SLICER_H
#define FOLDFS_SLICER_H
#include "cutter.h"
#include "packer.h"

#define PORTION_ITEMS 512u

struct portion_item {
	uint32_t at, len; /* in the portion's data */
	bool zeros;
	struct digest digest; /* of a chunk */
};

struct portion {
	struct portion *next; /* the owner's */
	size_t size, n;
	struct portion_item items[PORTION_ITEMS];
	uint8_t data[]; /* `size` bytes: at least twice cutter_lookahead() */
};

/* State of one stream from portion to portion: set packer and the cutter's chunker, the rest zero. */
struct slicer {
	struct packer *packer; /* knows which chunk to expect */
	struct cutter cutter;
	struct digest latest; /* of the last chunk, if there was one */
	bool any;
	unsigned misses, hold; /* wrong guesses in a row; chunks to be cut before the next guess */
};

/* Cuts data[0, fill) into p->items, up to `room` bytes, and returns how many bytes they are. The rest
 * is to be given again, with more behind it unless it was the `last`. *ret_full: the next item is
 * longer than what is left of `room`. */
size_t slicer_cut(struct slicer *s, struct portion *p, size_t fill, bool last, size_t room,
		  bool *ret_full);
#endif
