// SPDX-License-Identifier: MIT
/* cache_region: the file behind the block cache: granules in `region`, their index in `table`. */
#ifndef FOLDFS_CACHE_REGION_H
#define FOLDFS_CACHE_REGION_H
#include "arena.h"

#define CACHE_REGION_MIN (4u << 20)

struct cache_region {
	int fd;
	uint8_t *base; /* for reading entries that are trusted */
	uint64_t bytes;
	struct arena *arena;
};

/* Makes the region's file and reads back what the table says of it, if the table is valid and of
 * this pool and size; the table is durably gone on return. *ret_kept counts the entries. A region
 * that can't be allocated, or not without taking the last tenth of the disk, is smaller, or -ENOSPC. */
int cache_region_open(struct cache_region *r, const struct cache_options *opt, uint64_t *ret_kept);
/* Gives back what an earlier one took of the disk. */
int cache_region_remove(int dirfd);
/* Writes the table. Frees in any case. */
int cache_region_close(struct cache_region *r, int dirfd, const uint8_t pool_uuid[16]);

/* Writes the bytes of a reserved entry and sets its sum: from memory, or from an entry of another
 * arena. Not committed. */
int cache_region_fill(struct cache_region *r, struct arena_entry *e, const void *data);
int cache_region_fill_from(struct cache_region *r, struct arena_entry *e, struct arena *from,
			   const struct arena_entry *source);
/* Copies out of a trusted entry. -EIO: the device could not give the bytes. */
int cache_region_read(struct cache_region *r, const struct arena_entry *e, uint32_t at,
		      uint32_t len, void *out);
/* Reads an entry that was kept over a remount and compares its sum. 0, -EUCLEAN, -errno. */
int cache_region_verify(struct cache_region *r, const struct arena_entry *e);
#endif
