// SPDX-License-Identifier: MIT
/* mode: how an open of a regular file is served. One function decides; the table is in
 * ARCHITECTURE.md and tests/unit/test_mode.c.
 *
 * The kernel keeps one mode per inode until the last release: while a native open exists every
 * other must be native with the same backing id; while a cached one exists none may be native.
 * Direct opens pin nothing.
 */
#ifndef FOLDFS_MODE_H
#define FOLDFS_MODE_H
#include <stdbool.h>

enum open_mode {
	OPEN_NATIVE, /* the kernel reads and writes the staging file (passthrough) */
	OPEN_CACHED, /* through the daemon and the page cache */
	OPEN_DIRECT, /* through the daemon, not cached: streaming writers */
};

enum content_where {
	CONTENT_NONE,	/* empty, or emptied by this open */
	CONTENT_MEMORY, /* small, held in memory or inline */
	CONTENT_STAGED, /* all of it in the staging file */
	CONTENT_MAPPED, /* in packs, perhaps with a staging file laid over */
	CONTENT_COPIED, /* in packs, and in a native file of its own; nobody may write it */
};

struct open_facts {
	/* of the mount */
	bool native_works; /* kernel, library and privileges, and the user did not say mediated */
	bool writeback;	   /* the session has the writeback cache instead */
	bool prefer_native; /* mode=native: also where mediated would be chosen for speed of destage */
	bool space_short; /* or descriptors are */
	/* of the open */
	bool reads, writes;
	/* of the inode */
	enum content_where content;
	unsigned native_opens, cached_opens;
	bool native_written; /* a mapping may still write the staging file */
	bool guarded;	     /* setuid, setgid or security.capability: writes must clear them */
	bool cache_stale;    /* the page cache may hold what was there before native writes */
};

struct open_answer {
	enum open_mode mode;
	bool keep_cache;
	bool attr_volatile; /* attribute lifetime 0 while this open lasts */
};

struct open_answer mode_decide(const struct open_facts *f);
#endif
