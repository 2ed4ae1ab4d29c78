// SPDX-License-Identifier: MIT
/* workers: a pool of threads that run queued jobs, and a thread that ticks.
 *
 * Threads start on demand up to `max_threads` and leave after some idle seconds. A job is embedded
 * in the caller's structure: queueing allocates nothing. Jobs run in queue order, but side by side.
 */
#ifndef FOLDFS_WORKERS_H
#define FOLDFS_WORKERS_H
#include <stdbool.h>
#include <stddef.h>

struct job {
	void (*run)(struct job *job);
	struct job *next;
};

struct workers;

int workers_start(const char *name, unsigned max_threads, struct workers **ret_workers);
/* Its threads leave the processors to others: nice(2), each thread for itself. Before the first job. */
void workers_set_nice(struct workers *w, int niceness);
void workers_queue(struct workers *w, struct job *job);
/* Queues it only if a thread is free for it beside all that run and wait; else does nothing. */
bool workers_queue_if_idle(struct workers *w, struct job *job);
size_t workers_waiting(struct workers *w); /* jobs queued and not yet started */
void workers_drain(struct workers *w);	   /* returns when no job is queued or running */
void workers_stop(struct workers *w);	   /* drains, joins every thread, frees; NULL is fine */
#endif
