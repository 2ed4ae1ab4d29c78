// SPDX-License-Identifier: MIT
#include "workers.h"
#include "cond.h"
#include "processors.h"
#include "thread.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define IDLE_SECONDS 10

/* Threads are joined, not detached: what a thread-specific key's destructor touches as the thread
 * ends must outlive it, and workers_stop() is the promise that it did. */
struct worker {
	pthread_t thread;
	struct workers *owner;
	struct worker *next;
};

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	struct job *head, **tail;
	size_t waiting;
	unsigned threads, sleeping, running, max_threads;
	bool stopping;
	int niceness;
	struct worker *left; /* threads that have nothing more to do but to end */
	char name[12];
};

/* Waits for a job; NULL when this thread should leave. */
static struct job *next_job_locked(struct workers *w)
{
	uint64_t until = clock_mono_ns() + IDLE_SECONDS * 1000000000ull;
	while (!w->head) {
		if (w->stopping)
			return NULL;
		w->sleeping++;
		int r = cond_wait_until(&w->wake, &w->lock, until);
		w->sleeping--;
		if (r == ETIMEDOUT && !w->head)
			return NULL;
	}
	struct job *job = w->head;
	w->head = job->next;
	if (!w->head)
		w->tail = &w->head;
	w->waiting--;
	return job;
}

static void *worker_main(void *arg)
{
	struct worker *self = arg;
	struct workers *w = self->owner;
	pthread_setname_np(pthread_self(), w->name);
	processors_anywhere(); /* who queued the first job may be confined */
	if (w->niceness && nice(w->niceness) < 0)
		errno = 0; /* it is as nice as can be */
	pthread_mutex_lock(&w->lock);
	for (struct job *job; (job = next_job_locked(w));) {
		w->running++;
		pthread_mutex_unlock(&w->lock);
		job->run(job);
		pthread_mutex_lock(&w->lock);
		w->running--;
		if (!w->head && !w->running)
			pthread_cond_broadcast(&w->idle);
	}
	w->threads--;
	self->next = w->left;
	w->left = self;
	pthread_cond_broadcast(&w->idle);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int workers_start(const char *name, unsigned max_threads, struct workers **ret_workers)
{
	struct workers *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	cond_init(&w->wake);
	cond_init(&w->idle);
	w->tail = &w->head;
	w->max_threads = max_threads;
	snprintf(w->name, sizeof w->name, "%s", name);
	*ret_workers = w;
	return 0;
}

void workers_set_nice(struct workers *w, int niceness)
{
	w->niceness = niceness;
}

static void join_left(struct worker *left)
{
	for (struct worker *next; left; left = next) {
		next = left->next;
		pthread_join(left->thread, NULL);
		free(left);
	}
}

/* Signals belong to the main thread: a worker starts with all of them blocked. */
static bool spawn_locked(struct workers *w)
{
	struct worker *self = calloc(1, sizeof *self);
	if (!self)
		return false;
	self->owner = w;
	join_left(w->left); /* they need no lock any more */
	w->left = NULL;
	bool ok = thread_start(&self->thread, worker_main, self) == 0;
	if (ok)
		w->threads++;
	else
		free(self);
	return ok;
}

static void queue_locked(struct workers *w, struct job *job)
{
	job->next = NULL;
	*w->tail = job;
	w->tail = &job->next;
	w->waiting++;
	if (w->waiting > w->sleeping && w->threads < w->max_threads)
		while (!spawn_locked(w) && !w->threads) {
			/* not one thread to be had: the job must not be lost, so try again */
			pthread_mutex_unlock(&w->lock);
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
			pthread_mutex_lock(&w->lock);
		}
	pthread_cond_signal(&w->wake);
}

void workers_queue(struct workers *w, struct job *job)
{
	pthread_mutex_lock(&w->lock);
	queue_locked(w, job);
	pthread_mutex_unlock(&w->lock);
}

bool workers_queue_if_idle(struct workers *w, struct job *job)
{
	pthread_mutex_lock(&w->lock);
	bool idle = w->running + w->waiting < w->max_threads && !w->stopping;
	if (idle)
		queue_locked(w, job);
	pthread_mutex_unlock(&w->lock);
	return idle;
}

size_t workers_waiting(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	size_t n = w->waiting;
	pthread_mutex_unlock(&w->lock);
	return n;
}

void workers_drain(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->head || w->running)
		pthread_cond_wait(&w->idle, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void workers_stop(struct workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_broadcast(&w->wake);
	while (w->threads)
		pthread_cond_wait(&w->idle, &w->lock);
	pthread_mutex_unlock(&w->lock);
	join_left(w->left);
	pthread_cond_destroy(&w->wake);
	pthread_cond_destroy(&w->idle);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
