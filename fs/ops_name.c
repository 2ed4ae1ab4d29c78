// SPDX-License-Identifier: MIT
#include "cleanup.h"
#include "lookups.h"
#include "ops.h"
#include "reaper.h"

struct caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	return (struct caller){ ctx->uid, ctx->gid, ctx->umask };
}

bool caller_in_group(fuse_req_t req, gid_t gid)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	if (ctx->uid == 0 || ctx->gid == gid)
		return true;
	gid_t groups[256];
	int n = fuse_req_getgroups(req, 256, groups);
	for (int i = 0; i < n && i < 256; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

int entry_fill(struct fs *fs, const struct attributes *attr, struct fuse_entry_param *ret_e)
{
	int r = lookups_add(fs->lookups, attr->st.st_ino);
	if (r < 0)
		return r;
	*ret_e = (struct fuse_entry_param){
		.ino = attr->st.st_ino,
		.generation = 1, /* inode numbers are never used again */
		.attr = attr->st,
		.attr_timeout = attr->is_volatile ? 0 : fs->attr_timeout,
		.entry_timeout = fs->entry_timeout,
	};
	return 0;
}

void lookups_dropped(struct fs *fs, uint64_t ino, uint64_t n)
{
	int notes = lookups_forget(fs->lookups, ino, n);
	if (notes > 0 && (notes & LOOKUP_ORPHAN))
		reaper_queue(fs, ino);
}

void entry_undo(struct fs *fs, uint64_t ino)
{
	lookups_dropped(fs, ino, 1);
}

static void reply_entry(fuse_req_t req, int r, const struct fuse_entry_param *e)
{
	struct fs *fs = fs_of(req);
	if (r < 0)
		reply_result(req, r);
	else if (fuse_reply_entry(req, e))
		entry_undo(fs, e->ino);
}

/* For a name just made: who is told of an error must not find it there. */
static void reply_made(fuse_req_t req, int r, const struct attributes *attr, fuse_ino_t parent,
		       const char *name)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e;
	if (r == 0) {
		r = entry_fill(fs, attr, &e);
		if (r < 0)
			name_unmake(fs, parent, name, attr->st.st_ino);
	}
	reply_entry(req, r, &e);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct attributes attr;
	int r = name_lookup(fs, parent, name, &attr);
	atomic_fetch_add(&fs->count.lookups, 1);
	if (r == -ENOENT && fs->entry_timeout > 0) {
		fuse_reply_entry(req,
				 &(struct fuse_entry_param){ .entry_timeout = fs->entry_timeout });
		return;
	}
	struct fuse_entry_param e;
	if (r == 0) {
		listers_looked_up(&fs->listers, fuse_req_ctx(req)->pid);
		r = entry_fill(fs, &attr, &e);
	}
	reply_entry(req, r, &e);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	lookups_dropped(fs_of(req), ino, n);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		lookups_dropped(fs_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void make_and_reply(fuse_req_t req, const struct name_request *want)
{
	struct fs *fs = fs_of(req);
	struct inode *in = NULL;
	struct attributes attr = { 0 };
	int r = name_make(fs, want, &in);
	if (r == 0)
		inode_to_stat(&in->row, &attr.st);
	reply_made(req, r, &attr, want->parent, want->name);
	inode_put(fs, in);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	make_and_reply(req, &(struct name_request){ .caller = caller_of(req),
						    .parent = parent,
						    .name = name,
						    .mode = mode,
						    .rdev = rdev });
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make_and_reply(req, &(struct name_request){ .caller = caller_of(req),
						    .parent = parent,
						    .name = name,
						    .mode = (mode & 07777) | S_IFDIR });
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make_and_reply(req, &(struct name_request){ .caller = caller_of(req),
						    .parent = parent,
						    .name = name,
						    .mode = S_IFLNK | 0777,
						    .target = target });
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_result(req, name_unlink(fs_of(req), parent, name));
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_result(req, name_rmdir(fs_of(req), parent, name));
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	       const char *newname, unsigned int flags)
{
	reply_result(req, name_rename(fs_of(req), parent, name, newparent, newname, flags));
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	struct attributes attr;
	int r = name_link(fs_of(req), ino, newparent, newname, &attr);
	reply_made(req, r, &attr, newparent, newname);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	CLEANUP_BUF struct buf target = { 0 };
	int r = inline_get(fs_kv(fs_of(req)), ino, &target);
	buf_put_u8(&target, 0);
	if (r == 0 && (target.failed || target.len <= 1))
		r = target.failed ? -ENOMEM : -EIO;
	if (r < 0)
		reply_result(req, r == -ENOENT ? -EINVAL : r);
	else
		fuse_reply_readlink(req, (char *)target.data);
}
