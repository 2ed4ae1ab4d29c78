// SPDX-License-Identifier: MIT
/* lmdb_base: the sorted tables on disk, under the memtables.
 *
 * One LMDB environment, one named database per kv table and one for the engine's own state. Stored
 * values end in four bytes of checksum over table, key and value, because LMDB has none. One write
 * transaction at a time; read transactions are the caller's to begin and end.
 *
 * All functions return 0 (or a count) or -errno; -EUCLEAN for anything on disk that is not what we
 * wrote, -ENOSPC for a full disk or map.
 *
 * LMDB trusts its pages. What opens or writes is guarded here (guard.h); those who read do it within a
 * guard_call() of their own, from lmdb_read_begin() to the last look at what they were given. After
 * a fault or a structure that cannot be, the base is rotten: nothing more is written, reading may go
 * on, and the environment is never closed, since LMDB may hold locks and half-made changes.
 */
#ifndef FOLDFS_LMDB_BASE_H
#define FOLDFS_LMDB_BASE_H
#include "kv.h"
#include <lmdb.h>

struct lmdb_base;

/* The engine's own row: which log belongs to this base and up to where it is contained in it. */
struct base_state {
	uint64_t checkpoint_lsn;
	uint8_t pool_uuid[16];
	uint8_t wal_id[16];
	bool clean;	  /* closed with everything checkpointed: no log is needed */
	uint32_t log_tag; /* wal_seq_tag() of a segment that the log must have; 0: not known */
};

/* -ENOENT: read-only and nothing is there. */
int lmdb_base_open(const char *path, bool read_only, struct lmdb_base **ret_base);
void lmdb_base_close(struct lmdb_base *b);

/* -ENOENT in a new environment, -EUCLEAN when damaged. */
int lmdb_base_get_state(struct lmdb_base *b, struct base_state *ret_state);

/* *txn NULL: begins one; else renews the parked one. */
int lmdb_read_begin(struct lmdb_base *b, MDB_txn **txn);
void lmdb_read_park(MDB_txn *txn); /* NULL is fine */

/* *ret_raw is for lmdb_check_value(). A miss looks at the keys around it too: who was led
 * astray by a rotten page gets -EUCLEAN and not -ENOENT, and -EBADMSG when a row beside the key is damaged, which
 * may be the one that was asked for. */
int lmdb_base_find(struct lmdb_base *b, MDB_txn *txn, enum kv_table t, struct slice key,
		   struct slice *ret_raw);
void lmdb_base_set_rotten(struct lmdb_base *b);
/* The page that holds this value is the one that its place says (LMDB does not ask). */
bool lmdb_in_place(const struct lmdb_base *b, struct slice raw);

/* *ret_cursor is NULL for a table that an old pool, opened read-only, does not have. */
int lmdb_cursor_open(struct lmdb_base *b, MDB_txn *txn, enum kv_table t, MDB_cursor **ret_cursor);
/* 1 and the row's key and raw value, or 0. A NULL key.at is the end the direction starts from;
 * `past` excludes the key itself. */
int lmdb_cursor_seek(MDB_cursor *c, struct slice key, bool down, bool past, struct slice *ret_key,
		     struct slice *ret_raw);
int lmdb_cursor_step(MDB_cursor *c, bool down, struct slice *ret_key, struct slice *ret_raw);
/* Cuts the checksum off *raw; -EUCLEAN if it is wrong. */
int lmdb_check_value(enum kv_table t, struct slice key, struct slice *raw);

const char *lmdb_table_name(enum kv_table t);

struct lmdb_write;
/* Keys of one table in increasing order make the densest pages; any order is correct. */
int lmdb_write_begin(struct lmdb_base *b, struct lmdb_write **ret_write);
int lmdb_write_put(struct lmdb_write *w, enum kv_table t, struct slice key, struct slice val);
int lmdb_write_delete(struct lmdb_write *w, enum kv_table t, struct slice key);
int lmdb_write_state(struct lmdb_write *w, const struct base_state *state);
int lmdb_write_commit(struct lmdb_write *w); /* durable on return; frees w, whatever the result */
void lmdb_write_abort(struct lmdb_write *w); /* NULL is fine */

/* The map is about to get too small for a large transaction. */
bool lmdb_base_wants_room(struct lmdb_base *b);
int lmdb_base_grow(struct lmdb_base *b); /* no transaction of any kind may be active */

/* Bytes of the file's pages that are in use, and of those that are free. */
int lmdb_base_room(struct lmdb_base *b, uint64_t *ret_used, uint64_t *ret_spare);
/* What is in use, as a file of its own, from the start of fd; not durable. No transaction may be active. */
int lmdb_base_copy(struct lmdb_base *b, int fd);

void lmdb_base_stats(struct lmdb_base *b, MDB_txn *txn, struct kv_stats *ret_stats);
#endif
