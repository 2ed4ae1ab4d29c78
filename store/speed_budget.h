// SPDX-License-Identifier: MIT
/* speed_budget: how long each part of `foldfs bench` goes on.
 *
 * What is under way when the time is up (a piece read, a step synced) is waited for; so steps are kept short.
 * The first piece of a part is always done: there is a figure for it, however slow the disk.
 */
#ifndef FOLDFS_SPEED_BUDGET_H
#define FOLDFS_SPEED_BUDGET_H
#include <signal.h>
#include <stdint.h>

enum speed_part {
	SPEED_WRITE,
	SPEED_READ,
	SPEED_REREAD,
	SPEED_SYNC,
	SPEED_CREATE,
	SPEED_STAT,
	SPEED_UNLINK,
	SPEED_DESTAGE,
	SPEED_PARTS
};
const char *speed_part_name(enum speed_part part);

struct speed_bounds {
	uint64_t end_ns;		   /* of all parts together, by clock_mono_ns() */
	const volatile sig_atomic_t *stop; /* not 0: everything ends with -ECANCELED. May be NULL */
};

/* When a part that begins now has to end. */
uint64_t speed_until(const struct speed_bounds *bounds, enum speed_part part);
/* May a part of which `done` is done go on? 1, 0: its time is up, and its bit is set in *cut, or -ECANCELED. */
int speed_goes_on(const struct speed_bounds *bounds, enum speed_part part, uint64_t until_ns,
		  uint64_t done, unsigned *cut);
/* How many bytes to write before the next sync, if the last `step` took so long with its own: as many as take a
 * small part of the time there is to write. */
uint64_t speed_sync_step(uint64_t step, uint64_t took_ns);
#endif
