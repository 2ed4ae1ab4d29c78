// SPDX-License-Identifier: MIT
/* lookups: how often the kernel holds each inode number, and notes that last as long as that.
 *
 * 16 bytes an inode the kernel remembers: a million cached names cost the daemon some 32 MB, and no
 * live inode. Counts follow fuse_lowlevel.h: +1 for each entry replied, -n for each forget.
 */
#ifndef FOLDFS_LOOKUPS_H
#define FOLDFS_LOOKUPS_H
#include <stddef.h>
#include <stdint.h>

enum lookup_notes {
	LOOKUP_ORPHAN = 1,	/* has no name left: to be reaped when forgotten */
	LOOKUP_CACHE_STALE = 2, /* was written natively since it was last opened cached */
};

struct lookups;
struct lookups *lookups_new(void);
void lookups_free(struct lookups *l);
int lookups_add(struct lookups *l, uint64_t ino); /* -ENOMEM */
/* Returns the notes the inode had when this made its count 0 (and forgot them), or -1 if not. */
int lookups_forget(struct lookups *l, uint64_t ino, uint64_t n);
uint64_t lookups_count(struct lookups *l, uint64_t ino);
/* Those that the kernel holds, in no order, to be freed; NULL: no memory. */
uint64_t *lookups_all(struct lookups *l, size_t *ret_n);
/* Sets and clears notes; returns those from before; 0 for an inode that is not held. */
unsigned lookups_note(struct lookups *l, uint64_t ino, unsigned set, unsigned clear);
#endif
