// SPDX-License-Identifier: MIT
/* What tells of the daemon's death is the end of its main thread (PR_SET_PDEATHSIG). A pidfd or a pipe would
 * tell of the end of the last one, and that one is stuck. The process is forked while the daemon is single and small, so it
 * holds nothing of the pool; what it is to write to comes later, through a socket.
 *
 * A signal that leaves a core is another matter: before any thread ends, the kernel waits for all of them to stop. So
 * there the daemon's own handler ends the connection first.
 */
#include "guardian.h"
#include "cleanup.h"
#include "device.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define DEATH SIGUSR1

struct guardian {
	pid_t pid;
	int socket; /* to it */
	int abort_fd;
};

/* ---- a message with a descriptor ---- */

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static int send_fd(int to, int fd)
{
	union control control = { 0 };
	struct iovec v = { "", 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof control.bytes };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return sendmsg(to, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* -1: nobody will send anything any more. */
static int receive_fd(int from)
{
	union control control;
	char byte;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof control.bytes };
	int fd = -1;
	if (recvmsg(from, &m, 0) <= 0)
		return -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

/* ---- the process ---- */

static bool end_connection(int abort_fd)
{
	return write(abort_fd, "1", 1) == 1;
}

/* Terminals and service managers send signals to all processes of a group: none but the one counts. */
static _Noreturn void be_guardian(int socket, pid_t daemon)
{
	sigset_t all, death;
	siginfo_t info;
	sigfillset(&all);
	sigemptyset(&death);
	sigaddset(&death, DEATH);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "foldfs-guardian");
	setsid();
	int null = open("/dev/null", O_RDWR);
	if (chdir("/") || null < 0 || dup2(socket, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		_exit(1);
	close_range(3, ~0u, 0);
	if (prctl(PR_SET_PDEATHSIG, DEATH) || getppid() != daemon)
		_exit(1);
	int abort_fd = receive_fd(0);
	dup2(1, 0);
	if (abort_fd < 0)
		_exit(0);
	/* by the kernel in the name of who has died, not by anybody else */
	while (sigwaitinfo(&death, &info) != DEATH || info.si_pid != daemon)
		;
	_exit(!end_connection(abort_fd));
}

/* ---- signals that leave a core ---- */

static const int crashes[] = { SIGQUIT, SIGILL,	 SIGTRAP, SIGABRT, SIGBUS,
			       SIGFPE,	SIGSEGV, SIGXCPU, SIGSYS };
static struct sigaction before[sizeof crashes / sizeof *crashes];
static atomic_int crash_fd = -1;

static bool is_fault(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL;
}

static void on_crash(int sig, siginfo_t *info, void *context)
{
	(void)context;
	int abort_fd = atomic_load(&crash_fd);
	if (abort_fd >= 0)
		end_connection(abort_fd);
	for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
		if (crashes[i] == sig)
			sigaction(sig, &before[i], NULL);
	if (!is_fault(sig) || info->si_code <= 0)
		raise(sig);
	/* Otherwise the instruction is run again, and faults again. */
}

static void catch_crashes(void)
{
	struct sigaction sa = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO };
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
		if (!sigaction(crashes[i], NULL, &before[i]) && before[i].sa_handler != SIG_IGN)
			sigaction(crashes[i], &sa, NULL);
}

/* ---- the daemon's side ---- */

int guardian_start(struct guardian **ret_guardian)
{
	int pair[2];
	pid_t daemon = getpid();
	struct guardian *g = malloc(sizeof *g);
	if (!g)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		free(g);
		return -errno;
	}
	*g = (struct guardian){ .pid = fork(), .socket = pair[0], .abort_fd = -1 };
	if (g->pid == 0)
		be_guardian(pair[1], daemon);
	int r = g->pid < 0 ? -errno : 0;
	close(pair[1]);
	if (r < 0) {
		guardian_stop(g);
		return r;
	}
	catch_crashes(); /* before those who want to have the first word (guard.h) */
	*ret_guardian = g;
	return 0;
}

/* The kernel's files about connections, which need not be mounted anywhere, and are not by this. */
static int open_control(void)
{
	CLEANUP_CLOSE int fs = (int)syscall(SYS_fsopen, "fusectl", FSOPEN_CLOEXEC);
	if (fs >= 0 && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
		int fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
		if (fd >= 0)
			return fd;
	}
	/* who may not do that may have what others have mounted: a connection's files are its user's */
	return open("/sys/fs/fuse/connections", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int open_abort(const char *mountpoint)
{
	char name[sizeof "4294967295/abort"];
	unsigned major, minor;
	CLEANUP_CLOSE int control = open_control();
	if (control < 0)
		return -errno;
	if (!device_find(mountpoint, &major, &minor))
		return -ENODEV;
	snprintf(name, sizeof name, "%u/abort", major << 20 | minor);
	int fd = openat(control, name, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void end_process(struct guardian *g)
{
	if (g->pid <= 0)
		return;
	kill(g->pid, SIGKILL);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	g->pid = -1;
}

int guardian_watch(struct guardian *g, const char *mountpoint)
{
	int fd = open_abort(mountpoint);
	int r = fd < 0 ? fd : send_fd(g->socket, fd);
	close(take_fd(&g->socket));
	if (fd >= 0)
		atomic_store(&crash_fd, g->abort_fd = fd);
	if (r < 0)
		end_process(g);
	return r;
}

bool guardian_may_abort(const struct guardian *g)
{
	return g && g->abort_fd >= 0;
}

void guardian_abort(const struct guardian *g)
{
	if (guardian_may_abort(g))
		end_connection(g->abort_fd);
}

void guardian_stop(struct guardian *g)
{
	if (!g)
		return;
	atomic_store(&crash_fd, -1);
	end_process(g);
	if (g->socket >= 0)
		close(g->socket);
	if (g->abort_fd >= 0)
		close(g->abort_fd);
	free(g);
}
