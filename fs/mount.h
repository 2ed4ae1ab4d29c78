// SPDX-License-Identifier: MIT
/* mount: puts a pool on a directory and serves it until it is unmounted. */
#ifndef FOLDFS_MOUNT_H
#define FOLDFS_MOUNT_H
#include "fs.h"

struct mount_request {
	const char *pool_path, *mountpoint;
	const char *options;	  /* foldfs' own, comma-separated (config.h) */
	const char *fuse_options; /* for the kernel: "ro,nosuid,nodev,..." or NULL */
	bool read_only;
	bool strict_atime; /* every read updates atime, as mount(8)'s strictatime */
	/* Called once, when the mount is live (err 0) or could not be made (a sentence). */
	/* The mount is live (err 0; the sentence, if there is one, says what its user has to know), or why
	 * it is not. */
	void (*ready)(void *arg, int err, const char *sentence);
	void *ready_arg;
};

/* Opens the pool, mounts, serves, unmounts, closes. 0 after a clean end, else -errno (ready() or
 * the log has said why). The pool's lock is released last: who gets it finds everything durable. */
int mount_serve(const struct mount_request *req);
#endif
