// SPDX-License-Identifier: MIT
/* pack_fds: descriptors for reading packs, a bounded number of them kept open. */
#ifndef FOLDFS_PACK_FDS_H
#define FOLDFS_PACK_FDS_H
#include <stdint.h>

struct pack_fds;

#define PACK_NAME_MAX 24
void pack_name(uint64_t pack, char name[PACK_NAME_MAX]);
/* The pack a file name stands for, 0 for a name that is none. */
uint64_t pack_of_name(const char *name);

/* dirfd is borrowed. */
int pack_fds_new(int dirfd, const uint8_t pool_uuid[16], unsigned max_open,
		 struct pack_fds **ret_f);
void pack_fds_free(struct pack_fds *f);
/* A descriptor, or -errno; -EUCLEAN: the file is another pool's (a damaged header says nothing). */
int pack_fds_get(struct pack_fds *f, uint64_t pack);
void pack_fds_put(struct pack_fds *f, uint64_t pack, int fd);
/* The file goes: its descriptor is closed as soon as nobody uses it. */
void pack_fds_forget(struct pack_fds *f, uint64_t pack);
#endif
