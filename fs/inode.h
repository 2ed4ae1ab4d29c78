// SPDX-License-Identifier: MIT
/* inode: an inode that is in use, with everything the daemon knows of it beyond its row.
 *
 * Only what is open, being changed, waiting for destage or lately used is live; everything else is
 * rows in the index. While an inode is live, its `row` is the truth and the index follows.
 *
 * Content that the index does not know yet is *held*: `kept` then has the content fields (size, map,
 * staging generation, inline flag) as committed, and every commit of the row writes those, so that
 * the index always describes a state that existed. inode_release_hold() is the one way out.
 */
#ifndef FOLDFS_INODE_H
#define FOLDFS_INODE_H
#include "fs.h"

/* Content of a small file; shared between the inode and a destage that reads it. */
struct membuf {
	atomic_uint refs;
	size_t len, cap;
	uint8_t *data;
};

/* Where an inode is read, and how far it has been fetched (ahead.h). Approximate: several threads
 * answer reads. */
struct ahead {
	atomic_ullong begin, end; /* read in order so far */
	atomic_ullong fetched;	  /* up to there */
	atomic_bool busy;	  /* somebody looks into it */
};

struct inode {
	uint64_t ino;
	struct inode *hash_next, *lru_prev, *lru_next; /* the table's, under its lock */
	unsigned refs;

	pthread_rwlock_t lock; /* everything below */
	struct inode_row row;
	uint64_t last_lsn; /* of the last batch that touched it */
	bool row_dirty;	   /* times or size changed since the last commit */
	bool gone;	   /* its row has been deleted */

	/* opens: see mode.c */
	unsigned opens, writers, native_opens, cached_opens;
	int backing_id;
	struct writing *writing; /* writers.c's, while somebody may write what is not seen */

	/* content: mem, else staging file over map */
	struct membuf *mem;	/* the whole content when not NULL */
	int fd;			/* staging file while open or needed, else -1 */
	uint64_t staged_blocks; /* 512-byte blocks, as of the last release */
	uint64_t cut_lsn;	/* 0, or the staging file has a tail (tail.h) since this batch */
	bool map_ended;		/* by last_lsn at the latest, the map under it was given up */
	bool staging_whole;	/* the staging file has all of the content, whatever the map says */
	uint64_t failed_gen; /* staging file of which a sync has failed: no later one is believed */
	bool native_written; /* was open for native writing, and a mapping may still write */
	/* times of the staging file when that began: others are the doing of writers and readers */
	int64_t native_ctime, native_mtime, native_atime;
	bool held;
	bool held_rewrite; /* it replaces content: bring data to disk before the row */
	struct inode_row kept;
	uint64_t held_until_ms; /* the ticker commits it then, even if still open for writing */

	/* reads: see hot.c */
	struct hot *hot;	   /* the whole content as a native file, or on the way to that */
	unsigned heat;		   /* opens to read, counting less as they age */
	unsigned heat_wanted;	   /* not before it is as hot as that */
	uint64_t heat_ms;	   /* when it was last made to count less */
	atomic_ullong heat_bytes;  /* that the daemon read for others */
	atomic_uint reads_waiting; /* for a device: the access time moves when they are through */
	struct ahead ahead;

	struct settle *settle; /* waiting for or in destage; settle.c */

	struct inode *dirty_next; /* the ticker's list */
	bool on_dirty;
};

struct inode_table;
int inode_table_new(struct fs *fs, struct inode_table **ret_t);
void inode_table_free(struct inode_table *t);

/* A reference to the live inode, loading its row if need be. -ESTALE: there is none. */
int inode_get(struct fs *fs, uint64_t ino, struct inode **ret_inode);
/* The same only if it is live already; NULL otherwise. */
struct inode *inode_get_live(struct fs *fs, uint64_t ino);
/* Makes a new inode live; its row is not committed yet. */
int inode_new(struct fs *fs, const struct inode_row *row, struct inode **ret_inode);
struct inode *inode_ref(struct fs *fs, struct inode *inode);
void inode_put(struct fs *fs, struct inode *inode); /* NULL is fine */

static inline void cleanup_inode_unlock(struct inode **i)
{
	if (*i)
		pthread_rwlock_unlock(&(*i)->lock);
}

/* staging_data_barrier() for the staging file of its row, open as fd. */
struct kv_barrier *inode_data_barrier(struct fs *fs, const struct inode *inode, int fd);
/* Puts the row into the change, as it may be committed now (see held). Caller holds the lock. */
void inode_stage(struct inode *inode, struct change *c);
/* Commits; notes the LSN. Caller holds the lock. */
int inode_commit(struct inode *inode, struct change *c);
/* Puts and commits the row alone. */
int inode_commit_row(struct fs *fs, struct inode *inode);
/* Notes that times or size changed: the ticker commits within the sync interval. */
void inode_mark_dirty(struct fs *fs, struct inode *inode);
/* The ticker is to look at it, though its row is in order. */
void inode_revisit(struct fs *fs, struct inode *inode);
/* Content has changed: sets the times, unless the kernel keeps them for what it caches (it sends
 * them), and marks the inode dirty. */
void inode_touch(struct fs *fs, struct inode *inode);
/* From here on content changes are not committed, until inode_release_hold(). The map fields of
 * row become empty, as the new content is about to be in memory or in a staging file of its own. */
void inode_hold(struct inode *inode, bool rewrite);
/* Commits the held content as it is now: memory goes into the index as inline content, a staging
 * file is named by the row (with a barrier for its data when it replaces content or `sync`). */
int inode_release_hold(struct fs *fs, struct inode *inode, bool sync);
/* The same into a change of the caller's (rename, link): nothing is committed here. After the
 * commit call inode_hold_released(). */
int inode_stage_hold(struct fs *fs, struct inode *inode, struct change *c, bool sync);
void inode_hold_released(struct fs *fs, struct inode *inode, uint64_t lsn);

/* Commits a row that names a staging file just begun over a map (with the barrier for the name). */
int inode_name_staging(struct fs *fs, struct inode *inode);

/* Fills st from row, staging file and memory. Caller holds the lock, shared is enough. */
void inode_stat(struct fs *fs, struct inode *inode, struct stat *ret_st);
/* Attributes may change without the daemon seeing it: give them no lifetime. Caller holds the lock. */
static inline bool inode_volatile(const struct inode *inode)
{
	return inode->native_written;
}
/* A file's or directory's attributes, live or not; takes the lock itself. */
struct attributes {
	struct stat st;
	bool is_volatile;
};
int inode_stat_by_number(struct fs *fs, uint64_t ino, struct attributes *ret_attr);
/* A read now would move its access time. The caller holds the lock. */
bool inode_wants_atime(const struct fs *fs, const struct inode *inode, int64_t now);
/* It was read: updates atime as the mount's policy says (relatime as in mount(8)). Takes the lock. */
void inode_accessed(struct fs *fs, struct inode *inode);

/* Native writing begins: the staging file gets the row's times, as its own count from here on. The
 * staging file is open. Caller holds the lock. */
void inode_begin_native(struct inode *inode);
/* It is over, nothing can write natively any more: size and times go into the row, uncommitted. */
void inode_end_native(struct inode *inode);
/* Takes over size and times of a natively written staging file. Caller holds the lock. */
void inode_absorb_native(struct inode *inode);
/* Brings staged_blocks, and the pool's sum of them, up to date. Caller holds the lock. */
void inode_account_staged(struct fs *fs, struct inode *inode);

/* Takes every inode off the dirty list and calls fn for each with its lock held. The first error. */
int inode_each_dirty(struct fs *fs, int (*fn)(struct fs *fs, struct inode *inode));

/* Calls fn for every live inode with its lock held; for the way out. */
void inode_each_live(struct fs *fs, void (*fn)(struct fs *fs, struct inode *inode));

struct membuf *membuf_new(struct fs *fs, size_t cap);
/* Makes room and makes it the caller's own (a copy when shared). -ENOMEM. */
int membuf_own(struct fs *fs, struct membuf **mem, size_t cap);
void membuf_unref(struct fs *fs, struct membuf *mem);
#endif
