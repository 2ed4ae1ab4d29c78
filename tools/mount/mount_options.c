// SPDX-License-Identifier: MIT
/* mount(8) hands on the whole fourth field of fstab, and people call the helper by hand. Options
 * that are flags of a mount go to the kernel, in their order, since the last one counts. Options for
 * the programs around a mount (who may, when, after what) were theirs to heed. */
#include "mount_options.h"
#include <errno.h>

/* The FUSE library knows these. */
static const char *const for_kernel[] = {
	"suid",	      "nosuid",	    "dev",	   "nodev",	   "exec",
	"noexec",     "sync",	    "async",	   "dirsync",	   "noatime",
	"nodiratime", "norelatime", "symfollow",   "nosymfollow",  "nostrictatime",
	"context=",   "fscontext=", "defcontext=", "rootcontext=", NULL
};

/* Of no consequence here; strictatime is the daemon's business, see sort_in(). */
static const char *const for_others[] = {
	"defaults", "auto",	"noauto",     "nouser",	  "nousers",	"noowner",
	"nogroup",  "nofail",	"fail",	      "_netdev",  "atime",	"diratime",
	"relatime", "lazytime", "nolazytime", "iversion", "noiversion", "mand",
	"nomand",   "silent",	"loud",	      "user=",	  "comment=",	"x-",
	"X-",	    "uhelper=", "helper=",    "fsname=",  "subtype=",	"default_permissions",
	NULL
};

/* What mount(8) says these imply, unless a later option says otherwise. */
static const struct {
	const char *name, *implied;
} implying[] = {
	{ "user", "noexec,nosuid,nodev" },
	{ "users", "noexec,nosuid,nodev" },
	{ "owner", "nosuid,nodev" },
	{ "group", "nosuid,nodev" },
};

/* An entry ending in '=' or '-' stands for all that begin so. */
static bool is_among(const char *const *names, const char *option, size_t len)
{
	for (; *names; names++) {
		size_t n = strlen(*names);
		bool prefix = (*names)[n - 1] == '=' || (*names)[n - 1] == '-';
		if (prefix ? len >= n && !memcmp(*names, option, n)
			   : len == n && !memcmp(*names, option, n))
			return true;
	}
	return false;
}

static void append(struct buf *b, const char *option, size_t len)
{
	if (b->len)
		buf_put_u8(b, ',');
	buf_put(b, option, len);
}

static void sort_in(struct mount_options *m, const char *option, size_t len)
{
	for (size_t i = 0; i < sizeof implying / sizeof *implying; i++)
		if (strlen(implying[i].name) == len && !memcmp(implying[i].name, option, len)) {
			append(&m->kernel, implying[i].implied, strlen(implying[i].implied));
			return;
		}
	if (len == 2 && !memcmp(option, "ro", 2))
		m->read_only = true;
	else if (len == 2 && !memcmp(option, "rw", 2))
		m->read_only = false;
	else if (len == 7 && !memcmp(option, "remount", 7))
		m->remount = true;
	else if (len == 11 && !memcmp(option, "strictatime", 11))
		m->strict_atime = true; /* the FUSE library has no word for it */
	else if (is_among(for_kernel, option, len))
		append(&m->kernel, option, len);
	else if (!is_among(for_others, option, len))
		append(&m->own, option, len);
}

/* Length of the first option; a comma after a backslash is part of it. */
static size_t option_length(const char *at)
{
	size_t len = 0;
	while (at[len] && at[len] != ',')
		len += at[len] == '\\' && at[len + 1] ? 2 : 1;
	return len;
}

int mount_options_add(struct mount_options *m, const char *options)
{
	while (*options) {
		size_t len = option_length(options);
		if (len)
			sort_in(m, options, len);
		options += len + (options[len] == ',');
	}
	return m->own.failed || m->kernel.failed ? -ENOMEM : 0;
}

static bool is_known(const char *option, size_t len)
{
	const struct config_option *o;
	size_t name = 0;
	while (name < len && option[name] != '=')
		name++;
	for (size_t i = 0; (o = config_option(i)); i++)
		if (strlen(o->name) == name && !memcmp(o->name, option, name))
			return true;
	return false;
}

static void drop_unknown(struct mount_options *m)
{
	struct buf known = { 0 };
	const char *at = (const char *)m->own.data;
	while (at && *at) {
		size_t len = option_length(at);
		if (is_known(at, len))
			append(&known, at, len);
		at += len + (at[len] == ',');
	}
	buf_done(&m->own);
	m->own = known;
	buf_put_u8(&m->own, 0);
}

int mount_options_end(struct mount_options *m, bool sloppy)
{
	buf_put_u8(&m->own, 0);
	buf_put_u8(&m->kernel, 0);
	if (sloppy && !m->own.failed)
		drop_unknown(m);
	return m->own.failed || m->kernel.failed ? -ENOMEM : 0;
}

void mount_options_done(struct mount_options *m)
{
	buf_done(&m->own);
	buf_done(&m->kernel);
}
