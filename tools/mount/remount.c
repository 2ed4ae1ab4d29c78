// SPDX-License-Identifier: MIT
#include "remount.h"
#include <errno.h>
#include <sys/mount.h>

static const struct {
	const char *name;
	unsigned long set, clear;
} flags[] = {
	{ "suid", 0, MS_NOSUID },
	{ "nosuid", MS_NOSUID, 0 },
	{ "dev", 0, MS_NODEV },
	{ "nodev", MS_NODEV, 0 },
	{ "exec", 0, MS_NOEXEC },
	{ "noexec", MS_NOEXEC, 0 },
	{ "async", 0, MS_SYNCHRONOUS },
	{ "sync", MS_SYNCHRONOUS, 0 },
	{ "dirsync", MS_DIRSYNC, 0 },
	{ "noatime", MS_NOATIME, 0 },
	{ "nodiratime", MS_NODIRATIME, 0 },
};

static void apply(unsigned long *value, const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (strlen(flags[i].name) == len && !memcmp(flags[i].name, name, len))
			*value = (*value & ~flags[i].clear) | flags[i].set;
}

int remount(const char *dir, const struct mount_options *options)
{
	unsigned long value = MS_REMOUNT | (options->read_only ? MS_RDONLY : 0);
	const char *at = (const char *)options->kernel.data;
	while (at && *at) {
		size_t len = strcspn(at, ",");
		apply(&value, at, len);
		at += len + (at[len] == ',');
	}
	return mount("none", dir, NULL, value, NULL) ? -errno : 0;
}
