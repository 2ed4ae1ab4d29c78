// SPDX-License-Identifier: MIT
/* Most inodes have no extended attributes, and `ls -l`, cp and every exec ask for several: a flag in
 * the row answers at once. */
#include "acl.h"
#include "cleanup.h"
#include "clock.h"
#include "ops.h"
#include "xattr_row.h"
#include <linux/limits.h>
#include <sys/xattr.h>

#define CAPABILITY "security.capability"

static int flags_of(struct fs *fs, uint64_t ino, uint32_t *ret_flags)
{
	struct inode *in = inode_get_live(fs, ino);
	struct inode_row row;
	if (in) {
		pthread_rwlock_rdlock(&in->lock);
		*ret_flags = in->row.flags;
		pthread_rwlock_unlock(&in->lock);
		inode_put(fs, in);
		return 0;
	}
	int r = inode_row_get(fs_kv(fs), ino, &row);
	if (r == 0)
		*ret_flags = row.flags;
	return r == -ENOENT ? -ESTALE : r;
}

static bool is_acl(const char *name)
{
	return !strcmp(name, ACL_ACCESS) || !strcmp(name, ACL_DEFAULT);
}

/* Only what other filesystems have, too: 0, -EOPNOTSUPP, or -EINVAL for a bare prefix. */
static int check_name(const char *name)
{
	static const char *const prefixes[] = { "user.", "trusted.", "security." };
	for (unsigned i = 0; i < 3; i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return name[strlen(prefixes[i])] ? 0 : -EINVAL;
	return is_acl(name) ? 0 : -EOPNOTSUPP;
}

static void reply_bytes(fuse_req_t req, int r, const struct buf *b, size_t size)
{
	if (r < 0)
		reply_result(req, r);
	else if (size == 0)
		fuse_reply_xattr(req, b->len);
	else if (b->len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, (const char *)b->data, b->len);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *fs = fs_of(req);
	uint32_t flags = 0;
	CLEANUP_BUF struct buf val = { 0 };
	int r = check_name(name);
	if (r == 0)
		r = flags_of(fs, ino, &flags);
	if (r == 0)
		r = flags & INODE_XATTRS ? xattr_get(fs_kv(fs), ino, name, &val) : -ENODATA;
	reply_bytes(req, r, &val, size);
}

/* Takes the names out that only root may know of. */
static void hide_trusted(struct buf *names)
{
	size_t kept = 0;
	for (size_t at = 0, len; at < names->len; at += len) {
		len = strlen((char *)names->data + at) + 1;
		if (strncmp((char *)names->data + at, "trusted.", 8)) {
			memmove(names->data + kept, names->data + at, len);
			kept += len;
		}
	}
	names->len = kept;
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *fs = fs_of(req);
	uint32_t flags = 0;
	CLEANUP_BUF struct buf names = { 0 };
	int r = flags_of(fs, ino, &flags);
	if (r == 0 && (flags & INODE_XATTRS))
		r = xattr_list(fs_kv(fs), ino, &names);
	if (r == 0 && fuse_req_ctx(req)->uid != 0)
		hide_trusted(&names);
	reply_bytes(req, r, &names, size);
}

/* ACL_ACCESS changes the mode too, and is not stored when the mode says it all. */
static int put_acl(fuse_req_t req, struct inode_row *row, struct kv_batch *b, const char *name,
		   const char *value, size_t size)
{
	bool needed = true;
	int r = acl_check(value, size);
	if (r == 0 && !strcmp(name, ACL_ACCESS)) {
		r = acl_take_mode(row, value, size, &needed);
		if (r == 0 && !caller_in_group(req, row->gid))
			row->mode &= ~(uint32_t)S_ISGID;
	}
	if (r < 0)
		return r;
	if (needed) {
		xattr_put(b, row->ino, name, value, size);
		row->flags |= INODE_XATTRS | INODE_ACL;
	} else {
		xattr_delete(b, row->ino, name);
	}
	return 0;
}

static int check_exists(struct fs *fs, const struct inode *in, const char *name, int flags)
{
	CLEANUP_BUF struct buf old = { 0 };
	int r = in->row.flags & INODE_XATTRS ? xattr_get(fs_kv(fs), in->ino, name, &old) : -ENODATA;
	if (r == 0)
		return flags & XATTR_CREATE ? -EEXIST : 0;
	if (r == -ENODATA)
		return flags & XATTR_REPLACE ? -ENODATA : 0;
	return r;
}

/* The kernel hands out at most XATTR_LIST_MAX bytes of names: one more than fit would make all of
 * them unreadable. */
static int check_names_fit(struct fs *fs, const struct inode *in, const char *name)
{
	CLEANUP_BUF struct buf names = { 0 };
	if (!(in->row.flags & INODE_XATTRS))
		return 0;
	int r = xattr_list(fs_kv(fs), in->ino, &names);
	if (r < 0 ||
	    names.len + strlen(name) + 1 <= XATTR_LIST_MAX - sizeof ACL_ACCESS - sizeof ACL_DEFAULT)
		return r < 0 ? r : 0;
	return check_exists(fs, in, name, XATTR_REPLACE) == 0 ? 0 : -ENOSPC;
}

static int set_locked(fuse_req_t req, struct inode *in, const char *name, const char *value,
		      size_t size, int flags)
{
	struct fs *fs = fs_of(req);
	int r = flags ? check_exists(fs, in, name, flags) : 0;
	if (r == 0 && !is_acl(name))
		r = check_names_fit(fs, in, name);
	if (r < 0)
		return r;
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	struct inode_row before = in->row;
	if (is_acl(name)) {
		r = put_acl(req, &in->row, change_batch(c), name, value, size);
	} else {
		xattr_put(change_batch(c), in->ino, name, value, size);
		in->row.flags |= INODE_XATTRS | (strcmp(name, CAPABILITY) ? 0 : INODE_CAPS);
	}
	in->row.ctime = clock_wall_ns();
	if (r == 0) {
		inode_stage(in, c);
		r = inode_commit(in, c);
	} else {
		change_drop(c);
	}
	if (r < 0)
		in->row = before;
	return r;
}

static int remove_locked(fuse_req_t req, struct inode *in, const char *name)
{
	struct fs *fs = fs_of(req);
	int r = check_exists(fs, in, name, XATTR_REPLACE);
	if (r < 0) /* an ACL that the mode expresses is not stored, and yet may be removed */
		return r == -ENODATA && is_acl(name) ? 0 : r;
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	struct inode_row before = in->row;
	xattr_delete(change_batch(c), in->ino, name);
	if (!strcmp(name, CAPABILITY))
		in->row.flags &= ~(uint32_t)INODE_CAPS;
	in->row.ctime = clock_wall_ns();
	inode_stage(in, c);
	r = inode_commit(in, c);
	if (r < 0)
		in->row = before;
	return r;
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
		 int flags)
{
	struct fs *fs = fs_of(req);
	struct inode *in = NULL;
	int r = check_name(name);
	if (r == 0)
		r = fs_may_write(fs);
	if (r == 0 && size > XATTR_VALUE_MAX)
		r = -E2BIG;
	if (r == 0)
		r = inode_get(fs, ino, &in);
	if (r == 0) {
		pthread_rwlock_wrlock(&in->lock);
		r = in->gone ? -ESTALE : set_locked(req, in, name, value, size, flags);
		pthread_rwlock_unlock(&in->lock);
		inode_put(fs, in);
	}
	reply_result(req, r);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct fs *fs = fs_of(req);
	struct inode *in = NULL;
	int r = check_name(name);
	if (r == 0)
		r = fs_may_write(fs);
	if (r == 0)
		r = inode_get(fs, ino, &in);
	if (r == 0) {
		pthread_rwlock_wrlock(&in->lock);
		r = in->gone ? -ESTALE : remove_locked(req, in, name);
		pthread_rwlock_unlock(&in->lock);
		inode_put(fs, in);
	}
	reply_result(req, r);
}
