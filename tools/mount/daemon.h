// SPDX-License-Identifier: MIT
/* daemon: serves a mount in the background (or not), with whoever started it waiting until it is
 * live or told why not. */
#ifndef FOLDFS_DAEMON_H
#define FOLDFS_DAEMON_H
#include "mount.h"
#include <stdbool.h>

struct daemon_plan {
	struct mount_request request; /* ready and ready_arg are filled in here */
	const char *log_file;	      /* empty: the journal, or POOL/foldfs.log */
	bool foreground;
};

/* Exit status as in mount(8): 0, 2, 8 or 32; what was wrong has been said. In the foreground it
 * returns after the mount has ended, else when it is live; `live` runs then, before the return. */
int daemon_run(struct daemon_plan *plan, void (*live)(void *arg), void *arg);
#endif
