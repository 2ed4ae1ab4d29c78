// SPDX-License-Identifier: MIT
/* The background process says through a pipe that the mount is live, or in one sentence why it is
 * not. Until then its stderr is the caller's; then it becomes the log, as nobody may be waiting for
 * the other end any more. The log POOL/foldfs.log is begun only with a live mount: a pool that was
 * refused stays as it was.
 */
#include "daemon.h"
#include "cleanup.h"
#include "log.h"
#include "say.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define STATUS_SYSTEM 2
#define STATUS_INTERRUPTED 8
#define STATUS_FAILED 32
#define LOG_KEPT (4 << 20) /* a longer log is put aside at the next mount */

struct report {
	int err;
	char sentence[1024];
};

struct starting {
	struct daemon_plan *plan;
	int pipe; /* -1 in the foreground */
	void (*live)(void *arg);
	void *live_arg;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

/* systemd says which stream leads into the journal. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long dev, ino;
	struct stat st;
	return stream && sscanf(stream, "%lu:%lu", &dev, &ino) == 2 && !fstat(2, &st) &&
	       st.st_dev == dev && st.st_ino == ino;
}

/* Standard output and error become the file, for what libraries and the run time may print. */
static void become_output(const char *path, int flags)
{
	CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | flags, 0644);
	if (fd >= 0) {
		dup2(fd, 1);
		dup2(fd, 2);
	}
}

/* Whose pool it is may not choose a file that root then writes to. */
static void begin_pools_log(const char *pool)
{
	char path[4096], aside[4096];
	struct stat st;
	int n = snprintf(path, sizeof path, "%s/foldfs.log", pool);
	int m = snprintf(aside, sizeof aside, "%s/foldfs.log.old", pool);
	if (n >= (int)sizeof path || m >= (int)sizeof aside)
		return;
	if (!stat(path, &st) && st.st_size > LOG_KEPT)
		rename(path, aside);
	int r = log_to_file(path, O_NOFOLLOW);
	if (r == 0 && geteuid() == 0 && !stat(pool, &st) &&
	    st.st_uid && /* it is the pool's owner's */
	    lchown(path, st.st_uid, st.st_gid))
		log_debug("%s keeps its owner: %s", path, strerror(errno));
	if (r < 0) {
		complain("%s cannot be written (%s), so this mount has no log; log=FILE gives it "
			 "one",
			 path, strerror(-r));
		become_output("/dev/null", 0);
	} else {
		become_output(path, O_NOFOLLOW);
	}
}

static void notify_service_manager(void)
{
	const char *where = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char text[128];
	if (!where || (*where != '/' && *where != '@') || strlen(where) >= sizeof to.sun_path)
		return;
	memcpy(to.sun_path, where, strlen(where));
	if (*where == '@')
		to.sun_path[0] = 0;
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int n = snprintf(text, sizeof text, "MAINPID=%d\nREADY=1\nSTATUS=Mounted", getpid());
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(where));
	if (fd < 0 || sendto(fd, text, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&to, len) < 0)
		log_debug("the service manager was not reached: %s", strerror(errno));
}

static void on_ready(void *arg, int err, const char *sentence)
{
	struct starting *s = arg;
	struct report report = { .err = err };
	if (s->pipe < 0) {
		if (sentence)
			complain("%s", sentence);
	} else if (err == 0 && *s->plan->log_file) {
		become_output(s->plan->log_file, 0);
	} else if (err == 0 && !stderr_is_journal()) {
		begin_pools_log(s->plan->request.pool_path);
	}
	if (err == 0 && sentence)
		log_warn("%s", sentence);
	if (err == 0)
		notify_service_manager();
	if (err == 0 && s->pipe < 0 && s->live)
		s->live(s->live_arg);
	if (s->pipe >= 0) {
		snprintf(report.sentence, sizeof report.sentence, "%s", sentence ? sentence : "");
		if (write(s->pipe, &report, sizeof report) != sizeof report)
			log_debug("nobody waits for this mount any more");
		close(take_fd(&s->pipe));
	}
}

static void raise_limits(void)
{
	struct rlimit limit;
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* A log that was asked for is there from the start, or nothing is mounted. */
static int open_given_log(struct starting *s)
{
	char sentence[512];
	const char *path = s->plan->log_file;
	int r = *path ? log_to_file(path, 0) : 0;
	if (r < 0) {
		snprintf(sentence, sizeof sentence, "the log %.300s cannot be written: %s", path,
			 strerror(-r));
		on_ready(s, r, sentence);
	}
	return r;
}

static int serve(struct starting *s)
{
	int r = open_given_log(s);
	if (r < 0)
		return r;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file that may not get longer is a failed write */
	raise_limits();
	umask(0);
	if (chdir("/"))
		return -errno;
	s->plan->request.ready = on_ready;
	s->plan->request.ready_arg = s;
	return mount_serve(&s->plan->request);
}

static void detach(int keep_fd)
{
	setsid();
	CLEANUP_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
	}
	if (keep_fd > 3)
		close_range(3, (unsigned)keep_fd - 1, 0);
	close_range((unsigned)keep_fd + 1, ~0u, 0);
}

/* Waits for the report, or the child's end. */
static int await(int fd, pid_t child, struct report *ret_report)
{
	size_t have = 0;
	while (have < sizeof *ret_report) {
		ssize_t n = read(fd, (char *)ret_report + have, sizeof *ret_report - have);
		if (n > 0)
			have += (size_t)n;
		else if (n == 0)
			break;
		else if (errno != EINTR)
			break;
		if (interrupted) {
			kill(child, SIGTERM);
			return -EINTR;
		}
	}
	return have == sizeof *ret_report ? 0 : -EPIPE;
}

static int explain_death(pid_t child)
{
	int status = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		complain("the daemon was ended by signal %d (%s) before the mount was live",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		complain("the daemon ended before the mount was live");
	return STATUS_SYSTEM;
}

static int supervise(int fd, pid_t child)
{
	struct sigaction sa = { .sa_handler = on_interrupt };
	struct report report;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	int r = await(fd, child, &report);
	if (r == -EINTR) {
		complain("interrupted; nothing was mounted");
		return STATUS_INTERRUPTED;
	}
	if (r < 0)
		return explain_death(child);
	if (report.err < 0) {
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
		complain("%s", report.sentence);
		return STATUS_FAILED;
	}
	if (*report.sentence)
		complain("%s", report.sentence);
	return 0;
}

static int run_in_foreground(struct daemon_plan *plan, void (*live)(void *arg), void *arg)
{
	struct starting s = { .plan = plan, .pipe = -1, .live = live, .live_arg = arg };
	return serve(&s) < 0 ? STATUS_FAILED : 0;
}

int daemon_run(struct daemon_plan *plan, void (*live)(void *arg), void *arg)
{
	int fds[2];
	if (plan->foreground)
		return run_in_foreground(plan, live, arg);
	if (pipe2(fds, O_CLOEXEC)) {
		complain("no pipe: %s", strerror(errno));
		return STATUS_SYSTEM;
	}
	pid_t child = fork();
	if (child < 0) {
		complain("no process for the daemon: %s", strerror(errno));
		return STATUS_SYSTEM;
	}
	if (child == 0) {
		struct starting s = { .plan = plan, .pipe = fds[1] };
		detach(fds[1]);
		exit(serve(&s) < 0 ? 1 : 0);
	}
	close(fds[1]);
	int status = supervise(fds[0], child);
	close(fds[0]);
	if (status == 0 && live)
		live(arg);
	return status;
}
