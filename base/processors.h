// SPDX-License-Identifier: MIT
/* processors: where threads may run.
 *
 * A thread inherits from whoever makes it where it may run; so one that a confined thread may make begins with
 * processors_anywhere().
 */
#ifndef FOLDFS_PROCESSORS_H
#define FOLDFS_PROCESSORS_H
#include <stdbool.h>
#include <sys/types.h>

/* Notes where this process may run; before any of its threads is confined. False: that can't be told, or it is one
 * processor. */
bool processors_note(void);
/* Confines the calling thread to this processor, or lets it run where the process may. -errno; -EINVAL: the process
 * may not run there. */
int processors_stay_on(int processor);
int processors_anywhere(void);
/* Where a thread of any process runs, or last ran; -errno. */
int processors_of(pid_t thread);
#endif
