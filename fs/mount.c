// SPDX-License-Identifier: MIT
/* Order of going up: pool, parts of the daemon, session, mount, leftovers of the last mount, control
 * socket, loop. Going down is the reverse, and in between everything that inodes hold is committed:
 * with a clean umount the kernel has released every file before; after SIGTERM it may not have.
 */
#include "mount.h"
#include "cleanup.h"
#include "clock.h"
#include "collector.h"
#include "company.h"
#include "control.h"
#include "films.h"
#include "follow.h"
#include "fuse_switch.h"
#include "guardian.h"
#include "hot.h"
#include "inode.h"
#include "leaver.h"
#include "leftovers.h"
#include "log.h"
#include "lookups.h"
#include "notices.h"
#include "ops.h"
#include "read_ahead.h"
#include "replicator.h"
#include "reaper.h"
#include "rings.h"
#include "scrubber.h"
#include "settle.h"
#include "space.h"
#include "ticker.h"
#include "tiers.h"
#include "writers.h"
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define BACKGROUND_MAX                                                                             \
	80u		 /* requests of the kernel's own; others see nothing of 64 that are stuck */
#define WAITERS_MAX 256u /* these, and what is not in the background */
#define CALLERS_MAX 4u
#define LOCK_WAIT_MS 30000u
#define COME_OUT_MS 1000u /* after an umount */

static void want(struct fuse_conn_info *conn, uint64_t flag)
{
	fuse_set_feature_flag(conn, flag);
}

/* Asked beforehand: once the session has begun, it is too late for the writeback cache. */
static bool may_register_backing(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	return syscall(SYS_capget, &head, data) ||
	       data[CAP_SYS_ADMIN / 32].effective & 1u << CAP_SYS_ADMIN % 32;
}

void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;
	const struct config *conf = &fs->pool->config;
	bool passthrough = conf->mode != IO_MODE_MEDIATED && !fs->read_only;
	if (passthrough && !may_register_backing()) {
		fs->native_why_not = "it wants CAP_SYS_ADMIN";
	} else if (passthrough && fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH)) {
		conn->max_backing_stack_depth = 1;
	} else if (!passthrough) {
		fs->native_why_not = fs->read_only ? "the mount is read-only" : "mode=mediated";
	} else {
		fs->native_why_not = "the kernel does not offer FUSE passthrough (it needs Linux "
				     "6.9 or later)";
	}
	if (fs->native_why_not && !fs->read_only)
		fs->writeback = fuse_set_feature_flag(conn, FUSE_CAP_WRITEBACK_CACHE);
	want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
	want(conn, FUSE_CAP_POSIX_ACL);
	want(conn, FUSE_CAP_DONT_MASK);
	want(conn, FUSE_CAP_EXPORT_SUPPORT);
	want(conn, FUSE_CAP_READDIRPLUS);
	fuse_unset_feature_flag(conn, FUSE_CAP_READDIRPLUS_AUTO); /* listers.h has a better rule */
	want(conn, FUSE_CAP_PARALLEL_DIROPS);
	want(conn, FUSE_CAP_CACHE_SYMLINKS);
	want(conn, FUSE_CAP_NO_OPENDIR_SUPPORT);
	want(conn, FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
	want(conn, FUSE_CAP_ASYNC_DIO);
	want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA);
	fuse_unset_feature_flag(conn, FUSE_CAP_AUTO_INVAL_DATA);
	conn->no_interrupt = 1;
	conn->max_write = conf->max_write ? (uint32_t)conf->max_write : 1u << 20;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX - BACKGROUND_MAX / 10;
	conn->time_gran = 1;
}

static void metadata_failed(void *arg, int err, const char *what)
{
	struct fs *fs = arg;
	if (err == -EUCLEAN)
		log_error("%s failed: the index is damaged. The mount is read-only from now on: "
			  "unmount, and run fsck.foldfs, which restores the index",
			  what);
	else
		log_error("%s failed: %s. The mount is read-only from now on; nothing that was "
			  "synced is lost: unmount, mend the storage, mount again",
			  what, strerror(-err));
	fs->pool->failed = err;
}

/* The rest is for packs, the log, staging files of mediated writers and everything else. */
static uint64_t most_native_files(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur - limit.rlim_cur / 4;
}

/* While there is room, who writes natively has the disk before destage, as who waits for it has. */
static bool somebody_writes(void *arg)
{
	struct fs *fs = arg;
	return space_level(fs) == SPACE_EASY && writers_at_work(fs->writers);
}

static int fs_start(struct fs *fs)
{
	const struct config *conf = &fs->pool->config;
	fs->attr_timeout = (double)conf->attr_timeout_ms / 1000;
	fs->native_files_max = most_native_files();
	fs->entry_timeout = (double)conf->entry_timeout_ms / 1000;
	pthread_rwlock_init(&fs->names, NULL);
	fs->pool->on_failure = metadata_failed;
	fs->pool->on_failure_arg = fs;
	struct kv_stats rows; /* exact: the engine opens with a checkpoint */
	kv_get_stats(fs_kv(fs), &rows);
	fs->inodes_before = rows.rows[KV_INODE];
	fs->lookups = lookups_new();
	if (!fs->lookups)
		return -ENOMEM;
	int r = inode_table_new(fs, &fs->inodes);
	if (r == 0)
		r = notices_new(&fs->notices);
	if (r == 0)
		r = writers_new(&fs->writers);
	if (r == 0)
		r = workers_start("waiter", WAITERS_MAX, &fs->waiters);
	if (r == 0)
		r = workers_start("caller", CALLERS_MAX, &fs->callers);
	if (r == 0 && !fs->read_only) {
		destage_watch(fs->pool->destage, somebody_writes, fs);
		r = settler_start(fs);
	}
	if (r == 0 && !fs->read_only)
		r = leftovers_schedule(fs);
	if (r == 0 && !fs->read_only)
		r = reaper_start(fs);
	if (r == 0 && !fs->read_only)
		r = hotter_start(fs);
	if (r == 0 && !fs->read_only) {
		space_init(fs);
		r = ticker_start(fs);
	}
	if (r == 0 && !fs->read_only)
		r = collector_start(fs);
	if (r == 0 && !fs->read_only)
		r = scrubber_start(fs);
	if (r == 0 && fs->pool->mover)
		r = mover_start(fs->pool->mover);
	if (r == 0 && fs->pool->recoder)
		r = recoder_start(fs->pool->recoder);
	return r;
}

static void destage_all(void *arg)
{
	settle_all(arg, true);
	ticker_commit_dirty(arg, true);
}

static void taken_over(void *arg, const char *host)
{
	struct fs *fs = arg;
	log_error("%s has taken this pool over; the mount is read-only from now on, and what was "
		  "written since the last ship to its replica is here alone",
		  host);
	fs->pool->failed = -EROFS;
}

static int start_replicator(struct fs *fs, struct pool_error *err)
{
	struct replicator_options opt = {
		.pool = fs->pool, .destage = destage_all, .lost = taken_over, .arg = fs
	};
	return fs->read_only ? 0 : replicator_start(&opt, &fs->replicator, err);
}

static void fs_stop(struct fs *fs)
{
	follow_end(fs->follow);
	replicator_pause(fs->replicator);
	recoder_stop(fs->pool->recoder);
	mover_stop(fs->pool->mover);
	scrubber_stop(fs);
	collector_stop(fs);
	ticker_stop(fs);
	pool_reserve_lend(fs->pool, UINT64_MAX); /* nobody looks at the disk any more */
	if (fs->waiters && !fs->read_only)
		kv_sync(fs_kv(fs), UINT64_MAX); /* who waits for the log becomes a job */
	if (fs->waiters)
		workers_drain(fs->waiters);
	if (fs->callers)
		workers_drain(fs->callers);
	if (fs->inodes && !fs->read_only)
		ticker_commit_dirty(fs, true);
	hotter_stop(fs);
	settler_stop(fs);
	if (!fs->read_only)
		destage_watch(fs->pool->destage, NULL, NULL);
	films_stop(fs->films);
	reaper_stop(fs);
	workers_stop(fs->callers);
	workers_stop(fs->waiters);
	inode_table_free(fs->inodes);
	lookups_free(fs->lookups);
	notices_free(fs->notices);
	writers_free(fs->writers);
	pthread_rwlock_destroy(&fs->names);
}

static void begin_rings(struct fs *fs)
{
	int wanted = fs->pool->config.transport;
	if (wanted == TRANSPORT_DEV ||
	    (wanted == TRANSPORT_AUTO && fuse_switch() != FUSE_SWITCH_ON))
		return;
	int r = rings_start(fs, &fs->rings);
	if (r < 0 && wanted == TRANSPORT_IO_URING)
		log_warn("requests come over /dev/fuse: io_uring cannot be had for them: %s",
			 r == -EOPNOTSUPP ? "libfuse was built without enable-custom-io"
					  : strerror(-r));
}

static int serve(struct fs *fs)
{
	struct fuse_loop_config *loop = fuse_loop_cfg_create();
	if (!loop)
		return -ENOMEM;
	unsigned threads = fs->pool->config.threads;
	fuse_loop_cfg_set_clone_fd(loop, !fs->rings); /* else what is read here is seldom */
	fuse_loop_cfg_set_max_threads(loop, threads ? threads : 10);
	fuse_loop_cfg_set_idle_threads(loop, threads ? threads : 10);
	int r = fuse_session_loop_mt(fs->session, loop);
	fuse_loop_cfg_destroy(loop);
	if (r < 0)
		log_error("requests can no longer be served, and the mount ends: %s", strerror(-r));
	return r < 0 ? r : 0;
}

/* The library splits its options at commas that no backslash precedes. */
static void escape_option(const char *text, char *out, size_t size)
{
	size_t n = 0;
	for (; *text && n + 3 < size; text++) {
		if (*text == ',' || *text == '\\')
			out[n++] = '\\';
		out[n++] = *text;
	}
	out[n] = 0;
}

static struct fuse_session *new_session(struct fs *fs, const struct mount_request *req)
{
	char options[16384], fsname[8192];
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	const struct config *conf = &fs->pool->config;
	escape_option(fs->pool->path, fsname, sizeof fsname);
	snprintf(options, sizeof options, "-ofsname=%s,subtype=foldfs,default_permissions%s%s%s%s",
		 fsname, conf->allow_other ? ",allow_other" : "", fs->read_only ? ",ro" : "",
		 req->fuse_options && *req->fuse_options ? "," : "",
		 req->fuse_options ? req->fuse_options : "");
	struct fuse_session *se = NULL;
	if (!fuse_opt_add_arg(&args, "foldfs") && !fuse_opt_add_arg(&args, options))
		se = fuse_session_new(&args, &request_operations, sizeof request_operations, fs);
	fuse_opt_free_args(&args);
	return se;
}

static void not_ready(const struct mount_request *req, int err, const char *sentence)
{
	req->ready(req->ready_arg, err, sentence);
}

static char fuse_said[256]; /* the library's last words; written while one thread runs */

/* Until the mount is live, what the library has to say becomes part of our sentence. */
static void note_fuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)level;
	vsnprintf(fuse_said, sizeof fuse_said, fmt, ap);
	fuse_said[strcspn(fuse_said, "\n")] = 0;
}

static void log_fuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[512];
	vsnprintf(line, sizeof line, fmt, ap);
	line[strcspn(line, "\n")] = 0;
	log_line(level <= FUSE_LOG_WARNING ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "%s", line);
}

static void watch_over(struct fs *fs)
{
	int r = fs->guardian ? guardian_watch(fs->guardian, fs->mountpoint) : 0;
	if (r < 0)
		log_info("no process can end this mount's connection should the daemon be killed: "
			 "%s",
			 strerror(-r));
}

/* No request is answered any more; and what is aborted the library would leave mounted. */
static void end_what_waits(struct fs *fs)
{
	if (notices_wait(fs->notices, COME_OUT_MS))
		return;
	log_warn("the connection to the kernel is ended by force: a request that was not answered "
		 "was waited for");
	guardian_abort(fs->guardian);
}

static int mount_and_serve(struct fs *fs, const struct mount_request *req)
{
	char sentence[1024];
	struct control *control = NULL;
	struct leaver *leaver = NULL;
	fuse_set_log_func(note_fuse);
	fs->session = new_session(fs, req);
	if (!fs->session) {
		snprintf(sentence, sizeof sentence, "%s cannot be mounted on: %s", req->mountpoint,
			 *fuse_said ? fuse_said : "an option was not understood");
		not_ready(req, -EINVAL, sentence);
		return -EINVAL;
	}
	int r = leaver_start(fs, &leaver);
	if (r == 0 && fuse_session_mount(fs->session, req->mountpoint))
		r = -EIO;
	if (r < 0) {
		snprintf(sentence, sizeof sentence, "%s cannot be mounted on: %s", req->mountpoint,
			 *fuse_said ? fuse_said
			 : leaver   ? "is /dev/fuse there, and may you mount?"
				    : strerror(-r));
		not_ready(req, r, sentence);
	} else {
		watch_over(fs);
		r = control_start(fs, &control);
		if (r < 0)
			log_warn("no control socket, `foldfs` commands will not reach this mount: "
				 "%s",
				 strerror(-r));
		fuse_set_log_func(log_fuse);
		read_ahead_find(fs);
		begin_rings(fs);
		if (!fs->rings)
			company_begin(fs);
		if ((r = follow_begin(fs->follow)) < 0)
			log_error("the replica is not followed, no thread can be started: %s",
				  strerror(-r));
		req->ready(req->ready_arg, 0, fs->why_read_only);
		r = serve(fs);
		leaver_stop(TAKE_PTR(leaver));
		rings_rest(fs->rings);
		control_stop(control);
		if (fs->read_ahead_fd >= 0)
			close(fs->read_ahead_fd);
		fuse_session_unmount(fs->session);
		end_what_waits(fs);
	}
	leaver_stop(leaver);
	return r;
}

/* A pool with damage shows what is whole, and says so, but nothing may be written over it. */
static int open_pool(struct fs *fs, const struct mount_request *req, struct pool_error *err)
{
	static char why[sizeof err->text + 64];
	struct pool_error again = { 0 };
	if (pool_is_follower(req->pool_path)) {
		fs->read_only = true;
		return pool_open_follower(req->pool_path, req->options, LOCK_WAIT_MS, &fs->pool,
					  err);
	}
	int r = pool_open(req->pool_path, req->options, req->read_only, LOCK_WAIT_MS, &fs->pool,
			  err);
	if (r == -EUCLEAN && !req->read_only &&
	    pool_open(req->pool_path, req->options, true, LOCK_WAIT_MS, &fs->pool, &again) == 0) {
		fs->read_only = true;
		snprintf(why, sizeof why, "%s; until then it is mounted read-only", err->text);
		fs->why_read_only = why;
		r = 0;
	} else if (r == 0 && fs->pool->recovery.damaged) {
		snprintf(why, sizeof why,
			 "%s: the end of its log is damaged, and what it said is not shown; run "
			 "fsck.foldfs",
			 fs->pool->path);
		fs->why_read_only = why;
	}
	return r;
}

int mount_serve(const struct mount_request *req)
{
	struct pool_error perr = { 0 };
	struct fs *fs = calloc(1, sizeof *fs);
	if (!fs)
		return -ENOMEM;
	fs->read_only = req->read_only;
	fs->mountpoint = req->mountpoint;
	fs->read_ahead_fd = -1;
	fs->atime = ATIME_RELATIVE;
	if (req->strict_atime)
		fs->atime = ATIME_STRICT;
	else if (req->fuse_options && strstr(req->fuse_options, "noatime"))
		fs->atime = ATIME_NEVER;
	fs->dirs_keep_atime = req->fuse_options && strstr(req->fuse_options, "nodiratime");
	fs->started_ms = clock_mono_ms();
	int guarded = guardian_start(&fs->guardian);
	int advice = req->read_only ? 0 : films_start(NULL, &fs->films);
	int r = open_pool(fs, req, &perr);
	if (r < 0) {
		not_ready(req, r, perr.text);
		films_stop(fs->films);
		guardian_stop(fs->guardian);
		free(fs);
		return r;
	}
	if (guarded < 0)
		log_warn("nobody ends this mount's connection should the daemon be killed: no "
			 "process: %s",
			 strerror(-guarded));
	if (fs->pool->config.media == MEDIA_OFF || fs->pool->follows)
		films_stop(TAKE_PTR(fs->films));
	if (advice < 0)
		log_warn("films are stored as other files are: no process to look at them: %s",
			 strerror(-advice));
	r = fs_start(fs);
	if (r < 0)
		not_ready(req, r, strerror(-r));
	else if ((r = start_replicator(fs, &perr)) < 0 ||
		 (r = follow_open(fs, &fs->follow, &perr)) < 0)
		not_ready(req, r, *perr.text ? perr.text : strerror(-r));
	else
		r = mount_and_serve(fs, req);
	fs_stop(fs);
	guardian_stop(fs->guardian); /* no thread of ours calls the kernel any more */
	rings_stop(TAKE_PTR(fs->rings));
	follow_free(fs->follow);
	replicator_close(fs->replicator);
	int closed = pool_close(fs->pool);
	if (fs->session)
		fuse_session_destroy(fs->session);
	if (closed < 0)
		log_error("closing the pool failed: %s", strerror(-closed));
	free(fs);
	return r < 0 ? r : closed;
}
