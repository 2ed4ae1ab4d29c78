// SPDX-License-Identifier: MIT
/* The table of entry points. Between it and each op_* stands a function that counts. What has no entry
 * here is answered ENOSYS by the library, mostly once, since the kernel then asks no more. So with FLUSH:
 * close has nothing to report that a write did not, and with the writeback cache the kernel writes what it
 * has before it would ask.
 */
#include "company.h"
#include "follow.h"
#include "ops.h"

#define SMALL_WRITE (64u << 10)

#define COUNTED_AS(company, kind, params, args)                                                    \
	static void counted_##kind params                                                          \
	{                                                                                          \
		struct fs *fs = fs_of(req); /* req is gone afterwards */                           \
		atomic_fetch_add_explicit(&fs->requests.kind, 1, memory_order_relaxed);            \
		company_enter(fs, fuse_req_ctx(req)->pid, company);                                \
		follow_enter(fs->follow);                                                          \
		op_##kind args;                                                                    \
		follow_leave(fs->follow);                                                          \
		company_leave(fs);                                                                 \
	}
#define COUNTED(kind, params, args) COUNTED_AS(COMPANY_SERIAL, kind, params, args)

COUNTED(lookup, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))
COUNTED_AS(COMPANY_ASIDE, forget, (fuse_req_t req, fuse_ino_t ino, uint64_t n), (req, ino, n))
COUNTED(getattr, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))
COUNTED(setattr,
	(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi),
	(req, ino, attr, to_set, fi))
COUNTED(readlink, (fuse_req_t req, fuse_ino_t ino), (req, ino))
COUNTED(mknod, (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev),
	(req, parent, name, mode, rdev))
COUNTED(mkdir, (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode),
	(req, parent, name, mode))
COUNTED(unlink, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))
COUNTED(rmdir, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))
COUNTED(symlink, (fuse_req_t req, const char *target, fuse_ino_t parent, const char *name),
	(req, target, parent, name))
COUNTED(rename,
	(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	 const char *newname, unsigned int flags),
	(req, parent, name, newparent, newname, flags))
COUNTED(link, (fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname),
	(req, ino, newparent, newname))
COUNTED(open, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))
COUNTED(create,
	(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	 struct fuse_file_info *fi),
	(req, parent, name, mode, fi))
COUNTED(tmpfile, (fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi),
	(req, parent, mode, fi))
COUNTED_AS(COMPANY_ASIDE, release, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi),
	   (req, ino, fi))
/* What is read from its beginning may be all there is; more of it comes ahead of being wanted. */
COUNTED_AS(off ? COMPANY_AT_ONCE : COMPANY_SERIAL, read,
	   (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi),
	   (req, ino, size, off, fi))
/* Small ones come one after the other, as a rule. */
COUNTED_AS(size > SMALL_WRITE ? COMPANY_AT_ONCE : COMPANY_SERIAL, write,
	   (fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	    struct fuse_file_info *fi),
	   (req, ino, buf, size, off, fi))
COUNTED(fsync, (fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi),
	(req, ino, datasync, fi))
COUNTED(fallocate,
	(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
	 struct fuse_file_info *fi),
	(req, ino, mode, offset, length, fi))
COUNTED(lseek, (fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi),
	(req, ino, off, whence, fi))
COUNTED(copy_file_range,
	(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
	 fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags),
	(req, ino_in, off_in, fi_in, ino_out, off_out, fi_out, len, flags))
COUNTED(opendir, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))
COUNTED(readdir,
	(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi),
	(req, ino, size, off, fi))
COUNTED(readdirplus,
	(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi),
	(req, ino, size, off, fi))
COUNTED(fsyncdir, (fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi),
	(req, ino, datasync, fi))
COUNTED(statfs, (fuse_req_t req, fuse_ino_t ino), (req, ino))
COUNTED(setxattr,
	(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
	 int flags),
	(req, ino, name, value, size, flags))
COUNTED(getxattr, (fuse_req_t req, fuse_ino_t ino, const char *name, size_t size),
	(req, ino, name, size))
COUNTED(listxattr, (fuse_req_t req, fuse_ino_t ino, size_t size), (req, ino, size))
COUNTED(removexattr, (fuse_req_t req, fuse_ino_t ino, const char *name), (req, ino, name))

static void counted_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	atomic_fetch_add_explicit(&fs_of(req)->requests.forget, 1, memory_order_relaxed);
	op_forget_multi(req, count, forgets);
}

const struct fuse_lowlevel_ops request_operations = {
	.init = op_init,
	.lookup = counted_lookup,
	.forget = counted_forget,
	.forget_multi = counted_forget_multi,
	.getattr = counted_getattr,
	.setattr = counted_setattr,
	.readlink = counted_readlink,
	.mknod = counted_mknod,
	.mkdir = counted_mkdir,
	.unlink = counted_unlink,
	.rmdir = counted_rmdir,
	.symlink = counted_symlink,
	.rename = counted_rename,
	.link = counted_link,
	.open = counted_open,
	.create = counted_create,
	.tmpfile = counted_tmpfile,
	.release = counted_release,
	.read = counted_read,
	.write = counted_write,
	.fsync = counted_fsync,
	.fallocate = counted_fallocate,
	.lseek = counted_lseek,
	.copy_file_range = counted_copy_file_range,
	.opendir = counted_opendir,
	.readdir = counted_readdir,
	.readdirplus = counted_readdirplus,
	.fsyncdir = counted_fsyncdir,
	.statfs = counted_statfs,
	.setxattr = counted_setxattr,
	.getxattr = counted_getxattr,
	.listxattr = counted_listxattr,
	.removexattr = counted_removexattr,
};
