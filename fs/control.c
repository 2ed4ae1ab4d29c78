// SPDX-License-Identifier: MIT
/* A thread accepts, and each connection gets a thread of its own, as some commands take long. They
 * are few: beyond CONNECTIONS_MAX callers wait in the socket's queue. control_stop() ends what is
 * being waited for: sockets are shut down, nobody waits for destage, a gc pass stops at its next pack, a
 * scrub soon.
 */
#include "control.h"
#include "cleanup.h"
#include "clock.h"
#include "follow.h"
#include "log.h"
#include "notices.h"
#include "reaper.h"
#include "replica_status.h"
#include "replicator.h"
#include "scrubber.h"
#include "settle.h"
#include "space.h"
#include "status.h"
#include "ticker.h"
#include "tier_status.h"
#include "writers.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define CONNECTIONS_MAX 16
#define SCRUB_TICK_MS 300
#define GC_TURN_US 50000
#define MOVE_TICK_MS 200
#define REQUEST_MAX (4u << 20)
#define REQUEST_TIMEOUT_S 30
#define SEND_TURN_US 200000
#define SEND_TURNS 150 /* 30 s */
#define SEND_TURNS_LEAVING 10

struct connection {
	struct control *control;
	struct connection *next;
	pthread_t thread;
	int fd; /* -1 when it has ended */
};

struct control {
	struct fs *fs;
	int fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a connection ended */
	struct connection *connections;
	unsigned n;
	bool stopping;
};

static bool is_stopping(struct control *control)
{
	SCOPED_LOCK(&control->lock);
	return control->stopping;
}

/* Others wait for what is told here: a gc pass, an unmount. So who takes nothing for SEND_TURNS is cut off. */
static int send_line(struct connection *c, json_t *answer)
{
	CLEANUP_FREE char *text = json_dumps(answer, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0, at = 0;
	unsigned turns = 0;
	json_decref(answer);
	if (!text)
		return -ENOMEM;
	text[len++] = '\n'; /* in the place of the NUL */
	while (at < len) {
		ssize_t n = send(c->fd, text + at, len - at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN &&
		    ++turns < (is_stopping(c->control) ? SEND_TURNS_LEAVING : SEND_TURNS))
			continue;
		if (n <= 0) {
			shutdown(c->fd, SHUT_RDWR);
			return -EPIPE;
		}
		at += (size_t)n;
		turns = 0;
	}
	return 0;
}

static void refuse(struct connection *c, const char *sentence)
{
	send_line(c, json_pack("{s:b, s:s}", "ok", 0, "error", sentence));
}

/* Sends the result, which it takes over, or says what went wrong. */
static void answer(struct connection *c, const char *command, int err, json_t *result)
{
	char sentence[256];
	if (err == 0) {
		send_line(c, json_pack("{s:b, s:o}", "ok", 1, "result", result));
		return;
	}
	snprintf(sentence, sizeof sentence, "%s failed: %s", command, strerror(-err));
	refuse(c, sentence);
}

/* Has the kernel send what programs have stored into mappings, and what else it alone has. On the way out it cannot be
 * asked any more, and has sent all if the mount was unmounted. */
static int fetch_cached(struct fs *fs)
{
	CLEANUP_FREE uint64_t *inos = NULL;
	size_t n = 0;
	int r = writers_cached(fs->writers, &inos, &n);
	for (size_t i = 0; i < n; i++)
		if (notice_pages(fs->notices, fs->session, inos[i], 0, 0) == -ESHUTDOWN)
			break;
	return r;
}

/* Everything written so far becomes durable, also what only the kernel or the backing filesystem holds yet. */
static int make_durable(struct fs *fs)
{
	if (fs->read_only)
		return 0;
	int r = fetch_cached(fs);
	int left = ticker_commit_dirty(fs, true); /* of what can be made durable, that is */
	if (r < 0)
		return r;
	if (syncfs(fs->pool->dirfd))
		return -errno;
	r = kv_sync(fs_kv(fs), UINT64_MAX);
	return r < 0 ? r : left;
}

static void do_sync(struct connection *c, const json_t *request)
{
	struct fs *fs = c->control->fs;
	bool destage = json_is_true(json_object_get(request, "destage"));
	if (destage && fs->read_only) {
		refuse(c, "the mount is read-only: nothing can be destaged");
		return;
	}
	int r = make_durable(fs);
	if (r == 0 && destage) {
		settle_all(fs, true);
		r = make_durable(fs);
	}
	if (r == 0 && destage && is_stopping(c->control)) {
		refuse(c,
		       "the pool is being unmounted; what is staged is stored with the next mount");
		return;
	}
	struct settle_stats s = { 0 };
	settle_get_stats(fs, &s);
	answer(c, "sync", r, r ? NULL : json_pack("{s:I}", "files_waiting", (json_int_t)s.waiting));
}

static void gc_progress(void *arg, const struct gc_result *so_far)
{
	struct connection *c = arg;
	send_line(c, json_pack("{s:o}", "progress", status_gc(so_far)));
}

/* A pass that the daemon began by itself has not seen the latest deletes: ours comes after it. */
static int gc_in_turn(struct connection *c, bool progress, struct gc_result *ret_result)
{
	struct fs *fs = c->control->fs;
	int r;
	while ((r = gc_run(fs->pool->gc, progress ? gc_progress : NULL, c, ret_result)) == -EBUSY &&
	       !is_stopping(c->control))
		usleep(GC_TURN_US);
	return r;
}

static void do_gc(struct connection *c, const json_t *request)
{
	struct fs *fs = c->control->fs;
	struct gc_result result;
	bool progress = json_is_true(json_object_get(request, "progress"));
	if (fs_may_write(fs) < 0) {
		refuse(c, "the mount is read-only: garbage cannot be collected");
		return;
	}
	reaper_drain(fs);
	space_tick(fs); /* a reserve is for this */
	int r = gc_in_turn(c, progress, &result);
	space_tick(fs);
	if (r == 0)
		r = kv_sync(fs_kv(fs), UINT64_MAX); /* files of dropped packs go with that */
	if (r == -EBUSY)
		refuse(c, "the filesystem is being unmounted");
	else
		answer(c, "gc", r, r ? NULL : status_gc(&result));
}

/* Who asked has gone away: by their own will, unless it is we who end the connection. */
static bool left_alone(struct connection *c)
{
	char byte;
	return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 && !is_stopping(c->control);
}

static void tell_scrub(struct connection *c)
{
	json_t *result = NULL;
	int r = status_scrub_damage(c->control->fs->pool, &result);
	answer(c, "scrub", r, result);
}

/* Until it is over, or they leave, which stops what they began. */
static void follow_scrub(struct connection *c, bool progress)
{
	struct fs *fs = c->control->fs;
	bool began = scrubber_ask(fs);
	while (scrubber_wait(fs, SCRUB_TICK_MS)) {
		struct scrub_status so_far;
		scrub_get_status(fs->pool->scrub, &so_far);
		if (progress)
			send_line(c, json_pack("{s:o}", "progress", status_scrub(&so_far)));
		if (!left_alone(c))
			continue;
		if (began)
			scrub_stop(fs->pool->scrub, true);
		return;
	}
	if (is_stopping(c->control))
		refuse(c, "the pool is being unmounted; the scrub goes on with the next mount");
	else
		tell_scrub(c);
}

static void do_scrub(struct connection *c, const json_t *request)
{
	struct fs *fs = c->control->fs;
	const char *action = json_string_value(json_object_get(request, "action"));
	bool progress = json_is_true(json_object_get(request, "progress"));
	if (fs_may_write(fs) < 0) {
		refuse(c, "the mount is read-only: what a scrub finds could not be noted");
		return;
	}
	if (!action) {
		follow_scrub(c, progress);
		return;
	}
	if (!strcmp(action, "start"))
		scrubber_ask(fs);
	if (!strcmp(action, "stop"))
		scrub_stop(fs->pool->scrub, true);
	while (!strcmp(action, "stop") && scrubber_wait(fs, SCRUB_TICK_MS))
		scrub_stop(fs->pool->scrub, true); /* it had not begun yet */
	tell_scrub(c);
}

struct moving {
	struct connection *c;
	bool progress;
	uint64_t told_ms;
};

static int move_progress(void *arg, const struct mover_result *so_far)
{
	struct moving *m = arg;
	uint64_t now = clock_mono_ms();
	if (now - m->told_ms < MOVE_TICK_MS)
		return 0;
	m->told_ms = now;
	if (m->progress)
		send_line(m->c, json_pack("{s:o}", "progress", tier_status_moved(so_far)));
	return left_alone(m->c) || is_stopping(m->c->control);
}

/* The inodes of a request; NULL: it has none, or they are not numbers. */
static uint64_t *take_inodes(const json_t *list, size_t *ret_n)
{
	size_t n = json_array_size(list);
	uint64_t *inos = n ? calloc(n, sizeof *inos) : NULL;
	for (size_t i = 0; inos && i < n; i++) {
		inos[i] = (uint64_t)json_integer_value(json_array_get(list, i));
		if (!inos[i]) {
			free(inos);
			return NULL;
		}
	}
	*ret_n = n;
	return inos;
}

static void move_files(struct connection *c, const json_t *request, const struct tier_info *to)
{
	struct fs *fs = c->control->fs;
	struct moving m = { c, json_is_true(json_object_get(request, "progress")), 0 };
	struct mover_result result;
	size_t n;
	CLEANUP_FREE uint64_t *inos = take_inodes(json_object_get(request, "inodes"), &n);
	if (!inos) {
		refuse(c, "this is no request");
		return;
	}
	settle_all(fs, true); /* only what lies in packs can move */
	int r = mover_move_files(fs->pool->mover, inos, n, to->number, move_progress, &m, &result);
	if (r == -ECANCELED)
		refuse(c, "the pool is being unmounted; what has not moved stays where it is");
	else
		answer(c, "tier", r, r ? NULL : tier_status_moved(&result));
}

static void do_tier(struct connection *c, const json_t *request)
{
	struct fs *fs = c->control->fs;
	const char *action = json_string_value(json_object_get(request, "action"));
	const char *name = json_string_value(json_object_get(request, "tier"));
	struct tier_info to;
	json_t *status = NULL;
	char sentence[512];
	if (!action || !strcmp(action, "status")) {
		int r = tier_status(fs->pool, &status);
		answer(c, "tier", r, status);
	} else if (strcmp(action, "move")) {
		refuse(c, "this is no request");
	} else if (fs_may_write(fs) < 0) {
		refuse(c, "the mount is read-only: nothing can move");
	} else if (!fs->pool->mover) {
		refuse(c, "no tier is declared in its foldfs.conf, or it was since the mount");
	} else if (!name || !tiers_find(fs->pool->tiers, name, &to)) {
		snprintf(sentence, sizeof sentence, "there is no tier %.64s", name ? name : "");
		refuse(c, sentence);
	} else if (!to.declared) {
		snprintf(sentence, sizeof sentence,
			 "tier %s is not declared in foldfs.conf: nothing moves there", to.name);
		refuse(c, sentence);
	} else if (to.absent) {
		snprintf(sentence, sizeof sentence, "tier %s is absent: %s", to.name, to.why);
		refuse(c, sentence);
	} else {
		move_files(c, request, &to);
	}
}

static int wait_for_ship(void *arg)
{
	struct connection *c = arg;
	return is_stopping(c->control) || left_alone(c) ? -ECANCELED : 0;
}

static void do_replica(struct connection *c, const json_t *request)
{
	struct fs *fs = c->control->fs;
	const char *action = json_string_value(json_object_get(request, "action"));
	bool sync = action && !strcmp(action, "sync");
	char sentence[512];
	if (sync && !fs->replicator && !fs->follow) {
		refuse(c, "there is no replica: replicate and replicate_to are not given");
		return;
	}
	int r = sync && !fs->follow ? make_durable(fs) : 0;
	if (r == 0 && sync)
		r = fs->follow ? follow_sync(fs->follow, wait_for_ship, c)
			       : replicator_sync(fs->replicator, wait_for_ship, c);
	if (r < 0 && is_stopping(c->control)) {
		refuse(c, "the pool is being unmounted");
	} else if (r < 0 && fs->follow) {
		struct follower_status s;
		follow_get_status(fs->follow, &s);
		refuse(c, *s.error ? s.error : strerror(-r));
	} else if (r < 0) {
		struct replicator_status s;
		replicator_get_status(fs->replicator, &s);
		snprintf(sentence, sizeof sentence, "nothing could be shipped to %s: %s", s.place,
			 *s.error ? s.error : strerror(-r));
		refuse(c, sentence);
	} else {
		answer(c, "replica", 0, replica_status(fs));
	}
}

static void do_stats(struct connection *c, const json_t *request)
{
	struct fs *fs = c->control->fs;
	(void)request;
	answer(c, "stats", 0, status_stats(fs->pool, fs));
}

static void do_df(struct connection *c, const json_t *request)
{
	json_t *df = NULL;
	struct fs *fs = c->control->fs;
	(void)request;
	int r = status_df(fs->pool, fs, &df);
	answer(c, "df", r, df);
}

static void do_du(struct connection *c, const json_t *request)
{
	json_t *du = NULL;
	struct fs *fs = c->control->fs;
	if (!fs->read_only)
		ticker_commit_dirty(fs, true); /* the rows are what is counted */
	int r = status_du(fs->pool, json_object_get(request, "inodes"), &du);
	answer(c, "du", r, du);
}

static const struct {
	const char *name;
	void (*run)(struct connection *c, const json_t *request);
} commands[] = {
	{ "stats", do_stats }, { "df", do_df },		  { "du", do_du },
	{ "sync", do_sync },   { "gc", do_gc },		  { "scrub", do_scrub },
	{ "tier", do_tier },   { "replica", do_replica },
};

static void obey(struct connection *c, const char *line, size_t len)
{
	json_t *request = json_loadb(line, len, 0, NULL);
	const char *name = json_string_value(json_object_get(request, "command"));
	size_t i = 0, n = sizeof commands / sizeof *commands;
	while (name && i < n && strcmp(commands[i].name, name))
		i++;
	if (!name)
		refuse(c, "this is no request");
	else if (i == n)
		refuse(c, "the daemon, of version " FOLDFS_VERSION ", has no such command");
	else
		commands[i].run(c, request);
	json_decref(request);
}

/* Reads up to a newline. */
static void receive(struct connection *c)
{
	CLEANUP_BUF struct buf line = { 0 };
	struct timeval patience = { .tv_sec = REQUEST_TIMEOUT_S };
	struct timeval turn = { .tv_usec = SEND_TURN_US };
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &turn, sizeof turn);
	while (line.len < REQUEST_MAX) {
		char part[4096];
		ssize_t n = recv(c->fd, part, sizeof part, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		buf_put(&line, part, (size_t)n);
		if (line.failed)
			return;
		if (part[n - 1] == '\n') {
			obey(c, (char *)line.data, line.len);
			return;
		}
	}
	refuse(c, "the request is too long");
}

static void *connection_main(void *arg)
{
	struct connection *c = arg;
	struct control *control = c->control;
	pthread_setname_np(pthread_self(), "control");
	receive(c);
	pthread_mutex_lock(&control->lock);
	close(take_fd(&c->fd));
	control->n--;
	pthread_cond_broadcast(&control->changed);
	pthread_mutex_unlock(&control->lock);
	return NULL;
}

/* Threads are joined, not detached: what they leave behind in the index goes when they end. */
static void reap_locked(struct control *control)
{
	struct connection **at = &control->connections;
	while (*at) {
		struct connection *c = *at;
		if (c->fd >= 0) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		pthread_join(c->thread, NULL);
		free(c);
	}
}

static bool may_connect(struct control *control, int fd)
{
	struct ucred peer;
	struct stat st;
	socklen_t len = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ||
	    fstat(control->fs->pool->dirfd, &st))
		return false;
	return peer.uid == 0 || peer.uid == st.st_uid || peer.uid == geteuid();
}

static int begin_locked(struct control *control, int fd)
{
	reap_locked(control);
	struct connection *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	*c = (struct connection){ .control = control, .next = control->connections, .fd = fd };
	int r = pthread_create(&c->thread, NULL, connection_main, c);
	if (r) {
		free(c);
		return -r;
	}
	control->connections = c;
	control->n++;
	return 0;
}

static void *accept_main(void *arg)
{
	struct control *control = arg;
	pthread_setname_np(pthread_self(), "control");
	pthread_mutex_lock(&control->lock);
	while (!control->stopping) {
		if (control->n >= CONNECTIONS_MAX) {
			pthread_cond_wait(&control->changed, &control->lock);
			continue;
		}
		pthread_mutex_unlock(&control->lock);
		int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		if (fd >= 0 && !may_connect(control, fd)) {
			refuse(&(struct connection){ .control = control, .fd = fd },
			       "only root and the pool's owner may ask");
			close(fd);
			fd = -1;
		}
		pthread_mutex_lock(&control->lock);
		if (fd >= 0 && (control->stopping || begin_locked(control, fd) < 0))
			close(fd);
	}
	pthread_mutex_unlock(&control->lock);
	return NULL;
}

/* Through the directory's descriptor, as the pool's path may be too long for an address. */
static int listen_at(int dirfd)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/control", dirfd);
	if (unlinkat(dirfd, "control", 0) && errno != ENOENT)
		return -errno;
	/* it gets the socket's mode: once it is there, whose pool it is may put something else in its place */
	if (fchmod(fd, 0666) || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 16))
		return -errno;
	return take_fd(&fd);
}

int control_start(struct fs *fs, struct control **ret_control)
{
	struct control *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->fs = fs;
	c->fd = listen_at(fs->pool->dirfd);
	int r = c->fd < 0 ? c->fd : 0;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	if (r == 0)
		r = -pthread_create(&c->thread, NULL, accept_main, c);
	if (r < 0) {
		if (c->fd >= 0)
			close(c->fd);
		free(c);
		return r;
	}
	*ret_control = c;
	return 0;
}

void control_stop(struct control *c)
{
	if (!c)
		return;
	unlinkat(c->fs->pool->dirfd, "control", 0);
	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	for (struct connection *at = c->connections; at; at = at->next)
		if (at->fd >= 0)
			shutdown(at->fd, SHUT_RD);
	shutdown(c->fd, SHUT_RDWR); /* wakes accept */
	pthread_cond_broadcast(&c->changed);
	settle_unwatch(c->fs);
	if (c->fs->pool->gc)
		gc_stop(c->fs->pool->gc);
	if (c->fs->pool->scrub)
		scrub_stop(c->fs->pool->scrub, false);
	mover_stop(c->fs->pool->mover);
	while (c->n)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	reap_locked(c);
	close(c->fd);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
