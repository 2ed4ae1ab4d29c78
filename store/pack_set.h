// SPDX-License-Identifier: MIT
/* pack_set: what pack.c, pack_stream.c, pack_sync.c and pack_recover.c share; no interface. */
#ifndef FOLDFS_PACK_SET_H
#define FOLDFS_PACK_SET_H
#include "cleanup.h"
#include "pack.h"
#include "pack_fds.h"
#include "pack_scan.h"
#include "workers.h"

/* A pack with bytes that may not be durable: being filled, waiting to be sealed, or sealed. */
struct open_pack {
	struct open_pack *next; /* of p->live */
	uint64_t id;
	int fd;
	uint64_t end;		  /* where the next frame goes */
	uint64_t written, synced; /* writes completed / covered by a successful sync */
	uint64_t sync_round;	  /* the last one that looked at it */
	unsigned writing;	  /* reserved places not yet reported */
	unsigned pins;		  /* by a running sync */
	bool retired;		  /* no place is given out any more */
	bool sealing, sealed; /* being given its footer; done with, whether that worked or not */
	int failed;	      /* a sync failed: its bytes are never called durable */
	struct footer_entry *frames;
	size_t n, cap; /* cap counts the reserved places too */
	uint64_t first_chunk, last_chunk;
	int64_t created;
};

/* A pack whose file is longer than what it takes of the disk. */
struct pack_hole {
	uint64_t pack, bytes;
};

struct packs {
	struct packs_options opt; /* dirfd is our own */
	struct ids *ids;
	struct pack_fds *fds;
	struct workers *remover;

	pthread_mutex_t lock; /* everything below; short, never across I/O or kv calls */
	pthread_cond_t changed;
	struct open_pack *streams[PACK_STREAMS];
	bool beginning[PACK_STREAMS];
	struct open_pack *live;
	bool names_dirty;
	bool sync_running;
	uint64_t sync_started, sync_completed;
	int sync_failed;       /* the first failure, returned for ever after */
	uint64_t bytes, count; /* of the files, as long as they are */
	struct pack_hole *holes;
	size_t n_holes;
	uint64_t hole_bytes; /* their sum */
	unsigned refs;	     /* the owner, and every barrier not yet released */
	unsigned dooms;	     /* files to be removed once a batch is durable */
	bool closed;
};

void packs_unref(struct packs *p);
int pack_sync_set(struct packs *p);

/* Frees what is durable or will never be. */
void open_pack_reap_locked(struct packs *p);
void open_pack_free(struct open_pack *op);

/* How much of a pack's file is holes. */
struct stat;
uint64_t pack_holes(const struct stat *st);
void packs_note_holes_locked(struct packs *p, uint64_t pack,
			     uint64_t bytes); /* 0: none (any more) */

/* Brings files and rows together after whatever happened. */
int packs_recover(struct packs *p);
int pack_unlink(struct packs *p, uint64_t pack); /* from the pool itself */
/* From where its row says that it lies, and from the pool itself. -ENOMEDIUM: the tier is absent. */
int pack_remove(struct packs *p, const struct pack_row *row);
/* Commits one row (or deletes it: row NULL) behind the set's barrier. */
int pack_row_commit(struct packs *p, uint64_t pack, const struct pack_row *row);
#endif
