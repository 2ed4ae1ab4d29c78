// SPDX-License-Identifier: MIT
/* umount.foldfs: a helper of umount(8). The kernel does not wait for the daemon of a FUSE mount; this
 * does: when it returns, POOL/lock is free and everything is on disk. */
#include "cleanup.h"
#include "client.h"
#include "clock.h"
#include "leaving.h"
#include "mountinfo.h"
#include "say.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define STATUS_USAGE 1
#define STATUS_SYSTEM 2
#define STATUS_FAILED 32
#define WORD_AFTER_MS 10000u
#define ELSEWHERE_AFTER_MS 2000u

static const char help[] =
	"umount.foldfs [-flnrv] DIR: unmounts, and waits until the daemon has written all\n"
	"\n"
	"  -f            ends requests that hang first\n"
	"  -l            detaches the mount now; it ends with its last user, and nobody waits\n"
	"  -v            says what is done\n"
	"  -n, -r, -i, -t TYPE  accepted for umount(8), without effect\n"
	"  -h, --help, -V, --version\n";

struct request {
	const char *given;
	struct mountinfo mount;
	bool force, lazy, verbose;
};

static int parse(struct request *q, int argc, char **argv)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'V' },
					       { 0 } };
	int c;
	while ((c = getopt_long(argc, argv, ":flnrvit:N:hV", longs, NULL)) != -1) {
		if (c == 'f')
			q->force = true;
		else if (c == 'l')
			q->lazy = true;
		else if (c == 'v')
			q->verbose = true;
		else if (c == 'h')
			return fputs(help, stdout), end_output(1, STATUS_SYSTEM);
		else if (c == 'V')
			return puts("umount.foldfs " FOLDFS_VERSION), end_output(1, STATUS_SYSTEM);
		else if (c == 'N')
			return complain_usage(STATUS_USAGE + 1, "-N: enter the namespace first, "
								"with nsenter(1)");
		else if (c == ':' || c == '?')
			return complain_usage(STATUS_USAGE + 1, "%s %s", argv[optind - 1],
					      c == ':' ? "lacks its argument" : "is no option");
	}
	if (argc - optind != 1)
		return complain_usage(STATUS_USAGE + 1, "one argument is wanted, the mount point");
	q->given = argv[optind];
	return 0;
}

/* What is unmounted is what was mounted last on a directory. */
static int check_on_top(const struct request *q)
{
	struct mountinfo top;
	if (!mountinfo_at(q->mount.dir, &top) || !strcmp(top.source, q->mount.source))
		return 0;
	complain("%s is mounted at %s, and %s lies on top of it: unmount that first", q->given,
		 q->mount.dir, top.source);
	return STATUS_FAILED;
}

/* DIR is the mount point, or the pool. */
static int find_mount(struct request *q)
{
	char path[PATH_MAX];
	int r = resolve_path(q->given, path);
	if (r < 0) {
		complain("%s: %s", q->given, strerror(-r));
		return STATUS_FAILED;
	}
	if (mountinfo_at(path, &q->mount) ? !strcmp(q->mount.type, MOUNTINFO_TYPE)
					  : mountinfo_of_pool(path, &q->mount))
		return check_on_top(q);
	complain("%s is not mounted by foldfs", q->given);
	return STATUS_FAILED;
}

/* Users other than root need the FUSE library's own helper. */
static int unmount_as_user(const struct request *q)
{
	int status = 0;
	pid_t child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(null, 2); /* what it would say is said here, in our words */
		execlp("fusermount3", "fusermount3", q->lazy ? "-uz" : "-u", "--", q->mount.dir,
		       (char *)NULL);
		_exit(127);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return child > 0 && status == 0 ? 0 : -EPERM;
}

static int unmount(const struct request *q)
{
	const char *dir = q->mount.dir;
	/* held until the kernel has let go, so that a mount waits that comes in between */
	CLEANUP_CLOSE __attribute__((unused)) int leaving = leaving_begin(q->mount.source);
	if (!q->lazy && !q->force) {
		CLEANUP_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			syncfs(fd);
	}
	int flags = UMOUNT_NOFOLLOW | (q->force ? MNT_FORCE : 0) | (q->lazy ? MNT_DETACH : 0);
	int r = umount2(dir, flags) ? -errno : 0;
	if (r == -EPERM && geteuid() != 0)
		r = unmount_as_user(q);
	if (r == -EBUSY)
		complain("%s is in use: a process has a file or its working directory there", dir);
	else if (r == -EPERM)
		complain("%s can be unmounted by root, or by the user who mounted it", dir);
	else if (r < 0)
		complain("%s cannot be unmounted: %s", dir, strerror(-r));
	return r < 0 ? STATUS_FAILED : 0;
}

/* Another mount namespace has a copy of the mount: the daemon goes on, but nothing may be lost. */
static int leave_to_others(const struct request *q)
{
	json_t *result = NULL;
	if (client_ask(q->mount.source, json_pack("{s:s}", "command", "sync"), NULL, &result) ==
	    CLIENT_FAILED)
		return STATUS_SYSTEM;
	json_decref(result);
	complain("%s is unmounted and synced, but %s is still mounted in another mount namespace, "
		 "so its daemon goes on",
		 q->mount.dir, q->mount.source);
	return 0;
}

/* The lock is free, or whose it is now is not our business: 1; 0 to go on waiting, -errno. */
static int look_at_lock(const struct request *q, int fd)
{
	if (flock(fd, LOCK_SH | LOCK_NB) == 0)
		return 1;
	if (errno != EWOULDBLOCK && errno != EINTR)
		return -errno;
	return mountinfo_of_pool(q->mount.source, NULL);
}

/* Until the daemon has let go of the pool, or the pool is mounted once more. */
static int wait_for_lock(const struct request *q)
{
	char path[PATH_MAX + 8];
	snprintf(path, sizeof path, "%s/lock", q->mount.source);
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		if (q->verbose)
			complain("%s: %s, so nobody waits for the daemon", path, strerror(errno));
		return 0;
	}
	uint64_t began = clock_mono_ms(), word = began + WORD_AFTER_MS;
	uint64_t look = began + ELSEWHERE_AFTER_MS, now;
	long pause_ns = 1000000;
	int r;
	while ((r = look_at_lock(q, fd)) == 0) {
		now = clock_mono_ms();
		if (now >= look && mountinfo_elsewhere(&q->mount))
			return leave_to_others(q);
		look = now >= look ? now + ELSEWHERE_AFTER_MS : look;
		if (now >= word) {
			complain("%s is unmounted; its daemon has been writing to %s for %lu s",
				 q->mount.dir, q->mount.source, (now - began) / 1000);
			word += WORD_AFTER_MS;
		}
		nanosleep(&(struct timespec){ .tv_nsec = pause_ns }, NULL);
		pause_ns = pause_ns < 50000000 ? pause_ns * 2 : pause_ns;
	}
	if (r < 0) {
		complain("%s: %s", path, strerror(-r));
		return STATUS_SYSTEM;
	}
	if (q->verbose)
		fprintf(stderr, "umount.foldfs: %s is unmounted, all is on disk\n", q->mount.dir);
	return 0;
}

int main(int argc, char **argv)
{
	static struct request q;
	int r = parse(&q, argc, argv);
	if (r)
		return r - 1;
	r = find_mount(&q);
	if (r == 0)
		r = unmount(&q);
	if (r == 0 && !q.lazy)
		r = wait_for_lock(&q);
	return r;
}
