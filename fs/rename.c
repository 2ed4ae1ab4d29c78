// SPDX-License-Identifier: MIT
/* rename(2), renameat2(2). fs.names is held exclusively: it is the only operation that locks
 * directories in no tree order, and the only one that moves directories about.
 */
#include "cleanup.h"
#include "clock.h"
#include "dirent_row.h"
#include "lookups.h"
#include "namespace.h"
#include "namespace_impl.h"
#include <stdio.h>

struct move {
	struct fs *fs;
	struct inode *dir, *new_dir; /* may be the same */
	const char *name, *new_name;
	struct dirent_row from, to;
	struct inode *src, *dst; /* dst NULL: the new name is free */
	bool exchange;
	struct inode_row dir_row, new_dir_row; /* as they will be; only the first when the same */
	struct inode_row src_before, dst_before;
	bool src_released, dst_released;
};

static struct inode_row *new_dir_row(struct move *m)
{
	return m->dir == m->new_dir ? &m->dir_row : &m->new_dir_row;
}

/* -EINVAL when `dir` is `ino` or lies below it. */
static int refuse_own_subtree(struct fs *fs, uint64_t ino, const struct inode_row *dir)
{
	struct inode_row row = *dir;
	for (unsigned depth = 0; row.ino != INO_ROOT; depth++) {
		if (row.ino == ino)
			return -EINVAL;
		if (!row.parent || depth > 1000000)
			return -EUCLEAN;
		int r = inode_row_get(fs_kv(fs), row.parent, &row);
		if (r < 0)
			return r == -ENOENT ? -EUCLEAN : r;
	}
	return ino == INO_ROOT ? -EINVAL : 0;
}

static int check_move(struct move *m)
{
	bool src_dir = inode_is_dir(&m->src->row);
	if (src_dir && m->dir != m->new_dir) {
		int r = refuse_own_subtree(m->fs, m->src->ino, &m->new_dir->row);
		if (r < 0)
			return r;
	}
	if (!m->dst)
		return 0;
	bool dst_dir = inode_is_dir(&m->dst->row);
	if (m->exchange)
		return dst_dir && m->dir != m->new_dir
			       ? refuse_own_subtree(m->fs, m->dst->ino, &m->dir->row)
			       : 0;
	if (src_dir != dst_dir)
		return src_dir ? -ENOTDIR : -EISDIR;
	if (!dst_dir)
		return 0;
	int r = dirent_any(fs_kv(m->fs), m->dst->ino);
	return r == 1 ? -ENOTEMPTY : r;
}

static uint8_t type_of(const struct inode *in)
{
	return (uint8_t)((in->row.mode & S_IFMT) >> 12);
}

/* Moves `in` from one directory's counts to the other's. */
static void recount(struct inode *in, struct inode_row *from, struct inode_row *to)
{
	bool is_dir = inode_is_dir(&in->row);
	from->size -= from->size > 0;
	from->nlink -= is_dir;
	to->size++;
	to->nlink += is_dir;
	if (is_dir)
		in->row.parent = to->ino;
}

static int stage_names(struct move *m, struct kv_batch *b)
{
	struct kv *kv = fs_kv(m->fs);
	int r = dirent_put(kv, b, m->new_dir->ino, m->new_name, m->src->ino, type_of(m->src));
	if (r < 0)
		return r;
	if (m->exchange)
		return dirent_put(kv, b, m->dir->ino, m->name, m->dst->ino, type_of(m->dst));
	dirent_delete(b, m->dir->ino, m->from.cookie);
	return 0;
}

static int stage_move(struct move *m, struct change *c)
{
	struct kv_batch *b = change_batch(c);
	int64_t now = clock_wall_ns();
	int r = stage_names(m, b);
	if (r < 0)
		return r;
	recount(m->src, &m->dir_row, new_dir_row(m));
	m->src->row.ctime = now;
	if (m->dst && m->exchange) {
		recount(m->dst, new_dir_row(m), &m->dir_row);
		m->dst->row.ctime = now;
	} else if (m->dst) {
		bool is_dir = inode_is_dir(&m->dst->row);
		new_dir_row(m)->size--;
		new_dir_row(m)->nlink -= is_dir;
		m->dst->row.nlink = is_dir ? 0 : m->dst->row.nlink - (m->dst->row.nlink > 0);
		m->dst->row.ctime = now;
		if (m->dst->row.nlink == 0)
			orphan_put(b, m->dst->ino);
	}
	m->dir_row.mtime = m->dir_row.ctime = now;
	new_dir_row(m)->mtime = new_dir_row(m)->ctime = now;
	inode_row_put(b, &m->dir_row);
	if (m->dir != m->new_dir)
		inode_row_put(b, &m->new_dir_row);
	inode_stage(m->src, c);
	if (m->dst)
		inode_stage(m->dst, c);
	if (m->dst) {
		r = stage_data_first(m->fs, m->src, c, &m->src_released);
		if (r == 0 && m->exchange)
			r = stage_data_first(m->fs, m->dst, c, &m->dst_released);
		return r;
	}
	if (!m->src->held)
		return 0;
	/* nothing is replaced, and nobody waits for a disk; but the new name is not seen without content */
	m->src_released = true;
	return inode_stage_hold(m->fs, m->src, c, false);
}

static int move_locked(struct move *m)
{
	int r = check_move(m);
	if (r < 0)
		return r;
	struct change *c = change_new(m->fs->pool->extents);
	if (!c)
		return -ENOMEM;
	m->dir_row = m->dir->row;
	m->new_dir_row = m->new_dir->row;
	m->src_before = m->src->row;
	if (m->dst)
		m->dst_before = m->dst->row;
	r = stage_move(m, c);
	if (r == 0)
		r = inode_commit(m->src, c);
	else
		change_drop(c);
	if (r < 0) {
		m->src->row = m->src_before;
		if (m->dst)
			m->dst->row = m->dst_before;
		return r;
	}
	if (m->src_released)
		inode_hold_released(m->fs, m->src, m->src->last_lsn);
	if (m->dst_released)
		inode_hold_released(m->fs, m->dst, m->src->last_lsn);
	m->new_dir->row = *new_dir_row(m);
	m->dir->row = m->dir_row;
	m->dir->last_lsn = m->new_dir->last_lsn = m->src->last_lsn;
	if (inode_is_dir(&m->src->row) || (m->dst && inode_is_dir(&m->dst->row)))
		atomic_store(&m->fs->moved_lsn, m->src->last_lsn);
	if (m->dst) {
		m->dst->last_lsn = m->src->last_lsn;
		if (m->dst->row.nlink == 0)
			orphan_note(m->fs, m->dst);
	}
	return 0;
}

/* Directories first, the others by number: see fs.h. */
static void lock_two(struct inode *a, struct inode *b)
{
	bool kinds_differ = b && inode_is_dir(&a->row) != inode_is_dir(&b->row);
	if (b && (kinds_differ ? inode_is_dir(&b->row) : a->ino > b->ino)) {
		pthread_rwlock_wrlock(&b->lock);
		pthread_rwlock_wrlock(&a->lock);
		return;
	}
	pthread_rwlock_wrlock(&a->lock);
	if (b && b != a)
		pthread_rwlock_wrlock(&b->lock);
}

static int move_in_dirs(struct move *m, unsigned flags)
{
	struct fs *fs = m->fs;
	int r = dirent_get(fs_kv(fs), m->dir->ino, m->name, &m->from);
	if (r < 0)
		return r;
	r = dirent_get(fs_kv(fs), m->new_dir->ino, m->new_name, &m->to);
	if (r < 0 && r != -ENOENT)
		return r;
	bool taken = r == 0;
	if (taken && (flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (!taken && m->exchange)
		return -ENOENT;
	if (taken && m->from.ino == m->to.ino)
		return 0; /* two names of one inode: POSIX says do nothing */
	r = inode_get(fs, m->from.ino, &m->src);
	if (r == 0 && taken)
		r = inode_get(fs, m->to.ino, &m->dst);
	if (r == 0 && (m->src == m->new_dir || m->dst == m->dir || m->dst == m->new_dir))
		r = m->src == m->new_dir ? -EINVAL : -ENOTEMPTY;
	if (r == 0) {
		lock_two(m->src, m->dst);
		r = move_locked(m);
		pthread_rwlock_unlock(&m->src->lock);
		if (m->dst)
			pthread_rwlock_unlock(&m->dst->lock);
	}
	inode_put(fs, m->src);
	inode_put(fs, m->dst);
	return r;
}

int name_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent,
		const char *new_name, unsigned flags)
{
	struct move m = {
		.fs = fs, .name = name, .new_name = new_name, .exchange = flags & RENAME_EXCHANGE
	};
	int r = fs_may_write(fs);
	if (r == 0 && (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)))
		r = -EINVAL;
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&fs->names);
	r = inode_get(fs, parent, &m.dir);
	if (r == 0)
		r = inode_get(fs, new_parent, &m.new_dir);
	if (r == 0) {
		lock_two(m.dir, m.new_dir);
		if (!inode_is_dir(&m.dir->row) || !inode_is_dir(&m.new_dir->row))
			r = -ENOTDIR;
		else if (m.new_dir->gone || m.new_dir->row.nlink == 0)
			r = -ENOENT;
		else
			r = move_in_dirs(&m, flags);
		pthread_rwlock_unlock(&m.dir->lock);
		if (m.new_dir != m.dir)
			pthread_rwlock_unlock(&m.new_dir->lock);
	}
	inode_put(fs, m.dir);
	inode_put(fs, m.new_dir);
	pthread_rwlock_unlock(&fs->names);
	if (r == 0)
		atomic_fetch_add(&fs->count.renames, 1);
	return r;
}
