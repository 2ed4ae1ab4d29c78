// SPDX-License-Identifier: MIT
/* wal_salvage: what is left of a log that wal_replay() refuses. Nothing is changed. */
#ifndef FOLDFS_WAL_SALVAGE_H
#define FOLDFS_WAL_SALVAGE_H
#include "wal_replay.h"

/* What is there, whatever its state: of the log that the newest valid header belongs to. */
struct wal_survey {
	uint8_t wal_id[16];
	uint64_t first_lsn; /* of the oldest segment */
	uint64_t seen_lsn;  /* the greatest that any valid frame or header knows of */
};
/* -ENOENT: no segment with a valid header; -ESTALE: another pool's. Reads every segment. */
int wal_survey(int dirfd, const uint8_t pool_uuid[16], struct wal_survey *ret_survey);

struct wal_salvaged {
	uint64_t last_lsn; /* applied, or the checkpoint's */
	uint64_t gap_lsn;  /* the last one before the first gap; without a gap last_lsn */
	uint64_t lost;	   /* frames that lay in gaps before last_lsn */
};
/* Applies every frame above the checkpoint that can be read, in order, also behind damage and behind
 * missing files, and of files whose header is altered. Where frames are missing that nothing proves to have been
 * durable it ends, as replay does: what lies behind was never acknowledged. -ESTALE, -EPROTONOSUPPORT,
 * what apply() says, -errno. */
int wal_salvage(const struct wal_replay *in, struct wal_salvaged *ret_salvaged);
#endif
