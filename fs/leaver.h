// SPDX-License-Identifier: MIT
/* leaver: ends the session at SIGTERM, SIGINT and SIGHUP, but not before no thread is in the kernel for a notice.
 *
 * Such a thread comes out when the requests it waits for have been answered (notices.h), so until then they are; those that
 * wait for a bucket fail at once.
 */
#ifndef FOLDFS_LEAVER_H
#define FOLDFS_LEAVER_H

struct fs;
struct leaver;

/* Before the session is mounted, by the thread that will serve it. 0 or -errno. */
int leaver_start(struct fs *fs, struct leaver **ret_leaver);
/* Nobody takes up requests any more, for whatever reason. Signals do again what they did before. */
void leaver_stop(struct leaver *l);
#endif
