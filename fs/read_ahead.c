// SPDX-License-Identifier: MIT
/* The kernel reads ahead 128 KiB unless told otherwise. What it is told before INIT is answered it forgets
 * with the answer, and a file keeps what it was opened with. So the file in sysfs is opened early, since
 * to find it takes time, and written to with the first question for the root's attributes.
 */
#include "read_ahead.h"
#include "log.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Blanks and the like are written as a backslash and three digits. */
static void unescape(char *text)
{
	unsigned code;
	char *to = text;
	for (; *text; text++) {
		bool escaped = *text == '\\' && strspn(text + 1, "01234567") >= 3 &&
			       sscanf(text + 1, "%3o", &code) == 1;
		*to++ = escaped ? (char)code : *text;
		text += escaped ? 3 : 0;
	}
	*to = 0;
}

void read_ahead_find(struct fs *fs)
{
	char line[4096], where[4096], path[128];
	unsigned major = 0, minor = 0, at_major, at_minor;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%*u %*u %u:%u %*s %4095s", &at_major, &at_minor, where) != 3)
			continue;
		unescape(where);
		if (strcmp(where, fs->mountpoint))
			continue;
		found = true; /* what was mounted last lies on top */
		major = at_major;
		minor = at_minor;
	}
	if (f)
		fclose(f);
	if (!found)
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
