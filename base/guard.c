// SPDX-License-Identifier: MIT
/* The handlers are installed by the first guarded call and stay. They jump out without restoring a
 * signal mask, since SA_NODEFER leaves it as it was: saving it would cost a system call each time. */
#include "guard.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>

static _Thread_local sigjmp_buf *innermost;
static struct sigaction before_segv, before_bus;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (innermost && info->si_code > 0) /* by the kernel, not by kill() */
		siglongjmp(*innermost, 1);
	sigaction(sig, sig == SIGSEGV ? &before_segv : &before_bus, NULL);
	if (info->si_code <= 0)
		raise(sig);
	/* Otherwise the instruction is run again, and faults again. */
}

static void take(int sig, struct sigaction *before)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	sigemptyset(&sa.sa_mask);
	struct sigaction now;
	sigaction(sig, &sa, &now);
	if (now.sa_sigaction != on_fault)
		*before = now;
}

void guard_install(void)
{
	take(SIGSEGV, &before_segv);
	take(SIGBUS, &before_bus);
}

int guard_call(int (*fn)(void *arg), void *arg)
{
	sigjmp_buf here;
	sigjmp_buf *volatile outer = innermost;
	int r;
	pthread_once(&once, guard_install);
	if (sigsetjmp(here, 0)) {
		r = -EUCLEAN;
	} else {
		innermost = &here;
		r = fn(arg);
	}
	innermost = outer;
	return r;
}

void guard_give_up(void)
{
	if (innermost)
		siglongjmp(*innermost, 1);
}

void guard_signals(sigset_t *ret_blocked)
{
	sigfillset(ret_blocked);
	sigdelset(ret_blocked, SIGSEGV);
	sigdelset(ret_blocked, SIGBUS);
}
