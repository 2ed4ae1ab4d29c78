// SPDX-License-Identifier: MIT
/* Making, linking and removing names. rename is in rename.c.
 *
 * Each function: lock the directory, look at the rows, change copies of them, commit one batch, and
 * only then take the changed rows over. fs.names is held shared (see fs.h for the order).
 */
#include "namespace.h"
#include "acl.h"
#include "cleanup.h"
#include "clock.h"
#include "dirent_row.h"
#include "log.h"
#include "lookups.h"
#include "namespace_impl.h"
#include "reaper.h"
#include "settle.h"
#include "space.h"
#include <fcntl.h>

int dir_lock(struct fs *fs, uint64_t ino, struct inode **ret_dir)
{
	struct inode *dir;
	int r = inode_get(fs, ino, &dir);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&dir->lock);
	r = !inode_is_dir(&dir->row) ? -ENOTDIR : dir->gone || dir->row.nlink == 0 ? -ENOENT : 0;
	if (r < 0) {
		pthread_rwlock_unlock(&dir->lock);
		inode_put(fs, dir);
		return r;
	}
	*ret_dir = dir;
	return 0;
}

void unlock_put(struct fs *fs, struct inode *in)
{
	if (!in)
		return;
	pthread_rwlock_unlock(&in->lock);
	inode_put(fs, in);
}

void orphan_put(struct kv_batch *b, uint64_t ino)
{
	uint8_t key[8], why = 1;
	put_be64(key, ino);
	kv_batch_put(b, KV_ORPHAN, key, sizeof key, &why, 1);
}

static void orphan_delete(struct kv_batch *b, uint64_t ino)
{
	uint8_t key[8];
	put_be64(key, ino);
	kv_batch_delete(b, KV_ORPHAN, key, sizeof key);
}

void orphan_note(struct fs *fs, struct inode *in)
{
	lookups_note(fs->lookups, in->ino, LOOKUP_ORPHAN, 0);
	if (!in->opens && !lookups_count(fs->lookups, in->ino))
		reaper_queue(fs, in->ino);
}

static int lookup_special(struct fs *fs, uint64_t parent, bool up, struct attributes *ret_attr)
{
	struct inode_row row;
	int r = inode_row_get(fs_kv(fs), parent, &row);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	if (up && !inode_is_dir(&row))
		return -ENOTDIR;
	return inode_stat_by_number(fs, up && row.parent ? row.parent : parent, ret_attr);
}

int name_lookup(struct fs *fs, uint64_t parent, const char *name, struct attributes *ret_attr)
{
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return lookup_special(fs, parent, name[1] == '.', ret_attr);
	struct dirent_row d;
	int r = dirent_get(fs_kv(fs), parent, name, &d);
	if (r < 0)
		return r;
	r = inode_stat_by_number(fs, d.ino, ret_attr);
	return r == -ESTALE ? -EUCLEAN : r; /* a name must lead somewhere */
}

/* The new inode's row, before ACLs. */
static int new_row(struct fs *fs, const struct name_request *req, const struct inode_row *dir,
		   struct inode_row *ret_row)
{
	struct inode_row row = { 0 };
	int r = ids_next(fs->pool->inode_ids, &row.ino);
	if (r < 0)
		return r;
	row.mode = req->mode;
	row.uid = req->caller.uid;
	row.gid = req->caller.gid;
	if (dir->mode & S_ISGID) {
		row.gid = dir->gid;
		if (S_ISDIR(row.mode))
			row.mode |= S_ISGID;
	}
	row.nlink = S_ISDIR(row.mode) ? 2 : req->name ? 1 : 0;
	row.parent = S_ISDIR(row.mode) ? dir->ino : 0;
	row.rdev = S_ISCHR(row.mode) || S_ISBLK(row.mode) ? req->rdev : 0;
	row.size = req->target ? strlen(req->target) : 0;
	row.atime = row.mtime = row.ctime = row.btime = clock_wall_ns();
	*ret_row = row;
	return 0;
}

static int stage_new(struct fs *fs, const struct name_request *req, struct inode_row *dir,
		     struct inode_row *row, struct change *c)
{
	struct kv_batch *b = change_batch(c);
	int r = acl_inherit(fs, dir, req->caller.umask, row, b);
	if (r < 0)
		return r;
	if (req->target)
		inline_put(b, row->ino, req->target, row->size);
	inode_row_put(b, row);
	if (!req->name) {
		orphan_put(b, row->ino);
		return 0;
	}
	dir->mtime = dir->ctime = row->ctime;
	dir->size++;
	dir->nlink += S_ISDIR(row->mode);
	inode_row_put(b, dir);
	return 0;
}

static struct dirent_target target_of(const struct inode_row *row)
{
	return (struct dirent_target){ row->ino, (uint8_t)((row->mode & S_IFMT) >> 12) };
}

static int make_locked(struct fs *fs, const struct name_request *req, struct inode *dir,
		       struct inode **ret_inode)
{
	struct dirent_row d;
	uint64_t cookie = 0;
	struct inode_row row, dir_row = dir->row;
	int r = req->name ? dirent_find_place(fs_kv(fs), dir->ino, req->name, &d, &cookie)
			  : -ENOENT;
	if (r != -ENOENT)
		return r == 0 ? -EEXIST : r;
	r = new_row(fs, req, &dir_row, &row);
	if (r < 0)
		return r;
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	struct inode *in = NULL;
	struct dirent_target to = target_of(&row);
	r = stage_new(fs, req, &dir_row, &row, c);
	if (r == 0 && req->name)
		r = dirent_put_at(change_batch(c), dir->ino, cookie, req->name, &to);
	if (r == 0)
		r = inode_new(fs, &row, &in);
	if (r < 0) {
		change_drop(c);
		return r;
	}
	r = inode_commit(in, c);
	if (r < 0) {
		in->gone = true;
		inode_put(fs, in);
		return r;
	}
	dir->row = dir_row;
	dir->last_lsn = in->last_lsn;
	*ret_inode = in;
	return 0;
}

int name_make(struct fs *fs, const struct name_request *req, struct inode **ret_inode)
{
	struct inode *dir;
	int r = fs_may_write(fs);
	if (r == 0 && space_is_full(fs))
		r = -ENOSPC;
	if (r == 0 && req->target && strlen(req->target) > SYMLINK_MAX)
		r = -ENAMETOOLONG;
	if (r < 0)
		return r;
	pthread_rwlock_rdlock(&fs->names);
	r = dir_lock(fs, req->parent, &dir);
	if (r == 0) {
		r = make_locked(fs, req, dir, ret_inode);
		unlock_put(fs, dir);
	}
	pthread_rwlock_unlock(&fs->names);
	if (r == 0)
		atomic_fetch_add(&fs->count.creates, 1);
	return r;
}

int stage_data_first(struct fs *fs, struct inode *in, struct change *c, bool *ret_released)
{
	*ret_released = false;
	if (!S_ISREG(in->row.mode))
		return 0;
	if (in->held) {
		*ret_released = true;
		return inode_stage_hold(fs, in, c, true);
	}
	if (!in->row.staging_gen)
		return 0;
	CLEANUP_CLOSE int own = -1;
	if (in->fd < 0)
		own = staging_file(fs->pool->staging, in->ino, in->row.staging_gen, O_RDWR);
	if (in->fd < 0 && own < 0)
		return own == -ENOENT ? -EIO : own;
	struct kv_barrier *b = inode_data_barrier(fs, in, in->fd >= 0 ? in->fd : own);
	if (!b)
		return -ENOMEM;
	kv_batch_barrier(change_batch(c), b);
	return 0;
}

static int link_locked(struct fs *fs, struct inode *in, struct inode *dir, const char *name)
{
	struct dirent_row d;
	uint64_t cookie;
	int r = dirent_find_place(fs_kv(fs), dir->ino, name, &d, &cookie);
	if (r != -ENOENT)
		return r == 0 ? -EEXIST : r;
	if (inode_is_dir(&in->row))
		return -EPERM;
	if (in->gone)
		return -ENOENT;
	if (in->row.nlink >= UINT32_MAX - 1)
		return -EMLINK;
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	bool was_nameless = in->row.nlink == 0, released = false;
	struct inode_row dir_row = dir->row, before = in->row;
	dir_row.mtime = dir_row.ctime = in->row.ctime = clock_wall_ns();
	dir_row.size++;
	in->row.nlink++;
	struct dirent_target to = target_of(&in->row);
	r = dirent_put_at(change_batch(c), dir->ino, cookie, name, &to);
	if (r == 0)
		inode_stage(in, c);
	if (r == 0 && was_nameless) {
		orphan_delete(change_batch(c), in->ino);
		r = stage_data_first(fs, in, c, &released);
	}
	if (r == 0) {
		inode_row_put(change_batch(c), &dir_row);
		r = inode_commit(in, c);
	} else {
		change_drop(c);
	}
	if (r < 0) {
		in->row = before;
		return r;
	}
	if (released)
		inode_hold_released(fs, in, in->last_lsn);
	dir->row = dir_row;
	dir->last_lsn = in->last_lsn;
	lookups_note(fs->lookups, in->ino, 0, LOOKUP_ORPHAN);
	if (was_nameless && !in->opens) /* it was closed as what is to be reaped */
		settle_schedule(fs, in);
	return 0;
}

int name_link(struct fs *fs, uint64_t ino, uint64_t parent, const char *name,
	      struct attributes *ret_attr)
{
	struct inode *dir = NULL, *in = NULL;
	int r = fs_may_write(fs);
	if (r < 0)
		return r;
	pthread_rwlock_rdlock(&fs->names);
	r = dir_lock(fs, parent, &dir);
	if (r == 0)
		r = inode_get(fs, ino, &in);
	if (r == 0) {
		pthread_rwlock_wrlock(&in->lock);
		r = link_locked(fs, in, dir, name);
		if (r == 0) {
			inode_stat(fs, in, &ret_attr->st);
			ret_attr->is_volatile = inode_volatile(in);
		}
		unlock_put(fs, in);
	}
	unlock_put(fs, dir);
	pthread_rwlock_unlock(&fs->names);
	return r;
}

static int remove_locked(struct fs *fs, struct inode *dir, struct inode *in,
			 const struct dirent_row *d)
{
	bool is_dir = inode_is_dir(&in->row);
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	struct inode_row dir_row = dir->row, before = in->row;
	dir_row.mtime = dir_row.ctime = in->row.ctime = clock_wall_ns();
	dir_row.size -= dir_row.size > 0;
	dir_row.nlink -= is_dir;
	in->row.nlink = is_dir ? 0 : in->row.nlink - (in->row.nlink > 0);
	dirent_delete(change_batch(c), dir->ino, d->cookie);
	inode_row_put(change_batch(c), &dir_row);
	inode_stage(in, c);
	if (in->row.nlink == 0)
		orphan_put(change_batch(c), in->ino);
	kv_batch_set_reserve(change_batch(c));
	int r = inode_commit(in, c);
	if (r < 0) {
		in->row = before;
		return r;
	}
	dir->row = dir_row;
	dir->last_lsn = in->last_lsn;
	if (in->row.nlink == 0)
		orphan_note(fs, in);
	return 0;
}

static int name_remove(struct fs *fs, uint64_t parent, const char *name, bool want_dir)
{
	struct inode *dir = NULL, *in = NULL;
	struct dirent_row d;
	int r = fs_may_write(fs);
	if (r < 0)
		return r;
	pthread_rwlock_rdlock(&fs->names);
	r = dir_lock(fs, parent, &dir);
	if (r == 0)
		r = dirent_get(fs_kv(fs), parent, name, &d);
	if (r == 0)
		r = inode_get(fs, d.ino, &in);
	if (r == 0) {
		pthread_rwlock_wrlock(&in->lock);
		bool is_dir = inode_is_dir(&in->row);
		if (is_dir != want_dir)
			r = want_dir ? -ENOTDIR : -EISDIR;
		else if (is_dir)
			r = dirent_any(fs_kv(fs), in->ino);
		if (r == 1)
			r = -ENOTEMPTY;
		if (r == 0)
			r = remove_locked(fs, dir, in, &d);
		unlock_put(fs, in);
	}
	unlock_put(fs, dir);
	pthread_rwlock_unlock(&fs->names);
	if (r == 0)
		atomic_fetch_add(&fs->count.unlinks, 1);
	return r;
}

int name_unlink(struct fs *fs, uint64_t parent, const char *name)
{
	return name_remove(fs, parent, name, false);
}

int name_rmdir(struct fs *fs, uint64_t parent, const char *name)
{
	return name_remove(fs, parent, name, true);
}

static int unmake_locked(struct fs *fs, struct inode *dir, const char *name, uint64_t ino)
{
	struct dirent_row d;
	struct inode *in = NULL;
	int r = dirent_get(fs_kv(fs), dir->ino, name, &d);
	if (r < 0 || d.ino != ino)
		return r == -ENOENT ? 0 : r;
	r = inode_get(fs, ino, &in);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&in->lock);
	r = inode_is_dir(&in->row) ? dirent_any(fs_kv(fs), ino) : 0;
	if (r == 0)
		r = remove_locked(fs, dir, in, &d);
	unlock_put(fs, in);
	return r;
}

void name_unmake(struct fs *fs, uint64_t parent, const char *name, uint64_t ino)
{
	struct inode *dir;
	if (!name) {
		reaper_queue(fs, ino);
		return;
	}
	pthread_rwlock_rdlock(&fs->names);
	int r = dir_lock(fs, parent, &dir);
	if (r == 0) {
		r = unmake_locked(fs, dir, name, ino);
		unlock_put(fs, dir);
	}
	pthread_rwlock_unlock(&fs->names);
	if (r < 0)
		log_error("inode %lu: its name could not be taken back: %s", ino, strerror(-r));
}
