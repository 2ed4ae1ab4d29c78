// SPDX-License-Identifier: MIT
/* The kernel reads ahead so much as a disk needs, which an object store takes a second for: with 128 KiB
 * at a time and 30 ms an answer that is 4 MB/s. So what follows is fetched into the block cache, as much
 * as has been read in order before, WINDOW_MAX at most: a reader who stops has had no more than
 * twice of what he wanted fetched. Two of them get along with the part of the cache that takes what is used
 * for the first time; six at once on a fast server fetched 1.3 to 1.8 bytes for a byte read, four at 30 ms 1.1.
 *
 * Only of buckets: the kernel reads files of a disk ahead itself.
 */
#include "ahead.h"
#include "chunks.h"
#include "extents.h"
#include "tiers.h"
#include "workers.h"
#include <stdlib.h>

#define STREAK_MIN (256u << 10)
#define WINDOW_MAX (16u << 20)
#define DISORDER (1u << 20) /* requests of one reader pass each other */

struct look {
	struct job job;
	struct fs *fs;
	struct inode *inode; /* a reference */
};

/* What the row's map has of [at, end); nothing where there is more to the content than a map. */
static int find_map(struct fs *fs, struct inode *in, uint64_t at, uint64_t end,
		    struct map_vec *ret_map)
{
	int r = 0;
	pthread_rwlock_rdlock(&in->lock);
	end = end < in->row.size ? end : in->row.size;
	if (!in->gone && !in->mem && in->fd < 0 && at < end)
		r = extents_map(fs->pool->extents, &in->row, at, end - at, ret_map);
	pthread_rwlock_unlock(&in->lock);
	return r;
}

static void look_ahead(struct job *job)
{
	struct look *l = (struct look *)job;
	struct ahead *a = &l->inode->ahead;
	struct map_vec map = { 0 };
	uint64_t end = atomic_load(&a->end), streak = end - atomic_load(&a->begin);
	uint64_t at = atomic_load(&a->fetched);
	uint64_t to = end + (streak < WINDOW_MAX ? streak : WINDOW_MAX);
	at = at > end && at < to ? at : end;
	if (find_map(l->fs, l->inode, at, to, &map) >= 0)
		chunks_prefetch_far(l->fs->pool->chunks, &map);
	map_vec_done(&map);
	atomic_store(&a->fetched, to);
	atomic_store(&a->busy, false);
	inode_put(l->fs, l->inode);
	free(l);
}

static void queue_look(struct fs *fs, struct inode *in)
{
	struct look *l = atomic_exchange(&in->ahead.busy, true) ? NULL : malloc(sizeof *l);
	if (!l)
		return;
	*l = (struct look){ .job.run = look_ahead, .fs = fs, .inode = inode_ref(fs, in) };
	workers_queue(fs->waiters, &l->job);
}

void ahead_note(struct fs *fs, struct inode *in, uint64_t at, uint64_t len)
{
	struct ahead *a = &in->ahead;
	uint64_t begin = atomic_load_explicit(&a->begin, memory_order_relaxed);
	uint64_t end = atomic_load_explicit(&a->end, memory_order_relaxed);
	if (at + len + DISORDER < end || at > end + DISORDER) {
		atomic_store_explicit(&a->begin, at, memory_order_relaxed);
		atomic_store_explicit(&a->end, at + len, memory_order_relaxed);
		atomic_store_explicit(&a->fetched, 0, memory_order_relaxed);
		return;
	}
	if (at + len <= end)
		return;
	end = at + len;
	atomic_store_explicit(&a->end, end, memory_order_relaxed);
	uint64_t streak = end > begin ? end - begin : 0;
	uint64_t window = streak < WINDOW_MAX ? streak : WINDOW_MAX;
	if (streak >= STREAK_MIN &&
	    atomic_load_explicit(&a->fetched, memory_order_relaxed) < end + window / 2 &&
	    tiers_any_far(fs->pool->tiers))
		queue_look(fs, in);
}
