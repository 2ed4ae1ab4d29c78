// SPDX-License-Identifier: MIT
/* wal_replay: reading the log back at open. */
#ifndef FOLDFS_WAL_REPLAY_H
#define FOLDFS_WAL_REPLAY_H
#include "wal_segment.h"

struct wal_replay {
	int dirfd;
	struct wal_identity id;
	uint64_t checkpoint_lsn; /* frames up to here are not applied */
	uint32_t named;		 /* wal_seq_tag() of a segment that must be there; 0: of none */
	bool read_only;		 /* else the log is made ready to be continued */
	int (*apply)(void *arg, uint64_t lsn, struct slice payload);
	void *arg;
};

struct wal_found {
	uint64_t last_lsn, last_seq; /* of all frames, of all files */
	uint64_t frames, bytes;	     /* applied */
	bool torn_tail;
	bool damaged;		      /* with -EUCLEAN: what precedes was applied */
	struct wal_segment *segments; /* of the log, in its order; the caller's */
};

/* Applies the log's frames in order. -ESTALE: another pool's or another log; -ENOENT: segments are
 * missing, cut, or without their headers; -EUCLEAN: damage; -EPROTONOSUPPORT: a segment of a later
 * version. See wal.c for what is what. */
int wal_replay(const struct wal_replay *in, struct wal_found *ret_found);

/* After a clean close nothing in the directory is needed: removes what is there unless it belongs
 * to another pool or holds frames beyond the checkpoint (-ESTALE). */
int wal_discard(const struct wal_replay *in, struct wal_found *ret_found);
void wal_found_done(struct wal_found *found);
#endif
