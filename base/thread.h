// SPDX-License-Identifier: MIT
/* thread: threads of the library's own. Signals belong to the process's main thread, but for faults, which are
 * whoever's caused them (guard.h). */
#ifndef FOLDFS_THREAD_H
#define FOLDFS_THREAD_H
#include <pthread.h>

/* pthread_create(), with all signals left to others. -errno; *ret_thread is undefined then. */
int thread_start(pthread_t *ret_thread, void *(*fn)(void *arg), void *arg);
#endif
