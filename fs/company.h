// SPDX-License-Identifier: MIT
/* company: threads that take requests keep to the processor of the one process that makes them.
 *
 * The kernel wakes such a thread on an idle processor, which may take longer than all the rest of a small request;
 * and who asked sleeps meanwhile, so that his own is free. The queues of FUSE over io_uring are made like that; here
 * it is done for what is read from /dev/fuse: while one thread alone asks, one question after the other, the threads
 * that answer stay where it runs. As soon as others ask too, they run anywhere.
 */
#ifndef FOLDFS_COMPANY_H
#define FOLDFS_COMPANY_H
#include "fs.h"

enum company {
	COMPANY_ASIDE,	/* nobody waits for the answer */
	COMPANY_SERIAL, /* who asks asks nothing else before he has the answer */
	COMPANY_AT_ONCE /* there may be more to come at once */
};

/* Requests come over /dev/fuse from now on; before the first of them. */
void company_begin(struct fs *fs);
/* A request of that thread has come in, and, after it was answered or handed on: the calling thread goes where the
 * next one is to be expected. */
void company_enter(struct fs *fs, pid_t pid, enum company kind);
void company_leave(struct fs *fs);
#endif
