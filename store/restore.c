// SPDX-License-Identifier: MIT
/* The new LMDB file grows in POOL/index/restore/, invisible to everybody, and takes the old one's
 * place by one rename when all of it is durable. Before that the old file gets a second name, so that
 * it is never gone.
 *
 * Why dump and log give the latest state: dump.h. The log is read by wal_replay(), as at a mount,
 * from the dump's start instead of LMDB's checkpoint.
 *
 * Which log continues the new index. When the log was read to its end: the same one, and the next
 * mount finds nothing to apply. When some of it was given up, or none is there: the new index says
 * that it was closed cleanly, at the greatest LSN that anything in the log has; so the next mount
 * finds a log that holds nothing newer, removes it and begins another.
 */
#include "restore.h"
#include "aside.h"
#include "cleanup.h"
#include "digests_format.h"
#include "base_verify.h"
#include "dump.h"
#include "io.h"
#include "kv_batch.h"
#include "lmdb_base.h"
#include "pool_impl.h"
#include "rebuild.h"
#include "rows_format.h"
#include "wal_home.h"
#include "wal_salvage.h"
#include "wal_segment.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#define DUMPS_LOOKED_AT 8u

struct restoring {
	struct pool *pool;
	const struct restore_options *opt;
	struct restore_result *res;
	struct pool_error *err;
	struct rebuild *rebuild;
	struct wal_survey log;
	bool has_log, log_whole;
	bool log_gone;	/* some of its files, so that nobody can say what is lost */
	bool kept;	/* files of the log were put aside */
	int unread;	/* why a dump could not be read */
	uint32_t named; /* the log's segment that the index names; 0: not known */
	uint64_t rows_total;
};

static int tell(struct restoring *rs, const char *what, uint64_t done, uint64_t total)
{
	return rs->opt->progress ? rs->opt->progress(rs->opt->arg, what, done, total) : 0;
}

static int take_row(void *arg, enum kv_table t, struct slice key, struct slice val)
{
	struct restoring *rs = arg;
	int r = rebuild_put(rs->rebuild, t, key, val);
	if (r == 0 && ++rs->res->rows % 65536 == 0)
		r = tell(rs, "rows", rs->res->rows, rs->rows_total);
	return r;
}

static int take_entry(void *arg, uint64_t lsn, struct slice payload)
{
	struct restoring *rs = arg;
	struct kv_op op;
	int r;
	while ((r = kv_op_take(&payload, &op)) > 0) {
		if (op.table == KV_DIGEST)
			continue;
		r = op.is_delete ? rebuild_delete(rs->rebuild, op.table, op.key)
				 : rebuild_put(rs->rebuild, op.table, op.key, op.val);
		if (r < 0)
			return r;
	}
	if (r == 0 && ++rs->res->entries % 4096 == 0)
		r = tell(rs, "log entries", rs->res->entries,
			 rs->log.seen_lsn > rs->res->start_lsn
				 ? rs->log.seen_lsn - rs->res->start_lsn
				 : 0);
	rs->res->last_lsn = lsn;
	return r;
}

/* What can be read behind the place that the log could not be replayed beyond, too. */
static int salvage_log(struct restoring *rs, struct wal_replay *in)
{
	struct restore_result *res = rs->res;
	struct wal_salvaged found;
	in->checkpoint_lsn = res->last_lsn;
	int r = wal_salvage(in, &found);
	res->gap_lsn = found.gap_lsn;
	res->lost_entries = found.lost;
	return r == -EUCLEAN || r == -ESTALE ? 0 : r;
}

/* Applies the log after start_lsn. 0 also when not all of it can be read: log_whole says. */
static int apply_log(struct restoring *rs)
{
	struct wal_found found = { 0 };
	struct wal_replay in = {
		.dirfd = rs->pool->wal_fd,
		.checkpoint_lsn = rs->res->start_lsn,
		.named = rs->named,
		.read_only = true,
		.apply = take_entry,
		.arg = rs,
	};
	rs->res->last_lsn = rs->res->start_lsn;
	rs->log_whole = rs->log_gone = false;
	if (!rs->has_log)
		return 0;
	memcpy(in.id.pool_uuid, rs->pool->super.uuid, sizeof in.id.pool_uuid);
	memcpy(in.id.wal_id, rs->log.wal_id, sizeof in.id.wal_id);
	int r = wal_replay(&in, &found);
	wal_found_done(&found);
	rs->log_whole = r == 0;
	rs->log_gone = r == -ENOENT || r == -ESTALE;
	return r == -EUCLEAN || rs->log_gone ? salvage_log(rs, &in) : r;
}

/* What the log held, or must have held, beyond what could be applied. `end_lsn`: the dump knows of it. */
static uint64_t missing_entries(const struct restoring *rs, uint64_t end_lsn)
{
	uint64_t known = end_lsn;
	if (rs->has_log && rs->log.seen_lsn > known)
		known = rs->log.seen_lsn;
	return known > rs->res->last_lsn ? known - rs->res->last_lsn : 0;
}

/* Spare ones hold nothing. */
static bool holds_something(int dirfd, const char *name)
{
	void *data;
	size_t len, at = 0;
	if (io_slurp(dirfd, name, WAL_SEGMENT_MAX, &data, &len) < 0)
		return true;
	while (at < len && !((const uint8_t *)data)[at])
		at++;
	free(data);
	return at < len;
}

/* The next opening removes the log, of which some is given up: who finds the lost part elsewhere, or
 * wants to look into it, shall have the rest. Begun before the index is replaced. */
static int keep_log_files(int dirfd, bool *ret_kept)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return -errno;
	struct dirent *e;
	int more = 0;
	while (r == 0 && (more = io_next_entry(d, &e)) > 0) {
		uint64_t seq;
		if (!wal_segment_parse_name(e->d_name, &seq) || !holds_something(dirfd, e->d_name))
			continue;
		r = aside_link(dirfd, e->d_name, NULL);
		*ret_kept |= r == 0;
	}
	r = r < 0 ? r : more;
	return r < 0 ? r : io_fsync_dir(dirfd);
}

/* The engine's state in the index as it is. */
static int read_state(struct restoring *rs, struct base_state *ret_state)
{
	struct lmdb_base *base;
	int r = lmdb_base_open(rs->pool->index_path, true, &base);
	if (r < 0)
		return r;
	r = lmdb_base_get_state(base, ret_state);
	lmdb_base_close(base);
	return r;
}

/* Nothing tells what came after the dump but the index itself, which had it all. */
static bool dump_is_old(struct restoring *rs)
{
	struct base_state had;
	return read_state(rs, &had) < 0 || had.checkpoint_lsn > rs->res->last_lsn;
}

static void say_what_is_lost(const struct restore_result *res, char ret_text[96])
{
	if (res->lost_entries)
		snprintf(ret_text, 96, "at least %lu of its entries, the first after entry %lu,",
			 res->lost_entries, res->gap_lsn);
	else /* nothing that is left tells of a later entry */
		snprintf(ret_text, 96, "what it may have had after entry %lu", res->gap_lsn);
}

static int finish(struct restoring *rs, uint64_t end_lsn)
{
	struct restore_result *res = rs->res;
	struct base_state state = { .checkpoint_lsn = res->last_lsn };
	uint64_t missing = missing_entries(rs, end_lsn);
	if (!res->lost_entries)
		res->gap_lsn = res->last_lsn;
	res->lost_entries += missing;
	bool old = !rs->has_log && (!res->generation || dump_is_old(rs));
	res->lost = res->lost_entries || rs->log_gone || old;
	if (old && !rs->opt->give_up_entries) {
		pool_say(rs->err,
			 "%s: there is no log, and restoring the index from its dump would give up "
			 "what was changed since",
			 rs->pool->path);
		return -EUCLEAN;
	}
	if (res->lost && !rs->opt->give_up_entries) {
		char what[96];
		say_what_is_lost(res, what);
		pool_say(rs->err,
			 "%s: the log is damaged: %s cannot be read, and restoring the index would "
			 "give that up",
			 rs->pool->path, what);
		return -EUCLEAN;
	}
	memcpy(state.pool_uuid, rs->pool->super.uuid, sizeof state.pool_uuid);
	if (rs->log_whole && !res->lost) {
		memcpy(state.wal_id, rs->log.wal_id, sizeof state.wal_id);
	} else {
		state.checkpoint_lsn += missing;
		state.clean = true;
	}
	int r = res->lost ? keep_log_files(rs->pool->wal_fd, &rs->kept) : 0;
	if (r == 0 && res->lost)
		r = rebuild_put(rs->rebuild, KV_META,
				slice_of(META_LOG_LOST, strlen(META_LOG_LOST)), slice_of("", 0));
	if (r < 0)
		return r;
	return rebuild_finish(TAKE_PTR(rs->rebuild), &state);
}

static int from_dump(struct restoring *rs, const struct dump_info *dump)
{
	struct dump_place place = pool_dump_place(rs->pool);
	struct restore_result *res = rs->res;
	*res = (struct restore_result){ .generation = dump->generation,
					.dumped = dump->created,
					.start_lsn = dump->start_lsn,
					.bad_dumps = res->bad_dumps };
	rs->rows_total = dump->rows_total;
	int r = rebuild_begin(rs->pool->index_fd, rs->pool->index_path, false, &rs->rebuild);
	if (r == 0)
		r = dump_read(&place, dump->generation, take_row, rs);
	if (r == -EIO)
		rs->unread = r;
	if (r == -EUCLEAN || r == -EIO)
		r = -ENODATA; /* this dump, not the log */
	if (r == 0)
		r = apply_log(rs);
	if (r == 0)
		r = finish(rs, dump->end_lsn);
	rebuild_abort(TAKE_PTR(rs->rebuild));
	return r;
}

static void say_result(struct restoring *rs)
{
	struct restore_result *res = rs->res;
	char when[64] = "", what[96], lost[224];
	struct tm tm;
	time_t t = (time_t)res->dumped;
	if (res->generation && gmtime_r(&t, &tm))
		strftime(when, sizeof when, " of %Y-%m-%d %H:%M:%S UTC", &tm);
	const char *aside = rs->kept ? " (the log's files are kept as wal-*.damaged)" : "";
	say_what_is_lost(res, what);
	if (res->lost && rs->has_log)
		snprintf(lost, sizeof lost, "%s could not be read, and is lost%s", what, aside);
	else if (!rs->has_log)
		snprintf(lost, sizeof lost, "there is no log%s: what was changed later is lost%s",
			 rs->kept ? " that can be read" : "", aside);
	else
		snprintf(lost, sizeof lost, "nothing is lost");
	if (res->generation)
		snprintf(res->text, sizeof res->text,
			 "the index was made anew from dump %lu%s (%lu rows) and %lu log entries "
			 "since; %s",
			 res->generation, when, res->rows, res->entries, lost);
	else
		snprintf(res->text, sizeof res->text,
			 "the index was kept, with %lu entries of the log; %s", res->entries, lost);
}

/* Opens what is needed; the pool is closed by the caller. */
static int restoring_open(struct restoring *rs, const char *path, bool read_only)
{
	int r = pool_open_parts(path, NULL, read_only, 0, &rs->pool, rs->err);
	if (r < 0)
		return r;
	r = pool_open_dirs(rs->pool);
	if (r == 0)
		r = wal_home_check(rs->pool->wal_fd, rs->pool->super.uuid);
	if (r == 0 || r == -ENOENT)
		r = wal_survey(rs->pool->wal_fd, rs->pool->super.uuid, &rs->log);
	rs->has_log = r == 0;
	if (r == 0 || r == -ENOENT)
		return 0;
	if (pool_say_log(rs->pool, r, rs->err))
		return r;
	if (r == -ESTALE)
		pool_say_foreign(rs->pool, rs->err);
	else
		pool_say(rs->err, "%s: its index or log cannot be looked at: %s", rs->pool->path,
			 strerror(-r));
	return r;
}

static int restoring_close(struct restoring *rs, int r)
{
	if (r < 0 && !*rs->err->text)
		pool_say(rs->err, "%s: the index cannot be restored: %s",
			 rs->pool ? rs->pool->path : "", strerror(-r));
	if (r == 0)
		say_result(rs);
	int closed = rs->pool ? pool_close(rs->pool) : 0;
	return r ? r : closed;
}

int restore_index(const char *path, const struct restore_options *opt,
		  struct restore_result *ret_result, struct pool_error *err)
{
	struct restore_result res = { 0 };
	struct restoring rs = { .opt = opt, .res = &res, .err = err };
	struct dump_info dumps[DUMPS_LOOKED_AT];
	*err->text = 0;
	int r = restoring_open(&rs, path, false), n = 0;
	if (r == 0) {
		struct dump_place place = pool_dump_place(rs.pool);
		n = dump_list(&place, dumps, DUMPS_LOOKED_AT, &rs.unread);
		r = n < 0 ? n : -ENODATA;
	}
	for (int i = 0; i < n && r == -ENODATA; i++) {
		r = from_dump(&rs, &dumps[i]);
		res.bad_dumps += r == -ENODATA;
	}
	if (r == -ENODATA && rs.unread) {
		r = rs.unread;
		pool_say(err,
			 "%s: its index cannot be restored: a dump of it is there and cannot be "
			 "read: "
			 "%s; repeat it when it can, or move packs/dump-* elsewhere to do without",
			 path, strerror(-r));
	} else if (r == -ENODATA) {
		r = -ENOENT;
		pool_say(err,
			 n ? "%s: its index cannot be restored: all dumps of it are damaged too"
			   : "%s: its index cannot be restored: there is no dump of it",
			 path);
	}
	r = restoring_close(&rs, r);
	if (r == 0)
		*ret_result = res;
	return r;
}

int restore_log(const char *path, const struct restore_options *opt,
		struct restore_result *ret_result, struct pool_error *err)
{
	struct restore_result res = { 0 };
	struct restoring rs = { .opt = opt, .res = &res, .err = err };
	struct base_state state;
	*err->text = 0;
	if (!opt->give_up_entries)
		return -EINVAL;
	int r = restoring_open(&rs, path, false);
	if (r == 0)
		r = read_state(&rs, &state);
	if (r == 0) {
		res.start_lsn = state.checkpoint_lsn;
		rs.named = state.clean ? 0 : state.log_tag;
		r = rebuild_begin(rs.pool->index_fd, rs.pool->index_path, true, &rs.rebuild);
	}
	if (r == 0)
		r = apply_log(&rs);
	if (r == 0)
		r = finish(&rs, 0);
	rebuild_abort(TAKE_PTR(rs.rebuild));
	r = restoring_close(&rs, r);
	if (r == 0)
		*ret_result = res;
	return r;
}

static int ignore_entry(void *arg, uint64_t lsn, struct slice payload)
{
	(void)arg;
	(void)lsn;
	(void)payload;
	return 0;
}

/* An index older than the log that is left, which a dump reaches, is what is wrong; else the log. */
static enum restore_need blame(struct restoring *rs, const struct base_state *state, int err)
{
	struct dump_place place = pool_dump_place(rs->pool);
	struct dump_info dump;
	bool older = rs->has_log && rs->log.first_lsn > state->checkpoint_lsn + 1;
	if (older && dump_list(&place, &dump, 1, NULL) == 1 &&
	    dump.start_lsn + 1 >= rs->log.first_lsn) {
		pool_say(rs->err, "%s: the index is older than its log", rs->pool->path);
		return RESTORE_INDEX;
	}
	bool gone = err == -ENOENT || older || !rs->has_log;
	pool_say(rs->err, "%s: log entries that the index needs, after entry %lu, are %s",
		 rs->pool->path, state->checkpoint_lsn,
		 gone ? "missing, or their files are not whole: put the log's files back, or give "
			"the right wal_dir "
			"(-y -f goes on without them)"
		      : "damaged");
	return gone ? RESTORE_LOG_GONE : RESTORE_LOG;
}

/* Every log has a file in its directory that says whose it is. */
static bool log_is_elsewhere(struct restoring *rs)
{
	struct dump_place place = pool_dump_place(rs->pool);
	struct dump_info dump;
	return !rs->has_log &&
	       dump_list(&place, &dump, 1, NULL) > 0 && /* or what is the log for? */
	       wal_home_check(rs->pool->wal_fd, rs->pool->super.uuid) == -ENOENT;
}

/* base_verify() may have said why. */
static void blame_index(struct restoring *rs, int err, enum restore_need *ret_need)
{
	char why[160];
	bool alone = log_is_elsewhere(rs);
	const char *log =
		alone ? "; its log is missing, too: put the log's files back, or give the "
			"right wal_dir (-y -f goes on without them)"
		      : "";
	snprintf(why, sizeof why, "%.150s", *rs->err->text ? rs->err->text : "LMDB cannot read it");
	if (err == -ENOENT)
		pool_say(rs->err, "%s: index/data.mdb, which names every file, is missing%s",
			 rs->pool->path, log);
	else
		pool_say(rs->err, "%s: the index is damaged: %s%s", rs->pool->path, why, log);
	*ret_need = alone ? RESTORE_INDEX_ALONE : RESTORE_INDEX;
}

static int diagnose(struct restoring *rs, enum restore_need *ret_need)
{
	struct wal_found found = { 0 };
	struct base_state state;
	struct wal_replay in = { .dirfd = rs->pool->wal_fd,
				 .read_only = true,
				 .apply = ignore_entry };
	int r = base_verify(rs->pool->index_fd, rs->err->text, sizeof rs->err->text);
	if (r == 0)
		r = read_state(rs, &state);
	if (r == -EUCLEAN || r == -ENOENT) {
		blame_index(rs, r, ret_need);
		return 0;
	}
	if (r == 0 && memcmp(state.pool_uuid, rs->pool->super.uuid, sizeof state.pool_uuid)) {
		pool_say_foreign(rs->pool, rs->err);
		return -ESTALE;
	}
	*ret_need = RESTORE_NOTHING;
	if (r < 0 || state.clean)
		return r;
	in.checkpoint_lsn = state.checkpoint_lsn;
	in.named = state.log_tag;
	memcpy(in.id.pool_uuid, rs->pool->super.uuid, sizeof in.id.pool_uuid);
	memcpy(in.id.wal_id, state.wal_id, sizeof in.id.wal_id);
	r = wal_replay(&in, &found);
	wal_found_done(&found);
	if (r == -ESTALE)
		pool_say_foreign(rs->pool, rs->err);
	if (r != -EUCLEAN && r != -ENOENT)
		return r;
	*ret_need = blame(rs, &state, r);
	return 0;
}

int restore_diagnose(const char *path, enum restore_need *ret_need, struct pool_error *err)
{
	struct restore_options opt = { 0 };
	struct restore_result res = { 0 };
	struct restoring rs = { .opt = &opt, .res = &res, .err = err };
	*err->text = 0;
	int r = restoring_open(&rs, path, true);
	if (r == 0)
		r = diagnose(&rs, ret_need);
	return restoring_close(&rs, r);
}
