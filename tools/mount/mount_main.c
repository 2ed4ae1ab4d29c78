// SPDX-License-Identifier: MIT
/* mount.foldfs: a helper of mount(8), with its arguments and exit codes; also called by hand. */
#include "cleanup.h"
#include "client.h"
#include "clock.h"
#include "daemon.h"
#include "fault.h"
#include "leaving.h"
#include "log.h"
#include "mount_options.h"
#include "remount.h"
#include "mountinfo.h"
#include "pool.h"
#include "say.h"
#include "utab.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define STATUS_USAGE 1
#define STATUS_SYSTEM 2
#define STATUS_FAILED 32
#define ANSWER_MS 10000u

struct arguments {
	struct mount_options options;
	const char *pool_given, *dir_given;
	char pool[PATH_MAX], dir[PATH_MAX];
	bool fake, no_mtab, verbose, foreground, sloppy;
	struct config config; /* as far as it concerns this program: the log */
};

static const char help[] =
	"mount.foldfs [-o OPTION[=VALUE],...] [-rfnsv] [--foreground] POOL DIR: mounts a pool\n"
	"\n"
	"  -o OPTION,...  options of foldfs, see below, and those of fstab: ro, nosuid, noexec, "
	"...\n"
	"  -r             read-only, the same as -o ro\n"
	"  -f             check the options and the pool, but mount nothing\n"
	"  -n             leave /run/mount alone: plain umount will then not wait for the daemon\n"
	"  -v             say what is done\n"
	"  --foreground   serve in this process until the mount ends\n"
	"  -s             unknown options are ignored\n"
	"  -t TYPE        accepted for mount(8), without effect\n"
	"  -h, --help, -V, --version\n"
	"\n"
	"Options (they override POOL/foldfs.conf):\n";

static int print_help(void)
{
	const struct config_option *o;
	fputs(help, stdout);
	for (size_t i = 0; (o = config_option(i)); i++)
		if (o->scopes & CONFIG_MOUNT)
			say_option(o);
	return end_output(0, STATUS_SYSTEM);
}

/* 0: go on; else the exit status plus one. */
static int parse(struct arguments *a, int argc, char **argv)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'V' },
					       { "foreground", no_argument, NULL, 'F' },
					       { 0 } };
	int c, r = 0;
	while ((c = getopt_long(argc, argv, ":o:t:N:rnvfshV", longs, NULL)) != -1) {
		if (c == 'o')
			r = mount_options_add(&a->options, optarg);
		else if (c == 'r')
			a->options.read_only = true;
		else if (c == 'f')
			a->fake = true;
		else if (c == 'n')
			a->no_mtab = true;
		else if (c == 's')
			a->sloppy = true;
		else if (c == 'v')
			a->verbose = true;
		else if (c == 'F')
			a->foreground = true;
		else if (c == 'h')
			return print_help() + 1;
		else if (c == 'V')
			return puts("mount.foldfs " FOLDFS_VERSION), end_output(1, STATUS_SYSTEM);
		else if (c == 'N')
			return complain_usage(STATUS_USAGE + 1, "-N: enter the namespace first, "
								"with nsenter(1)");
		else if (c == ':' || c == '?')
			return complain_usage(STATUS_USAGE + 1, "%s %s", argv[optind - 1],
					      c == ':' ? "lacks its argument" : "is no option");
		if (r < 0)
			return complain("not enough memory"), STATUS_SYSTEM + 1;
	}
	if (argc - optind != 2)
		return complain_usage(STATUS_USAGE + 1, "two arguments are wanted, POOL and DIR");
	a->pool_given = argv[optind];
	a->dir_given = argv[optind + 1];
	if (mount_options_end(&a->options, a->sloppy) < 0)
		return complain("not enough memory"), STATUS_SYSTEM + 1;
	return 0;
}

/* Options first, since a wrong one is wrong with any pool; then what the pool's file says. */
static int check_options(struct arguments *a)
{
	struct config_error err = { 0 };
	const char *own = (const char *)a->options.own.data;
	config_defaults(&a->config);
	if (config_apply(&a->config, own, CONFIG_MOUNT, &err) < 0)
		return complain_usage(STATUS_USAGE, "%s", err.text);
	return 0;
}

static int read_pools_options(struct arguments *a)
{
	struct config_error err = { 0 };
	const char *own = (const char *)a->options.own.data;
	CLEANUP_CLOSE int dirfd = open(a->pool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		complain("%s is no foldfs pool: %s", a->pool_given, strerror(errno));
		return STATUS_FAILED;
	}
	config_defaults(&a->config);
	if (config_load(&a->config, dirfd, "foldfs.conf", &err) < 0) {
		complain("%s: %s", a->pool_given, err.text);
		return STATUS_FAILED;
	}
	config_apply(&a->config, own, CONFIG_MOUNT, &err);
	return 0;
}

/* Detaches mounts whose daemon is dead, so that what is below can be used again. The kernel may have the
 * attributes of their root, but what statfs() answers is always asked for. */
static int clear_dead_mounts(const char *dir)
{
	struct mountinfo m;
	struct statfs fs;
	while (statfs(dir, &fs) && is_dead_mount(errno)) {
		if (!mountinfo_at(dir, &m) || strncmp(m.type, "fuse", 4))
			return -ENOTCONN;
		if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW))
			return -errno;
		log_info("%s: a dead mount of %s was there and has been detached", dir, m.source);
	}
	return 0;
}

static int check_directory(struct arguments *a)
{
	struct stat st;
	int r = resolve_path(a->dir_given, a->dir);
	if (r == 0)
		r = clear_dead_mounts(a->dir);
	if (r == 0 && stat(a->dir, &st))
		r = -errno;
	if (r == -ENOENT)
		complain("the mount point %s does not exist", a->dir_given);
	else if (r == -ENOTCONN || r == -EPERM)
		complain("the mount point %s is a dead mount and cannot be detached: %s; "
			 "fusermount3 -uz does it for the one who mounted it",
			 a->dir_given, strerror(-r));
	else if (r < 0)
		complain("the mount point %s cannot be used: %s", a->dir_given, strerror(-r));
	else if (!S_ISDIR(st.st_mode))
		complain("the mount point %s is not a directory", a->dir_given);
	else
		return 0;
	return STATUS_FAILED;
}

static bool pool_is_locked(const char *pool)
{
	char path[PATH_MAX + 8];
	snprintf(path, sizeof path, "%s/lock", pool);
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
}

static int check_paths(struct arguments *a)
{
	struct mountinfo m;
	int r = resolve_path(a->pool_given, a->pool);
	if (r < 0) {
		complain("%s is no foldfs pool: %s", a->pool_given, strerror(-r));
		return STATUS_FAILED;
	}
	r = check_directory(a);
	if (r)
		return r;
	if (path_is_in(a->dir, a->pool)) {
		complain("the mount point %s %s the pool itself", a->dir,
			 strcmp(a->dir, a->pool) ? "lies inside" : "is");
		return STATUS_FAILED;
	}
	if (path_is_in(a->pool, a->dir)) {
		complain("the pool %s lies below the mount point %s, which would hide it", a->pool,
			 a->dir);
		return STATUS_FAILED;
	}
	if (mountinfo_of_pool(a->pool, NULL))
		leaving_wait(a->pool);
	if (mountinfo_of_pool(a->pool, &m) && pool_is_locked(a->pool)) {
		complain("the pool %s is mounted already, at %s", a->pool, m.dir);
		return STATUS_FAILED;
	}
	return 0;
}

/* umount(8) calls our helper only if it finds a line about this mount that says so. */
static void on_live(void *arg)
{
	struct arguments *a = arg;
	if (a->verbose)
		fprintf(stderr, "%s: %s is mounted at %s\n", program_invocation_short_name, a->pool,
			a->dir);
	if (!a->no_mtab)
		utab_register(a->pool, a->dir, !a->foreground);
}

/* What a mount would find there. */
static int look_at_pool(struct arguments *a)
{
	struct pool_error err = { 0 };
	struct pool *pool;
	if (pool_open(a->pool, (const char *)a->options.own.data, true, 0, &pool, &err) < 0) {
		complain("%s", err.text);
		return STATUS_FAILED;
	}
	pool_close(pool);
	return 0;
}

static int run(struct arguments *a)
{
	CLEANUP_BUF struct buf kernel = { 0 };
	/* as mount(8) has it by default; the FUSE library would forbid both */
	if (geteuid() == 0)
		buf_put(&kernel, "suid,dev,", 9);
	buf_put(&kernel, a->options.kernel.data, a->options.kernel.len);
	size_t n = kernel.len;
	if (kernel.failed)
		return complain("not enough memory"), STATUS_SYSTEM;
	if (n > 1 && kernel.data[n - 2] == ',')
		kernel.data[n - 2] = 0;
	struct daemon_plan plan = {
		.request = { .pool_path = a->pool,
			     .mountpoint = a->dir,
			     .options = (const char *)a->options.own.data,
			     .fuse_options = (const char *)kernel.data,
			     .strict_atime = a->options.strict_atime,
			     .read_only = a->options.read_only },
		.log_file = a->config.log_file,
		.foreground = a->foreground,
	};
	log_set_level((enum log_level)a->config.log_level);
	return daemon_run(&plan, on_live, a);
}

static bool waited_enough(void *until_ms)
{
	return clock_mono_ms() > *(uint64_t *)until_ms;
}

/* One that does not answer is not asked again: the kernel knows better than nobody. */
static bool daemon_only_reads(const char *pool)
{
	uint64_t until_ms = clock_mono_ms() + ANSWER_MS;
	json_t *stats = NULL;
	client_ask_unless(pool, json_pack("{s:s}", "command", "stats"), waited_enough, &until_ms,
			  &stats);
	bool only = json_is_true(json_object_get(stats, "read_only"));
	json_decref(stats);
	return only;
}

/* mount(8) hands on what the mount has been given before, so foldfs' own options are passed over:
 * they hold until the next mount. */
static int change_flags(struct arguments *a)
{
	struct mountinfo m;
	int r = resolve_path(a->dir_given, a->dir);
	if (r < 0 || !mountinfo_at(a->dir, &m) || strcmp(m.type, MOUNTINFO_TYPE)) {
		complain("%s is not mounted by foldfs", a->dir_given);
		return STATUS_FAILED;
	}
	if (!a->options.read_only && daemon_only_reads(m.source)) {
		complain("%s can only be read, which a remount does not change: unmount it, and "
			 "mount it again",
			 a->dir_given);
		return STATUS_FAILED;
	}
	r = a->fake ? 0 : remount(a->dir, &a->options);
	if (r < 0)
		complain("%s: the kernel refuses to change the mount: %s", a->dir_given,
			 strerror(-r));
	return r < 0 ? STATUS_FAILED : 0;
}

int main(int argc, char **argv)
{
	static struct arguments a;
	fault_arm(getenv("FOLDFS_FAULT"));
	int r = parse(&a, argc, argv);
	if (r)
		r--;
	else if (a.options.remount)
		r = change_flags(&a);
	else if ((r = check_options(&a)) == 0 && (r = check_paths(&a)) == 0 &&
		 (r = read_pools_options(&a)) == 0)
		r = a.fake ? look_at_pool(&a) : run(&a);
	mount_options_done(&a.options);
	return r;
}
