// SPDX-License-Identifier: MIT
/* One step from a state to the next:
 *
 *   1  the newest root of the newest epoch is read. Its log goes on where the index is, in the same epoch: the batches
 *      since. Otherwise its dump is compared with the index, row by row, and then all of its log counts
 *   2  staging files and packs that are being filled are fetched beside those that there are, under other names;
 *      blocks that have not changed are copied
 *   3  FOLLOW_STATE_KEY says "in between", durably
 *   4  begin(). Files get their names, the index its rows; the state is noted. end()
 *   5  files that no row names any more are removed
 *
 * A crash in between is found at the next start, and ended by another step, which compares everything. What the files
 * here hold is known from the root itself, kept in POOL/followed; without it, or after a crash, all are fetched again.
 *
 * Another epoch is always compared: whoever took the pool over may have begun at an earlier state than the last one seen
 * here, and given numbers of chunks and inodes to others since.
 */
#include "follower.h"
#include "chunk_row.h"
#include "cleanup.h"
#include "cond.h"
#include "dump_impl.h"
#include "dirent_row.h"
#include "fault.h"
#include "io.h"
#include "kv_batch.h"
#include "lease.h"
#include "log.h"
#include "pack_fds.h"
#include "pool_impl.h"
#include "replica_fetch.h"
#include "thread.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define ASK_MS 10000u
#define LOOK_MS 200u
#define NEW_SUFFIX ".new"
#define FILE_NAME_MAX (STAGING_NAME_MAX + sizeof NEW_SUFFIX)

struct state { /* that the index is */
	uint64_t epoch, seq, lsn;
	bool between;
};

struct follower {
	struct follower_options opt;
	struct depot *depot;
	int staging_fd;
	struct state at;
	struct replica_root root; /* of which the files are; epoch 0: not known */
	atomic_bool stop;
	pthread_t thread;
	bool runs;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t changed;
	uint64_t asked, served; /* follower_sync() */
	int result;
	struct follower_status status;
};

/* What is being done to get to another root. */
struct step {
	struct follower *f;
	struct replica_root root;
	struct replica_fetch fetch;
	struct follow_change change;
	struct pool_error *err;
	uint64_t after; /* batches up to this one are in the index */
	bool anew;
};

/* ---- which state ---- */

static int put_state(struct kv *kv, const struct state *at)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct kv_batch *b = kv_batch_new();
	if (!b)
		return -ENOMEM;
	buf_put_u8(&val, at->between);
	buf_put_le64(&val, at->epoch);
	buf_put_le64(&val, at->seq);
	buf_put_le64(&val, at->lsn);
	kv_batch_put(b, KV_META, FOLLOW_STATE_KEY, sizeof FOLLOW_STATE_KEY - 1, val.data, val.len);
	return kv_commit(kv, b, NULL);
}

static int get_state(struct kv *kv, struct state *ret_at)
{
	CLEANUP_BUF struct buf val = { 0 };
	int r = kv_get(kv, KV_META, FOLLOW_STATE_KEY, sizeof FOLLOW_STATE_KEY - 1, &val);
	struct slice s = slice_of(val.data, val.len);
	if (r < 0)
		return r == -ENOENT ? -EUCLEAN : r;
	ret_at->between = take_u8(&s) != 0;
	ret_at->epoch = take_le64(&s);
	ret_at->seq = take_le64(&s);
	ret_at->lsn = take_le64(&s);
	return s.bad || s.len ? -EUCLEAN : 0;
}

/* Which root the files are of. Not to know costs only that they are fetched again. */
static void read_kept_root(struct follower *f)
{
	CLEANUP_FREE void *data = NULL;
	struct replica_root root = { 0 };
	size_t len;
	if (f->at.between ||
	    io_slurp(f->opt.pool->dirfd, FOLLOWER_ROOT_FILE, REPLICA_ROOT_MAX, &data, &len) < 0)
		return;
	if (replica_root_parse(slice_of(data, len), &root) == 0 && root.epoch == f->at.epoch &&
	    root.seq == f->at.seq)
		f->root = root;
	else
		replica_root_done(&root);
	replica_root_sort(&f->root);
}

static int keep_root(int pool_dirfd, const struct replica_root *root)
{
	CLEANUP_BUF struct buf bytes = { 0 };
	replica_root_print(root, &bytes);
	return bytes.failed ? -ENOMEM
			    : io_replace_file(pool_dirfd, FOLLOWER_ROOT_FILE, bytes.data, bytes.len,
					      0600);
}

int follower_note_state(struct pool *pool, const struct replica_root *root)
{
	struct state at = { .epoch = root->epoch, .seq = root->seq, .lsn = root->lsn };
	int r = put_state(pool->kv, &at);
	return r < 0 ? r : keep_root(pool->dirfd, root);
}

/* ---- 1: rows ---- */

static int went_on(void *arg, uint64_t bytes)
{
	struct step *s = arg;
	SCOPED_LOCK(&s->f->lock);
	s->f->status.bytes += bytes;
	return atomic_load(&s->f->stop) ? -ECANCELED : 0;
}

static int take_batch(void *arg, uint64_t lsn, struct slice payload)
{
	struct step *s = arg;
	struct kv_op op;
	int r;
	if (lsn <= s->after)
		return 0;
	if (lsn != s->after + 1)
		return -EUCLEAN;
	s->after = lsn;
	while ((r = kv_op_take(&payload, &op)) > 0) {
		r = op.is_delete ? follow_change_delete(&s->change, op.table, op.key)
				 : follow_change_put(&s->change, op.table, op.key, op.val);
		if (r < 0)
			break;
	}
	return r;
}

static int take_log(struct step *s)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < s->root.n_items; i++) {
		const struct replica_item *it = &s->root.items[i];
		if (it->kind == REPLICA_LOG && it->b > s->after)
			r = replica_fetch_log(&s->fetch, it, take_batch, s);
	}
	return r == 0 && s->after != s->root.lsn ? -EUCLEAN : r;
}

static int take_row(void *arg, enum kv_table t, struct slice key, struct slice val)
{
	struct step *s = arg;
	int r = follow_change_compare(&s->change, t, key, val);
	return r < 0 ? r : atomic_load(&s->f->stop) ? -ECANCELED : 0;
}

static const struct replica_item *dump_of(const struct replica_root *root)
{
	size_t i = 0;
	while (root->items[i].kind != REPLICA_DUMP) /* there is one, or it was no root */
		i++;
	return &root->items[i];
}

static int compare_dump(struct step *s)
{
	const struct pool *pool = s->f->opt.pool;
	const struct replica_item *dump = dump_of(&s->root);
	struct dump_place place = pool_dump_place(pool);
	char name[DUMP_NAME_SIZE];
	dump_name(dump->a, name);
	if (unlinkat(pool->packs_fd, name, 0) && errno != ENOENT)
		return -errno;
	int r = replica_fetch_file(&s->fetch, dump, pool->packs_fd, name, NULL);
	if (r == 0)
		r = dump_read(&place, dump->a, take_row, s);
	if (r == 0)
		r = follow_change_compared(&s->change);
	unlinkat(pool->packs_fd, name, 0);
	return r;
}

static int find_rows(struct step *s)
{
	const struct state *at = &s->f->at;
	uint64_t dumped = dump_of(&s->root)->b;
	s->anew = at->between || s->root.epoch != at->epoch;
	bool compare = s->anew || at->lsn < dumped || at->lsn > s->root.lsn;
	s->after = compare ? dumped : at->lsn;
	int r = compare ? compare_dump(s) : 0;
	if (r == 0)
		r = take_log(s);
	if (r == -EUCLEAN && !*s->err->text)
		pool_say(s->err, "%s: the dump or the log in it is damaged", s->fetch.place);
	return r;
}

/* ---- what is in the directories and should not be ---- */

/* Is it the file of an item of the root? */
static bool is_wanted(const struct follower *f, enum replica_kind kind, const char *name)
{
	uint64_t a = pack_of_name(name), b = 0;
	char end;
	if (kind == REPLICA_STAGED && sscanf(name, "%lx.%lx%c", &a, &b, &end) != 2)
		return false;
	return replica_root_find(&f->root, kind, a, b);
}

static bool is_fresh(const char *name)
{
	size_t len = strlen(name), end = sizeof NEW_SUFFIX - 1;
	return len > end && !strcmp(name + len - end, NEW_SUFFIX);
}

/* What else is in the directory is of a state before, or (`fresh`: this alone) of a step that was interrupted. */
static int sweep(struct follower *f, int dirfd, enum replica_kind kind, bool fresh)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int more;
	if (!d)
		return -errno;
	while ((more = io_next_entry(d, &e)) > 0)
		if (fresh ? is_fresh(e->d_name)
			  : e->d_name[0] != '.' && !is_wanted(f, kind, e->d_name))
			unlinkat(dirfd, e->d_name, 0);
	return more;
}

static int sweep_all(struct follower *f, bool fresh)
{
	int r = sweep(f, f->opt.pool->packs_fd, REPLICA_OPEN, fresh);
	return r < 0 ? r : sweep(f, f->staging_fd, REPLICA_STAGED, fresh);
}

/* ---- 2: files ---- */

static bool is_file(const struct replica_item *it)
{
	return it->kind == REPLICA_OPEN || it->kind == REPLICA_STAGED;
}

static int dir_of(const struct follower *f, const struct replica_item *it)
{
	return it->kind == REPLICA_OPEN ? f->opt.pool->packs_fd : f->staging_fd;
}

static void name_of(const struct replica_item *it, bool fresh, char name[FILE_NAME_MAX])
{
	if (it->kind == REPLICA_OPEN)
		pack_name(it->a, name);
	else
		staging_name(it->a, it->b, name);
	if (fresh)
		strcat(name, NEW_SUFFIX);
}

static bool same_file(const struct step *s, const struct replica_item *it,
		      const struct replica_item *had)
{
	bool same = had && had->size == it->size && had->mtime == it->mtime && had->n == it->n;
	for (size_t i = 0; same && i < it->n; i++) {
		const struct replica_block *a = &s->root.blocks[it->first + i];
		const struct replica_block *b = &s->f->root.blocks[had->first + i];
		same = a->at == b->at && a->len == b->len && digest_equal(&a->digest, &b->digest);
	}
	return same;
}

static int fetch_beside(struct step *s, const struct replica_item *it,
			const struct replica_item *had)
{
	char name[FILE_NAME_MAX], fresh[FILE_NAME_MAX];
	int dirfd = dir_of(s->f, it);
	name_of(it, false, name);
	name_of(it, true, fresh);
	CLEANUP_CLOSE int fd = had ? openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	struct replica_had blocks = { .fd = fd };
	if (fd >= 0) {
		blocks.blocks = &s->f->root.blocks[had->first];
		blocks.n = had->n;
	}
	if (unlinkat(dirfd, fresh, 0) && errno != ENOENT)
		return -errno;
	return replica_fetch_file(&s->fetch, it, dirfd, fresh, fd >= 0 ? &blocks : NULL);
}

/* A staging file that the kernel writes by itself at its owner changes, and no row does. */
static int fetch_files(struct step *s)
{
	int r = sweep_all(s->f, true); /* else names would be given to what this state has not */
	for (size_t i = 0; r == 0 && i < s->root.n_items; i++) {
		const struct replica_item *it = &s->root.items[i];
		const struct replica_item *had =
			is_file(it) ? replica_root_find(&s->f->root, it->kind, it->a, it->b) : NULL;
		if (!is_file(it) || same_file(s, it, had))
			continue;
		r = fetch_beside(s, it, had);
		if (r == 0 && it->kind == REPLICA_STAGED)
			r = follow_change_note_inode(&s->change, it->a);
	}
	follow_change_sort(&s->change);
	return r;
}

/* ---- 4 ---- */

static int give_names(struct step *s)
{
	for (size_t i = 0; i < s->root.n_items; i++) {
		const struct replica_item *it = &s->root.items[i];
		char name[FILE_NAME_MAX], fresh[FILE_NAME_MAX];
		if (!is_file(it))
			continue;
		name_of(it, false, name);
		name_of(it, true, fresh);
		/* which is not there when the file is the same */
		if (renameat(dir_of(s->f, it), fresh, dir_of(s->f, it), name) && errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* Packs that are being filled, or were, are read through other descriptors. */
static void let_go_of_packs(struct step *s)
{
	struct packs *packs = s->f->opt.pool->packs;
	for (size_t i = 0; i < s->change.n_packs; i++)
		pack_replaced(packs, s->change.packs[i]);
	for (size_t i = 0; i < s->root.n_items; i++)
		if (s->root.items[i].kind == REPLICA_OPEN)
			pack_replaced(packs, s->root.items[i].a);
}

static int note(struct follower *f, struct state at)
{
	int r = put_state(f->opt.pool->kv, &at);
	if (r == 0)
		f->at = at;
	return r;
}

static int change_all(struct step *s)
{
	struct follower *f = s->f;
	struct state to = { .epoch = s->root.epoch, .seq = s->root.seq, .lsn = s->root.lsn };
	int64_t inodes = follow_change_count(&s->change);
	int r = give_names(s);
	if (r == 0)
		r = fault_hit("follow_renamed");
	if (r == 0)
		r = follow_change_commit(&s->change);
	if (r == 0)
		r = fault_hit("follow_rows");
	s->change.grown = follow_change_count(&s->change) - inodes;
	let_go_of_packs(s);
	if (r == 0)
		r = dirent_look_again(f->opt.pool->kv);
	return r < 0 ? r : note(f, to);
}

/* ---- 5 ---- */

static int tidy(struct follower *f)
{
	int r = fault_hit("follow_swept");
	return r < 0 ? r : sweep_all(f, false);
}

/* ---- one step ---- */

/* Rows may need what the other pool did not need before. */
static int take_super(struct step *s)
{
	CLEANUP_BUF struct buf bytes = { 0 };
	struct pool *pool = s->f->opt.pool;
	struct super now, was = pool->super;
	int r = replica_fetch_text(&s->fetch, REPLICA_SUPER, &bytes);
	if (r == 0)
		r = super_parse(slice_of(bytes.data, bytes.len), &now);
	if (r < 0 && !*s->err->text)
		pool_say(s->err, "%s: the superblock in it %s", s->fetch.place,
			 r == -EPROTONOSUPPORT ? "was written by a newer foldfs; use that version "
						 "or a later one here, too"
					       : "is damaged");
	if (r < 0 || !(now.incompat & ~was.incompat))
		return r;
	was.incompat |= now.incompat;
	r = super_write(pool->dirfd, &was);
	if (r == 0)
		pool->super = was;
	return r;
}

static int go(struct step *s)
{
	struct follower *f = s->f;
	struct kv *kv = f->opt.pool->kv;
	int r = take_super(s);
	if (r == 0)
		r = find_rows(s);
	if (r == 0)
		r = fault_hit("follow_files");
	if (r == 0)
		r = fetch_files(s);
	struct state between = f->at;
	between.between = true;
	if (r == 0)
		r = note(f, between);
	if (r == 0)
		r = kv_sync(kv, UINT64_MAX);
	if (r < 0)
		return r;
	f->opt.begin(f->opt.arg);
	r = change_all(s);
	f->opt.end(f->opt.arg, &s->change, s->anew || r < 0);
	replica_root_done(&f->root); /* of which the files may be no more */
	if (r < 0)
		return r;
	f->root = s->root;
	s->root = (struct replica_root){ 0 };
	r = io_fsync_dir(f->staging_fd);
	if (r == 0)
		r = io_fsync_dir(f->opt.pool->packs_fd);
	if (r == 0)
		r = keep_root(f->opt.pool->dirfd, &f->root);
	if (r == 0)
		r = kv_sync(kv, UINT64_MAX);
	return r == 0 ? tidy(f) : r;
}

static int follow_root(struct follower *f, uint64_t epoch, uint64_t seq, struct pool_error *err)
{
	const char *place = f->opt.pool->config.follow;
	struct step s = { .f = f, .err = err, .change.kv = f->opt.pool->kv };
	s.fetch = (struct replica_fetch){ .depot = f->depot,
					  .place = place,
					  .root = &s.root,
					  .err = err,
					  .went_on = went_on,
					  .arg = &s };
	int r = replica_root_read(f->depot, epoch, seq, &s.root);
	if (r == 0 && memcmp(s.root.pool_uuid, f->opt.pool->super.uuid, sizeof s.root.pool_uuid))
		r = -EUCLEAN;
	if (r < 0)
		pool_say(err, "%s: root %lu of epoch %lu cannot be read: %s", place, seq, epoch,
			 r == -EUCLEAN ? "it is damaged" : strerror(-r));
	replica_root_sort(&s.root); /* its logs follow each other then, too */
	if (r == 0)
		r = go(&s);
	SCOPED_LOCK(&f->lock);
	f->status.states += r == 0;
	replica_root_done(&s.root);
	follow_change_done(&s.change);
	return r;
}

static int look(struct follower *f, struct pool_error *err)
{
	const char *place = f->opt.pool->config.follow;
	struct lease_seen seen;
	uint64_t seq;
	int r = lease_look(f->depot, &seen);
	if (r < 0)
		pool_say(err, "%s: its epochs cannot be read: %s", place,
			 r == -ENOENT	 ? "there are none"
			 : r == -EUCLEAN ? "the newest is damaged"
					 : strerror(-r));
	else if (memcmp(seen.record.pool, f->opt.pool->super.uuid, sizeof seen.record.pool)) {
		pool_say(err, "%s is another pool's replica now", place);
		r = -EUCLEAN;
	}
	if (r < 0)
		return r;
	r = replica_root_newest(f->depot, seen.epoch, &seq);
	if (r == -ENOENT && f->at.between && seen.record.base_seq) {
		seen.epoch = seen.record.base_epoch;
		seq = seen.record.base_seq;
		r = 0;
	}
	if (r == -ENOENT) /* whoever owns it has not shipped anything yet */
		return 0;
	if (r < 0) {
		pool_say(err, "%s: its roots cannot be listed: %s", place, strerror(-r));
		return r;
	}
	if (seen.epoch == f->at.epoch && seq == f->at.seq && !f->at.between)
		return 0;
	return follow_root(f, seen.epoch, seq, err);
}

/* A reader's place may be back, too. */
static int look_and_tell(struct follower *f, struct pool_error *err)
{
	tiers_look(f->opt.pool->tiers);
	int r = look(f, err);
	if (r < 0 && !*err->text)
		pool_say(err, "%s cannot be followed: %s", f->opt.pool->config.follow,
			 strerror(-r));
	pthread_mutex_lock(&f->lock);
	struct follower_status *s = &f->status;
	bool first = r < 0 && !*s->error && r != -ECANCELED, over = r == 0 && *s->error;
	snprintf(s->error, sizeof s->error, "%s", r < 0 ? err->text : "");
	s->epoch = f->at.epoch;
	s->root = f->at.seq;
	s->lsn = f->at.lsn;
	s->time = f->root.time;
	if (r == 0)
		s->looked_time = clock_wall_ns() / 1000000000;
	f->result = r;
	pthread_mutex_unlock(&f->lock);
	if (first)
		log_warn("%s; it is tried on", err->text);
	else if (over)
		log_info("%s is followed again", f->opt.pool->config.follow);
	return r;
}

static void *follower_main(void *arg)
{
	struct follower *f = arg;
	pthread_setname_np(pthread_self(), "follower");
	pthread_mutex_lock(&f->lock);
	uint64_t due = 0;
	while (!atomic_load(&f->stop)) {
		if (f->asked == f->served && clock_mono_ms() < due) {
			cond_wait_until(&f->changed, &f->lock, due * 1000000);
			continue;
		}
		struct pool_error err = { 0 };
		uint64_t asked = f->asked;
		pthread_mutex_unlock(&f->lock);
		look_and_tell(f, &err);
		pthread_mutex_lock(&f->lock);
		f->served = asked;
		pthread_cond_broadcast(&f->changed);
		due = clock_mono_ms() + f->opt.pool->config.follow_interval_ms;
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void follower_free(struct follower *f)
{
	depot_close(f->depot);
	if (f->staging_fd >= 0)
		close(f->staging_fd);
	replica_root_done(&f->root);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static int open_parts(struct follower *f, struct pool_error *err)
{
	const struct config *conf = &f->opt.pool->config;
	struct place_options where = { .where = conf->follow,
				       .endpoint = conf->replicate_endpoint,
				       .region = conf->replicate_region,
				       .timeout_ms = ASK_MS };
	f->staging_fd = openat(f->opt.pool->dirfd, "staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = f->staging_fd < 0 ? -errno : get_state(f->opt.pool->kv, &f->at);
	if (r < 0) {
		pool_say(err, "%s: which state it shows cannot be read: %s", f->opt.pool->path,
			 r == -EUCLEAN ? "make it anew with mkfs.foldfs --follow" : strerror(-r));
		return r;
	}
	read_kept_root(f);
	return depot_open(&where, &f->depot, err->text, sizeof err->text);
}

int follower_start(struct follower *f)
{
	int r = thread_start(&f->thread, follower_main, f);
	f->runs = r == 0;
	return r;
}

int follower_open(const struct follower_options *opt, struct follower **ret_f,
		  struct pool_error *err)
{
	struct follower *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->opt = *opt;
	f->staging_fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	cond_init(&f->changed);
	int r = open_parts(f, err);
	struct follower_status *s = &f->status;
	snprintf(s->place, sizeof s->place, "%s", opt->pool->config.follow);
	s->epoch = f->at.epoch;
	s->root = f->at.seq;
	s->lsn = f->at.lsn;
	s->time = f->root.time;
	if (r == 0 && f->at.between)
		r = look_and_tell(f, err);
	if (r < 0) {
		follower_free(f);
		return r;
	}
	*ret_f = f;
	return 0;
}

int follower_sync(struct follower *f, int (*go_on)(void *arg), void *arg)
{
	SCOPED_LOCK(&f->lock);
	uint64_t ticket = ++f->asked;
	pthread_cond_broadcast(&f->changed);
	while (f->served < ticket && !atomic_load(&f->stop)) {
		cond_wait_until(&f->changed, &f->lock, clock_mono_ns() + LOOK_MS * 1000000ull);
		pthread_mutex_unlock(&f->lock);
		int r = go_on ? go_on(arg) : 0;
		pthread_mutex_lock(&f->lock);
		if (r)
			return r;
	}
	return f->served < ticket ? -ECANCELED : f->result;
}

void follower_close(struct follower *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	atomic_store(&f->stop, true);
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	depot_quit(f->depot);
	if (f->runs)
		pthread_join(f->thread, NULL);
	follower_free(f);
}

void follower_get_status(struct follower *f, struct follower_status *ret_status)
{
	SCOPED_LOCK(&f->lock);
	*ret_status = f->status;
}
