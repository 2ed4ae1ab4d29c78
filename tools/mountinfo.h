// SPDX-License-Identifier: MIT
/* mountinfo: which foldfs mounts there are, as the kernel tells it. */
#ifndef FOLDFS_MOUNTINFO_H
#define FOLDFS_MOUNTINFO_H
#include <limits.h>
#include <stdbool.h>

#define MOUNTINFO_TYPE "fuse.foldfs"

struct mountinfo {
	char dir[PATH_MAX], source[PATH_MAX], type[64];
	unsigned major, minor;
};

/* Each function takes absolute paths without symbolic links and looks at what is visible now:
 * where several are mounted on one directory, the last. False: there is none. `ret` may be NULL. */
bool mountinfo_at(const char *dir, struct mountinfo *ret);	 /* of any type, exactly there */
bool mountinfo_of_pool(const char *pool, struct mountinfo *ret); /* foldfs with that source */
bool mountinfo_holding(const char *path, struct mountinfo *ret); /* any type, `path` is in it */
/* Some process sees this very filesystem mounted, in whatever mount namespace it lives; as far as the
 * caller may look at other processes. Takes a while. */
bool mountinfo_elsewhere(const struct mountinfo *m);

/* This errno is the kernel's answer for a mount whose daemon is dead: ENOTCONN; ECONNABORTED where requests went over
 * io_uring, which the kernel ends by aborting them. */
bool is_dead_mount(int error);
/* Absolute path without symbolic links; the last part may be a mount whose daemon is dead.
 * 0 or -errno. */
int resolve_path(const char *path, char ret_path[PATH_MAX]);
/* `path` is `dir` or below it. */
bool path_is_in(const char *path, const char *dir);
#endif
