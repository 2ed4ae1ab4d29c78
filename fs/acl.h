// SPDX-License-Identifier: MIT
/* acl: the part of POSIX ACLs that the kernel leaves to a FUSE filesystem with FUSE_CAP_POSIX_ACL.
 *
 * The kernel checks access. It does not inherit default ACLs at creation, keep mode and ACL in
 * step at chmod, or take the mode from a new access ACL: that is here. The xattr form is that
 * of linux/posix_acl_xattr.h (version 2); the algorithms are those of acl(5) and POSIX 1003.1e draft 17.
 */
#ifndef FOLDFS_ACL_H
#define FOLDFS_ACL_H
#include "inode.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* A new inode in `parent`: sets row->mode from what was asked for, the umask, and the parent's
 * default ACL; puts inherited ACLs into the batch and row->flags. */
int acl_inherit(struct fs *fs, const struct inode_row *parent, mode_t umask_bits,
		struct inode_row *row, struct kv_batch *b);
/* The mode changed: brings the access ACL, if there is one, in line. */
int acl_chmod(struct fs *fs, struct inode_row *row, struct kv_batch *b);
/* An access ACL is about to be set: takes the permission bits into row->mode. *ret_needed false:
 * it says nothing that the mode does not, and need not be stored. -EINVAL for a malformed one. */
int acl_take_mode(struct inode_row *row, const void *acl, size_t len, bool *ret_needed);
int acl_check(const void *acl, size_t len); /* well-formed? 0 or -EINVAL */
#endif
