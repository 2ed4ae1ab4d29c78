// SPDX-License-Identifier: MIT
/* Flags: MDB_NOTLS, because read transactions are parked in slots of our own; never MDB_NOSYNC or
 * MDB_WRITEMAP: a commit is a checkpoint, and a stray pointer must not reach the file.
 *
 * The map starts at 16 GiB and doubles long before it is full, between transactions, so that no
 * transaction has to be repeated. The environment is opened in-process only once and by one process
 * only (POOL/lock), so a read-only one needs no lock file (MDB_NOLOCK) and changes nothing.
 *
 * Writing: a key past the table's last goes in with MDB_APPEND, which fills pages completely where
 * LMDB would split them in halves. LMDB itself checks that claim.
 *
 * A miss. Binary search in a page with a wrong key, or a wrong turn in the pages above, ends between keys
 * that do not belong together: one of the two neighbours has a wrong checksum, or is on the wrong
 * side of the key. So a miss looks at both. Digests are looked for often and missed mostly, and a false
 * miss costs a duplicate only: they are not looked at twice.
 *
 * LMDB reports a write that a full disk cut short as EIO. Whether the disk is full is therefore
 * asked of the filesystem, see space_error().
 */
#include "lmdb_base.h"
#include "cleanup.h"
#include "digest.h"
#include "fault.h"
#include "guard.h"
#include "io.h"
#include "kv_format.h"
#include "memtable.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MAP_START ((size_t)16 << 30)
#define META_PAGES 2
#define OWN_DBIS 2 /* of free pages, and of names */
#define META_MAGIC 0xBEEFC0DEu
#define META_MAGIC_AT 16u
#define MAP_HEADROOM ((size_t)4 << 30)
#define MAX_READERS 2048
#define AHEAD_MAX ((off_t)512 << 20)
#define AHEAD_STEP ((off_t)1 << 20) /* the kernel takes hardly more of one wish */
#define SPACE_PROBE ((off_t)1 << 20)

struct lmdb_base {
	MDB_env *env;
	bool read_only;
	atomic_bool rotten;
	uintptr_t map; /* where the file's first byte is; 0: not known */
	size_t page_size;
	MDB_dbi engine, table[KV_TABLES];
	bool missing[KV_TABLES]; /* read-only, and the pool is older than the table */
	struct lmdb_base *next;	 /* of those given up */
};

struct write_table {
	MDB_cursor *cursor;
	uint8_t last[KV_KEY_MAX]; /* greatest key, when has_last */
	size_t last_len;
	bool has_last;
};

struct lmdb_write {
	struct lmdb_base *base;
	MDB_txn *txn;
	struct write_table table[KV_TABLES];
	struct { /* what the running step is about */
		enum kv_table table;
		struct slice key, val;
	} row;
};

static const char *const table_names[KV_TABLES] = { "meta",   "inode",	 "dirent", "xattr",
						    "extent", "segment", "segref", "chunk",
						    "digest", "pack",	 "orphan", "inline" };

const char *lmdb_table_name(enum kv_table t)
{
	return table_names[t];
}

static int from_mdb(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return -ENOSPC;
	case MDB_CORRUPTED:
	case MDB_BAD_TXN: /* it met something corrupted before */
	case MDB_BAD_VALSIZE:
	case MDB_PAGE_NOTFOUND:
	case MDB_PAGE_FULL:
	case MDB_CURSOR_FULL:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
	case MDB_INCOMPATIBLE:
		return -EUCLEAN;
	default:
		return rc > 0 ? -rc : -EIO;
	}
}

static MDB_val val_of(struct slice s)
{
	return (MDB_val){ .mv_size = s.len, .mv_data = (void *)(uintptr_t)s.at };
}

static struct slice slice_from(MDB_val v)
{
	return slice_of(v.mv_data, v.mv_size);
}

static uint32_t value_checksum(enum kv_table t, struct slice key, struct slice val)
{
	uint64_t h = checksum64_seeded(key.at, key.len, (uint64_t)t);
	return (uint32_t)checksum64_seeded(val.at, val.len, h);
}

/* LMDB's own assertions, all of them on what it reads. */
static void assertion_failed(MDB_env *env, const char *text)
{
	(void)env;
	(void)text;
	guard_give_up();
}

static int open_tables(struct lmdb_base *b)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(b->env, NULL, b->read_only ? MDB_RDONLY : 0, &txn);
	if (rc)
		return from_mdb(rc);
	unsigned flags = b->read_only ? 0 : MDB_CREATE;
	rc = mdb_dbi_open(txn, "engine", flags, &b->engine);
	for (unsigned t = 0; t < KV_TABLES && !rc; t++) {
		rc = mdb_dbi_open(txn, table_names[t], flags, &b->table[t]);
		b->missing[t] = rc == MDB_NOTFOUND;
		if (b->missing[t])
			rc = 0;
	}
	if (rc) {
		mdb_txn_abort(txn);
		return from_mdb(rc);
	}
	return from_mdb(mdb_txn_commit(txn));
}

static int env_open(struct lmdb_base *b, const char *path)
{
	int rc = mdb_env_create(&b->env);
	if (rc)
		return from_mdb(rc);
	mdb_env_set_assert(b->env, assertion_failed);
	mdb_env_set_maxdbs(b->env, KV_TABLES + 4);
	mdb_env_set_maxreaders(b->env, MAX_READERS);
	mdb_env_set_mapsize(b->env, MAP_START);
	unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
	if (b->read_only)
		flags |= MDB_RDONLY | MDB_NOLOCK;
	if (fault_hit("lmdb_sync") == FAULT_SKIP)
		flags |= MDB_NOSYNC; /* for the tests that show that its absence would be noticed */
	return from_mdb(mdb_env_open(b->env, path, flags, 0600));
}

/* Else the first who lists a directory reads it page by page: with a million files and nothing cached
   in 1.4 s instead of 0.5, which adds 0.1 s to the mount. Tools that only look need few rows. */
static void read_ahead(struct lmdb_base *b)
{
	mdb_filehandle_t fd;
	struct stat st;
	if (mdb_env_get_fd(b->env, &fd) || fstat(fd, &st) < 0)
		return;
	for (off_t at = 0; at < st.st_size && at < AHEAD_MAX; at += AHEAD_STEP)
		posix_fadvise(fd, at, AHEAD_STEP, POSIX_FADV_WILLNEED);
}

static int sync_directory(const char *path)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : io_fsync_dir(fd);
}

bool lmdb_in_place(const struct lmdb_base *b, struct slice raw)
{
	uintptr_t at = (uintptr_t)raw.at;
	if (!b->map)
		return true;
	uint64_t page = (at - b->map) / b->page_size;
	return get_le64((const void *)(b->map + page * b->page_size)) == page;
}

/* LMDB does not tell where its map is; a value lies in it. Guarded; readers are out. */
static void find_map(struct lmdb_base *b)
{
	MDB_txn *txn;
	MDB_val key = { .mv_size = 5, .mv_data = (void *)(uintptr_t) "state" }, val;
	MDB_stat st;
	b->map = 0;
	if (mdb_env_stat(b->env, &st) || mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn))
		return;
	if (mdb_get(txn, b->engine, &key, &val) == 0) {
		uintptr_t at = (uintptr_t)val.mv_data / st.ms_psize * st.ms_psize;
		uintptr_t map = at - get_le64((const void *)at) * st.ms_psize;
		b->page_size = st.ms_psize;
		if (get_le32((const void *)(map + META_MAGIC_AT)) == META_MAGIC)
			b->map = map;
	}
	mdb_txn_abort(txn);
}

static int find_map_guarded(void *arg)
{
	find_map(arg);
	return 0;
}

struct opening {
	struct lmdb_base *b;
	const char *path;
};

static int open_guarded(void *arg)
{
	struct opening *o = arg;
	int r = env_open(o->b, o->path);
	if (r == 0 && !o->b->read_only)
		read_ahead(o->b);
	return r < 0 ? r : open_tables(o->b);
}

int lmdb_base_open(const char *path, bool read_only, struct lmdb_base **ret_base)
{
	struct lmdb_base *b = calloc(1, sizeof *b);
	struct opening o = { b, path };
	if (!b)
		return -ENOMEM;
	b->read_only = read_only;
	int r = guard_call(open_guarded, &o);
	if (r == -EUCLEAN)
		lmdb_base_set_rotten(b);
	if (r == 0)
		guard_call(find_map_guarded, b);
	if (r == 0 && !read_only)
		r = sync_directory(path);
	if (r < 0) {
		lmdb_base_close(b);
		return r;
	}
	*ret_base = b;
	return 0;
}

/* Their environments cannot be closed: they were left in the middle of something. Kept so that nobody
 * takes that for a leak. */
static _Atomic(struct lmdb_base *) given_up;

void lmdb_base_close(struct lmdb_base *b)
{
	if (b && b->env && atomic_load(&b->rotten)) {
		b->next = atomic_load(&given_up);
		while (!atomic_compare_exchange_weak(&given_up, &b->next, b))
			;
		return;
	}
	if (b && b->env)
		mdb_env_close(b->env);
	free(b);
}

void lmdb_base_set_rotten(struct lmdb_base *b)
{
	atomic_store(&b->rotten, true);
}

struct state_read {
	struct lmdb_base *b;
	struct base_state_disk d;
};

static int read_state(void *arg)
{
	struct state_read *s = arg;
	MDB_txn *txn;
	MDB_val key = { .mv_size = 5, .mv_data = (void *)(uintptr_t) "state" }, val;
	int r = from_mdb(mdb_txn_begin(s->b->env, NULL, MDB_RDONLY, &txn));
	if (r < 0)
		return r;
	r = from_mdb(mdb_get(txn, s->b->engine, &key, &val));
	if (r == 0 && val.mv_size != sizeof s->d)
		r = -EUCLEAN;
	if (r == 0)
		memcpy(&s->d, val.mv_data, sizeof s->d);
	mdb_txn_abort(txn);
	return r;
}

int lmdb_base_get_state(struct lmdb_base *b, struct base_state *ret_state)
{
	struct state_read s = { .b = b };
	int r = guard_call(read_state, &s);
	if (r == -EUCLEAN)
		lmdb_base_set_rotten(b);
	if (r < 0)
		return r;
	struct base_state_disk d = s.d;
	if (get_le64(&d.checksum) != checksum64(&d, offsetof(struct base_state_disk, checksum)) ||
	    get_le32(&d.version) != BASE_STATE_VERSION)
		return -EUCLEAN;
	ret_state->checkpoint_lsn = get_le64(&d.checkpoint_lsn);
	ret_state->clean = get_le32(&d.flags) & BASE_STATE_CLEAN;
	ret_state->log_tag = get_le32(&d.flags) >> BASE_STATE_TAG_SHIFT;
	memcpy(ret_state->pool_uuid, d.pool_uuid, sizeof d.pool_uuid);
	memcpy(ret_state->wal_id, d.wal_id, sizeof d.wal_id);
	return 0;
}

int lmdb_read_begin(struct lmdb_base *b, MDB_txn **txn)
{
	if (*txn)
		return from_mdb(mdb_txn_renew(*txn));
	MDB_txn *fresh;
	int rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &fresh);
	if (rc == 0)
		*txn = fresh;
	return from_mdb(rc);
}

void lmdb_read_park(MDB_txn *txn)
{
	if (txn)
		mdb_txn_reset(txn);
}

int lmdb_check_value(enum kv_table t, struct slice key, struct slice *raw)
{
	if (raw->len < BASE_CHECKSUM_BYTES || raw->len > KV_VALUE_MAX + BASE_CHECKSUM_BYTES)
		return -EUCLEAN;
	raw->len -= BASE_CHECKSUM_BYTES;
	return get_le32(raw->at + raw->len) == value_checksum(t, key, *raw) ? 0 : -EUCLEAN;
}

int lmdb_cursor_open(struct lmdb_base *b, MDB_txn *txn, enum kv_table t, MDB_cursor **ret_cursor)
{
	*ret_cursor = NULL;
	return b->missing[t] ? 0 : from_mdb(mdb_cursor_open(txn, b->table[t], ret_cursor));
}

static int cursor_get(MDB_cursor *c, MDB_cursor_op op, MDB_val *k, struct slice *ret_key,
		      struct slice *ret_raw)
{
	MDB_val v;
	int rc = mdb_cursor_get(c, k, &v, op);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		return from_mdb(rc);
	*ret_key = slice_from(*k);
	*ret_raw = slice_from(v);
	return 1;
}

int lmdb_cursor_step(MDB_cursor *c, bool down, struct slice *ret_key, struct slice *ret_raw)
{
	MDB_val k;
	return cursor_get(c, down ? MDB_PREV : MDB_NEXT, &k, ret_key, ret_raw);
}

int lmdb_cursor_seek(MDB_cursor *c, struct slice key, bool down, bool past, struct slice *ret_key,
		     struct slice *ret_raw)
{
	MDB_val k = val_of(key);
	if (!key.at || (!key.len && !down)) /* LMDB refuses empty keys */
		return cursor_get(c, down ? MDB_LAST : MDB_FIRST, &k, ret_key, ret_raw);
	if (!key.len)
		return 0;
	int r = cursor_get(c, MDB_SET_RANGE, &k, ret_key, ret_raw);
	if (r == 0 && down)
		return cursor_get(c, MDB_LAST, &k, ret_key, ret_raw);
	if (r <= 0)
		return r;
	bool equal = slice_compare(*ret_key, key) == 0;
	if (equal ? past : down)
		return lmdb_cursor_step(c, down, ret_key, ret_raw);
	return 1;
}

/* One neighbour of a key that is not there: on its side, and as it was written. */
static int neighbour_check(const struct lmdb_base *b, enum kv_table t, struct slice key, bool below,
			   struct slice at, struct slice raw)
{
	int c = at.len > KV_KEY_MAX ? 0 : slice_compare(at, key);
	if ((below ? c >= 0 : c <= 0) || !lmdb_in_place(b, raw))
		return -EUCLEAN;
	return lmdb_check_value(t, at, &raw) < 0 ? -EBADMSG : 0; /* a row, not the structure */
}

static int miss_check(struct lmdb_base *b, MDB_txn *txn, enum kv_table t, struct slice key)
{
	MDB_cursor *c;
	struct slice at, raw;
	int r = from_mdb(mdb_cursor_open(txn, b->table[t], &c));
	if (r < 0)
		return r;
	MDB_val k = val_of(key);
	int above = cursor_get(c, MDB_SET_RANGE, &k, &at, &raw);
	r = above > 0 ? neighbour_check(b, t, key, false, at, raw) : above;
	if (r == 0) {
		int below = cursor_get(c, above ? MDB_PREV : MDB_LAST, &k, &at, &raw);
		r = below > 0 ? neighbour_check(b, t, key, true, at, raw) : below;
	}
	mdb_cursor_close(c);
	return r < 0 ? r : -ENOENT;
}

int lmdb_base_find(struct lmdb_base *b, MDB_txn *txn, enum kv_table t, struct slice key,
		   struct slice *ret_raw)
{
	MDB_val k = val_of(key), v;
	int rc = b->missing[t] ? MDB_NOTFOUND : mdb_get(txn, b->table[t], &k, &v);
	if (rc == MDB_NOTFOUND && t != KV_DIGEST && !b->missing[t])
		return miss_check(b, txn, t, key);
	if (rc)
		return from_mdb(rc);
	*ret_raw = slice_from(v);
	return lmdb_in_place(b, *ret_raw) ? 0 : -EUCLEAN;
}

/* Runs one step of a write within the guard. */
static int run(struct lmdb_write *w, int (*step)(void *w))
{
	int r = guard_call(step, w);
	if (r == -EUCLEAN)
		lmdb_base_set_rotten(w->base);
	return r;
}

static int begin_txn(void *arg)
{
	struct lmdb_write *w = arg;
	return from_mdb(mdb_txn_begin(w->base->env, NULL, 0, &w->txn));
}

int lmdb_write_begin(struct lmdb_base *b, struct lmdb_write **ret_write)
{
	struct lmdb_write *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->base = b;
	int r = atomic_load(&b->rotten) ? -EUCLEAN : run(w, begin_txn);
	if (r < 0) {
		free(w);
		return r;
	}
	*ret_write = w;
	return 0;
}

static void remember_last(struct write_table *wt, struct slice key)
{
	memcpy(wt->last, key.at, key.len);
	wt->last_len = key.len;
	wt->has_last = true;
}

static int table_for_writing(struct lmdb_write *w, enum kv_table t, struct write_table **ret_table)
{
	struct write_table *wt = &w->table[t];
	*ret_table = wt;
	if (wt->cursor)
		return 0;
	MDB_val k, v;
	int rc = mdb_cursor_open(w->txn, w->base->table[t], &wt->cursor);
	if (rc)
		return from_mdb(rc);
	rc = mdb_cursor_get(wt->cursor, &k, &v, MDB_LAST);
	if (rc == 0 && k.mv_size <= KV_KEY_MAX)
		remember_last(wt, slice_from(k));
	return rc == MDB_NOTFOUND ? 0 : from_mdb(rc);
}

static int put_row(void *arg)
{
	struct lmdb_write *w = arg;
	enum kv_table t = w->row.table;
	struct slice key = w->row.key, val = w->row.val;
	struct write_table *wt;
	int r = table_for_writing(w, t, &wt);
	if (r < 0)
		return r;
	MDB_val k = val_of(key), v = { .mv_size = val.len + BASE_CHECKSUM_BYTES };
	bool behind = !wt->has_last || slice_compare(slice_of(wt->last, wt->last_len), key) < 0;
	int rc = mdb_cursor_put(wt->cursor, &k, &v, MDB_RESERVE | (behind ? MDB_APPEND : 0u));
	if (rc)
		return from_mdb(rc == MDB_KEYEXIST ? MDB_CORRUPTED : rc);
	if (val.len)
		memcpy(v.mv_data, val.at, val.len);
	put_le32((uint8_t *)v.mv_data + val.len, value_checksum(t, key, val));
	if (behind)
		remember_last(wt, key);
	return 0;
}

int lmdb_write_put(struct lmdb_write *w, enum kv_table t, struct slice key, struct slice val)
{
	w->row.table = t;
	w->row.key = key;
	w->row.val = val;
	return run(w, put_row);
}

static int delete_row(void *arg)
{
	struct lmdb_write *w = arg;
	MDB_val k = val_of(w->row.key);
	int rc = mdb_del(w->txn, w->base->table[w->row.table], &k, NULL);
	return rc == MDB_NOTFOUND ? 0 : from_mdb(rc);
}

int lmdb_write_delete(struct lmdb_write *w, enum kv_table t, struct slice key)
{
	w->row.table = t;
	w->row.key = key;
	return run(w, delete_row);
}

static int put_state(void *arg)
{
	struct lmdb_write *w = arg;
	MDB_val k = { .mv_size = 5, .mv_data = (void *)(uintptr_t) "state" };
	MDB_val v = val_of(w->row.val);
	return from_mdb(mdb_put(w->txn, w->base->engine, &k, &v, 0));
}

int lmdb_write_state(struct lmdb_write *w, const struct base_state *state)
{
	struct base_state_disk d = { 0 };
	put_le32(&d.version, BASE_STATE_VERSION);
	put_le32(&d.flags,
		 (state->clean ? BASE_STATE_CLEAN : 0) | state->log_tag << BASE_STATE_TAG_SHIFT);
	put_le64(&d.checkpoint_lsn, state->checkpoint_lsn);
	memcpy(d.pool_uuid, state->pool_uuid, sizeof d.pool_uuid);
	memcpy(d.wal_id, state->wal_id, sizeof d.wal_id);
	put_le64(&d.checksum, checksum64(&d, offsetof(struct base_state_disk, checksum)));
	w->row.val = slice_of(&d, sizeof d);
	return run(w, put_state);
}

/* A short write is EIO to LMDB. If the filesystem has no megabyte left it was lack of space. */
static int space_error(struct lmdb_base *b, int err)
{
	mdb_filehandle_t fd;
	struct stat st;
	if (err != -EIO || mdb_env_get_fd(b->env, &fd) || fstat(fd, &st))
		return err == -EDQUOT ? -ENOSPC : err;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, st.st_size, SPACE_PROBE))
		return errno == ENOSPC || errno == EDQUOT ? -ENOSPC : err;
	if (ftruncate(fd, st.st_size)) /* gives the probe back */
		return err;
	return err;
}

static int commit_txn(void *arg)
{
	struct lmdb_write *w = arg;
	return from_mdb(mdb_txn_commit(w->txn)); /* frees the cursors of a write transaction */
}

int lmdb_write_commit(struct lmdb_write *w)
{
	struct lmdb_base *b = w->base;
	int r = atomic_load(&b->rotten) ? -EUCLEAN : fault_hit("checkpoint");
	if (r < 0) {
		lmdb_write_abort(w);
		return r;
	}
	r = run(w, commit_txn);
	free(w);
	return space_error(b, r);
}

void lmdb_write_abort(struct lmdb_write *w)
{
	if (w && !atomic_load(&w->base->rotten))
		mdb_txn_abort(w->txn);
	free(w);
}

bool lmdb_base_wants_room(struct lmdb_base *b)
{
	MDB_envinfo info;
	MDB_stat st;
	if (mdb_env_info(b->env, &info) || mdb_env_stat(b->env, &st))
		return false;
	size_t used = (info.me_last_pgno + 1) * st.ms_psize;
	size_t room = used / 2 > MAP_HEADROOM ? used / 2 : MAP_HEADROOM;
	return used + room > info.me_mapsize;
}

int lmdb_base_grow(struct lmdb_base *b)
{
	MDB_envinfo info;
	int rc = mdb_env_info(b->env, &info);
	if (!rc)
		rc = mdb_env_set_mapsize(b->env, info.me_mapsize * 2);
	if (!rc)
		guard_call(find_map_guarded, b);
	return from_mdb(rc);
}

struct room {
	struct lmdb_base *b;
	uint64_t used, spare;
};

static uint64_t pages_of(MDB_txn *txn, MDB_dbi dbi)
{
	MDB_stat st;
	if (mdb_stat(txn, dbi, &st))
		return 0;
	return st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
}

static int count_pages(void *arg)
{
	struct room *m = arg;
	MDB_envinfo info;
	MDB_stat st;
	MDB_txn *txn;
	int rc = mdb_env_info(m->b->env, &info);
	if (!rc)
		rc = mdb_env_stat(m->b->env, &st);
	if (!rc)
		rc = mdb_txn_begin(m->b->env, NULL, MDB_RDONLY, &txn);
	if (rc)
		return from_mdb(rc);
	uint64_t all = info.me_last_pgno + 1, used = META_PAGES;
	for (MDB_dbi dbi = 0; dbi < OWN_DBIS; dbi++)
		used += pages_of(txn, dbi);
	used += pages_of(txn, m->b->engine);
	for (unsigned t = 0; t < KV_TABLES; t++)
		used += pages_of(txn, m->b->table[t]);
	mdb_txn_abort(txn);
	m->used = used * st.ms_psize;
	m->spare = all > used ? (all - used) * st.ms_psize : 0;
	return 0;
}

int lmdb_base_room(struct lmdb_base *b, uint64_t *ret_used, uint64_t *ret_spare)
{
	struct room m = { .b = b };
	int r = guard_call(count_pages, &m);
	*ret_used = m.used;
	*ret_spare = m.spare;
	return r;
}

struct copying {
	struct lmdb_base *b;
	int fd;
};

static int copy_env(void *arg)
{
	struct copying *c = arg;
	return from_mdb(mdb_env_copyfd2(c->b->env, c->fd, MDB_CP_COMPACT));
}

int lmdb_base_copy(struct lmdb_base *b, int fd)
{
	struct copying c = { b, fd };
	int r = atomic_load(&b->rotten) ? -EUCLEAN : guard_call(copy_env, &c);
	if (r == -EUCLEAN)
		lmdb_base_set_rotten(b);
	return r;
}

void lmdb_base_stats(struct lmdb_base *b, MDB_txn *txn, struct kv_stats *ret_stats)
{
	MDB_envinfo info;
	MDB_stat st;
	mdb_filehandle_t fd;
	struct stat file;
	for (unsigned t = 0; t < KV_TABLES; t++)
		if (!b->missing[t] && mdb_stat(txn, b->table[t], &st) == 0)
			ret_stats->rows[t] = st.ms_entries;
	if (mdb_env_info(b->env, &info) == 0 && mdb_env_stat(b->env, &st) == 0)
		ret_stats->lmdb_bytes_used = (info.me_last_pgno + 1) * (uint64_t)st.ms_psize;
	if (mdb_env_get_fd(b->env, &fd) == 0 && fstat(fd, &file) == 0)
		ret_stats->lmdb_bytes_file = (uint64_t)file.st_size;
}
