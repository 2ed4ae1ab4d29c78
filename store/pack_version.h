// SPDX-License-Identifier: MIT
/* pack_version: packs that a later foldfs has written are not for this one to judge, mend or seal. */
#ifndef FOLDFS_PACK_VERSION_H
#define FOLDFS_PACK_VERSION_H
#include "pack_fds.h"
#include <stdbool.h>

/* The file begins with a sound header of a version, or with flags, that this foldfs doesn't know. */
bool pack_is_newer(int fd);
/* Looks at the newest packs of the directory (by their numbers), or at all. 0; or -EPROTONOSUPPORT, and the
 * name of one that is newer than this foldfs; files that cannot be read are passed over. -errno. */
int pack_version_check(int dirfd, bool all, char ret_name[PACK_NAME_MAX]);
#endif
