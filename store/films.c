// SPDX-License-Identifier: MIT
/* A process that has threads can't fork one that goes on to allocate memory; to execute a program anew for each film
 * costs ten milliseconds and more, as the daemon's libraries are many. So a *forker* is forked while the process is
 * still single: it has closed everything, is nobody, and waits on a socket. For each film it gets
 * the file's descriptor and a pipe, and forks a *reader*, a fifth of a millisecond: the reader has limits and a
 * filter that leaves it little but pread() and write(), parses one film, writes it into the pipe,
 * and ends. A film that breaks its reader has broken nothing else.
 *
 * Somebody may kill the forker. So it has a *keeper*, which is like it and only waits for it: it makes a new forker,
 * some times, and says so on the socket, where requests wait meanwhile. When both are gone there is no more advice
 * until the next mount; when the daemon is gone the socket says so, and they end.
 */
#include "films.h"
#include "cleanup.h"
#include "clock.h"
#include "fault.h"
#include "film_wire.h"
#include "io.h"
#include "jail.h"
#include "keyframe/detect.h"
#include "keyframe/units.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define READER_MEMORY (1ull << 30)
#define SECONDS_LEAST 10u
#define SECONDS_MOST 600u
#define BYTES_PER_SECOND (48u << 20) /* that a slow disk gives */
#define POLL_MS 50
#define RESTARTS_MOST 8u
#define LEAVE_MS 2000u
#define LEAVE_POLL_MS 5

struct films {
	pthread_mutex_t lock; /* a request is sent as a whole */
	int socket;
	pid_t keeper;
	unsigned seconds;
	struct workers *workers;
};

struct request {
	uint64_t size;
	uint32_t seconds, reserved;
};

/* ---- the reader ---- */

/* Who asked may have gone away. */
static ssize_t read_in_jail(void *arg, void *buf, size_t len, uint64_t at)
{
	static unsigned reads;
	struct pollfd out = { .fd = JAIL_OUT };
	(void)arg;
	while (fault_hit("film_hang") < 0)
		;
	int r = fault_hit("film_read");
	if (r < 0 || (reads++ % 16 == 0 && poll(&out, 1, 0) > 0 && out.revents & POLLERR))
		return r < 0 ? r : -EPIPE;
	size_t have = 0;
	while (have < len) {
		ssize_t n = pread(JAIL_IN, (char *)buf + have, len - have, (off_t)(at + have));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static _Noreturn void be_reader(const struct request *q)
{
	static const int in = JAIL_IN;
	struct film_source source = { 0 };
	struct film film = { 0 };
	int r = film_source_open(&source, &in, q->size);
	source.read = read_in_jail;
	signal(SIGPIPE, SIG_DFL);
	if (r == 0)
		r = jail_limit(READER_MEMORY, q->seconds);
	if (r == 0)
		r = jail_close();
	if (r == 0)
		r = film_find(&source, &film);
	if (r == 0)
		r = units_find(&source, &film);
	film_wire_put(JAIL_OUT, &film, r);
	_exit(0);
}

/* ---- the forker ---- */

/* 1: a request and its two descriptors, at the jail's numbers; 0: it was none; -1: nobody is there. */
static int receive(int from, struct request *ret_q)
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec v = { ret_q, sizeof *ret_q };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof control.bytes };
	int fds[2];
	ssize_t n = recvmsg(from, &m, 0);
	if (n <= 0)
		return n < 0 && errno == EINTR ? 0 : -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (n != sizeof *ret_q || !c || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof fds))
		return -1;
	memcpy(fds, CMSG_DATA(c), sizeof fds);
	return fds[0] == JAIL_IN && fds[1] == JAIL_OUT ? 1 : -1;
}

static _Noreturn void be_forker(void)
{
	struct request q;
	int r;
	signal(SIGCHLD, SIG_IGN);
	while ((r = receive(0, &q)) >= 0) {
		if (r == 0)
			continue;
		if (fork() == 0)
			be_reader(&q);
		close(JAIL_IN);
		close(JAIL_OUT);
	}
	_exit(0);
}

static _Noreturn void be_keeper(int socket)
{
	prctl(PR_SET_NAME, "foldfs-films");
	setsid();
	signal(SIGCHLD, SIG_DFL);
	for (int sig = SIGHUP; sig <= SIGTERM; sig++)
		if (sig != SIGKILL && sig != SIGCHLD)
			signal(sig, SIG_DFL);
	/* standard input becomes the socket; with nothing else open, what comes has the next numbers */
	int null = open("/dev/null", O_RDWR);
	if (chdir("/") || null < 0 || dup2(socket, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		_exit(1);
	close_range(3, ~0u, 0);
	if (jail_drop_rights() < 0)
		_exit(1);
	for (unsigned i = 0; i <= RESTARTS_MOST; i++) {
		int status = 0;
		pid_t forker = fork();
		if (forker == 0)
			be_forker();
		while (forker > 0 && waitpid(forker, &status, 0) < 0 && errno == EINTR)
			;
		if (forker < 0 || WIFEXITED(status))
			_exit(forker < 0);
		if (i < RESTARTS_MOST)
			(void)send(0, "r", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	_exit(1);
}

/* ---- the daemon's side ---- */

int films_start(const struct films_options *opt, struct films **ret_f)
{
	int pair[2];
	struct films *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->seconds = opt ? opt->seconds : 0;
	f->socket = -1;
	pthread_mutex_init(&f->lock, NULL);
	int r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
	if (r == 0) {
		f->socket = pair[0];
		f->keeper = fork();
		if (f->keeper == 0)
			be_keeper(pair[1]);
		r = f->keeper < 0 ? -errno : 0;
		close(pair[1]);
	}
	if (r == 0)
		r = workers_start("film", 2, &f->workers);
	if (r < 0) {
		films_stop(f);
		return r;
	}
	*ret_f = f;
	return 0;
}

/* Its socket is closed: it goes by itself, unless somebody has stopped it, or what it waits for. These are one
 * group of processes. */
static void end_keeper(pid_t keeper)
{
	for (unsigned i = 0; i < LEAVE_MS / LEAVE_POLL_MS; i++) {
		if (waitpid(keeper, NULL, WNOHANG) != 0)
			return;
		poll(NULL, 0, LEAVE_POLL_MS);
	}
	if (kill(-keeper, SIGKILL))
		kill(keeper, SIGKILL);
	while (waitpid(keeper, NULL, 0) < 0 && errno == EINTR)
		;
}

void films_stop(struct films *f)
{
	if (!f)
		return;
	workers_stop(f->workers);
	if (f->socket >= 0)
		close(f->socket);
	if (f->keeper > 0)
		end_keeper(f->keeper);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

struct workers *films_workers(struct films *f)
{
	return f->workers;
}

bool films_may_be(const uint8_t *head, size_t len)
{
	static const struct {
		unsigned at, len;
		const char *bytes;
	} known[] = {
		{ 4, 4, "ftyp" },   { 4, 4, "moov" },	  { 4, 4, "mdat" },
		{ 4, 4, "moof" },   { 4, 4, "styp" },	  { 4, 4, "free" },
		{ 4, 4, "skip" },   { 4, 4, "wide" },	  { 4, 4, "sidx" },
		{ 4, 4, "pnot" },   { 4, 4, "uuid" },	  { 0, 4, "\x1a\x45\xdf\xa3" },
		{ 8, 4, "AVI " },   { 8, 4, "AVIX" },	  { 0, 4, "\x06\x0e\x2b\x34" },
		{ 0, 3, "\0\0\1" }, { 0, 4, "\0\0\0\1" },
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].at + known[i].len <= len &&
		    !memcmp(head + known[i].at, known[i].bytes, known[i].len))
			return true;
	/* packets of a transport stream, the first perhaps cut */
	for (unsigned i = 0; i < 192 && i + 384 < len; i++)
		if (head[i] == 'G' &&
		    ((head[i + 188] == 'G' && i + 376 < len && head[i + 376] == 'G') ||
		     (head[i + 192] == 'G' && head[i + 384] == 'G')))
			return true;
	return false;
}

static int send_request(struct films *f, const struct request *q, int in, int out)
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec v = { (void *)q, sizeof *q };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof control.bytes };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int fds[2] = { in, out };
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(c), fds, sizeof fds);
	char said;
	SCOPED_LOCK(&f->lock);
	while (recv(f->socket, &said, 1, MSG_DONTWAIT) == 1)
		log_warn("the process that looks at films (foldfs-films) was killed, and has been "
			 "started again");
	/* nobody waits until there is room: who does not take requests does not answer them */
	return sendmsg(f->socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof *q ? 0 : -ESHUTDOWN;
}

struct answer {
	int fd;
	uint64_t until_ms;
	bool (*over)(void *arg);
	void *arg;
};

static ssize_t read_answer(void *arg, void *buf, size_t len)
{
	struct answer *a = arg;
	struct pollfd in = { .fd = a->fd, .events = POLLIN };
	int r;
	while ((r = poll(&in, 1, POLL_MS)) <= 0) {
		if (r < 0 && errno != EINTR)
			return -errno;
		if (a->over && a->over(a->arg))
			return -ECANCELED;
		if (clock_mono_ms() >= a->until_ms)
			return -ETIMEDOUT;
	}
	ssize_t n = read(a->fd, buf, len);
	return n < 0 ? -errno : n;
}

static unsigned seconds_for(const struct films *f, uint64_t size)
{
	uint64_t s = f->seconds ? f->seconds : SECONDS_LEAST + size / BYTES_PER_SECOND;
	return s < SECONDS_MOST ? (unsigned)s : SECONDS_MOST;
}

int films_find(struct films *f, int fd, uint64_t size, bool (*over)(void *arg), void *arg,
	       struct film *ret_film)
{
	struct request q = { .size = size, .seconds = seconds_for(f, size) };
	int ends[2];
	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	CLEANUP_CLOSE int in = ends[0];
	(void)fcntl(in, F_SETPIPE_SZ, 1 << 20); /* fewer turns; without it it works, too */
	int r = send_request(f, &q, fd, ends[1]);
	close(ends[1]);
	struct answer a = { in, clock_mono_ms() + (q.seconds + 1) * 1000ull, over, arg };
	return r < 0 ? r : film_wire_get(read_answer, &a, size, ret_film);
}
