// SPDX-License-Identifier: MIT
/* Directories are read by cookie, without state between calls: opendir is answered ENOSYS once, and
 * the kernel asks no more. Offsets 1 and 2 stand for "." and "..".
 */
#include "cleanup.h"
#include "dirent_row.h"
#include "lookups.h"
#include "ops.h"
#include <stdlib.h>

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

struct listing {
	fuse_req_t req;
	struct fs *fs;
	bool plus;	 /* how the kernel wants entries */
	bool attributes; /* with what it would else look up */
	unsigned names;	 /* given without */
	char *buf;
	size_t size, used;
};

/* Adds one entry; false when it does not fit. */
static bool add_plain(struct listing *l, const char *name, uint64_t ino, unsigned type, off_t next)
{
	struct stat st = { .st_ino = ino, .st_mode = (mode_t)(type << 12) };
	size_t room = l->size - l->used;
	size_t n = fuse_add_direntry(l->req, l->buf + l->used, room, name, &st, next);
	if (n > room)
		return false;
	l->used += n;
	return true;
}

static bool add_plus(struct listing *l, const struct dirent_row *d)
{
	struct attributes attr;
	struct fuse_entry_param e = { 0 };
	size_t room = l->size - l->used;
	if (fuse_add_direntry_plus(l->req, NULL, 0, d->name, NULL, 0) > room)
		return false;
	if (l->attributes && inode_stat_by_number(l->fs, d->ino, &attr) == 0 &&
	    entry_fill(l->fs, &attr, &e) == 0) {
		l->used += fuse_add_direntry_plus(l->req, l->buf + l->used, room, d->name, &e,
						  (off_t)d->cookie);
		return true;
	}
	/* The name alone. If there are no attributes to be had, lookup will say why. */
	l->names++;
	e.attr.st_ino = d->ino;
	e.attr.st_mode = (mode_t)d->type << 12;
	l->used += fuse_add_direntry_plus(l->req, l->buf + l->used, room, d->name, &e,
					  (off_t)d->cookie);
	return true;
}

/* "." and "..": never looked up, whatever the call. */
static bool add_dot(struct listing *l, const char *name, uint64_t ino, off_t next)
{
	if (!l->plus)
		return add_plain(l, name, ino, S_IFDIR >> 12, next);
	struct fuse_entry_param e = { .attr = { .st_ino = ino, .st_mode = S_IFDIR } };
	size_t room = l->size - l->used;
	size_t n = fuse_add_direntry_plus(l->req, l->buf + l->used, room, name, &e, next);
	if (n > room)
		return false;
	l->used += n;
	return true;
}

static int add_entries(struct listing *l, uint64_t ino, uint64_t after)
{
	struct dirent_iter *it = dirent_iter_new(fs_kv(l->fs), ino, after);
	struct dirent_row d;
	int r;
	if (!it)
		return -ENOMEM;
	while ((r = dirent_iter_next(it, &d)) > 0)
		if (!(l->plus ? add_plus(l, &d)
			      : add_plain(l, d.name, d.ino, d.type, (off_t)d.cookie)))
			break;
	dirent_iter_free(it);
	return r < 0 && l->used == 0 ? r : 0;
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct fs *fs = fs_of(req);
	struct inode_row row;
	int r = inode_row_get(fs_kv(fs), ino, &row);
	if (r == 0 && !inode_is_dir(&row))
		r = -ENOTDIR;
	CLEANUP_FREE char *buf = r == 0 ? malloc(size) : NULL;
	if (r == 0 && !buf)
		r = -ENOMEM;
	struct inode *dir;
	if (r == 0 && off == 0 && inode_get(fs, ino, &dir) == 0) {
		inode_accessed(fs, dir);
		inode_put(fs, dir);
	}
	pid_t pid = fuse_req_ctx(req)->pid;
	struct listing l = { .req = req, .fs = fs, .plus = plus, .buf = buf, .size = size };
	l.attributes = off == 0 || listers_want_attributes(&fs->listers, pid);
	bool room = true;
	if (r == 0 && off < 1)
		room = add_dot(&l, ".", ino, 1);
	if (r == 0 && room && off < 2)
		room = add_dot(&l, "..", row.parent ? row.parent : ino, 2);
	if (r == 0 && room && row.nlink)
		r = add_entries(&l, ino, off <= 2 ? 0 : (uint64_t)off);
	if (l.names)
		listers_listed(&fs->listers, pid, l.names);
	if (r < 0)
		reply_result(req, r == -ENOENT ? -ESTALE : r);
	else
		fuse_reply_buf(req, buf, l.used);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, ino, size, off, true);
}

static void synced(void *arg, int err)
{
	reply_result(arg, err);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	(void)ino;
	(void)datasync;
	(void)fi;
	kv_sync_async(fs_kv(fs), UINT64_MAX, synced, req);
}
