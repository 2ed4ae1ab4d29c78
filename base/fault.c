// SPDX-License-Identifier: MIT
#include "fault.h"
#include "cleanup.h"
#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool fault_armed;

static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;
static char fault_name[64];
static long fault_countdown;
static bool fault_sticky, fault_crash;
static int fault_result; /* -errno or FAULT_SKIP */

static int errno_by_name(const char *s)
{
	static const struct {
		const char *name;
		int value;
	} known[] = { { "EIO", EIO },	    { "ENOSPC", ENOSPC }, { "EDQUOT", EDQUOT },
		      { "ENOMEM", ENOMEM }, { "EROFS", EROFS },	  { "ESTALE", ESTALE } };
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(s, known[i].name))
			return known[i].value;
	return EIO;
}

void fault_arm(const char *spec)
{
	char name[64], what[32], plus = 0;
	long n = 0;
	__atomic_store_n(&fault_armed, false, __ATOMIC_RELAXED);
	if (!spec)
		return;
	SCOPED_LOCK(&fault_lock);
	if (sscanf(spec, "%63[^:]:%ld%c=%31s", name, &n, &plus, what) == 4 && plus == '+')
		fault_sticky = true;
	else if (sscanf(spec, "%63[^:]:%ld=%31s", name, &n, what) == 3)
		fault_sticky = false;
	else
		return;
	strcpy(fault_name, name);
	fault_countdown = n;
	fault_crash = !strcmp(what, "crash");
	fault_result = strcmp(what, "skip") ? -errno_by_name(what) : FAULT_SKIP;
	__atomic_store_n(&fault_armed, true, __ATOMIC_RELAXED);
}

int fault_hit_slow(const char *name)
{
	int r = 0;
	pthread_mutex_lock(&fault_lock);
	if (!fnmatch(fault_name, name, 0)) {
		fault_countdown--;
		if (fault_countdown == 0 || (fault_countdown < 0 && fault_sticky))
			r = fault_result;
	}
	pthread_mutex_unlock(&fault_lock);
	if (r && fault_crash)
		_exit(99);
	return r;
}
