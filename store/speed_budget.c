// SPDX-License-Identifier: MIT
#include "speed_budget.h"
#include "clock.h"
#include <errno.h>

#define MS 1000000ull
#define STEP_LEAST ((uint64_t)1 << 20)
#define STEP_MOST ((uint64_t)128 << 20)

/* The device, the mount and what is stored take 11, 17 and 17 s at most, the processor five before. */
static const struct {
	const char *name;
	unsigned ms;
} parts[SPEED_PARTS] = {
	[SPEED_WRITE] = { "write", 5000 },    [SPEED_READ] = { "read", 2500 },
	[SPEED_REREAD] = { "reread", 1500 },  [SPEED_SYNC] = { "sync", 2000 },
	[SPEED_CREATE] = { "creates", 3000 }, [SPEED_STAT] = { "stats", 1000 },
	[SPEED_UNLINK] = { "unlinks", 2000 }, [SPEED_DESTAGE] = { "destage", 8000 },
};

const char *speed_part_name(enum speed_part part)
{
	return parts[part].name;
}

uint64_t speed_until(const struct speed_bounds *bounds, enum speed_part part)
{
	uint64_t until = clock_mono_ns() + parts[part].ms * MS;
	return until < bounds->end_ns ? until : bounds->end_ns;
}

int speed_goes_on(const struct speed_bounds *bounds, enum speed_part part, uint64_t until_ns,
		  uint64_t done, unsigned *cut)
{
	if (bounds->stop && *bounds->stop)
		return -ECANCELED;
	if (!done || clock_mono_ns() < until_ns)
		return 1;
	*cut |= 1u << part;
	return 0;
}

uint64_t speed_sync_step(uint64_t step, uint64_t took_ns)
{
	uint64_t all_ns = parts[SPEED_WRITE].ms * MS;
	if (took_ns < all_ns / 16 && step < STEP_MOST)
		return step * 2;
	if (took_ns > all_ns / 8 && step > STEP_LEAST)
		return step / 2;
	return step;
}
