// SPDX-License-Identifier: MIT
#include "pool_path.h"
#include "say.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_pool(const char *dir)
{
	char super[PATH_MAX + 8];
	snprintf(super, sizeof super, "%s/super", dir);
	return access(super, F_OK) == 0;
}

bool pool_path_find(const char *path, char ret_pool[PATH_MAX])
{
	char resolved[PATH_MAX];
	static struct mountinfo mount;
	int r = resolve_path(path, resolved);
	if (r < 0) {
		complain("%s: %s", path, strerror(-r));
		return false;
	}
	if (mountinfo_holding(resolved, &mount) && !strcmp(mount.type, MOUNTINFO_TYPE)) {
		strcpy(ret_pool, mount.source);
		return true;
	}
	if (is_pool(resolved)) {
		strcpy(ret_pool, resolved);
		return true;
	}
	complain("%s is neither in a foldfs mount nor a pool", path);
	return false;
}
