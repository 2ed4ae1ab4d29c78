// SPDX-License-Identifier: MIT
/* pool_owner: whose a pool is: the owner of POOL/lock, which mkfs makes and nobody replaces. */
#ifndef FOLDFS_POOL_OWNER_H
#define FOLDFS_POOL_OWNER_H
#include <sys/types.h>

/* Root where that cannot be told. */
void pool_owner(int dirfd, uid_t *ret_uid, gid_t *ret_gid);
/* What root has left in somebody else's pool becomes that one's, who could not open it otherwise. Does
 * nothing for others. Files that have a second name, which could be anybody's, stay. */
void pool_give_to_owner(const char *path);
#endif
