// SPDX-License-Identifier: MIT
/* utab: /run/mount/utab, in which umount(8) looks for the helper that is to end a mount. */
#ifndef FOLDFS_UTAB_H
#define FOLDFS_UTAB_H
#include <stdbool.h>

/* Through mount(8) itself, which knows the file's format and locks. Only root can and needs to; that
 * it failed is worth a debug line. `wait`: until it is written. */
void utab_register(const char *pool, const char *dir, bool wait);
#endif
