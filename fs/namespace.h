// SPDX-License-Identifier: MIT
/* namespace: names and the inodes they lead to. Every operation is one batch.
 *
 * Functions take inode numbers and hold their locks themselves; they return 0 or -errno. Nothing is
 * durable on return. Permission is the kernel's matter (default_permissions).
 */
#ifndef FOLDFS_NAMESPACE_H
#define FOLDFS_NAMESPACE_H
#include "inode.h"

struct caller {
	uid_t uid;
	gid_t gid;
	mode_t umask;
};

/* What a name leads to; "." and ".." too, for NFS. -ENOENT. */
int name_lookup(struct fs *fs, uint64_t parent, const char *name, struct attributes *ret_attr);

/* Makes a file, directory, device, fifo, socket or symbolic link (target). name NULL: without a
 * name, as O_TMPFILE does. The new inode comes back live and referenced. */
struct name_request {
	struct caller caller;
	uint64_t parent;
	const char *name;
	mode_t mode; /* with its type */
	dev_t rdev;
	const char *target;
};
int name_make(struct fs *fs, const struct name_request *req, struct inode **ret_inode);
/* Takes back a name just made whose maker is told that it failed, if it still leads to ino; name NULL:
 * the inode has none, and is reaped when nothing holds it. What cannot be taken back is logged. */
void name_unmake(struct fs *fs, uint64_t parent, const char *name, uint64_t ino);
int name_link(struct fs *fs, uint64_t ino, uint64_t parent, const char *name,
	      struct attributes *ret_attr);
int name_unlink(struct fs *fs, uint64_t parent, const char *name);
int name_rmdir(struct fs *fs, uint64_t parent, const char *name);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE. */
int name_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent,
		const char *new_name, unsigned flags);
#endif
