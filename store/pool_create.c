// SPDX-License-Identifier: MIT
/* mkfs. The superblock is written last: what has none is no pool, so an interrupted mkfs leaves
 * nothing that could be mounted, and a failed one removes what it made.
 */
#include "cleanup.h"
#include "clock.h"
#include "inode_row.h"
#include "pool.h"
#include "pool_impl.h"
#include "rows_format.h"
#include "wal_home.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

static int dir_is_empty(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return -errno;
	struct dirent *e;
	int more;
	while ((more = io_next_entry(d, &e)) > 0)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		    strcmp(e->d_name, "lost+found"))
			return 0;
	return more < 0 ? more : 1;
}

static int write_root(struct kv *kv, const struct super *super)
{
	struct kv_batch *b = kv_batch_new();
	uint8_t seed[8];
	if (!b)
		return -ENOMEM;
	struct inode_row root = {
		.ino = INO_ROOT,
		.mode = S_IFDIR | 0755,
		.uid = getuid(),
		.gid = getgid(),
		.nlink = 2,
	};
	root.atime = root.mtime = root.ctime = root.btime = clock_wall_ns();
	root.parent = INO_ROOT;
	inode_row_put(b, &root);
	put_le64(seed, super->dirent_seed);
	kv_batch_put(b, KV_META, META_DIRENT_SEED, strlen(META_DIRENT_SEED), seed, sizeof seed);
	return kv_commit(kv, b, NULL);
}

static int make_index(struct pool *pool)
{
	int r = pool_open_kv(pool, false);
	if (r == 0)
		r = write_root(pool->kv, &pool->super);
	struct dump_place place = pool_dump_place(pool);
	struct dump_info dump;
	if (r == 0) /* so that there is one from the start */
		r = dump_write(pool->kv, &place, NULL, &dump);
	if (r == 0)
		kv_keep_log(pool->kv, dump.start_lsn, dump.start_lsn);
	int closed = pool_close_kv(pool);
	return r < 0 ? r : closed;
}

static int write_config(struct pool *pool)
{
	CLEANUP_BUF struct buf text = { 0 };
	config_print(&pool->config, &text);
	if (text.failed)
		return -ENOMEM;
	return io_replace_file(pool->dirfd, "foldfs.conf", text.data, text.len, 0644);
}

static int fill(struct pool *pool, const struct pool_making *how, struct pool_error *err)
{
	return how ? how->fill(pool, how->arg, err) : make_index(pool);
}

static int make_contents(struct pool *pool, const struct pool_making *how, const char **ret_what,
			 struct pool_error *err)
{
	for (size_t i = 0; pool_directories[i]; i++) {
		*ret_what = pool_directories[i];
		if (mkdirat(pool->dirfd, pool_directories[i], 0700))
			return -errno;
	}
	*ret_what = "foldfs.conf";
	int r = write_config(pool);
	*ret_what = "index or log";
	if (r == 0)
		r = fill(pool, how, err);
	if (r == 0) {
		*ret_what = "reserve";
		r = pool_reserve_make(pool);
	}
	if (r == 0) {
		*ret_what = "super";
		r = super_write(pool->dirfd, &pool->super);
	}
	return r;
}

/* Removes what make_contents() made; the directory held nothing else. */
static void unmake(int dirfd)
{
	static const char *const files[] = { "super",	    "super.tmp",   "reserve",
					     "lock",	    "foldfs.conf", "foldfs.conf.tmp",
					     "replica",	    "replica.tmp", "followed",
					     "followed.tmp" };
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		unlinkat(dirfd, files[i], 0);
	for (size_t i = 0; pool_directories[i]; i++) {
		int fd = openat(dirfd, pool_directories[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
		for (struct dirent *e; d && (e = readdir(d));)
			if (e->d_name[0] != '.')
				unlinkat(fd, e->d_name, 0);
		unlinkat(dirfd, pool_directories[i], AT_REMOVEDIR);
	}
}

static int fill_super(const struct config *config, struct super *ret_super)
{
	struct super s = {
		.version = SUPER_VERSION,
		.created = clock_wall_ns() / 1000000000,
		.chunker = { .kind = (enum chunker_kind)config->chunker,
			     .min = (uint32_t)config->chunk_min,
			     .avg = (uint32_t)config->chunk_avg,
			     .max = (uint32_t)config->chunk_max },
	};
	if (getrandom(s.uuid, sizeof s.uuid, 0) != sizeof s.uuid ||
	    getrandom(&s.dirent_seed, sizeof s.dirent_seed, 0) != sizeof s.dirent_seed)
		return -EIO;
	s.uuid[6] = (uint8_t)((s.uuid[6] & 0x0f) | 0x40); /* a random UUID, RFC 9562 version 4 */
	s.uuid[8] = (uint8_t)((s.uuid[8] & 0x3f) | 0x80);
	snprintf(s.label, sizeof s.label, "%s", config->label);
	*ret_super = s;
	return chunker_check(&s.chunker);
}

/* A log directory that was ours for a moment is free again. */
static void disown_log(const struct pool *pool, int err)
{
	const char *where = pool->config.wal_dir;
	CLEANUP_CLOSE int fd =
		*where && err != -ESTALE ? open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0 && wal_home_check(fd, pool->super.uuid) == 0)
		unlinkat(fd, WAL_HOME_OWNER, 0);
}

/* The one thing of a pool that lies elsewhere is there before anything is made. */
static int check_log_dir(const struct pool *pool, struct pool_error *err)
{
	const char *where = pool->config.wal_dir;
	if (!*where)
		return 0;
	CLEANUP_CLOSE int fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || faccessat(fd, ".", W_OK | X_OK, 0) ? -errno : 0;
	if (r == 0 && (r = wal_home_check(fd, pool->super.uuid)) == -ENOENT)
		r = 0;
	const char *why = r == -ESTALE	    ? "belongs to another pool"
			  : r == -ENOTEMPTY ? "has other files in it"
					    : strerror(-r);
	if (r < 0)
		pool_say(err, "%s: no pool was made, its log directory %.300s (wal_dir) %s%s",
			 pool->path, where,
			 r == -ESTALE || r == -ENOTEMPTY ? "" : "cannot be used: ", why);
	return r;
}

static int create_in(struct pool *pool, const struct pool_making *how, struct pool_error *err)
{
	const char *what = "";
	int r = check_log_dir(pool, err);
	if (r < 0)
		return r;
	r = staging_probe(pool->dirfd);
	if (r == -EOPNOTSUPP)
		pool_say(
			err,
			"%s: this filesystem does not keep holes apart from zeros (SEEK_DATA, hole "
			"punching at 4 KiB), which foldfs needs: use ext4, xfs, btrfs or tmpfs",
			pool->path);
	else if (r < 0)
		pool_say(err, "%s: cannot be written to: %s", pool->path, strerror(-r));
	if (r < 0)
		return r;
	pool->lockfd = openat(pool->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	r = pool->lockfd < 0 ? -errno : make_contents(pool, how, &what, err);
	if (r < 0) {
		unmake(pool->dirfd);
		disown_log(pool, r);
	}
	if (r < 0 && !*err->text) {
		pool_say(err, "%s: no pool was made, %s could not be written: %s", pool->path, what,
			 r == -ESTALE ? "wal_dir belongs to another pool" : strerror(-r));
	}
	return r;
}

int pool_make(const char *path, const struct config *config, const struct pool_making *how,
	      struct pool_error *err)
{
	struct pool pool = { .dirfd = -1,
			     .lockfd = -1,
			     .index_fd = -1,
			     .wal_fd = -1,
			     .wal_lockfd = -1,
			     .packs_fd = -1,
			     .config = *config };
	bool made = mkdir(path, 0755) == 0;
	if (!made && errno != EEXIST) {
		int r = -errno;
		pool_say(err, "%s cannot be made: %s", *path ? path : "a pool without a name",
			 strerror(-r));
		return r;
	}
	int r = 0;
	*err->text = 0;
	if (how)
		pool.super = *how->super;
	else
		r = fill_super(config, &pool.super);
	if (r < 0)
		pool_say(err, "chunk sizes are not usable: 1K <= min < avg < max <= 16M, and avg a "
			      "power of two");
	pool.dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int open_error = pool.dirfd < 0 ? -errno : 0;
	pool.path = realpath(path, NULL);
	if (r == 0 && !pool.path && !open_error) {
		r = -errno;
		pool_say(err, "%s cannot be used: %s", path, strerror(-r));
	}
	if (r == 0 && pool.dirfd < 0) {
		r = open_error;
		pool_say(err, "%s cannot be used: %s", path, strerror(-r));
	}
	if (r == 0 && faccessat(pool.dirfd, "super", F_OK, 0) == 0) {
		r = -EEXIST;
		pool_say(err,
			 "%s is a foldfs pool already; remove it first if it shall be made anew",
			 path);
	}
	int empty = r == 0 ? dir_is_empty(pool.dirfd) : 1;
	if (r == 0 && empty <= 0) {
		r = empty < 0 ? empty : -ENOTEMPTY;
		pool_say(err, "%s is not empty: a pool is made in an empty or a new directory",
			 path);
	}
	if (r == 0)
		r = create_in(&pool, how, err);
	if (pool.lockfd >= 0)
		close(pool.lockfd);
	if (pool.dirfd >= 0)
		close(pool.dirfd);
	free(pool.path);
	if (r < 0 && made)
		rmdir(path);
	return r;
}

int pool_create(const char *path, const struct config *config, struct pool_error *err)
{
	if (*config->follow) {
		pool_say(err,
			 "%s: no pool was made; one that follows a replica is made with --follow",
			 path);
		return -EINVAL;
	}
	return pool_make(path, config, NULL, err);
}
