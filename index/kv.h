// SPDX-License-Identifier: MIT
/* kv: an ordered, crash-safe key-value engine for the pool's metadata.
 *
 * Writers make atomic batches of puts and deletes. A committed batch is visible at once (sorted
 * memtable) and becomes durable with the next group commit of the write-ahead log; LMDB is the
 * sorted base that checkpoints fill. Commit order is log order is recovery order: after a crash
 * the engine opens to the state after some prefix of the committed batches, which includes every
 * batch that kv_sync() acknowledged.
 *
 * A batch may carry *barriers*: things (pack bytes, a staging file) that must be durable before the
 * batch may be. The log writer runs them before it writes the frame. That is the one place
 * where the pool's durability order is made; see wal.c.
 *
 * Keys are at most KV_KEY_MAX bytes, values at most KV_VALUE_MAX. Everything is safe from any thread.
 */
#ifndef FOLDFS_KV_H
#define FOLDFS_KV_H
#include "bytes.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KV_KEY_MAX 480
#define KV_VALUE_MAX (1u << 20)

/* On disk: these numbers never change; new tables are added at the end. */
enum kv_table {
	KV_META = 0,	/* engine's and pool's own small facts (next ids, counters) */
	KV_INODE = 1,	/* be64 ino -> inode record */
	KV_DIRENT = 2,	/* be64 parent, be64 cookie -> name, ino, type */
	KV_XATTR = 3,	/* be64 ino, name -> value */
	KV_EXTENT = 4,	/* be64 ino, be64 file offset -> slice of a segment */
	KV_SEGMENT = 5, /* be64 segment id -> recipe */
	KV_SEGREF = 6,	/* be64 segment id -> reference count, absent means 1 */
	KV_CHUNK = 7,	/* be64 first chunk id, be16 part -> frame row */
	KV_DIGEST = 8,	/* 16 bytes of digest -> chunk id; written only through kv_load_sorted() */
	KV_PACK = 9,	/* be64 pack id -> pack row */
	KV_ORPHAN = 10, /* be64 ino -> why it still exists (unlinked, being truncated) */
	KV_INLINE = 11, /* be64 ino -> whole content of a small file that is not destaged yet */
	KV_TABLES = 12
};

struct kv;
struct kv_batch;
struct kv_iter;

enum kv_wal_backend { KV_WAL_STANDARD, KV_WAL_IO_URING };

struct kv_options {
	int index_dirfd;		 /* LMDB environment lives here (directory exists) */
	int wal_dirfd;			 /* log segments live here (directory exists) */
	const char *index_path;		 /* the same directory as index_dirfd, for LMDB */
	uint8_t pool_uuid[16];		 /* a log of another pool is refused with -ESTALE */
	enum kv_wal_backend wal_backend; /* IO_URING falls back to STANDARD where refused */
	unsigned sync_interval_ms;	 /* 0: only kv_sync() makes durable; else a thread ticks */
	size_t memtable_bytes;		 /* a checkpoint starts beyond this; 0 = 64 MiB */
	unsigned checkpoint_interval_s;	 /* and at least this often while there is work; 0 = 60 */
	unsigned wal_note_ms;	  /* of quiet, after which the log notes what is durable; 0 = 100 */
	size_t wal_segment_bytes; /* preallocated; 0 = 16 MiB */
	bool wal_compress;	  /* zstd for frames above 4 KiB */
	/* For those who may have to make LMDB's file anew: log entries above keep_after stay in the
	 * log although LMDB has them, also across clean closes. On a full disk only those above
	 * keep_least do, or none: kv_stats.log_start_lsn says. */
	bool keep_log;
	uint64_t keep_after, keep_least;
	bool read_only; /* nothing on disk changes; replay into memory only */
	/* Called once, from any thread, when a write, sync or checkpoint failed: the engine refuses
	 * all further commits with that error (reads go on). */
	void (*on_failure)(void *arg, int err, const char *what);
	void *on_failure_arg;
};

struct kv_recovery {
	uint64_t checkpoint_lsn, last_lsn;
	uint64_t frames_replayed, bytes_replayed;
	bool torn_tail;	    /* the log ended in an unfinished frame: normal after power loss */
	bool index_damaged; /* read-only opens: LMDB's structure is, so rows may seem not to be there */
	bool damaged; /* read-only opens: frames after last_lsn are damaged; what precedes is shown */
};

/* Opens (creating what is missing when the directories are empty) and replays the log.
 * -ESTALE: log of another pool. -EUCLEAN: damage (an invalid frame before valid ones, LMDB not
 * readable); *ret_recovery says where. -ENOENT: log segments that the checkpoint needs are missing. */
int kv_open(const struct kv_options *opt, struct kv **ret_kv, struct kv_recovery *ret_recovery);
/* Syncs, checkpoints and trims the log (unless read-only or failed), then frees. First error wins;
 * memory is freed whatever happens. No room for the checkpoint is no error: the log stays. */
int kv_close(struct kv *kv);
/* A number that no other handle of this process has or had: for caches of what a pool's rows say. */
uint64_t kv_id(const struct kv *kv);

/* A batch is owned by one thread until kv_commit() or kv_batch_free(). Later operations on the
 * same key win. Memory failures surface at kv_commit(). */
struct kv_batch *kv_batch_new(void);
void kv_batch_put(struct kv_batch *b, enum kv_table t, const void *key, size_t klen,
		  const void *val, size_t vlen);
void kv_batch_delete(struct kv_batch *b, enum kv_table t, const void *key, size_t klen);
/* The batch frees space (deletes): on a full disk it may use the room kept in reserve for it. */
void kv_batch_set_reserve(struct kv_batch *b);
bool kv_batch_empty(const struct kv_batch *b);
void kv_batch_free(struct kv_batch *b); /* NULL is fine; releases its barriers unrun */

/* run(): make it durable, 0 or -errno (which fails the engine); it may read from the engine but not
 * commit to it or sync it, both of which may wait for the log writer. release(): always called once,
 * after run or instead of it. run() is called by the log writer without locks held; barriers with
 * equal `run` and `key` waiting in one group commit run once. */
struct kv_barrier {
	int (*run)(struct kv_barrier *b);
	void (*release)(struct kv_barrier *b);
	uint64_t key;
	struct kv_barrier *next; /* the engine's */
};
void kv_batch_barrier(struct kv_batch *b, struct kv_barrier *barrier);

/* Consumes the batch, whatever the result. On success it is visible to every reader that starts
 * later, all of it for one key lookup; not durable. *ret_lsn (may be NULL) is for kv_sync().
 * -ENOSPC: the disk is full, nothing has happened and the engine goes on; -E2BIG: more than 64 MiB;
 * -EINVAL: a key or value beyond the limits; -ENOMEM: also when b is NULL. Waits while both
 * memtables are full and are being written out; so never from a kv_sync_async() callback. */
int kv_commit(struct kv *kv, struct kv_batch *b, uint64_t *ret_lsn);

/* Returns when every batch up to lsn (UINT64_MAX: every batch committed so far) is durable.
 * Concurrent callers share one flush. */
int kv_sync(struct kv *kv, uint64_t lsn);
/* The same without waiting: done() runs on the log writer's thread and must not block. */
void kv_sync_async(struct kv *kv, uint64_t lsn, void (*done)(void *arg, int err), void *arg);
uint64_t kv_last_lsn(struct kv *kv);
/* Every batch up to here is seen by readers that start now. */
uint64_t kv_visible_lsn(struct kv *kv);
uint64_t kv_durable_lsn(struct kv *kv);
/* Runs fn(arg, 0) once lsn is durable, (arg, -errno) if the engine failed before, or lacks the memory to
 * remember the call: then nobody knows. On the log
 * writer's thread or the caller's; must not block; used to remove what the batch replaced.
 * Unlike kv_sync_async it does not hurry the log. */
void kv_when_durable(struct kv *kv, uint64_t lsn, void (*fn)(void *arg, int err), void *arg);

/* Appends the value to *val (which is not reset). 0, -ENOENT, or -EUCLEAN when the stored value's
 * checksum is wrong. */
int kv_get(struct kv *kv, enum kv_table t, const void *key, size_t klen, struct buf *val);

/* Iterates over keys >= from of one table in key order, or downwards over keys <= from, as they
 * are while it runs (a batch committed meanwhile may or may not be seen, each key once).
 * Holds no lock and no LMDB transaction between calls. */
struct kv_iter *kv_iter_new(struct kv *kv, enum kv_table t, const void *from, size_t len,
			    bool down);
/* 1 and key/value (valid until the next call), 0 at the end, -EUCLEAN for a damaged value
 * (the iterator has moved past it and may go on; the key is given). */
int kv_iter_next(struct kv_iter *it, struct slice *ret_key, struct slice *ret_val);
void kv_iter_free(struct kv_iter *it);

/* Writes the memtable into LMDB now, and trims the log. */
int kv_checkpoint(struct kv *kv);

/* Moves what kv_options.keep_log keeps. */
void kv_keep_log(struct kv *kv, uint64_t keep_after, uint64_t keep_least);

/* Puts sorted, unlogged rows straight into LMDB in one transaction together with one KV_META row
 * (`meta_key` -> `meta_val`, may be NULL): for tables that can be rebuilt (KV_DIGEST).
 * next() gives 1 and a row, 0 at the end; vlen 0 with val NULL deletes. Durable on return. */
int kv_load_sorted(struct kv *kv, enum kv_table t,
		   int (*next)(void *arg, struct slice *key, struct slice *val), void *arg,
		   const char *meta_key, const void *meta_val, size_t meta_len);

/* Reads the log back: fn gets each durable batch above `after`, in order, its payload as kv_op_take()
 * takes it apart (kv_batch.h); what it returns other than 0 ends the reading. *ret_last: the last one.
 * -ENODATA: the log does not reach back that far any more; -EUCLEAN; -errno. */
int kv_tail(struct kv *kv, uint64_t after, int (*fn)(void *arg, uint64_t lsn, struct slice payload),
	    void *arg, uint64_t *ret_last);

struct kv_stats {
	uint64_t last_lsn, durable_lsn, checkpoint_lsn;
	uint64_t memtable_bytes, wal_bytes_on_disk, wal_bytes_written, wal_syncs, checkpoints;
	uint64_t log_start_lsn;	   /* the log is whole above it */
	uint64_t wal_bytes_filled; /* of wal_bytes_on_disk: in use by entries, needed or kept */
	unsigned wal_segments;
	uint64_t lmdb_bytes_used, lmdb_bytes_file;
	uint64_t rows[KV_TABLES]; /* LMDB's own, without what is in memtables */
	const char *wal_backend;  /* "standard" or "io_uring" */
	int failed;		  /* 0 or the -errno that made it read-only */
	int checkpoint_err;	  /* 0, or why the last checkpoint was put off: -ENOSPC, -ENOMEM */
};
void kv_get_stats(struct kv *kv, struct kv_stats *ret_stats);
#endif
