// SPDX-License-Identifier: MIT
/* notices: telling the kernel what to forget or to send, where it may have to wait for a request.
 *
 * A page that a request under way keeps locked, or a directory in which a name is being looked up, is
 * waited for within the kernel, where no signal reaches: the thread comes out when the request is
 * answered, or the connection has ended. So before requests are left alone the notices are ended.
 * Only for threads that no request waits for. Attributes alone (offset -1) wait for nothing, and do not
 * come this way.
 */
#ifndef FOLDFS_NOTICES_H
#define FOLDFS_NOTICES_H
#include <stdbool.h>
#include <stdint.h>

struct fuse_session;
struct notices;

int notices_new(struct notices **ret_notices);
void notices_free(struct notices *n); /* NULL is fine */

/* The kernel sends what it has written in these pages, and forgets them; `to` 0: up to the end. -ESHUTDOWN: it was not
 * told, as notices are ended; what else the kernel says is of no interest. */
int notice_pages(struct notices *n, struct fuse_session *se, uint64_t ino, uint64_t from,
		 uint64_t to);
/* It forgets what this name stands for. */
int notice_name(struct notices *n, struct fuse_session *se, uint64_t parent, const char *name);

/* No notice is begun from now on. */
void notices_end(struct notices *n);
/* Waits until no thread is in the kernel for one any more, `ms` at most. False: some thread is. */
bool notices_wait(struct notices *n, unsigned ms);
#endif
