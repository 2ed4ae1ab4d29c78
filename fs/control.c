// SPDX-License-Identifier: MIT
#include "control.h"
#include <errno.h>

int control_start(struct fs *fs, struct control **ret_control)
{
	(void)fs;
	(void)ret_control;
	return -ENOSYS;
}

void control_stop(struct control *c)
{
	(void)c;
}
