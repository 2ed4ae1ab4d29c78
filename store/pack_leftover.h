// SPDX-License-Identifier: MIT
/* pack_leftover: files of packs in the place of a tier that nothing refers to any more. */
#ifndef FOLDFS_PACK_LEFTOVER_H
#define FOLDFS_PACK_LEFTOVER_H
#include "pack_set.h"

/* Removes them from the place of this tier, if that is there. No pack may be on the move. What keeps it
 * from that is logged: they stay until it is called again. */
void pack_leftover_remove(struct packs *p, unsigned tier);
#endif
