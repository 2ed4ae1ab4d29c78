// SPDX-License-Identifier: MIT
#include "device.h"
#include <stdio.h>
#include <string.h>

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

bool device_find(const char *mountpoint, unsigned *ret_major, unsigned *ret_minor)
{
	char line[4096], where[4096];
	unsigned major, minor;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%*u %*u %u:%u %*s %4095s", &major, &minor, where) != 3)
			continue;
		unescape(where);
		if (strcmp(where, mountpoint))
			continue;
		found = true; /* what was mounted last lies on top */
		*ret_major = major;
		*ret_minor = minor;
	}
	if (f)
		fclose(f);
	return found;
}
