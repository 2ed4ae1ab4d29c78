// SPDX-License-Identifier: MIT
/* leaving: a pool that is being unmounted. The helper brings what is cached to the daemon before it
 * unmounts; a mount that comes meanwhile waits for that, as it would wait for the daemon after it.
 */
#ifndef FOLDFS_LEAVING_H
#define FOLDFS_LEAVING_H

/* Begins; ends when the descriptor is closed. -1: nobody can be told, which does no harm. */
int leaving_begin(const char *pool);
/* Returns when nobody is leaving the pool any more. */
void leaving_wait(const char *pool);
#endif
