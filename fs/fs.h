// SPDX-License-Identifier: MIT
/* fs: what all parts of the daemon share: the pool, the session and what it negotiated.
 *
 * Lock order: fs.names (shared by namespace operations, exclusive for rename), then inodes
 * (directories before what is in them, several of one kind by number), then everything in store/ and
 * index/. The inode table's and lookup table's own locks are leaves. No lock is held over an fsync,
 * and none of an inode while a tier is waited for, as a rule (missing.h).
 */
#ifndef FOLDFS_FS_H
#define FOLDFS_FS_H
#include "listers.h"
#include "pool.h"
#include "requests.h"
#include "workers.h"
#include <pthread.h>
#include <errno.h>
#include <stdatomic.h>

struct fuse_session;

struct fs_counters {
	atomic_ullong creates, lookups, unlinks, renames, opens_native, opens_cached, opens_direct;
	atomic_ullong read_bytes, written_bytes, reads_waited, fsyncs, clones, clone_bytes;
	atomic_ullong reaped;
	atomic_ullong destaged_files, destaged_bytes, destage_cancelled;
};

/* What company.c knows of who sends requests. */
struct company_state {
	bool follows;
	atomic_int pid;	      /* of the latest */
	atomic_uint serial;   /* so many in a row were his */
	atomic_int processor; /* where threads that take requests shall be, or -1 */
	atomic_uint strays;   /* so many looks in a row found it elsewhere */
	atomic_int rest;      /* requests before it is tried again; below 0 for races */
};

enum atime_policy { ATIME_RELATIVE, ATIME_STRICT, ATIME_NEVER };

struct fs {
	struct pool *pool;
	struct fuse_session *session;
	const char *mountpoint;
	/* NULL while native mode is possible, else a clear reason */
	_Atomic(const char *) native_why_not;
	atomic_bool native_probed;
	atomic_int read_ahead_fd; /* where it is set, until it has been; else -1 */
	/* inodes open natively, each of which keeps a descriptor of the daemon's, and how many may be */
	atomic_ullong native_files;
	uint64_t native_files_max;
	bool writeback; /* negotiated instead of passthrough */
	bool read_only;
	const char *why_read_only; /* a sentence, when damage is the reason; else NULL */
	enum atime_policy atime;
	bool dirs_keep_atime;
	uint64_t started_ms;		    /* clock_mono_ms() */
	double attr_timeout, entry_timeout; /* seconds */

	pthread_rwlock_t names;
	struct inode_table *inodes;
	struct lookups *lookups;
	struct workers *waiters; /* runs what may block: cold reads, fsync, backpressure */
	struct workers *callers; /* runs what calls the kernel, which may wait for all the others */
	struct settler *settler;
	struct reaper *reaper;
	struct ticker *ticker;
	struct collector *collector;
	struct scrubber *scrubber;
	struct replicator *replicator; /* NULL: there is no replica */
	struct follow *follow;	       /* NULL: the pool is its own */
	struct rings *rings;	       /* NULL: all requests come over /dev/fuse */
	struct hotter *hotter;	       /* NULL: no file gets a copy */
	struct films *films;	       /* NULL: none can be asked about films */
	struct writers *writers;
	struct listers listers;
	struct notices *notices;   /* that may have to wait within the kernel */
	struct guardian *guardian; /* NULL: there is none */
	uint64_t inodes_before;	   /* in the index when the mount began */
	atomic_int space;	   /* enum space_level */
	atomic_bool space_low;	   /* little is left on the disk, whatever is staged */
	uint64_t staging_limit, materialise_limit;
	pthread_mutex_t space_lock; /* of the next */
	bool reserve_held;
	atomic_ullong moved_lsn;    /* of the last rename of a directory: part of any path below */
	atomic_ullong memory_bytes; /* content of small files held in memory */
	struct fs_counters count;
	struct request_counts requests;
	struct company_state company;
};

static inline struct kv *fs_kv(struct fs *fs)
{
	return fs->pool->kv;
}
/* -EROFS when nothing may change (ro mount, or a metadata error made it so), else 0. */
static inline int fs_may_write(const struct fs *fs)
{
	return fs->read_only || fs->pool->failed ? -EROFS : 0;
}
#endif
