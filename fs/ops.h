// SPDX-License-Identifier: MIT
/* ops: the FUSE entry points (op_*) and what they share. Each is thin: take the request apart, call
 * namespace/content/inode, reply. What may block is queued to fs.waiters and replied from there.
 */
#ifndef FOLDFS_OPS_H
#define FOLDFS_OPS_H
#include "inode.h"
#include "mode.h"
#include "namespace.h"
#include <assert.h>
#include <fuse_lowlevel.h>
#include <stdalign.h>

/* What an open file description leads to. Holds a reference. It lives in fuse_file_info.fh, in the bits
 * that an inode's address leaves free: nothing to allocate, nor to leak when RELEASE never comes. */
struct handle {
	struct inode *inode;
	enum open_mode mode;
	bool writes;
};

static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}
static inline struct handle handle_of(const struct fuse_file_info *fi)
{
	return (struct handle){
		.inode = (struct inode *)(uintptr_t)(fi->fh & ~(uint64_t)7),
		.mode = (enum open_mode)(fi->fh & 3),
		.writes = fi->fh & 4,
	};
}
static inline uint64_t handle_pack(const struct handle *h)
{
	static_assert(OPEN_DIRECT < 4 && alignof(struct inode) >= 8, "no bits are free");
	return (uintptr_t)h->inode | h->mode | (h->writes ? 4 : 0);
}
/* Replies with an error given as -errno (0: success). */
static inline void reply_result(fuse_req_t req, int r)
{
	fuse_reply_err(req, r < 0 ? -r : 0);
}
/* The log has the cause when the disk is to blame for an error that the caller gets. */
void log_refusal(uint64_t ino, const char *what, int err);
struct caller caller_of(fuse_req_t req);
/* Fills an entry and counts the lookup; call entry_undo() when the reply was not taken. */
int entry_fill(struct fs *fs, const struct attributes *attr, struct fuse_entry_param *ret_e);
void entry_undo(struct fs *fs, uint64_t ino);
/* The kernel gave up n lookups of the inode. */
void lookups_dropped(struct fs *fs, uint64_t ino, uint64_t n);
/* Clears setuid, setgid and capabilities as a write by somebody unprivileged must, in the row and the
 * batch, or with a commit of its own. Locked inode. */
void inode_kill_privileges(fuse_req_t req, struct inode *inode, struct kv_batch *b);
int inode_drop_privileges(fuse_req_t req, struct inode *inode);
/* Capabilities alone, as a write by anybody must, root included. */
int inode_drop_capabilities(fuse_req_t req, struct inode *inode);
bool inode_has_privileges(const struct inode *inode);
/* The caller's gid or one of its groups; always for root. */
bool caller_in_group(fuse_req_t req, gid_t gid);

/* Opens a locked inode: decides the mode, prepares content, fills fi. The reference is taken over
 * by the handle on success. */
int open_inode(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi, bool created);
/* req NULL: the open was never answered, so the kernel has no backing file to be told of. */
void close_handle(struct fs *fs, fuse_req_t req, struct handle h);

void op_init(void *userdata, struct fuse_conn_info *conn);
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	       const char *newname, unsigned int flags);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
		 int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
#endif
