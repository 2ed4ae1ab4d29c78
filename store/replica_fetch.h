// SPDX-License-Identifier: MIT
/* replica_fetch: reading what makes up one state of a replica. */
#ifndef FOLDFS_REPLICA_FETCH_H
#define FOLDFS_REPLICA_FETCH_H
#include "pool.h"
#include "replica_root.h"

struct replica_fetch {
	struct depot *depot;
	const char *place; /* for sentences */
	const struct replica_root *root;
	struct pool_error *err; /* says what is missing or damaged */
	/* After each block; what it gives other than 0 ends the work. May be NULL. */
	int (*went_on)(void *arg, uint64_t bytes);
	void *arg;
};

/* Appends its bytes. -EUCLEAN: it is missing, or has other bytes than were written. */
int replica_fetch_block(struct replica_fetch *f, const struct replica_block *b, struct buf *out);
/* A small file, whole; nothing when the root has no item of this kind. */
int replica_fetch_text(struct replica_fetch *f, enum replica_kind kind, struct buf *out);

/* Blocks that need not be fetched, since this file has them at the same place. */
struct replica_had {
	int fd;
	const struct replica_block *blocks; /* ascending */
	size_t n;
};
/* Makes DIR/name, which is not there, and its data durable; not its name. `had` may be NULL. */
int replica_fetch_file(struct replica_fetch *f, const struct replica_item *it, int dirfd,
		       const char *name, const struct replica_had *had);
/* fn() gets each batch of a REPLICA_LOG in turn; what it gives other than 0 ends that. */
int replica_fetch_log(struct replica_fetch *f, const struct replica_item *it,
		      int (*fn)(void *arg, uint64_t lsn, struct slice payload), void *arg);
#endif
