// SPDX-License-Identifier: MIT
/* leftovers: what an earlier mount has not destaged. */
#ifndef FOLDFS_LEFTOVERS_H
#define FOLDFS_LEFTOVERS_H
#include "fs.h"

/* Takes over inline content and staging files, as they are after a crash, too, and gives them to settle. */
int leftovers_schedule(struct fs *fs);
#endif
