// SPDX-License-Identifier: MIT
/* space: what the daemon does as staging or the backing filesystem fills up.
 *
 *   EASY    destage waits its delay
 *   TIGHT   staging is half used or the disk nearly so: destage at once, behind writers too
 *   SHORT   staging is used up: writers wait for destage, new opens are mediated
 *   FULL    the disk has no room: writes and creates get ENOSPC; the reserve is let go, so that
 *           what is in memory, deletes, checkpoints and gc still find room; it is made
 *           again when there is space
 */
#ifndef FOLDFS_SPACE_H
#define FOLDFS_SPACE_H
#include "fs.h"

enum space_level { SPACE_EASY, SPACE_TIGHT, SPACE_SHORT, SPACE_FULL };

void space_init(struct fs *fs);
void space_tick(struct fs *fs); /* looks at the disk; the ticker calls it */
static inline enum space_level space_level(struct fs *fs)
{
	return (enum space_level)atomic_load_explicit(&fs->space, memory_order_relaxed);
}
/* The disk is nearly full: what was deleted is collected soon. */
static inline bool space_is_low(struct fs *fs)
{
	return atomic_load_explicit(&fs->space_low, memory_order_relaxed);
}
/* Whether writes and creates are refused; that there is space again is seen at once. */
bool space_is_full(struct fs *fs);
/* A write failed for want of space: look again at once. */
void space_was_short(struct fs *fs);
#endif
