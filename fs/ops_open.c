// SPDX-License-Identifier: MIT
/* open, create, O_TMPFILE, release: where modes begin and end. */
#include "cleanup.h"
#include "clock.h"
#include "content.h"
#include "far.h"
#include "fault.h"
#include "hot.h"
#include "log.h"
#include "lookups.h"
#include "ops.h"
#include "passthrough.h"
#include "reaper.h"
#include "settle.h"
#include "space.h"
#include "writers.h"
#include <fcntl.h>

static enum content_where where_is(const struct inode *in)
{
	if (in->row.size > FAR_OFFSET)
		return CONTENT_MAPPED;
	if (in->row.staging_gen && in->fd >= 0 && in->staging_whole)
		return CONTENT_STAGED;
	if (in->mem && in->mem->len)
		return CONTENT_MEMORY;
	if (hot_ready(in) && !in->writers)
		return CONTENT_COPIED;
	if (content_has_map(&in->row) || in->row.staging_gen)
		return CONTENT_MAPPED;
	return CONTENT_NONE;
}

/* Where a read is waited for, that one will be seen; and to open the file, with its pages given up, would
 * mean to wait for it in the kernel. */
static bool wants_unseen_read(struct fs *fs, const struct inode *in)
{
	return !atomic_load(&in->reads_waiting) && inode_wants_atime(fs, in, clock_wall_ns());
}

static struct open_facts facts_of(struct fs *fs, const struct inode *in, int flags)
{
	const struct config *conf = &fs->pool->config;
	int acc = flags & O_ACCMODE;
	return (struct open_facts){
		.native_works = !fs->native_why_not && conf->mode != IO_MODE_MEDIATED,
		.writeback = fs->writeback,
		.prefer_native = conf->mode == IO_MODE_NATIVE,
		.space_short = space_level(fs) >= SPACE_SHORT ||
			       atomic_load(&fs->native_files) >= fs->native_files_max,
		.reads = acc != O_WRONLY,
		.writes = acc != O_RDONLY,
		.content = where_is(in),
		.native_opens = in->native_opens,
		.cached_opens = in->cached_opens,
		.native_written = in->native_written,
		.guarded = inode_has_privileges(in),
		.cache_stale = fs->atime == ATIME_STRICT || /* reads have to be seen */
			       (acc != O_WRONLY && wants_unseen_read(fs, in)) ||
			       (lookups_note(fs->lookups, in->ino, 0, 0) & LOOKUP_CACHE_STALE),
	};
}

/* Registers the file that the kernel is to read and write in this one's place, once per inode. */
static bool register_backing(fuse_req_t req, struct inode *in, int fd)
{
	if (in->native_opens)
		return true;
	int id = passthrough_register(req, fd);
	if (id > 0)
		in->backing_id = id;
	return id > 0;
}

/* The row says so from now on, in one batch with the name of a staging file just made. */
static int begin_native_writing(struct fs *fs, struct inode *in, bool named_just_now)
{
	bool said = in->row.flags & INODE_NATIVE;
	inode_begin_native(in);
	lookups_note(fs->lookups, in->ino, LOOKUP_CACHE_STALE, 0);
	return in->held || (said && named_just_now) ? 0 : inode_commit_row(fs, in);
}

static int begin_native(fuse_req_t req, struct inode *in, bool writes, bool created)
{
	struct fs *fs = fs_of(req);
	uint64_t lsn = in->last_lsn;
	uint32_t flags = in->row.flags;
	if (writes && !in->native_written)
		in->row.flags |= INODE_NATIVE;
	int r = content_stage_all(fs, in);
	if (r == 0 && !register_backing(req, in, in->fd))
		r = -ENOTSUP;
	settle_disturb(in, 0,
		       UINT64_MAX); /* what the kernel writes or keeps open is not seen here */
	if (r == 0 && writes && !in->native_written) {
		r = begin_native_writing(fs, in, in->last_lsn != lsn);
		if (r == 0 && !created)
			fuse_lowlevel_notify_inval_inode(fs->session, in->ino, -1, 0);
	}
	if (r < 0) {
		if (!(flags & INODE_NATIVE) && !in->native_written)
			in->row.flags &= ~(uint32_t)INODE_NATIVE;
		return r;
	}
	return 0;
}

/* How the kernel reads a file is not seen, so to open it counts as that. */
static void count_as_read(struct fs *fs, struct inode *in)
{
	int64_t now = clock_wall_ns();
	if (!inode_wants_atime(fs, in, now))
		return;
	in->row.atime = now;
	inode_mark_dirty(fs, in);
}

/* To read the copy of a file. */
static int begin_hot(fuse_req_t req, struct inode *in)
{
	struct fs *fs = fs_of(req);
	int fd = hot_fd(fs, in);
	if (fd == -ENOENT && !in->native_opens)
		hot_forget(fs, in);
	if (fd < 0 || !register_backing(req, in, fd)) {
		hot_rest(in);
		return fd < 0 ? fd : -ENOTSUP;
	}
	return 0;
}

static int decide_and_begin(fuse_req_t req, struct inode *in, int flags, bool created,
			    struct open_answer *ret_answer)
{
	struct fs *fs = fs_of(req);
	struct open_facts facts = facts_of(fs, in, flags);
	*ret_answer = mode_decide(&facts);
	if (ret_answer->mode == OPEN_NATIVE) {
		bool must = in->native_opens || in->native_written;
		int r = hot_ready(in) && !facts.writes
				? begin_hot(req, in)
				: begin_native(req, in, facts.writes, created);
		if (r == 0 && facts.reads)
			count_as_read(fs, in);
		if (r == 0 && in->native_opens++ == 0)
			atomic_fetch_add(&fs->native_files, 1);
		if (r == 0 && facts.writes)
			writers_add(fs->writers, in);
		if (r == 0 || (must && r != -ENOTSUP))
			return r;
		/* No staging file could be made, say. To fail now would be too late: O_TRUNC has emptied
		 * the file. Small content needs none, and the writer of a large one will be told. */
		log_refusal(in->ino, "native opening", r);
		facts.native_works = false;
		*ret_answer = mode_decide(&facts);
	}
	if (in->native_written) { /* from here on the daemon keeps the attributes */
		inode_end_native(in);
		inode_mark_dirty(fs, in);
	}
	if (ret_answer->mode == OPEN_CACHED) {
		int r = facts.writes ? writers_add_cached(fs->writers, in) : 0;
		if (r < 0)
			return r;
		in->cached_opens++;
		lookups_note(fs->lookups, in->ino, 0, LOOKUP_CACHE_STALE);
	}
	return 0;
}

static void fill_open(struct fs *fs, const struct open_answer *a, const struct inode *in,
		      struct fuse_file_info *fi)
{
	fi->noflush = !fs->writeback;
	fi->keep_cache = a->keep_cache;
	fi->direct_io = a->mode == OPEN_DIRECT;
	fi->parallel_direct_writes = a->mode == OPEN_DIRECT;
	fi->backing_id = a->mode == OPEN_NATIVE ? in->backing_id : 0;
	atomic_fetch_add(a->mode == OPEN_NATIVE	  ? &fs->count.opens_native
			 : a->mode == OPEN_CACHED ? &fs->count.opens_cached
						  : &fs->count.opens_direct,
			 1);
}

/* O_TRUNC: a natively open file is cut where it is; otherwise the old content is kept until the
 * new one is committed. */
static int empty_for_open(fuse_req_t req, struct inode *in, bool kill)
{
	int r = content_replace(fs_of(req), in);
	if (r == 0 && kill)
		r = inode_drop_privileges(req, in);
	return r;
}

static bool wants_kill(fuse_req_t req, const struct fuse_file_info *fi)
{
#if FUSE_MAJOR_VERSION > 3 || FUSE_MINOR_VERSION >= 18
	(void)req;
	return fi->kill_suidgid;
#else
	(void)fi;
	return fuse_req_ctx(req)->uid != 0;
#endif
}

int open_inode(fuse_req_t req, struct inode *in, struct fuse_file_info *fi, bool created)
{
	struct fs *fs = fs_of(req);
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
	struct open_answer answer = { 0 };
	int r = in->gone ? -ESTALE : writes || (fi->flags & O_TRUNC) ? fs_may_write(fs) : 0;
	if (r == 0 && !S_ISREG(in->row.mode))
		r = inode_is_dir(&in->row) ? -EISDIR : -EINVAL;
	if (r == 0)
		r = fault_hit("open_file");
	if (r == 0)
		r = content_ready(fs, in);
	if (r == 0 && (writes || (fi->flags & O_TRUNC)))
		r = hot_give_way(fs, in);
	if (r == 0 && (fi->flags & O_TRUNC) && !created)
		r = empty_for_open(req, in, wants_kill(req, fi));
	if (r == 0)
		r = decide_and_begin(req, in, fi->flags, created, &answer);
	if (r < 0) {
		if (!in->opens)
			settle_schedule(fs, in);
		return r;
	}
	in->opens++;
	in->writers += writes;
	if (!writes)
		hot_note_open(fs, in);
	fi->fh =
		handle_pack(&(struct handle){ .inode = in, .mode = answer.mode, .writes = writes });
	fill_open(fs, &answer, in, fi);
	return 0;
}

static void reply_open(fuse_req_t req, struct fuse_file_info *fi, struct fuse_entry_param *e)
{
	struct fs *fs = fs_of(req);
	int r = e ? fuse_reply_create(req, e, fi) : fuse_reply_open(req, fi);
	if (r) { /* interrupted: nobody will release it (and req is gone) */
		close_handle(fs, NULL, handle_of(fi));
		if (e)
			entry_undo(fs, e->ino);
	}
}

/* What an open has made, to be replied or given up. */
struct opened {
	struct fuse_file_info fi;
	bool created;
	struct fuse_entry_param e; /* ino 0 until it has been counted as looked up */
	fuse_ino_t parent;
	const char *name; /* of what was created; NULL: nothing was, or without a name */
};

/* What is left without a name is reaped by the last who lets go of it. */
static void refuse_open(fuse_req_t req, struct opened *o, int err)
{
	struct fs *fs = fs_of(req);
	struct handle h = handle_of(&o->fi);
	if (o->name)
		name_unmake(fs, o->parent, o->name, h.inode->ino);
	close_handle(fs, req, h);
	if (o->e.ino)
		entry_undo(fs, o->e.ino);
	reply_result(req, err);
}

/* O_SYNC and O_DSYNC commit the path before open returns; others are answered at once. */
struct sync_open {
	struct job job; /* first */
	int err;
	fuse_req_t req;
	struct opened o;
	char name[];
};

static void sync_open_answer(struct job *job)
{
	struct sync_open *so = (struct sync_open *)job;
	if (so->err < 0)
		refuse_open(so->req, &so->o, so->err);
	else
		reply_open(so->req, &so->o.fi, so->o.created ? &so->o.e : NULL);
	free(so);
}

/* On the log writer's thread: closing again would take the inode's lock, whose owner may wait for the
 * log, and commit. */
static void sync_open_done(void *arg, int err)
{
	struct sync_open *so = arg;
	so->err = err;
	workers_queue(fs_of(so->req)->waiters, &so->job);
}

static struct sync_open *sync_open_new(fuse_req_t req, const struct opened *o)
{
	const char *name = o->name ? o->name : "";
	struct sync_open *so = malloc(sizeof *so + strlen(name) + 1);
	if (!so)
		return NULL;
	*so = (struct sync_open){ .job.run = sync_open_answer, .req = req, .o = *o };
	strcpy(so->name, name); /* the request's own is gone when it has been received */
	so->o.name = o->name ? so->name : NULL;
	return so;
}

static void answer_open(fuse_req_t req, struct opened *o)
{
	struct fs *fs = fs_of(req);
	if (!(o->fi.flags & O_DSYNC)) {
		reply_open(req, &o->fi, o->created ? &o->e : NULL);
		return;
	}
	struct sync_open *so = sync_open_new(req, o);
	if (!so) {
		refuse_open(req, o, -ENOMEM);
		return;
	}
	struct inode *in = handle_of(&o->fi).inode;
	pthread_rwlock_wrlock(&in->lock); /* the kernel may write and never ask for an fsync */
	int r = inode_release_hold(fs, in, true);
	pthread_rwlock_unlock(&in->lock);
	if (r == 0)
		r = fault_hit("open_sync");
	if (r < 0)
		sync_open_done(so, r);
	else
		kv_sync_async(fs_kv(fs), UINT64_MAX, sync_open_done, so);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *in;
	int r = inode_get(fs, ino, &in);
	if (r == 0) {
		pthread_rwlock_wrlock(&in->lock);
		r = open_inode(req, in, fi, false);
		pthread_rwlock_unlock(&in->lock);
		log_refusal(ino, "open", r);
		if (r < 0)
			inode_put(fs, in);
	}
	if (r < 0)
		reply_result(req, r);
	else
		answer_open(req, &(struct opened){ .fi = *fi });
}

static void create_and_open(fuse_req_t req, const struct name_request *want,
			    struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *in = NULL;
	struct attributes attr = { 0 };
	struct opened o = {
		.fi = *fi, .created = true, .parent = want->parent, .name = want->name
	};
	int r = name_make(fs, want, &in);
	if (r < 0) {
		reply_result(req, r);
		return;
	}
	pthread_rwlock_wrlock(&in->lock);
	r = open_inode(req, in, &o.fi, true);
	inode_stat(fs, in, &attr.st);
	attr.is_volatile = inode_volatile(in);
	pthread_rwlock_unlock(&in->lock);
	log_refusal(in->ino, "creation", r);
	if (r < 0) {
		name_unmake(fs, want->parent, want->name, in->ino);
		inode_put(fs, in);
		reply_result(req, r);
		return;
	}
	r = entry_fill(fs, &attr, &o.e);
	if (r < 0) {
		refuse_open(req, &o, r);
		return;
	}
	unsigned notes = (want->name ? 0 : LOOKUP_ORPHAN) |
			 (attr.is_volatile ? LOOKUP_CACHE_STALE : 0); /* had no entry before */
	lookups_note(fs->lookups, in->ino, notes, 0);
	answer_open(req, &o);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	create_and_open(req,
			&(struct name_request){ .caller = caller_of(req),
						.parent = parent,
						.name = name,
						.mode = (mode & 07777) | S_IFREG },
			fi);
}

void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	create_and_open(req,
			&(struct name_request){ .caller = caller_of(req),
						.parent = parent,
						.mode = (mode & 07777) | S_IFREG },
			fi);
}

/* The last writer is gone: what it left is committed or given to destage. */
static int settle_after_writers(struct fs *fs, struct inode *in)
{
	int r = 0;
	if (in->held && !in->mem)
		r = inode_release_hold(fs, in, false);
	else if (in->row_dirty && !in->held)
		r = inode_commit_row(fs, in);
	settle_schedule(fs, in);
	return r;
}

static void last_native_close(struct fs *fs, fuse_req_t req, struct inode *in)
{
	atomic_fetch_sub(&fs->native_files, 1);
	writers_remove(fs->writers, in);
	if (req)
		fuse_passthrough_close(req, in->backing_id);
	in->backing_id = 0;
	hot_rest(in);
	if (in->native_written) {
		inode_absorb_native(in);
		in->row_dirty = true;
		if (staging_idle(in->fd, false) == 1) /* the common case: nothing maps it */
			inode_end_native(in);
	}
}

static void release_locked(struct fs *fs, fuse_req_t req, struct handle h)
{
	struct inode *in = h.inode;
	in->opens--;
	in->writers -= h.writes;
	in->cached_opens -= h.mode == OPEN_CACHED;
	if (in->writing && !in->native_opens && !(in->writers && in->cached_opens))
		writers_remove(fs->writers, in);
	if (h.mode == OPEN_NATIVE && --in->native_opens == 0)
		last_native_close(fs, req, in);
	if (in->row.nlink == 0) {
		if (!in->opens && !lookups_count(fs->lookups, in->ino))
			reaper_queue(fs, in->ino);
		return;
	}
	int r = 0;
	if (in->writers == 0 && in->native_opens == 0 && !in->gone && !fs->read_only)
		r = settle_after_writers(fs, in);
	if (r < 0)
		log_error("inode %lu: its last changes could not be committed: %s", in->ino,
			  strerror(-r));
	content_rest(fs, in);
}

void close_handle(struct fs *fs, fuse_req_t req, struct handle h)
{
	struct inode *in = h.inode;
	pthread_rwlock_wrlock(&in->lock);
	release_locked(fs, req, h);
	pthread_rwlock_unlock(&in->lock);
	inode_put(fs, in);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	close_handle(fs_of(req), req, handle_of(fi));
	fuse_reply_err(req, 0);
}
