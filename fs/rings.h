// SPDX-License-Identifier: MIT
/* rings: requests and answers over io_uring instead of reads and writes of /dev/fuse (Linux 6.14).
 *
 * The kernel has a queue for each processor; each gets a thread bound to that processor, a ring and
 * some entries, each of which holds one request or none. The handlers are those of the library, which
 * is given our functions for reading and writing in place of the system's. They run in the queue's
 * thread, one at a time, so what may wait is answered by another thread, as ever. FORGET, INTERRUPT and
 * notifications stay with /dev/fuse, whose threads go on.
 *
 * Only the queue's own thread touches its ring: what another thread has answered is handed to it. A
 * command belongs to the thread that submitted it, and is cancelled when that ends; and who prepares one
 * while somebody else publishes the ring's tail has half of it carried out. Either loses the entry, and
 * who waits for it hangs. Libraries that let the answering thread submit were seen to hang so.
 */
#ifndef FOLDFS_RINGS_H
#define FOLDFS_RINGS_H

#include <stdbool.h>

struct fs;
struct rings;

/* After fuse_session_mount(), before the loop. 0, or why it cannot be had: -EOPNOTSUPP: the library was
 * built without custom io; -errno. The kernel is asked later, with INIT, and may say no, which is
 * logged: then all goes over /dev/fuse. */
int rings_start(struct fs *fs, struct rings **ret_rings);
/* No request is taken up from now on, and no handler runs when this returns; answers still get through. */
void rings_rest(struct rings *rings);
/* Ends the threads. Nobody may answer any more. NULL is fine, in both. */
void rings_stop(struct rings *rings);
/* Do requests come that way? */
int rings_work(const struct rings *rings);
#endif
