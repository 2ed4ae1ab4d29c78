// SPDX-License-Identifier: MIT
#include "repair_run.h"
#include "base_verify.h"
#include "cleanup.h"
#include "pack_version.h"
#include "pool_impl.h"
#include "pool_owner.h"
#include "repair.h"
#include "repair_index.h"
#include "repair_labels.h"
#include "restore.h"
#include "rows_format.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

struct run {
	const char *path;
	const struct repair_call *call;
	struct repair_report *report;
	struct pool_error *err;
	bool quiet;  /* checking again before repairing: nothing new is said */
	bool anew;   /* the index was begun anew: everything has to be looked for */
	bool less;   /* it was restored: packs may hold what it had later */
	bool marked; /* so it was by a repair that has not come to its end */
	char **lost; /* sentences of the last check: what they say may be mended yet */
	size_t n_lost, cap_lost;
};

static void say(struct run *run, enum repair_sentence kind, const char *sentence)
{
	if (!run->quiet || kind == REPAIR_DONE)
		run->call->say(run->call->arg, kind, sentence);
	run->report->repaired += kind == REPAIR_DONE;
}

static void on_error(void *arg, const char *sentence)
{
	say(arg, REPAIR_ERROR, sentence);
}

static void on_note(void *arg, const char *sentence)
{
	say(arg, REPAIR_NOTE, sentence);
}

static void on_absent(void *arg, const char *sentence)
{
	say(arg, REPAIR_ABSENT, sentence);
}

static void on_lost(void *arg, const char *sentence)
{
	struct run *run = arg;
	if (run->n_lost == run->cap_lost) {
		size_t cap = run->cap_lost ? run->cap_lost * 2 : 64;
		char **v = realloc(run->lost, cap * sizeof *v);
		if (!v)
			return;
		run->lost = v;
		run->cap_lost = cap;
	}
	run->lost[run->n_lost++] = strdup(sentence);
}

static void forget_lost(struct run *run)
{
	while (run->n_lost)
		free(run->lost[--run->n_lost]);
}

static void tell_lost(struct run *run)
{
	for (size_t i = 0; i < run->n_lost; i++)
		if (run->lost[i])
			say(run, REPAIR_LOST, run->lost[i]);
	forget_lost(run);
	free(run->lost);
}

static void on_done(void *arg, const char *sentence)
{
	say(arg, REPAIR_DONE, sentence);
}

static void on_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
	struct run *run = arg;
	if (run->call->progress)
		run->call->progress(run->call->arg, what, done, total);
}

static bool is_stopped(void *arg)
{
	struct run *run = arg;
	return run->call->stopped && run->call->stopped(run->call->arg);
}

static int on_restoring(void *arg, const char *what, uint64_t done, uint64_t total)
{
	on_progress(arg, what, done, total);
	return is_stopped(arg) ? -EINTR : 0;
}

static bool ask(struct run *run, const char *fmt, ...)
{
	char question[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(question, sizeof question, fmt, ap);
	va_end(ap);
	return run->call->ask && run->call->ask(run->call->arg, question);
}

static int check(struct run *run)
{
	struct pool *pool = NULL;
	CLEANUP_BUF struct buf mark = { 0 };
	struct check_options opt = { .full = run->call->full,
				     .error = on_error,
				     .note = on_note,
				     .lost = on_lost,
				     .absent = on_absent,
				     .progress = on_progress,
				     .stopped = is_stopped,
				     .arg = run };
	forget_lost(run);
	int r = pool_open_bare(run->path, true, &pool, run->err);
	if (r < 0)
		return r;
	unsigned labels = repair_labels_look(pool, on_error, on_absent, run);
	r = check_pool(pool, &opt, &run->report->result);
	run->marked = kv_get(pool->kv, KV_META, META_LOG_LOST, strlen(META_LOG_LOST), &mark) == 0;
	run->report->result.errors += labels;
	int closed = pool_close(pool);
	r = r < 0 ? r : closed;
	if (r < 0)
		snprintf(run->err->text, sizeof run->err->text, "%s could not be checked: %s",
			 run->path, strerror(-r));
	run->report->left = run->report->result.errors;
	return r;
}

static void restored(struct run *run, const struct restore_result *res)
{
	run->less =
		true; /* also when nothing is known to be lost: the index named the log's files */
	say(run, REPAIR_DONE, res->text);
}

/* Beside rotten rows the log may be damaged, too: what precedes the damage is kept. */
static int open_to_write(struct run *run, struct pool **ret_pool)
{
	struct restore_options opt = { .give_up_entries = true,
				       .progress = on_restoring,
				       .arg = run };
	struct restore_result res;
	int r = pool_open_bare(run->path, false, ret_pool, run->err);
	if (r != -EUCLEAN)
		return r;
	r = restore_log(run->path, &opt, &res, run->err);
	if (r < 0)
		return r;
	restored(run, &res);
	return pool_open_bare(run->path, false, ret_pool, run->err);
}

/* Packs that no row names become known: their chunks are there when the same bytes come again. */
static bool takes_in(const struct run *run)
{
	const struct check_result *found = &run->report->result;
	return found->unknown || run->marked || (run->less && found->strays);
}

static int repair(struct run *run)
{
	struct pool *pool = NULL;
	struct repair_result result;
	unsigned all = CHECK_AREA_POOL | CHECK_AREA_CHUNKS | CHECK_AREA_FILES;
	bool unknown = !run->call->safe_only && takes_in(run);
	struct repair_options opt = {
		.safe_only = run->call->safe_only,
		.areas = run->anew || run->call->full
				 ? all
				 : run->report->result.areas | (unknown ? CHECK_AREA_CHUNKS : 0),
		.done = on_done,
		.progress = on_progress,
		.stopped = is_stopped,
		.arg = run,
	};
	int r = open_to_write(run, &pool);
	if (r < 0)
		return r;
	if (run->report->result.areas & CHECK_AREA_POOL) /* by opening it */
		say(run, REPAIR_DONE, "both copies of the superblock are sound again");
	if (!run->call->safe_only && repair_labels(pool, on_done, run))
		opt.areas |= CHECK_AREA_CHUNKS; /* nobody has looked at what lies there */
	r = repair_pool(pool, &opt, &result);
	int closed = pool_close(pool);
	r = r < 0 ? r : closed;
	if (r < 0)
		snprintf(run->err->text, sizeof run->err->text, "%s could not be repaired: %s",
			 run->path, strerror(-r));
	return r;
}

/* ---- the index as a whole ---- */

/* What is wrong with the index or the log; whoever prints it names the pool. */
static void say_reason(struct run *run)
{
	char real[PATH_MAX];
	const char *reason = run->err->text;
	const char *paths[] = { run->path, realpath(run->path, real) ? real : run->path };
	for (size_t i = 0; i < 2; i++) {
		size_t len = strlen(paths[i]);
		if (!strncmp(reason, paths[i], len) && !strncmp(reason + len, ": ", 2)) {
			reason += len + 2;
			break;
		}
	}
	say(run, REPAIR_ERROR, reason);
}

/* Opening for writing makes it. */
static int begin_empty(struct run *run)
{
	struct pool *pool;
	int r = pool_open_bare(run->path, false, &pool, run->err);
	return r < 0 ? r : pool_close(pool);
}

/* A dump and the log, or what packs say. */
static int restore_or_begin(struct run *run, const struct restore_options *opt)
{
	struct restore_result res;
	char aside[ASIDE_NAME_MAX] = "gone", text[512];
	int r = restore_index(run->path, opt, &res, run->err);
	if (r == 0)
		restored(run, &res);
	if (r != -ENOENT)
		return r;
	say_reason(run);
	r = repair_begin_index(run->path, aside, run->err);
	if (r == 0)
		r = begin_empty(run);
	if (r < 0)
		return r;
	run->anew = true;
	snprintf(text, sizeof text,
		 "the index was begun anew: ALL NAMES AND FILES ARE LOST, only stored chunks are "
		 "known again, so that the same files take no new room when they are copied in "
		 "from a backup (the old index is index/%s)",
		 aside);
	say(run, REPAIR_DONE, text);
	return 0;
}

/* Can rows be read, though some of them are rotten? Then each is looked at by itself. */
static bool only_rows(const char *path)
{
	char dir[4096], why[128];
	int len = snprintf(dir, sizeof dir, "%s/index", path);
	if (len < 0 || (size_t)len >= sizeof dir)
		return false;
	CLEANUP_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && base_verify_pages(fd, why, sizeof why) == 0;
}

/* 1 when the rows can be looked at, 0 when not. */
static int mend_index(struct run *run)
{
	enum restore_need need;
	struct restore_result res;
	struct restore_options opt = { .give_up_entries = true,
				       .progress = on_restoring,
				       .arg = run };
	int r = restore_diagnose(run->path, &need, run->err);
	if (r < 0 || need == RESTORE_NOTHING)
		return r < 0 ? r : 1;
	bool index = need == RESTORE_INDEX || need == RESTORE_INDEX_ALONE;
	bool elsewhere = need == RESTORE_LOG_GONE || need == RESTORE_INDEX_ALONE;
	if (index && (need == RESTORE_INDEX || run->call->full) && only_rows(run->path))
		return 1;
	say_reason(run);
	run->report->errors = run->report->left = 1;
	run->report->unchecked = true;
	if (run->call->safe_only || (elsewhere && !run->call->full) ||
	    !ask(run, index ? "Make the index anew?" : "Leave out what the log has lost?"))
		return 0;
	if (index) {
		r = restore_or_begin(run, &opt);
	} else {
		r = restore_log(run->path, &opt, &res, run->err);
		if (r == 0)
			restored(run, &res);
	}
	run->report->unchecked = r < 0;
	return r < 0 ? r : 1;
}

/* Rows that cannot be read, or that others miss, may be in a dump and the log, as they were. */
static int restore_rows(struct run *run)
{
	const struct check_result *found = &run->report->result;
	struct restore_options opt = { .progress = on_restoring, .arg = run };
	struct restore_result res;
	struct pool_error ignored;
	bool missing =
		(found->areas & CHECK_AREA_FILES) && found->errors > found->safe + found->beside;
	if (!found->rotten && !missing)
		return 0;
	int r = restore_index(run->path, &opt, &res, &ignored);
	if (r < 0) /* then they are repaired one by one */
		return r == -EINTR ? r : 0;
	restored(run, &res);
	run->quiet = true;
	r = check(run);
	run->quiet = false;
	return r;
}

/* Packs that a crash left are no error, and so nothing to ask about. */
static int give_back_strays(struct run *run)
{
	const struct check_result *found = &run->report->result;
	struct pool *pool = NULL;
	if (!found->strays || found->errors || !run->call->corrects)
		return 0;
	int r = open_to_write(run, &pool);
	if (r < 0)
		return r;
	char sentence[128];
	snprintf(sentence, sizeof sentence,
		 "%lu pack%s that a crash left, and nothing refers to, %s removed", found->strays,
		 found->strays == 1 ? "" : "s", found->strays == 1 ? "is" : "are");
	r = repair_packs_open(pool);
	int closed = pool_close(pool);
	r = r < 0 ? r : closed;
	if (r < 0)
		snprintf(run->err->text, sizeof run->err->text,
			 "%s: packs that nothing refers to could not be removed: %s", run->path,
			 strerror(-r));
	else
		say(run, REPAIR_NOTE, sentence); /* nothing was wrong */
	pool_give_to_owner(run->path);
	return r;
}

static bool shall_repair(struct run *run)
{
	const struct check_result *found = &run->report->result;
	if (run->anew || (run->less && (found->unknown || found->strays || run->marked)))
		return true;
	if (!found->errors && takes_in(run) && !run->call->safe_only)
		return ask(run, "Take in the packs that no row names?");
	if (!found->errors && !run->call->full)
		return false;
	if (run->call->safe_only)
		return found->errors == found->safe && found->errors;
	if (!found->errors) /* nothing to ask about: only who said -y meant this */
		return found->lost && ask(run, "Look for the lost bytes in all packs?");
	return ask(run, "%lu error%s found. Correct %s?", found->errors,
		   found->errors == 1 ? " was" : "s were", found->errors == 1 ? "it" : "them");
}

static int check_and_repair(struct run *run)
{
	int r = check(run);
	if (r < 0)
		return r;
	run->report->errors += run->report->result.errors;
	if (!shall_repair(run))
		return give_back_strays(run);
	if (!run->call->safe_only)
		r = restore_rows(run);
	if (r == 0 && (run->report->left || run->anew || run->call->full || takes_in(run)))
		r = repair(run);
	return r < 0 ? r : check(run);
}

/* What cannot be understood is not damaged, and nothing beside it may be mended as if it were. */
static int refuse_newer(const char *path, struct pool_error *err)
{
	char dir[PATH_MAX], name[PACK_NAME_MAX];
	int len = snprintf(dir, sizeof dir, "%s/packs", path);
	CLEANUP_CLOSE int fd = len < 0 || (size_t)len >= sizeof dir
				       ? -1
				       : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || pack_version_check(fd, true, name) != -EPROTONOSUPPORT)
		return 0; /* what else there is to complain of comes later */
	pool_say_newer(path, name, err);
	return -EPROTONOSUPPORT;
}

int repair_run(const char *path, const struct repair_call *call, struct repair_report *ret_report,
	       struct pool_error *err)
{
	struct run run = { .path = path, .call = call, .report = ret_report, .err = err };
	*ret_report = (struct repair_report){ 0 };
	int r = refuse_newer(path, err);
	if (r == 0)
		r = mend_index(&run);
	if (r > 0)
		r = check_and_repair(&run);
	tell_lost(&run);
	if (run.report->repaired)
		pool_give_to_owner(path);
	return r;
}
