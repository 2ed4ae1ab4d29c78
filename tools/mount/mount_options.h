// SPDX-License-Identifier: MIT
/* mount_options: what of a line of fstab is foldfs' own, what the kernel's, and what neither's. */
#ifndef FOLDFS_MOUNT_OPTIONS_H
#define FOLDFS_MOUNT_OPTIONS_H
#include "config.h"

struct mount_options {
	struct buf own;	   /* for config_apply(), NUL-terminated after mount_options_end() */
	struct buf kernel; /* for the FUSE library, likewise */
	bool read_only, remount, strict_atime;
};

/* Sorts the options of one -o into the buffers. Own ones are not looked at further. */
int mount_options_add(struct mount_options *m, const char *options);
/* `sloppy`: unknown options are dropped. 0 or -ENOMEM. */
int mount_options_end(struct mount_options *m, bool sloppy);
void mount_options_done(struct mount_options *m);
#endif
