// SPDX-License-Identifier: MIT
/* pack_stray: may a pack's file go that no row of the index knows?
 *
 * A crash leaves such files, and on a full disk, where the log cannot be written, large ones: the row of
 * a new pack, and those of all its frames, wait for the log, while frames, and in the end the footer, go to
 * the file at once. But an index that has lost rows looks the same from the file's side.
 */
#ifndef FOLDFS_PACK_STRAY_H
#define FOLDFS_PACK_STRAY_H
#include "pack_set.h"

/* What the index says of itself, asked once for all files. */
struct stray_index {
	struct packs *p;
	uint64_t last_chunk; /* that it knows of; later ids will be given out (again) */
	bool asked;
	const char *lacks; /* NULL: it has all that it ever had */
	bool damaged;	   /* what it lacks it needs: its ids must not be given to others */
};

/* -EUCLEAN: the number cannot be read, and the set is open for writing. */
int stray_index_init(struct stray_index *index, struct packs *p);

/* NULL: the index has all that it ever had. Else what it lacks, or why nobody knows. */
const char *stray_index_lacks(struct stray_index *index);

/* NULL when the file may go: all its frames hold chunks beyond last_chunk, no dump is newer than
 * the index, and nothing in the index refers to a chunk beyond last_chunk. Else why not. */
const char *pack_stray_needed(struct stray_index *index, int fd, uint64_t pack);

enum stray_fate {
	STRAY_FOREIGN, /* another pool's: nobody touches it */
	STRAY_KNOWN,   /* has chunks that the index knows: opening the packs makes its row */
	STRAY_GOES,    /* opening the packs removes it */
	STRAY_STAYS,   /* as pack_stray_needed() says */
};
/* What opening the packs for writing would do. *ret_why for STRAY_STAYS. */
enum stray_fate pack_stray_fate(struct stray_index *index, uint64_t pack, const char **ret_why);
#endif
