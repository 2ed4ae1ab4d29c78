// SPDX-License-Identifier: MIT
/* guard: calls code that may fault on what it finds in a mapped file, and survives it.
 *
 * For code that is not ours and trusts bytes on disk (LMDB): a rotten page makes it follow a wild
 * pointer (SIGSEGV), a page that cannot be read is a SIGBUS. Within guard_call() these end the call;
 * anywhere else, and for signals that somebody sent, they do what they would do without us (a core, or
 * a sanitizer's report). What the call had locked stays locked, what it had allocated is lost: who
 * gets -EUCLEAN must not touch the faulting object again but to abandon it.
 */
#ifndef FOLDFS_GUARD_H
#define FOLDFS_GUARD_H
#include <signal.h>

/* Returns fn(arg), or -EUCLEAN if it faulted. May be nested; any thread that does not block SIGSEGV and
 * SIGBUS. Costs some ten nanoseconds. */
int guard_call(int (*fn)(void *arg), void *arg);
/* Ends the innermost call as a fault would; returns if there is none. */
void guard_give_up(void);
/* Installs the handlers; the first guarded call does, so only for who has set others since. */
void guard_install(void);
/* The signals for a thread that leaves all of them to others, except faults, which are its own. */
void guard_signals(sigset_t *ret_blocked);
#endif
