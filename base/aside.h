// SPDX-License-Identifier: MIT
/* aside: what a repair replaces or gives up stays under another name, NAME.damaged, or NAME.damaged.2
 * and so on when an earlier repair has left one. Nobody reads or removes it afterwards. */
#ifndef FOLDFS_ASIDE_H
#define FOLDFS_ASIDE_H

#define ASIDE_NAME_MAX 96u

/* Gives the file a second name, unless it has one of these already. `ret_name` (may be NULL): that name.
 * Durable when the directory is synced. 0, -ENOENT, -errno. */
int aside_link(int dirfd, const char *name, char ret_name[ASIDE_NAME_MAX]);
/* The same, and removes its own. */
int aside_move(int dirfd, const char *name, char ret_name[ASIDE_NAME_MAX]);
#endif
