// SPDX-License-Identifier: MIT
#include "pool_owner.h"
#include "cleanup.h"
#include "config.h"
#include "super.h"
#include "wal_home.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void pool_owner(int dirfd, uid_t *ret_uid, gid_t *ret_gid)
{
	struct stat st;
	bool known = fstatat(dirfd, "lock", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
	*ret_uid = known ? st.st_uid : 0;
	*ret_gid = known ? st.st_gid : 0;
}

static void give_file(int dirfd, const char *name, uid_t uid, gid_t gid)
{
	struct stat st;
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	    st.st_uid == 0)
		(void)!fchown(fd, uid, gid); /* it is no worse than it was */
}

static void give_directory(int dirfd, const char *name, uid_t uid, gid_t gid)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	for (struct dirent *e; dir && (e = readdir(dir));)
		give_file(fd, e->d_name, uid, gid);
}

static void give_log(int dirfd, uid_t uid, gid_t gid)
{
	struct config config;
	struct config_error err;
	struct super super;
	config_defaults(&config);
	if (config_load(&config, dirfd, "foldfs.conf", &err) < 0 || !*config.wal_dir ||
	    super_read(dirfd, &super, NULL) < 0)
		return;
	CLEANUP_CLOSE int fd =
		open(config.wal_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && wal_home_check(fd, super.uuid) == 0)
		give_directory(fd, ".", uid, gid);
}

void pool_give_to_owner(const char *path)
{
	static const char *const directories[] = {
		".", "index", "wal", "staging", "packs", "cache"
	};
	uid_t uid;
	gid_t gid;
	CLEANUP_CLOSE int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0 || geteuid() != 0)
		return;
	pool_owner(dirfd, &uid, &gid);
	for (size_t i = 0; uid && i < sizeof directories / sizeof *directories; i++)
		give_directory(dirfd, directories[i], uid, gid);
	if (uid)
		give_log(dirfd, uid, gid);
}
