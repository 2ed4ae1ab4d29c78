// SPDX-License-Identifier: MIT
#include "acl.h"
#include "cleanup.h"
#include "clock.h"
#include "content.h"
#include "hot.h"
#include "missing.h"
#include "ops.h"
#include "passthrough.h"
#include "read_ahead.h"
#include "settle.h"
#include "space.h"
#include "xattr_row.h"
#include <sys/statvfs.h>

static void reply_attr(fuse_req_t req, struct fs *fs, int r, const struct attributes *attr)
{
	if (r < 0)
		reply_result(req, r);
	else
		fuse_reply_attr(req, &attr->st, attr->is_volatile ? 0 : fs->attr_timeout);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct attributes attr;
	(void)fi;
	if (ino == FUSE_ROOT_ID) {
		passthrough_probe(req);
		read_ahead_tell(fs);
	}
	reply_attr(req, fs, inode_stat_by_number(fs, ino, &attr), &attr);
}

bool inode_has_privileges(const struct inode *inode)
{
	uint32_t mode = inode->row.mode;
	return mode & (S_ISUID | S_ISGID) || inode->row.flags & INODE_CAPS;
}

static void delete_capabilities(struct inode *inode, struct kv_batch *b)
{
	xattr_delete(b, inode->ino, "security.capability");
	inode->row.flags &= ~(uint32_t)INODE_CAPS;
}

void inode_kill_privileges(fuse_req_t req, struct inode *inode, struct kv_batch *b)
{
	inode->row.mode &= ~(uint32_t)S_ISUID;
	if (inode->row.mode & S_IXGRP || !caller_in_group(req, inode->row.gid))
		inode->row.mode &= ~(uint32_t)S_ISGID;
	if (inode->row.flags & INODE_CAPS)
		delete_capabilities(inode, b);
}

int inode_drop_privileges(fuse_req_t req, struct inode *inode)
{
	if (!inode_has_privileges(inode))
		return 0;
	struct change *c = change_new(fs_of(req)->pool->extents);
	if (!c)
		return -ENOMEM;
	inode_kill_privileges(req, inode, change_batch(c));
	inode_stage(inode, c);
	/* after a write the kernel asks again for sizes and times, not for the mode */
	fuse_lowlevel_notify_inval_inode(fs_of(req)->session, inode->ino, -1, 0);
	return inode_commit(inode, c);
}

int inode_drop_capabilities(fuse_req_t req, struct inode *inode)
{
	if (!(inode->row.flags & INODE_CAPS))
		return 0;
	struct change *c = change_new(fs_of(req)->pool->extents);
	if (!c)
		return -ENOMEM;
	delete_capabilities(inode, change_batch(c));
	inode_stage(inode, c);
	return inode_commit(inode, c);
}

static int set_size(struct fs *fs, struct inode *in, uint64_t size, struct missing *m)
{
	int r = content_ready(fs, in);
	if (r == 0)
		r = hot_give_way(fs, in);
	if (r < 0)
		return r;
	if (in->native_written && !in->native_opens && staging_idle(in->fd, false) == 1)
		inode_end_native(in); /* sizes beyond the staging file's are possible again */
	if (!in->native_written || in->fd < 0) {
		r = content_truncate(fs, in, size, m);
	} else {
		settle_disturb(in, 0, UINT64_MAX);
		r = ftruncate(in->fd, (off_t)size) ? -errno : 0;
		inode_absorb_native(in);
	}
	if (r == 0 && !in->opens && !in->row.staging_gen && !in->held)
		content_rest(fs, in);
	else if (r == 0 && !in->opens)
		settle_schedule(fs, in);
	return r;
}

static void set_times(struct inode *in, const struct stat *attr, int to_set, int64_t now)
{
	bool native = in->native_written;
	if (native)
		inode_absorb_native(in);
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		in->row.atime = now;
	else if (to_set & FUSE_SET_ATTR_ATIME)
		in->row.atime = clock_ns_of(&attr->st_atim);
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		in->row.mtime = now;
	else if (to_set & FUSE_SET_ATTR_MTIME)
		in->row.mtime = clock_ns_of(&attr->st_mtim);
	in->row.ctime = to_set & FUSE_SET_ATTR_CTIME ? clock_ns_of(&attr->st_ctim) : now;
	if (native && (to_set & ~FUSE_SET_ATTR_CTIME)) {
		in->native_written = false; /* the staging file gets the times anew */
		inode_begin_native(in);
	}
}

#define SET_TIMES                                                                                  \
	(FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |                     \
	 FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME)

#define SET_ANY                                                                                    \
	(SET_TIMES | FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID |                  \
	 FUSE_SET_ATTR_KILL_SUID)

/* With the writeback cache, the kernel's own change time comes along. */
static bool is_empty(int to_set)
{
	return !(to_set & ~FUSE_SET_ATTR_CTIME);
}

static int set_attributes(fuse_req_t req, struct inode *in, const struct stat *attr, int to_set)
{
	struct fs *fs = fs_of(req);
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	struct inode_row before = in->row;
	int64_t now = clock_wall_ns();
	int r = 0;
	bool owner = to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID);
	if (!inode_is_dir(&in->row) &&
	    (owner || (to_set & FUSE_SET_ATTR_KILL_SUID) || is_empty(to_set)))
		inode_kill_privileges(req, in, change_batch(c));
	if (to_set & FUSE_SET_ATTR_UID)
		in->row.uid = attr->st_uid;
	if (to_set & FUSE_SET_ATTR_GID)
		in->row.gid = attr->st_gid;
	if (to_set & FUSE_SET_ATTR_MODE) {
		in->row.mode = (in->row.mode & S_IFMT) | (attr->st_mode & 07777);
		r = acl_chmod(fs, &in->row, change_batch(c));
	}
	set_times(in, attr, to_set & SET_TIMES, now);
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

/* An empty request comes after a write to a natively open file, and from chown(path, -1, -1), by which
 * a stranger could strip any program of its setuid bit: other filesystems say EPERM, too. */
static bool may_drop_privileges(fuse_req_t req, const struct inode *in)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	return uid == 0 || uid == in->row.uid || in->writers || inode_is_dir(&in->row) ||
	       !inode_has_privileges(in);
}

struct setattr_job {
	struct job job;
	fuse_req_t req;
	struct inode *inode; /* a reference */
	struct stat attr;
	int to_set;
};

static int setattr_locked(const struct setattr_job *j, struct missing *m)
{
	struct fs *fs = fs_of(j->req);
	struct inode *in = j->inode;
	int r = in->gone ? -ESTALE : 0, to_set = j->to_set & ~FUSE_SET_ATTR_SIZE;
	bool sized = j->to_set & FUSE_SET_ATTR_SIZE;
	if (r == 0 && in->native_written)
		r = content_ready(fs, in);
	if (r == 0 && is_empty(j->to_set) && !may_drop_privileges(j->req, in))
		r = -EPERM;
	if (r == 0 && sized) /* first: it may have to be tried again */
		r = inode_is_dir(&in->row) ? -EISDIR
					   : set_size(fs, in, (uint64_t)j->attr.st_size, m);
	if (r == 0 && (to_set & SET_ANY || !sized))
		r = set_attributes(j->req, in, &j->attr, to_set);
	return r;
}

static int setattr_now(const struct setattr_job *j, struct missing *m, struct attributes *ret_attr)
{
	struct fs *fs = fs_of(j->req);
	struct inode *in = j->inode;
	pthread_rwlock_wrlock(&in->lock);
	int r = setattr_locked(j, m);
	inode_stat(fs, in, &ret_attr->st);
	ret_attr->is_volatile = inode_volatile(in);
	content_rest(fs, in);
	pthread_rwlock_unlock(&in->lock);
	return r;
}

static void setattr_reply(const struct setattr_job *j, int r, const struct attributes *attr)
{
	struct fs *fs = fs_of(j->req);
	log_refusal(j->inode->ino, "change of attributes", r);
	inode_put(fs, j->inode);
	reply_attr(j->req, fs, r, attr);
}

static void setattr_waiting(struct job *job)
{
	struct setattr_job *j = (struct setattr_job *)job;
	struct missing m = { 0 };
	struct attributes out;
	int r;
	do
		r = setattr_now(j, &m, &out);
	while (r == -EAGAIN && (r = missing_fetch(fs_of(j->req), j->inode, &m)) == 0);
	missing_done(&m);
	setattr_reply(j, r, &out);
	free(j);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct setattr_job now = {
		.job.run = setattr_waiting, .req = req, .attr = *attr, .to_set = to_set
	};
	struct missing m = { 0 };
	struct attributes out;
	(void)fi;
	int r = fs_may_write(fs);
	if (r == 0)
		r = inode_get(fs, ino, &now.inode);
	if (r < 0) {
		reply_result(req, r);
		return;
	}
	r = setattr_now(&now, &m, &out);
	missing_done(&m);
	struct setattr_job *later = r == -EAGAIN ? malloc(sizeof *later) : NULL;
	if (later) {
		*later = now;
		workers_queue(fs->waiters, &later->job);
		return;
	}
	setattr_reply(&now, r == -EAGAIN ? -ENOMEM : r, &out);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct pool_space space;
	(void)ino;
	space_tick(fs); /* first: it may make the reserve again */
	int r = pool_space(fs->pool, &space);
	if (r < 0) {
		reply_result(req, r);
		return;
	}
	uint64_t own =
		space.packs + space.index + space.wal + space.staging + space.cache + hot_bytes(fs);
	uint64_t avail = space_level(fs) == SPACE_FULL || space.backing_avail < POOL_ROOM_FULL
				 ? 0
				 : space.backing_avail - POOL_ROOM_FULL;
	uint64_t inodes = fs->inodes_before + atomic_load(&fs->count.creates) -
			  atomic_load(&fs->count.reaped);
	struct statvfs st = {
		.f_bsize = 4096,
		.f_frsize = 4096,
		.f_blocks = (own + space.backing_free) / 4096,
		.f_bfree = space.backing_free / 4096,
		.f_bavail = avail / 4096,
		.f_files = inodes + space.backing_free / 4096,
		.f_ffree = space.backing_free / 4096,
		.f_favail = avail / 4096,
		.f_namemax = 255,
	};
	fuse_reply_statfs(req, &st);
}
