// SPDX-License-Identifier: MIT
/* missing: stretches of a file's map that have to be read before a request can go on, and that would have
 * to be waited for: a tier may take minutes, and whoever holds the inode's lock for so long holds up all
 * who open the file, list its directory, or rename anything.
 *
 * So a function of content.h that is given a struct missing answers -EAGAIN instead. Then
 *
 *     do lock, r = the function, unlock
 *     while r == -EAGAIN and (r = missing_fetch()) == 0
 *
 * An empty one is all zeros.
 */
#ifndef FOLDFS_MISSING_H
#define FOLDFS_MISSING_H
#include "extents.h"
#include "inode.h"

struct missing_part {
	uint64_t at;
	size_t len;
	struct map_vec map; /* when it was fetched */
	uint8_t *data;	    /* what that reads as; NULL: to be fetched */
};

struct missing {
	struct missing_part *v;
	size_t n, cap;
	unsigned rounds;
	bool wait; /* it is to be waited for after all, with the lock */
};

/* [at, at+len) of the inode's map: 1 if it was fetched and is the same now, copied to buf. 0: not. The
 * caller holds the inode's lock, as with missing_add(). */
int missing_take(struct fs *fs, const struct inode *inode, struct missing *m, void *buf, size_t len,
		 uint64_t at);
/* Notes that it is missing: -EAGAIN, or -ENOMEM. */
int missing_add(struct missing *m, size_t len, uint64_t at);
/* Reads what was noted, with the inode's lock only to look it up. 0: try again; else give up. */
int missing_fetch(struct fs *fs, struct inode *inode, struct missing *m);
void missing_done(struct missing *m);
#endif
