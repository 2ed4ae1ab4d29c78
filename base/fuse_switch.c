// SPDX-License-Identifier: MIT
#include "fuse_switch.h"
#include "cleanup.h"
#include <fcntl.h>
#include <unistd.h>

enum fuse_switch fuse_switch(void)
{
	char answer;
	CLEANUP_CLOSE int fd =
		open("/sys/module/fuse/parameters/enable_uring", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, &answer, 1) != 1)
		return FUSE_SWITCH_NONE;
	return answer == 'Y' ? FUSE_SWITCH_ON : FUSE_SWITCH_OFF;
}
