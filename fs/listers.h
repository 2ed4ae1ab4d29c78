// SPDX-License-Identifier: MIT
/* listers: who lists directories, and whether they want to know more of the names than that.
 *
 * A program like find(1) or du(1) reads many names first and asks for each of them then, which costs a request
 * each. The kernel's own rule (READDIRPLUS_AUTO) sees that too late: it asks for attributes in the next request
 * only. So a thread that has looked up names after having been given many without attributes is given
 * attributes from then on, in any directory.
 */
#ifndef FOLDFS_LISTERS_H
#define FOLDFS_LISTERS_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LISTERS 256u /* threads that are remembered, a newer one in place of an older */

/* Zeroed, it knows nobody. Any thread may call all of these; nothing waits. */
struct listers {
	_Atomic uint64_t at[LISTERS];
};

/* It was given so many names without attributes. */
void listers_listed(struct listers *l, pid_t pid, unsigned names);
/* It asked for a name that is there. */
void listers_looked_up(struct listers *l, pid_t pid);
bool listers_want_attributes(const struct listers *l, pid_t pid);
#endif
