// SPDX-License-Identifier: MIT
/* The rules, first that fits:
 *
 *   1  a native open exists                         native   (the kernel allows nothing else)
 *   2  passthrough cannot be had, or a cached
 *      open exists                                  mediated
 *   3  a mapping may still write the staging file   native   (so that both see the same bytes)
 *   4  opened for writing while setuid, setgid or
 *      capabilities are set, or space is short      mediated (the daemon must see the writes)
 *   5  all content in the staging file              native
 *   6  empty, read and write                        native   (databases, images, linkers)
 *   7  in packs, with a copy, and read only         native   (the copy is what the kernel reads)
 *   8  otherwise                                    mediated
 *
 * Mediated means direct for write-only opens (the daemon gets the bytes at once, and no mode is
 * pinned), cached otherwise; with the writeback cache, always cached.
 */
#include "mode.h"

static bool want_native(const struct open_facts *f)
{
	if (f->native_opens)
		return true;
	if (!f->native_works || f->cached_opens)
		return false;
	if (f->native_written)
		return true;
	if (f->writes && (f->guarded || f->space_short))
		return false;
	if (f->content == CONTENT_STAGED)
		return true;
	if (f->content == CONTENT_COPIED)
		return !f->writes && !f->space_short;
	if (f->content == CONTENT_NONE)
		return f->writes && (f->reads || f->prefer_native);
	return false;
}

struct open_answer mode_decide(const struct open_facts *f)
{
	struct open_answer a = { .mode = OPEN_CACHED };
	if (want_native(f)) {
		a.mode = OPEN_NATIVE;
		a.attr_volatile = f->writes;
		return a;
	}
	if (f->writes && !f->reads && !f->writeback)
		a.mode = OPEN_DIRECT;
	else
		a.keep_cache = !f->cache_stale;
	return a;
}
