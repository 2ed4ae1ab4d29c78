// SPDX-License-Identifier: MIT
/* dump: all of the index's rows, sorted and checksummed, in a file beside the packs; from it, and the
 * log since it was begun, LMDB's file is made anew when it is rotten (restore.h).
 *
 * A dump is written while the pool is in use, a few hundred rows at a time; nothing is pinned between.
 * So its rows are of different moments, and it is right only together with the log:
 *
 *   S is the LSN up to which every batch was visible when the dump began, E the last one appended
 *   when it ended. Each row (or its absence) was read at some r with S <= r <= E. After loading the
 *   dump, the batches S+1, S+2, ... N (N >= E) are applied in order. A key that one of them puts or
 *   deletes ends up as the last of them left it: batches are absolute, what was there before does
 *   not matter. A key that none of them touches has not changed since S, so what was read at r is its
 *   value at N too. Hence the result is the state after batch N, whatever the dump caught.
 *   N >= E always, since the log is synced up to E before the dump's footer is written. Rows
 *   of tables that are not logged (KV_DIGEST and the digests' row) would break this and stay out.
 *
 * Two dumps are kept, and the log since the older one: two copies of everything, of different age,
 * so a rotten dump costs nothing but time; more copies of one dump would add nothing to that.
 */
#ifndef FOLDFS_DUMP_H
#define FOLDFS_DUMP_H
#include "kv.h"
#include <stdatomic.h>

#define DUMPS_KEPT 2u

struct dump_info {
	uint64_t generation, start_lsn, end_lsn;
	int64_t created; /* seconds since 1970 */
	uint64_t rows[KV_TABLES];
	uint64_t rows_total, bytes;
};

struct dump_place {
	int dirfd; /* POOL/packs */
	uint8_t pool_uuid[16];
};

/* The complete dumps of this pool, newest first, at most max; headers and footers are verified, not
 * the frames between. Returns the count or -errno. *ret_unread (may be NULL): 0, or the error of a file that
 * may be another one and could not be read. */
int dump_list(const struct dump_place *place, struct dump_info *ret_dumps, size_t max,
	      int *ret_unread);

/* Writes a dump and makes it durable; then removes all but the newest DUMPS_KEPT. On failure nothing
 * of it stays, and the dumps before it are as they were: -ENOSPC, -EUCLEAN (a row cannot be read: the
 * index is damaged), -ECANCELED (*stop became true; may be NULL), -errno. */
int dump_write(struct kv *kv, const struct dump_place *place, const atomic_bool *stop,
	       struct dump_info *ret_info);

/* Calls fn for every row in order; what it returns other than 0 ends it. -EUCLEAN when anything in
 * the file is not as it was written: rows before that have been handed out. */
int dump_read(const struct dump_place *place, uint64_t generation,
	      int (*fn)(void *arg, enum kv_table t, struct slice key, struct slice val), void *arg);
#endif
