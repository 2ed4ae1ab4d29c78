// SPDX-License-Identifier: MIT
/* pack_recode: moves a pack to another tier as a new one, whose frames are compressed at that tier's level. */
#ifndef FOLDFS_PACK_RECODE_H
#define FOLDFS_PACK_RECODE_H
#include "pack_move.h"

#define PACK_AS_IS 1

/* As pack_move(), from the pack's row on, with m->level. PACK_AS_IS: nothing was done, as it would not get
 * smaller enough, has something in it that is damaged, or there is no room: its bytes are to be moved as
 * they are. */
int pack_recode(const struct pack_move *m, const struct pack_row *row, uint8_t tier);
#endif
