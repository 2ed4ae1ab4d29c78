// SPDX-License-Identifier: MIT
#include "processors.h"
#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAT_MAX 1024u
#define FIELDS_BEFORE 36u /* proc_pid_stat(5): state is field 3, processor is 39 */

static cpu_set_t allowed;
static atomic_bool noted; /* workers may ask while it is done */

bool processors_note(void)
{
	if (sched_getaffinity(0, sizeof allowed, &allowed))
		return false;
	noted = true;
	return CPU_COUNT(&allowed) > 1;
}

int processors_stay_on(int processor)
{
	cpu_set_t one;
	if (!noted || processor < 0 || processor >= CPU_SETSIZE || !CPU_ISSET(processor, &allowed))
		return -EINVAL;
	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	return sched_setaffinity(0, sizeof one, &one) ? -errno : 0;
}

int processors_anywhere(void)
{
	if (!noted)
		return 0;
	return sched_setaffinity(0, sizeof allowed, &allowed) ? -errno : 0;
}

int processors_of(pid_t thread)
{
	char path[32], text[STAT_MAX];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)thread);
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n < 0)
		return -errno;
	text[n] = 0;
	char *at = strrchr(text, ')'); /* a name may have anything in it */
	for (unsigned i = 0; at && i <= FIELDS_BEFORE; i++)
		at = strchr(at + 1, ' ');
	return at ? atoi(at + 1) : -EBADMSG;
}
