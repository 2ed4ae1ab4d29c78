// SPDX-License-Identifier: MIT
/* replica_ship: one state of the pool after another into the depot of an epoch. One thread at a time. */
#ifndef FOLDFS_REPLICA_SHIP_H
#define FOLDFS_REPLICA_SHIP_H
#include "pool.h"
#include "replica_held.h"
#include "replica_root.h"
#include "replica_state.h"
#include <stdatomic.h>

struct replica_ship { /* zero-initialise; the first fields are the caller's to fill in */
	struct pool *pool;
	struct depot *depot;
	struct place *tier; /* PLACE/tier */
	uint64_t epoch, grace_ms;
	const atomic_bool *stop;
	/* May wait, for the rate's sake. NULL: nobody does. */
	void (*pace)(void *arg, uint64_t bytes);
	void *arg;

	struct replica_root meta; /* a dump, and the log since */
	bool has_base;
	uint64_t base_lsn;	    /* of the dump */
	struct replica_state state; /* after batch lsn: */
	uint64_t lsn, log_first;
	struct buf pending; /* batches log_first .. lsn, not put yet */
	uint64_t log_bytes;
	struct replica_held held;
	bool listed;
	struct replica_root last;    /* published; seq 0: none */
	int64_t last_ns, reading_ns; /* when files began to be read: its own, and those of now */
	uint64_t packs, bytes;	     /* shipped, since the epoch began */
};

/* Ships what the pool durably is, and publishes it as a root; s->last tells of it. On failure what was published before
 * is intact, and the next call goes on from there. -ESTALE: the epoch is over; -ECANCELED: *stop; -EAGAIN: files changed
 * faster than they could be read, or the index has not been dumped yet; -errno. */
int replica_ship_run(struct replica_ship *s);
void replica_ship_done(struct replica_ship *s);

/* replica_files.c. Adds the item, with the file's bytes put into the depot. */
int replica_ship_file(struct replica_ship *s, struct replica_root *root, int fd,
		      const struct replica_item *item);
/* The same of a file that may be that of the last root; mtime is taken from the file. */
int replica_ship_changing(struct replica_ship *s, struct replica_root *root, int fd,
			  struct replica_item *item);
/* What tells duplicates, so that whoever takes over need not read all frames for it. A hint: of any moment before the
 * state's. */
int replica_ship_digests(struct replica_ship *s, struct replica_root *root);
int replica_ship_object(struct replica_ship *s, struct slice data, uint64_t at,
			struct replica_root *root);
#endif
