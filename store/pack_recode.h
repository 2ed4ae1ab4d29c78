// SPDX-License-Identifier: MIT
/* pack_recode: makes a new pack of one, in a tier or where it was, whose frames are compressed at another level. */
#ifndef FOLDFS_PACK_RECODE_H
#define FOLDFS_PACK_RECODE_H
#include "pack_move.h"

#define PACK_AS_IS 1

/* As pack_move(), from the pack's row on, with m->level; `tier` may be the one that it is in. PACK_AS_IS:
 * nothing was done, as it would not get smaller enough, has something in it that is damaged, or there is no
 * room: its bytes are to be moved as they are. On 0 *ret_row (may be NULL) is the new pack's. */
int pack_recode(const struct pack_move *m, const struct pack_row *row, uint8_t tier,
		struct pack_row *ret_row);
#endif
