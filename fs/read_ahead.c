// SPDX-License-Identifier: MIT
/* The kernel reads ahead 128 KiB unless told otherwise. What it is told before INIT is answered it forgets
 * with the answer, and a file keeps what it was opened with. So the file in sysfs is opened early, since
 * to find it takes time, and written to with the first question for the root's attributes.
 */
#include "read_ahead.h"
#include "device.h"
#include "log.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void read_ahead_find(struct fs *fs)
{
	char path[128];
	unsigned major, minor;
	if (!device_find(fs->mountpoint, &major, &minor))
		return;
	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", major, minor);
	atomic_store(&fs->read_ahead_fd, open(path, O_WRONLY | O_CLOEXEC));
}

void read_ahead_tell(struct fs *fs)
{
	int fd = atomic_load_explicit(&fs->read_ahead_fd, memory_order_relaxed);
	if (fd < 0 || (fd = atomic_exchange(&fs->read_ahead_fd, -1)) < 0)
		return;
	if (dprintf(fd, "%lu\n", fs->pool->config.read_ahead_kb) < 0)
		log_debug("read-ahead stays as it is: %s", strerror(errno));
	close(fd);
}
