// SPDX-License-Identifier: MIT
/* Calls that make, find, move and remove names. */
#include "playground.h"
#include "model.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool draw_two_paths(struct rng *rng, struct playground *playground, struct call *call)
{
	playground_draw_path(rng, playground, call->path);
	playground_draw_path(rng, playground, call->path2);
	return true;
}

static void remember_path(struct playground *playground, const struct call *call,
			  const struct outcome *out)
{
	(void)out;
	playground_remember(playground, call->path);
}

static void remember_path2(struct playground *playground, const struct call *call,
			   const struct outcome *out)
{
	(void)out;
	playground_remember(playground, call->path2);
}

static unsigned draw_mode(struct rng *rng)
{
	static const unsigned modes[] = { 0644,	 0666,	0600,  0755,  0777, 0777, 0700, 0444,
					  02775, 04755, 06777, 01777, 0000, 0070, 0007 };
	return rng_pick(rng, modes);
}

static unsigned draw_umask(struct rng *rng)
{
	static const unsigned masks[] = { 0, 022, 022, 027, 077 };
	return rng_pick(rng, masks);
}

/* ---- open */

static int draw_open_flags(struct rng *rng)
{
	static const int access[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };
	static const struct {
		int flag;
		unsigned percent;
	} extras[] = {
		{ O_CREAT, 60 },  { O_EXCL, 12 },     { O_TRUNC, 15 },
		{ O_APPEND, 12 }, { O_NOFOLLOW, 10 }, { O_DIRECTORY, 4 },
		{ O_SYNC, 1 },	  { O_DSYNC, 1 },     { O_NOATIME, 3 },
	};
	int flags = rng_pick(rng, access);
	for (size_t i = 0; i < sizeof extras / sizeof *extras; i++)
		if (rng_chance(rng, extras[i].percent))
			flags |= extras[i].flag;
	if (!(flags & (O_APPEND | O_DIRECTORY)) && rng_chance(rng, 8))
		flags |= O_DIRECT;
	if (flags & O_DIRECTORY)
		flags &= ~O_CREAT; /* kernels before 6.4 do something odd */
	return flags;
}

static bool draw_open(struct rng *rng, struct playground *playground, struct call *call)
{
	playground_draw_path(rng, playground, call->path);
	call->slot = (int)rng_below(rng, SLOTS);
	call->flags = draw_open_flags(rng);
	call->mode = draw_mode(rng);
	call->umask = draw_umask(rng);
	struct stat st;
	if (fstatat(playground->side[REFERENCE].dirfd, call->path, &st, 0) == 0 &&
	    !S_ISREG(st.st_mode))
		call->flags = (call->flags | O_NONBLOCK) & ~O_DIRECT; /* a fifo would block */
	return true;
}

static void run_open(struct side *side, const struct call *call, struct outcome *out)
{
	side_close_slot(side, call->slot);
	umask(call->umask);
	int fd = openat(side->dirfd, call->path, call->flags | O_CLOEXEC, call->mode);
	outcome_set(out, fd < 0 ? -1 : 0);
	side->fd[call->slot] = fd;
	if (fd >= 0)
		out->has_stat = fstat(fd, &out->st) == 0;
}

static void note_slot(struct playground *playground, int slot, int flags, const struct outcome *out)
{
	playground->kind[slot] = SLOT_EMPTY;
	if (out->ret < 0)
		return;
	playground->flags[slot] = flags;
	playground->kind[slot] = S_ISREG(out->st.st_mode)   ? SLOT_FILE
				 : S_ISDIR(out->st.st_mode) ? SLOT_DIR
							    : SLOT_OTHER;
}

static void after_open(struct playground *playground, const struct call *call,
		       const struct outcome *out)
{
	note_slot(playground, call->slot, call->flags, out);
	if (out->ret >= 0)
		playground_remember(playground, call->path);
}

static bool draw_tmpfile(struct rng *rng, struct playground *playground, struct call *call)
{
	draw_open(rng, playground, call);
	call->flags = O_TMPFILE | (rng_chance(rng, 80) ? O_RDWR : O_WRONLY) |
		      (rng_chance(rng, 15) ? O_EXCL : 0);
	if (rng_chance(rng, 60))
		strcpy(call->path, ".");
	return true;
}

static void after_tmpfile(struct playground *playground, const struct call *call,
			  const struct outcome *out)
{
	note_slot(playground, call->slot, call->flags, out);
}

static bool draw_close(struct rng *rng, struct playground *playground, struct call *call)
{
	call->slot = playground_draw_slot(rng, playground, ~(1u << SLOT_EMPTY));
	return call->slot >= 0;
}

static void run_close(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, side_close_slot(side, call->slot));
}

static void after_close(struct playground *playground, const struct call *call,
			const struct outcome *out)
{
	(void)out;
	playground->kind[call->slot] = SLOT_EMPTY;
}

static bool draw_linkfd(struct rng *rng, struct playground *playground, struct call *call)
{
	playground_draw_path(rng, playground, call->path);
	call->slot = playground_draw_slot(rng, playground, 1u << SLOT_FILE | 1u << SLOT_OTHER);
	return call->slot >= 0;
}

static void run_linkfd(struct side *side, const struct call *call, struct outcome *out)
{
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", side->fd[call->slot]);
	outcome_set(out, linkat(AT_FDCWD, link, side->dirfd, call->path, AT_SYMLINK_FOLLOW));
}

/* ---- directories and nodes */

static bool draw_create(struct rng *rng, struct playground *playground, struct call *call)
{
	playground_draw_path(rng, playground, call->path);
	call->mode = draw_mode(rng) | (rng_chance(rng, 60) ? 0777 : 0);
	call->umask = draw_umask(rng);
	return true;
}

static void run_mkdir(struct side *side, const struct call *call, struct outcome *out)
{
	umask(call->umask);
	outcome_set(out, mkdirat(side->dirfd, call->path, call->mode));
}

static bool draw_mknod(struct rng *rng, struct playground *playground, struct call *call)
{
	static const unsigned types[] = { S_IFIFO, S_IFIFO, S_IFREG, S_IFSOCK, S_IFCHR };
	draw_create(rng, playground, call);
	call->mode |= rng_pick(rng, types);
	return true;
}

static void run_mknod(struct side *side, const struct call *call, struct outcome *out)
{
	umask(call->umask);
	dev_t device = S_ISCHR(call->mode) ? makedev(1, 3) : 0;
	outcome_set(out, mknodat(side->dirfd, call->path, call->mode, device));
}

static void run_rmdir(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, unlinkat(side->dirfd, call->path, AT_REMOVEDIR));
}

static void run_unlink(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, unlinkat(side->dirfd, call->path, 0));
}

/* Sorted names with their types, as the call's data. */
static void list_names(DIR *dir, struct side *side, struct outcome *out)
{
	const char *names[1024];
	size_t count = 0;
	for (struct dirent *e; count < 1024 && (e = readdir(dir));) {
		char line[300];
		snprintf(line, sizeof line, "%d%s", e->d_type, e->d_name);
		if (!(names[count++] = strdup(line)))
			abort();
	}
	side_put_names(side, names, count, out);
	for (size_t i = 0; i < count; i++)
		free((char *)names[i]);
	outcome_set(out, (int64_t)count);
}

static void run_readdir(struct side *side, const struct call *call, struct outcome *out)
{
	int fd = openat(side->dirfd, call->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		outcome_set(out, -1);
		return;
	}
	list_names(dir, side, out);
	closedir(dir);
}

static bool draw_dir(struct rng *rng, struct playground *playground, struct call *call)
{
	if (rng_chance(rng, 40))
		strcpy(call->path, ".");
	else
		playground_draw_path(rng, playground, call->path);
	return true;
}

/* ---- links and renames */

static void run_link(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, linkat(side->dirfd, call->path, side->dirfd, call->path2, call->flags));
}

static bool draw_link(struct rng *rng, struct playground *playground, struct call *call)
{
	call->flags = rng_chance(rng, 20) ? AT_SYMLINK_FOLLOW : 0;
	return draw_two_paths(rng, playground, call);
}

/* The target is relative to the link's directory and has no "..": it stays inside. */
static bool draw_symlink(struct rng *rng, struct playground *playground, struct call *call)
{
	playground_draw_new_path(rng, call->path2);
	playground_draw_path(rng, playground, call->path);
	return true;
}

static void run_symlink(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, symlinkat(call->path2, side->dirfd, call->path));
}

static void run_readlink(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, readlinkat(side->dirfd, call->path, (char *)side->data, PATH_SIZE));
	out->data_len = out->ret > 0 ? (size_t)out->ret : 0;
}

static bool draw_rename(struct rng *rng, struct playground *playground, struct call *call)
{
	static const int flags[] = { 0,
				     0,
				     0,
				     RENAME_NOREPLACE,
				     RENAME_EXCHANGE,
				     RENAME_EXCHANGE,
				     RENAME_NOREPLACE | RENAME_EXCHANGE };
	call->flags = rng_pick(rng, flags);
	return draw_two_paths(rng, playground, call);
}

static void run_rename(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, renameat2(side->dirfd, call->path, side->dirfd, call->path2,
				   (unsigned)call->flags));
}

static bool draw_access(struct rng *rng, struct playground *playground, struct call *call)
{
	playground_draw_path(rng, playground, call->path);
	call->flags = (int)rng_below(rng, 8);
	return true;
}

static void run_access(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, faccessat(side->dirfd, call->path, call->flags, AT_EACCESS));
}

#define MAKES (USES_PATH | USES_MODE | USES_UMASK)
#define OPENS (MAKES | USES_SLOT | USES_FLAGS)

const struct call_kind name_calls[] = {
	{ "open", 14, OPENS, draw_open, run_open, NULL, after_open },
	{ "tmpfile", 2, OPENS, draw_tmpfile, run_open, NULL, after_tmpfile },
	{ "close", 6, USES_SLOT, draw_close, run_close, NULL, after_close },
	{ "linkfd", 2, USES_SLOT | USES_PATH, draw_linkfd, run_linkfd, NULL, remember_path },
	{ "mkdir", 4, MAKES, draw_create, run_mkdir, NULL, remember_path },
	{ "mknod", 2, MAKES, draw_mknod, run_mknod, NULL, remember_path },
	{ "rmdir", 2, USES_PATH, draw_path, run_rmdir, NULL, NULL },
	{ "unlink", 4, USES_PATH, draw_path, run_unlink, NULL, NULL },
	{ "readdir", 3, USES_PATH, draw_dir, run_readdir, NULL, NULL },
	{ "link", 3, USES_PATH | USES_PATH2 | USES_FLAGS, draw_link, run_link, NULL,
	  remember_path2 },
	{ "symlink", 2, USES_PATH | USES_PATH2, draw_symlink, run_symlink, NULL, remember_path },
	{ "readlink", 2, USES_PATH, draw_path, run_readlink, NULL, NULL },
	{ "rename", 6, USES_PATH | USES_PATH2 | USES_FLAGS, draw_rename, run_rename, NULL,
	  remember_path2 },
	{ "access", 2, USES_PATH | USES_FLAGS, draw_access, run_access, NULL, NULL },
	{ .name = NULL },
};
