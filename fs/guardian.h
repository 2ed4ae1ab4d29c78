// SPDX-License-Identifier: MIT
/* guardian: a process that ends the connection to the kernel when the daemon has died.
 *
 * The kernel does that by itself when the last descriptor of /dev/fuse is closed. But a thread of the daemon may be in
 * the kernel, waiting for what a request keeps locked (notices.h): no signal reaches it there, and it keeps
 * descriptors open. The request would wait for ever then, and with it umount and sync(2) of the whole machine.
 */
#ifndef FOLDFS_GUARDIAN_H
#define FOLDFS_GUARDIAN_H
#include <stdbool.h>

struct guardian;

/* Called by the main thread, which has to live as long as the daemon does, while there is no other. 0 or -errno. */
int guardian_start(struct guardian **ret_guardian);
/* Begins to watch over what has just been mounted there. -ENOENT, -EPERM, ...: this kernel, or this user's rights, do
 * not let anybody end a connection; then the process has gone. */
int guardian_watch(struct guardian *g, const char *mountpoint);
/* Can guardian_abort() do anything? */
bool guardian_may_abort(const struct guardian *g);
/* Ends the connection now. What is mounted stays so. */
void guardian_abort(const struct guardian *g);
/* The connection has ended, or will: the process goes. NULL is fine, for the last three. */
void guardian_stop(struct guardian *g);
#endif
