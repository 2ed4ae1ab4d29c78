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

struct pack_fds_options {
	int (*open)(void *arg, uint64_t pack); /* a fresh descriptor, or -errno; any thread */
	void *arg;
	uint8_t pool_uuid[16];
	unsigned max_open;
};
int pack_fds_new(const struct pack_fds_options *opt, struct pack_fds **ret_f);
void pack_fds_free(struct pack_fds *f);
/* A descriptor, or -errno; -EUCLEAN: the file is another pool's (a damaged header says nothing). */
int pack_fds_get(struct pack_fds *f, uint64_t pack);
/* The same without waiting for any device: -EAGAIN when none is open, as open() may take long. */
int pack_fds_try_get(struct pack_fds *f, uint64_t pack);
void pack_fds_put(struct pack_fds *f, uint64_t pack, int fd);
/* The file goes, or another takes its place: its descriptor is closed as soon as nobody uses it, and
 * those who come from now on open it anew. */
void pack_fds_forget(struct pack_fds *f, uint64_t pack);
#endif
