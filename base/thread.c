// SPDX-License-Identifier: MIT
#include "thread.h"
#include "guard.h"

int thread_start(pthread_t *ret_thread, void *(*fn)(void *arg), void *arg)
{
	sigset_t blocked, before;
	guard_signals(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	int r = -pthread_create(ret_thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}
