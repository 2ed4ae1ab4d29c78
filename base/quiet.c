// SPDX-License-Identifier: MIT
/* /proc/stat counts the time of all processors since the start, by what it was used for. The load average would
 * tell of us, too, and a minute late; pressure stall information may be switched off.
 */
#include "quiet.h"
#include "clock.h"
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS 1000000000u

/* The first line: user, nice, system, idle, waiting for disks, interrupts (two kinds), other guests. */
static bool read_times(double *ret_busy_s, double *ret_all_s)
{
	unsigned long long t[8] = { 0 };
	FILE *file = fopen("/proc/stat", "re");
	if (!file)
		return false;
	int n = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2],
		       &t[3], &t[4], &t[5], &t[6], &t[7]);
	fclose(file);
	double tick = 1.0 / (double)sysconf(_SC_CLK_TCK), all = 0;
	for (int i = 0; i < 8; i++)
		all += (double)t[i] * tick;
	*ret_all_s = all;
	*ret_busy_s = all - (double)(t[3] + t[4]) * tick;
	return n >= 5;
}

static double own_time(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool quiet_now(struct quiet *q, unsigned percent)
{
	uint64_t now = clock_mono_ns();
	double busy = 0, all = 0, own;
	if (percent >= 100)
		return true;
	if (q->looked_ns && now - q->looked_ns < LOOK_NS)
		return q->verdict;
	bool known = read_times(&busy, &all);
	own = own_time();
	q->verdict = known && q->looked_ns && all > q->all_s &&
		     (busy - q->busy_s - (own - q->own_s)) * 100 <= (all - q->all_s) * percent;
	*q = (struct quiet){ known ? now : 0, busy, all, own, q->verdict };
	return q->verdict;
}
