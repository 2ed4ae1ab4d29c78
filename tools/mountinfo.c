// SPDX-License-Identifier: MIT
#include "mountinfo.h"
#include "cleanup.h"
#include <errno.h>
#include <stdio.h>

/* The kernel writes blanks and backslashes as \ooo. */
static void unescape(char *text)
{
	char *out = text;
	for (const char *at = text; *at; at++) {
		if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] && at[3]) {
			*out++ = (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
			at += 3;
		} else {
			*out++ = *at;
		}
	}
	*out = 0;
}

/* "36 35 98:0 ROOT DIR OPTIONS [FIELD]... - TYPE SOURCE OPTIONS" */
static bool parse(char *line, struct mountinfo *m)
{
	char *dash = strstr(line, " - ");
	if (!dash || sscanf(line, "%*u %*u %u:%u %*s %4095s", &m->major, &m->minor, m->dir) != 3 ||
	    sscanf(dash, " - %63s %4095s", m->type, m->source) != 2)
		return false;
	unescape(m->dir);
	unescape(m->source);
	return true;
}

/* The last mount for which `fits` is true, among those that the process of `table` sees. */
static bool search_in(const char *table, bool (*fits)(const struct mountinfo *m, const void *what),
		      const void *what, struct mountinfo *ret)
{
	CLEANUP_FREE char *line = NULL;
	CLEANUP_FREE struct mountinfo *m = malloc(sizeof *m);
	size_t cap = 0;
	bool found = false;
	FILE *f = fopen(table, "re");
	while (f && m && getline(&line, &cap, f) > 0) {
		if (!parse(line, m) || !fits(m, what))
			continue;
		found = true;
		if (ret)
			*ret = *m;
	}
	if (f)
		fclose(f);
	return found;
}

static bool search(bool (*fits)(const struct mountinfo *m, const void *what), const void *what,
		   struct mountinfo *ret)
{
	return search_in("/proc/self/mountinfo", fits, what, ret);
}

static bool is_at(const struct mountinfo *m, const void *dir)
{
	return !strcmp(m->dir, dir);
}

static bool is_of_pool(const struct mountinfo *m, const void *pool)
{
	return !strcmp(m->type, MOUNTINFO_TYPE) && !strcmp(m->source, pool);
}

bool path_is_in(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	n -= n && dir[n - 1] == '/';
	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}

bool mountinfo_at(const char *dir, struct mountinfo *ret)
{
	return search(is_at, dir, ret);
}

bool mountinfo_of_pool(const char *pool, struct mountinfo *ret)
{
	return search(is_of_pool, pool, ret);
}

static bool is_same_filesystem(const struct mountinfo *m, const void *other)
{
	const struct mountinfo *o = other;
	return m->major == o->major && m->minor == o->minor && !strcmp(m->source, o->source);
}

bool mountinfo_elsewhere(const struct mountinfo *m)
{
	CLEANUP_CLOSEDIR DIR *d = opendir("/proc");
	char table[sizeof "/proc//mountinfo" + NAME_MAX];
	bool found = false;
	for (struct dirent *e; d && !found && (e = readdir(d));) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		snprintf(table, sizeof table, "/proc/%s/mountinfo", e->d_name);
		found = search_in(table, is_same_filesystem, m, NULL);
	}
	return found;
}

bool mountinfo_holding(const char *path, struct mountinfo *ret)
{
	char at[PATH_MAX];
	snprintf(at, sizeof at, "%s", path);
	for (;;) {
		if (mountinfo_at(at, ret))
			return true;
		char *slash = strrchr(at, '/');
		if (!slash || !at[1])
			return false;
		slash[slash == at] = 0;
	}
}

bool is_dead_mount(int error)
{
	return error == ENOTCONN || error == ECONNABORTED;
}

int resolve_path(const char *path, char ret_path[PATH_MAX])
{
	char parent[PATH_MAX], resolved[PATH_MAX];
	if (realpath(path, ret_path))
		return 0;
	if (!is_dead_mount(errno))
		return -errno;
	if (snprintf(parent, sizeof parent, "%s", path) >= (int)sizeof parent)
		return -ENAMETOOLONG;
	for (size_t n = strlen(parent); n > 1 && parent[n - 1] == '/'; n--)
		parent[n - 1] = 0;
	char *slash = strrchr(parent, '/');
	const char *name = slash ? slash + 1 : parent;
	const char *above = !slash ? "." : slash == parent ? "/" : parent;
	char last[NAME_MAX + 1];
	if (strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(last, name);
	if (slash)
		*slash = 0;
	if (!realpath(above, resolved))
		return -errno;
	int n = snprintf(ret_path, PATH_MAX, "%s/%s", resolved[1] ? resolved : "", last);
	return n >= PATH_MAX ? -ENAMETOOLONG : 0;
}
