// SPDX-License-Identifier: MIT
/* The table is sharded by number; a shard's lock is held while a row is loaded, so that no two
 * copies of an inode can exist and no stale one can be inserted. Inodes without references stay
 * in their shard's LRU list for a while, since directories are used again and again.
 *
 * Held content is committed in one of two ways: inode_release_hold() here (inline content, or a
 * row that names the staging file), or destage's commit (settle.c), which gives the row a map.
 */
#include "inode.h"
#include "cleanup.h"
#include "clock.h"
#include "content.h"
#include "far.h"
#include <fcntl.h>

#define SHARDS 256u
#define BUCKETS 64u /* per shard, to begin with */
#define LRU_MAX 32u /* unreferenced inodes kept per shard */
#define REWRITE_HOLD_MS 5000u
#define DAY_NS (86400ll * 1000000000)

struct shard {
	pthread_mutex_t lock;
	struct inode **buckets;
	size_t n_buckets, n;
	struct inode *lru_head, *lru_tail; /* head: used last */
	unsigned lru_n;
	uint64_t left_lsn; /* the latest last_lsn of an inode that is live no more */
};

struct inode_table {
	struct shard shards[SHARDS];
	pthread_mutex_t dirty_pass; /* of who goes through the list: a sync waits for the ticker */
	pthread_mutex_t dirty_lock;
	struct inode *dirty;
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	return x ^ (x >> 33);
}

static struct shard *shard_of(struct fs *fs, uint64_t ino)
{
	return &fs->inodes->shards[mix(ino) % SHARDS];
}

static struct inode **bucket_of(struct shard *s, uint64_t ino)
{
	return &s->buckets[(mix(ino) / SHARDS) & (s->n_buckets - 1)];
}

int inode_table_new(struct fs *fs, struct inode_table **ret_t)
{
	(void)fs;
	struct inode_table *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->dirty_lock, NULL);
	pthread_mutex_init(&t->dirty_pass, NULL);
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];
		pthread_mutex_init(&s->lock, NULL);
		s->buckets = calloc(BUCKETS, sizeof(struct inode *));
		s->n_buckets = BUCKETS;
		if (!s->buckets) {
			inode_table_free(t);
			return -ENOMEM;
		}
	}
	*ret_t = t;
	return 0;
}

static void inode_free(struct inode *inode)
{
	if (inode->fd >= 0)
		close(inode->fd);
	if (inode->mem && atomic_fetch_sub(&inode->mem->refs, 1) == 1) {
		free(inode->mem->data);
		free(inode->mem);
	}
	pthread_rwlock_destroy(&inode->lock);
	free(inode);
}

void inode_table_free(struct inode_table *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shards[i];
		for (size_t b = 0; s->buckets && b < s->n_buckets; b++)
			for (struct inode *next, *in = s->buckets[b]; in; in = next) {
				next = in->hash_next;
				inode_free(in);
			}
		free(s->buckets);
		pthread_mutex_destroy(&s->lock);
	}
	pthread_mutex_destroy(&t->dirty_lock);
	pthread_mutex_destroy(&t->dirty_pass);
	free(t);
}

static void lru_remove_locked(struct shard *s, struct inode *in)
{
	*(in->lru_prev ? &in->lru_prev->lru_next : &s->lru_head) = in->lru_next;
	*(in->lru_next ? &in->lru_next->lru_prev : &s->lru_tail) = in->lru_prev;
	in->lru_prev = in->lru_next = NULL;
	s->lru_n--;
}

static void lru_push_locked(struct shard *s, struct inode *in)
{
	in->lru_prev = NULL;
	in->lru_next = s->lru_head;
	*(s->lru_head ? &s->lru_head->lru_prev : &s->lru_tail) = in;
	s->lru_head = in;
	s->lru_n++;
}

static void unhash_locked(struct shard *s, struct inode *in)
{
	struct inode **at = bucket_of(s, in->ino);
	while (*at != in)
		at = &(*at)->hash_next;
	*at = in->hash_next;
	s->n--;
}

static void grow_locked(struct shard *s)
{
	size_t n = s->n_buckets * 2;
	struct inode **buckets = calloc(n, sizeof *buckets);
	if (!buckets)
		return; /* longer chains, nothing worse */
	struct inode **old = s->buckets;
	size_t old_n = s->n_buckets;
	s->buckets = buckets;
	s->n_buckets = n;
	for (size_t b = 0; b < old_n; b++)
		for (struct inode *next, *in = old[b]; in; in = next) {
			next = in->hash_next;
			struct inode **at = bucket_of(s, in->ino);
			in->hash_next = *at;
			*at = in;
		}
	free(old);
}

static void insert_locked(struct shard *s, struct inode *in)
{
	if (s->n >= s->n_buckets)
		grow_locked(s);
	struct inode **at = bucket_of(s, in->ino);
	in->hash_next = *at;
	*at = in;
	s->n++;
}

static struct inode *find_locked(struct shard *s, uint64_t ino)
{
	for (struct inode *in = *bucket_of(s, ino); in; in = in->hash_next)
		if (in->ino == ino) {
			if (in->refs++ == 0)
				lru_remove_locked(s, in);
			return in;
		}
	return NULL;
}

static struct inode *inode_alloc(uint64_t ino)
{
	struct inode *in = calloc(1, sizeof *in);
	if (!in)
		return NULL;
	in->ino = ino;
	in->refs = 1;
	in->fd = -1;
	pthread_rwlock_init(&in->lock, NULL);
	return in;
}

static void timespec_of(int64_t ns, struct timespec *ret_ts)
{
	int64_t rest = ns % 1000000000;
	*ret_ts = (struct timespec){ .tv_sec = ns / 1000000000 - (rest < 0),
				     .tv_nsec = rest + (rest < 0 ? 1000000000 : 0) };
}

int inode_get(struct fs *fs, uint64_t ino, struct inode **ret_inode)
{
	struct shard *s = shard_of(fs, ino);
	SCOPED_LOCK(&s->lock);
	struct inode *in = find_locked(s, ino);
	if (!in) {
		in = inode_alloc(ino);
		if (!in)
			return -ENOMEM;
		int r = inode_row_get(fs_kv(fs), ino, &in->row);
		if (r < 0) {
			inode_free(in);
			return r == -ENOENT ? -ESTALE : r;
		}
		/* not live, so left by an earlier mount that could not absorb it */
		in->native_written = in->row.flags & INODE_NATIVE;
		in->last_lsn = s->left_lsn; /* of what it did when it was live before */
		insert_locked(s, in);
	}
	*ret_inode = in;
	return 0;
}

struct inode *inode_get_live(struct fs *fs, uint64_t ino)
{
	struct shard *s = shard_of(fs, ino);
	SCOPED_LOCK(&s->lock);
	return find_locked(s, ino);
}

int inode_new(struct fs *fs, const struct inode_row *row, struct inode **ret_inode)
{
	struct inode *in = inode_alloc(row->ino);
	if (!in)
		return -ENOMEM;
	in->row = *row;
	struct shard *s = shard_of(fs, row->ino);
	SCOPED_LOCK(&s->lock);
	insert_locked(s, in);
	*ret_inode = in;
	return 0;
}

struct inode *inode_ref(struct fs *fs, struct inode *inode)
{
	struct shard *s = shard_of(fs, inode->ino);
	SCOPED_LOCK(&s->lock);
	inode->refs++;
	return inode;
}

void inode_put(struct fs *fs, struct inode *inode)
{
	if (!inode)
		return;
	struct shard *s = shard_of(fs, inode->ino);
	struct inode *victim = NULL;
	pthread_mutex_lock(&s->lock);
	if (--inode->refs == 0) {
		if (inode->gone || inode->row.nlink == 0) {
			unhash_locked(s, inode);
			victim = inode;
		} else {
			lru_push_locked(s, inode);
			if (s->lru_n > LRU_MAX) {
				victim = s->lru_tail;
				lru_remove_locked(s, victim);
				unhash_locked(s, victim);
			}
		}
	}
	if (victim && victim->last_lsn > s->left_lsn)
		s->left_lsn = victim->last_lsn;
	pthread_mutex_unlock(&s->lock);
	if (!victim)
		return;
	/* whoever makes it live again does not know that these were counted, and counts them */
	staging_account(fs->pool->staging, -(int64_t)victim->staged_blocks * 512);
	membuf_unref(fs, TAKE_PTR(victim->mem));
	inode_free(victim);
}

/* Content fields, as opposed to attributes. */
static void copy_content(struct inode_row *dst, const struct inode_row *src)
{
	const uint32_t content_flags = INODE_CONTENT_FLAGS;
	dst->flags = (dst->flags & ~content_flags) | (src->flags & content_flags);
	dst->size = src->size;
	dst->staging_gen = src->staging_gen;
	dst->mapped_bytes = src->mapped_bytes;
	dst->pieces = src->pieces;
	memcpy(dst->recipe, src->recipe, sizeof dst->recipe);
}

void inode_stage(struct inode *inode, struct change *c)
{
	struct inode_row row = inode->row;
	if (inode->held)
		copy_content(&row, &inode->kept);
	inode_row_put(change_batch(c), &row);
	if (!inode->held)
		inode->row_dirty = false;
}

int inode_commit(struct inode *inode, struct change *c)
{
	int r = change_commit(c, &inode->last_lsn);
	if (r < 0)
		inode->row_dirty = true; /* an fsync that comes later must not find it in order */
	return r;
}

int inode_commit_row(struct fs *fs, struct inode *inode)
{
	if (inode->gone)
		return 0; /* a row put now would outlive its inode */
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	inode_stage(inode, c);
	return inode_commit(inode, c);
}

void inode_mark_dirty(struct fs *fs, struct inode *inode)
{
	inode->row_dirty = true;
	inode_revisit(fs, inode);
}

void inode_revisit(struct fs *fs, struct inode *inode)
{
	if (inode->on_dirty)
		return;
	inode->on_dirty = true;
	inode_ref(fs, inode);
	SCOPED_LOCK(&fs->inodes->dirty_lock);
	inode->dirty_next = fs->inodes->dirty;
	fs->inodes->dirty = inode;
}

void inode_touch(struct fs *fs, struct inode *inode)
{
	if (!fs->writeback || !inode->cached_opens)
		inode->row.mtime = inode->row.ctime = clock_wall_ns();
	inode_mark_dirty(fs, inode);
}

/* Any inode of the shard with a number above `after`, referenced; the least of them. */
static struct inode *next_live(struct shard *s, uint64_t after)
{
	struct inode *next = NULL;
	SCOPED_LOCK(&s->lock);
	for (size_t b = 0; b < s->n_buckets; b++)
		for (struct inode *in = s->buckets[b]; in; in = in->hash_next)
			if (in->ino > after && (!next || in->ino < next->ino))
				next = in;
	if (next && next->refs++ == 0)
		lru_remove_locked(s, next);
	return next;
}

void inode_each_live(struct fs *fs, void (*fn)(struct fs *fs, struct inode *inode))
{
	for (unsigned i = 0; i < SHARDS; i++) {
		struct inode *in;
		for (uint64_t after = 0; (in = next_live(&fs->inodes->shards[i], after));) {
			after = in->ino;
			pthread_rwlock_wrlock(&in->lock);
			fn(fs, in);
			pthread_rwlock_unlock(&in->lock);
			inode_put(fs, in);
		}
	}
}

int inode_each_dirty(struct fs *fs, int (*fn)(struct fs *fs, struct inode *inode))
{
	int first_error = 0;
	SCOPED_LOCK(&fs->inodes->dirty_pass);
	pthread_mutex_lock(&fs->inodes->dirty_lock);
	struct inode *list = fs->inodes->dirty;
	fs->inodes->dirty = NULL;
	pthread_mutex_unlock(&fs->inodes->dirty_lock);
	while (list) {
		struct inode *in = list;
		pthread_rwlock_wrlock(&in->lock);
		list = in->dirty_next;
		in->on_dirty = false;
		int r = fn(fs, in);
		first_error = first_error ? first_error : r;
		pthread_rwlock_unlock(&in->lock);
		inode_put(fs, in);
	}
	return first_error;
}

void inode_hold(struct inode *inode, bool rewrite)
{
	if (inode->held) {
		return;
	}
	inode->held = true;
	inode->held_rewrite = rewrite;
	inode->held_until_ms = rewrite ? clock_mono_ms() + REWRITE_HOLD_MS : 0;
	inode->kept = inode->row;
	inode->row.flags &= ~INODE_CONTENT_FLAGS;
	inode->row.pieces = 0;
	inode->row.mapped_bytes = 0;
	inode->row.staging_gen = 0;
}

struct kv_barrier *inode_data_barrier(struct fs *fs, const struct inode *inode, int fd)
{
	return staging_data_barrier(fs->pool->staging, inode->ino, inode->row.staging_gen, fd);
}

int inode_stage_hold(struct fs *fs, struct inode *inode, struct change *c, bool sync)
{
	struct inode_row row = inode->row, old = inode->row;
	copy_content(&old, &inode->kept);
	int r = extents_replace(c, &old, 0, UINT64_MAX, NULL, 0);
	if (r < 0)
		return r;
	if (inode->mem && inode->mem->len) {
		inline_put(change_batch(c), inode->ino, inode->mem->data, inode->mem->len);
		row.flags |= INODE_INLINE;
	} else if (inode->kept.flags & INODE_INLINE) {
		inline_delete(change_batch(c), inode->ino);
	}
	if (row.staging_gen) {
		bool data = inode->fd >= 0 && (sync || inode->held_rewrite);
		struct kv_barrier *b = data ? inode_data_barrier(fs, inode, inode->fd)
					    : staging_barrier(fs->pool->staging);
		if (!b)
			return -ENOMEM;
		kv_batch_barrier(change_batch(c), b);
	}
	inode_row_put(change_batch(c), &row);
	return 0;
}

void inode_hold_released(struct fs *fs, struct inode *inode, uint64_t lsn)
{
	inode->last_lsn = lsn;
	inode->held = false;
	inode->row_dirty = false;
	if (inode->mem && inode->mem->len)
		inode->row.flags |= INODE_INLINE;
	if (inode->kept.staging_gen && inode->kept.staging_gen != inode->row.staging_gen)
		staging_drop_after(fs->pool->staging, inode->ino, inode->kept.staging_gen, lsn);
}

int inode_release_hold(struct fs *fs, struct inode *inode, bool sync)
{
	if (!inode->held)
		return 0;
	struct change *c = change_new(fs->pool->extents);
	if (!c)
		return -ENOMEM;
	int r = inode_stage_hold(fs, inode, c, sync);
	if (r < 0) {
		change_drop(c);
		return r;
	}
	r = inode_commit(inode, c);
	if (r == 0)
		inode_hold_released(fs, inode, inode->last_lsn);
	return r;
}

int inode_name_staging(struct fs *fs, struct inode *inode)
{
	struct change *c = change_new(fs->pool->extents);
	struct kv_barrier *b = c ? staging_barrier(fs->pool->staging) : NULL;
	if (!b) {
		change_drop(c);
		return -ENOMEM;
	}
	kv_batch_barrier(change_batch(c), b);
	inode_stage(inode, c);
	return inode_commit(inode, c);
}

void inode_begin_native(struct inode *inode)
{
	struct timespec ts[2];
	struct stat st;
	if (inode->native_written)
		return;
	inode->native_written = true;
	inode->row.flags |= INODE_NATIVE;
	timespec_of(inode->row.atime, &ts[0]);
	timespec_of(inode->row.mtime, &ts[1]);
	inode->native_ctime = inode->native_mtime = inode->native_atime = INT64_MIN;
	if (futimens(inode->fd, ts) == 0 && fstat(inode->fd, &st) == 0) {
		inode->native_ctime = clock_ns_of(&st.st_ctim);
		inode->native_mtime = clock_ns_of(&st.st_mtim);
		inode->native_atime = clock_ns_of(&st.st_atim);
	}
}

/* The row as the staging file that the kernel writes has it. */
static void take_native(const struct inode *inode, const struct stat *st, struct inode_row *row)
{
	int64_t ctime = clock_ns_of(&st->st_ctim), mtime = clock_ns_of(&st->st_mtim);
	int64_t atime = clock_ns_of(&st->st_atim);
	row->size = (uint64_t)st->st_size;
	/* what the backing filesystem made of our times (it may know no 1900) is not a change */
	if (mtime != inode->native_mtime)
		row->mtime = mtime;
	if (atime != inode->native_atime)
		row->atime = atime;
	if (ctime > inode->native_ctime && ctime > row->ctime)
		row->ctime = ctime;
}

void inode_absorb_native(struct inode *inode)
{
	struct stat st;
	if (inode->fd >= 0 && fstat(inode->fd, &st) == 0)
		take_native(inode, &st, &inode->row);
}

void inode_end_native(struct inode *inode)
{
	if (!inode->native_written)
		return;
	inode_absorb_native(inode);
	inode->native_written = false;
	inode->row.flags &= ~(uint32_t)INODE_NATIVE;
	inode->row_dirty = true;
}

void inode_account_staged(struct fs *fs, struct inode *inode)
{
	struct stat st = { 0 };
	if (inode->fd >= 0 && fstat(inode->fd, &st))
		return;
	if (inode->fd < 0 && inode->row.staging_gen)
		return; /* unchanged while nobody has it open */
	staging_account(fs->pool->staging,
			((int64_t)st.st_blocks - (int64_t)inode->staged_blocks) * 512);
	inode->staged_blocks = (uint64_t)st.st_blocks;
}

/* The staging file's own attributes, when they count. */
static bool stat_staging(struct fs *fs, struct inode *inode, struct stat *ret_st)
{
	if (inode->fd >= 0)
		return fstat(inode->fd, ret_st) == 0;
	if (!inode->native_written || !inode->row.staging_gen)
		return false;
	CLEANUP_CLOSE int fd =
		staging_file(fs->pool->staging, inode->ino, inode->row.staging_gen, O_RDONLY);
	return fd >= 0 && fstat(fd, ret_st) == 0;
}

void inode_stat(struct fs *fs, struct inode *inode, struct stat *ret_st)
{
	struct inode_row row = inode->row;
	struct stat st;
	bool staged = row.staging_gen && stat_staging(fs, inode, &st);
	if (staged && inode->native_written)
		take_native(inode, &st, &row);
	inode_to_stat(&row, ret_st);
	if (!S_ISREG(row.mode))
		return;
	if (inode->mem || (row.flags & INODE_INLINE))
		ret_st->st_blocks = (blkcnt_t)((row.size + 4095) / 4096 * 8);
	else if (row.staging_gen) {
		blkcnt_t blocks = staged ? st.st_blocks : (blkcnt_t)inode->staged_blocks;
		ret_st->st_blocks = inode->staging_whole ? blocks : ret_st->st_blocks + blocks;
	}
}

bool inode_wants_atime(const struct fs *fs, const struct inode *inode, int64_t now)
{
	const struct inode_row *row = &inode->row;
	if (fs_may_write(fs) < 0 || fs->atime == ATIME_NEVER || inode->native_written)
		return false;
	if (fs->dirs_keep_atime && S_ISDIR(row->mode))
		return false;
	return fs->atime == ATIME_STRICT || row->atime <= row->mtime || row->atime <= row->ctime ||
	       now - row->atime > DAY_NS;
}

void inode_accessed(struct fs *fs, struct inode *inode)
{
	int64_t now = clock_wall_ns();
	pthread_rwlock_rdlock(&inode->lock);
	bool wanted = inode_wants_atime(fs, inode, now);
	pthread_rwlock_unlock(&inode->lock);
	if (!wanted)
		return;
	pthread_rwlock_wrlock(&inode->lock);
	inode->row.atime = now;
	inode_mark_dirty(fs, inode);
	pthread_rwlock_unlock(&inode->lock);
}

/* RELEASE may come before the kernel has let go of the backing file, and the file then looks as if it
 * were still mapped. Whoever asks for attributes soon after would be told to ask each time. */
static void end_native_if_idle(struct fs *fs, struct inode *inode)
{
	pthread_rwlock_wrlock(&inode->lock);
	if (!inode->gone && inode->native_written && !inode->native_opens &&
	    content_ready(fs, inode) == 0 && staging_idle(inode->fd, false) == 1) {
		inode_end_native(inode);
		inode_mark_dirty(fs, inode);
	}
	content_rest(fs, inode);
	pthread_rwlock_unlock(&inode->lock);
}

int inode_stat_by_number(struct fs *fs, uint64_t ino, struct attributes *ret_attr)
{
	struct inode *in = inode_get_live(fs, ino);
	if (!in) {
		struct inode_row row;
		int r = inode_row_get(fs_kv(fs), ino, &row);
		if (r < 0)
			return r == -ENOENT ? -ESTALE : r;
		if (!row.staging_gen && !(row.flags & INODE_INLINE)) {
			inode_to_stat(&row, &ret_attr->st);
			ret_attr->is_volatile = false;
			return 0;
		}
		r = inode_get(fs, ino, &in);
		if (r < 0)
			return r;
	}
	pthread_rwlock_rdlock(&in->lock);
	bool undecided = in->native_written && !in->native_opens && !fs->read_only;
	if (undecided) {
		pthread_rwlock_unlock(&in->lock);
		end_native_if_idle(fs, in);
		pthread_rwlock_rdlock(&in->lock);
	}
	inode_stat(fs, in, &ret_attr->st);
	ret_attr->is_volatile = inode_volatile(in);
	pthread_rwlock_unlock(&in->lock);
	inode_put(fs, in);
	return 0;
}
