// SPDX-License-Identifier: MIT
/* One thread takes inodes whose time has come off a list and starts them; the work itself is
 * destage's, which calls back: read (from the shared memory buffer, or through content_read), commit
 * (window by window, under the inode's lock), done.
 *
 * A staged file is destaged in ranges, those where the staging file has data, widened to the
 * boundaries of the pieces they touch. While that goes on both layers say the same, so a crash or a
 * cancellation at any point loses nothing; when all ranges are in, the staging file is dropped.
 * Locks: the list's lock is a leaf. inode->settle is guarded by the inode's lock.
 */
#include "settle.h"
#include "cleanup.h"
#include "cond.h"
#include "content.h"
#include "film_hint.h"
#include "films.h"
#include "log.h"
#include "ranges.h"
#include "space.h"
#include <fcntl.h>
#include <linux/falloc.h>

#define RETRY_MS 5000u	      /* still mapped or no space */
#define BEHIND_GAP (8u << 20) /* a writer's latest bytes are left alone */
#define BEHIND_ALIGN (1u << 20)
#define BEHIND_LEAST (32u << 20) /* worth a turn */
#define BEHIND_MOST (256u << 20) /* staged blocks come back in steps of this */

struct settle {
	struct destage_source source; /* first: callbacks cast back */
	struct job job;		      /* asks about films */
	struct fs *fs;
	struct inode *inode;	    /* a reference */
	struct settle *prev, *next; /* in one of the settler's lists */
	uint64_t due_ms;
	uint64_t round;	      /* the settler's when there was something to destage */
	uint64_t again_round; /* the same for what came after it became active; 0: nothing */
	bool tried;	      /* came back busy */
	bool active, cancelled;
	bool behind; /* a stretch behind a writer: source.at and .len are final */
	struct membuf *mem;
	struct ranges ranges;
	size_t at_range;
};

struct settler {
	pthread_mutex_t lock;
	pthread_cond_t wake, quiet;
	struct settle *head, *tail; /* waiting, by due time */
	struct settle *running;
	uint64_t waiting, active, failed;
	atomic_ullong round;   /* counts those who wait for all that was there when they came */
	atomic_bool unwatched; /* nobody shall wait any more for all to be destaged */
	atomic_bool leaving;   /* what runs is called off: it waits for the next mount */
	bool stopping;
	pthread_t thread;
};

static void list_insert_locked(struct settler *t, struct settle *s)
{
	struct settle *after = t->tail;
	while (after && after->due_ms > s->due_ms)
		after = after->prev;
	s->prev = after;
	s->next = after ? after->next : t->head;
	*(s->next ? &s->next->prev : &t->tail) = s;
	*(after ? &after->next : &t->head) = s;
	t->waiting++;
	if (t->head == s)
		pthread_cond_signal(&t->wake);
}

static void list_remove_locked(struct settler *t, struct settle *s)
{
	*(s->prev ? &s->prev->next : &t->head) = s->next;
	*(s->next ? &s->next->prev : &t->tail) = s->prev;
	s->prev = s->next = NULL;
	t->waiting--;
}

static void run_locked(struct settler *t, struct settle *s)
{
	s->prev = NULL;
	s->next = t->running;
	if (t->running)
		t->running->prev = s;
	t->running = s;
	t->active++;
}

/* Its turn is over. `later`: it is to have another one. */
static void turn_over(struct settle *s, int err, bool later)
{
	struct settler *t = s->fs->settler;
	SCOPED_LOCK(&t->lock);
	*(s->prev ? &s->prev->next : &t->running) = s->next;
	if (s->next)
		s->next->prev = s->prev;
	t->active--;
	if (err < 0 && err != -ECANCELED)
		t->failed++;
	if (later) {
		s->tried = true;
		s->due_ms = clock_mono_ms() + RETRY_MS;
		list_insert_locked(t, s);
	}
	if (!t->active)
		pthread_cond_broadcast(&t->quiet);
}

static struct settle *settle_new(struct fs *fs, struct inode *inode)
{
	struct settle *s = calloc(1, sizeof *s);
	if (!s)
		return NULL; /* the content stays where it is, safe; the next close tries again */
	s->fs = fs;
	s->inode = inode_ref(fs, inode);
	inode->settle = s;
	return s;
}

/* While it is active: there is something that the work under way does not include. */
static void note_again(struct settle *s)
{
	if (s->active && !s->again_round)
		s->again_round = atomic_load(&s->fs->settler->round);
}

static void schedule(struct fs *fs, struct inode *inode, uint64_t round)
{
	bool memory = inode->mem && (inode->held || (inode->row.flags & INODE_INLINE));
	if (inode->settle)
		note_again(inode->settle);
	if (fs->read_only || inode->settle || inode->row.nlink == 0 || !S_ISREG(inode->row.mode))
		return;
	if (!memory && !inode->row.staging_gen && !(inode->row.flags & INODE_INLINE))
		return;
	struct settle *s = settle_new(fs, inode);
	if (!s)
		return;
	struct settler *t = fs->settler;
	uint64_t delay = fs->pool->config.destage_delay_ms;
	uint64_t soon = fs->pool->config.wal_sync_interval_ms / 2;
	if (!inode->row.staging_gen && soon < delay)
		delay = soon;
	if (space_level(fs) >= SPACE_TIGHT)
		delay = 0;
	s->round = round ? round : atomic_load(&t->round);
	s->due_ms = clock_mono_ms() + delay;
	SCOPED_LOCK(&t->lock);
	list_insert_locked(t, s);
}

void settle_schedule(struct fs *fs, struct inode *inode)
{
	schedule(fs, inode, 0);
}

void settle_disturb(struct inode *inode, uint64_t at, uint64_t end)
{
	struct settle *s = inode->settle;
	if (!s || !s->active)
		return;
	/* once the staging file is dropped every byte of it counts; behind a writer only the stretch */
	if (!s->behind || (at < s->source.at + s->source.len && s->source.at < end)) {
		s->cancelled = true;
		note_again(s);
	}
}

bool settle_active(const struct inode *inode)
{
	return inode->settle && inode->settle->active;
}

static bool called_off(const struct settle *s)
{
	return s->cancelled || atomic_load(&s->fs->settler->leaving);
}

static bool is_over(void *arg)
{
	struct settle *s = arg;
	pthread_rwlock_rdlock(&s->inode->lock);
	bool over = called_off(s);
	pthread_rwlock_unlock(&s->inode->lock);
	return over;
}

static void free_settle(struct settle *s)
{
	membuf_unref(s->fs, s->mem);
	ranges_done(&s->ranges);
	free(s);
}

static void leave_inode_locked(struct settle *s)
{
	s->inode->settle = NULL;
	content_rest(s->fs, s->inode);
}

/* The inode is done with, or scheduled anew with `again`. Caller holds the inode's lock; the inode is
 * to be put by the caller after unlocking. Its turn ends last: whoever waits for all that is staged
 * finds either this one or its successor at every moment. */
static void retire_locked(struct settle *s, int err, bool again)
{
	leave_inode_locked(s);
	if (again)
		schedule(s->fs, s->inode, s->again_round);
	turn_over(s, err, false);
	free_settle(s);
}

static int read_cb(struct destage_source *src, void *buf, size_t len, uint64_t at)
{
	struct settle *s = (struct settle *)src;
	ssize_t n;
	if (s->mem && atomic_load(&s->fs->settler->leaving)) {
		n = -ECANCELED;
	} else if (s->mem) {
		n = at < s->mem->len ? (ssize_t)(s->mem->len - at) : 0;
		n = n < (ssize_t)len ? n : (ssize_t)len;
		memcpy(buf, s->mem->data + at, (size_t)n);
	} else {
		n = is_over(s) ? -ECANCELED : content_read_unlocked(s->fs, s->inode, buf, len, at);
	}
	if (n < 0)
		return (int)n;
	memset((char *)buf + n, 0, len - (size_t)n);
	return 0;
}

/* Whole content from memory: the old content, kept or inline, gives way to the pieces. *ret_committed:
 * the change is gone, whatever came of it. */
static int commit_memory(struct settle *s, struct change *c, uint64_t len,
			 const struct piece *pieces, size_t n, bool *ret_committed)
{
	struct inode *in = s->inode;
	struct inode_row *content = in->held ? &in->kept : &in->row, row = in->row;
	row.flags |= content->flags & INODE_MAPPED;
	row.pieces = content->pieces;
	row.mapped_bytes = content->mapped_bytes;
	memcpy(row.recipe, content->recipe, sizeof row.recipe);
	int r = extents_replace(c, &row, 0, UINT64_MAX, NULL, 0);
	if (r >= 0)
		r = extents_replace(c, &row, 0, len, pieces, n);
	if (r < 0)
		return r;
	if (content->flags & INODE_INLINE)
		inline_delete(change_batch(c), in->ino);
	row.flags &= ~(uint32_t)INODE_INLINE;
	uint64_t old_gen = in->held ? in->kept.staging_gen : 0;
	inode_row_put(change_batch(c), &row);
	*ret_committed = true;
	r = inode_commit(in, c);
	if (r < 0)
		return r;
	in->row = row;
	in->held = in->row_dirty = false;
	if (old_gen)
		staging_drop_after(s->fs->pool->staging, in->ino, old_gen, in->last_lsn);
	return 0;
}

static int commit_cb(struct destage_source *src, uint64_t at, uint64_t len,
		     const struct piece *pieces, size_t n)
{
	struct settle *s = (struct settle *)src;
	struct inode *in = s->inode;
	struct change *c = change_new(s->fs->pool->extents);
	if (!c)
		return -ENOMEM;
	pthread_rwlock_wrlock(&in->lock);
	int r = called_off(s) || in->gone ? -ECANCELED : 0;
	bool committed = false;
	if (r == 0 && s->mem) {
		r = commit_memory(s, c, len, pieces, n, &committed);
	} else if (r == 0) {
		struct inode_row before = in->row;
		bool whole = in->staging_whole;
		r = extents_replace(c, &in->row, at, len, pieces, n);
		if (r >= 0)
			r = content_map_changed(s->fs, in, c);
		if (r >= 0) {
			inode_stage(in, c);
			committed = true;
			r = inode_commit(in, c);
		}
		if (r < 0)
			content_map_unchanged(in, &before, whole);
	}
	if (!committed)
		change_drop(c);
	pthread_rwlock_unlock(&in->lock);
	return r;
}

static void start_range(struct settle *s)
{
	struct range *range = &s->ranges.v[s->at_range];
	s->source.at = range->from;
	s->source.len = range->to - range->from;
	destage_start(s->fs->pool->destage, &s->source);
}

/* On a thread of its own, as others shall not wait for it. */
static void start_film(struct job *job)
{
	struct settle *s = (struct settle *)((char *)job - offsetof(struct settle, job));
	s->source.plan = film_hint(s->fs, s->inode, is_over, s);
	start_range(s);
}

/* With the inode's lock. */
static bool may_be_film(const struct settle *s)
{
	const struct range *all = s->ranges.v;
	return !s->mem && s->ranges.n == 1 && all->from == 0 && all->to == s->inode->row.size &&
	       film_hint_wanted(s->fs, s->inode);
}

/* Everything is in the map: the staging file has served. */
static int drop_staging(struct settle *s)
{
	struct inode *in = s->inode;
	uint64_t gen = in->row.staging_gen;
	struct inode_row before = in->row;
	in->row.staging_gen = 0;
	int r = inode_commit_row(s->fs, in);
	if (r < 0) {
		in->row = before;
		return r;
	}
	if (in->fd >= 0)
		close(take_fd(&in->fd));
	staging_account(s->fs->pool->staging, -(int64_t)in->staged_blocks * 512);
	in->staged_blocks = 0;
	in->staging_whole = false;
	in->cut_lsn = 0;
	in->map_ended = false;
	staging_drop_after(s->fs->pool->staging, in->ino, gen, in->last_lsn);
	return 0;
}

/* What lies behind the writer is in the map: gives its staged blocks back, once that is durable. */
static int punch_staged(struct settle *s)
{
	struct inode *in = s->inode;
	pthread_rwlock_rdlock(&in->lock);
	uint64_t lsn = in->last_lsn;
	pthread_rwlock_unlock(&in->lock);
	int r = kv_sync(fs_kv(s->fs), lsn);
	pthread_rwlock_wrlock(&in->lock);
	if (r == 0 && (s->cancelled || in->gone || in->fd < 0))
		r = -ECANCELED;
	if (r == 0) {
		content_set_whole(in, false);
		if (fallocate(in->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)s->source.at, (off_t)s->source.len))
			r = -errno;
		inode_account_staged(s->fs, in);
	}
	pthread_rwlock_unlock(&in->lock);
	return r;
}

static void finish_behind(struct settle *s, int err)
{
	struct fs *fs = s->fs;
	struct inode *in = s->inode;
	if (err == 0)
		err = punch_staged(s);
	if (err < 0 && err != -ECANCELED)
		log_error("inode %lu could not be destaged behind its writer: %s", in->ino,
			  strerror(-err));
	pthread_rwlock_wrlock(&in->lock);
	s->active = false;
	retire_locked(s, err, in->writers == 0);
	pthread_rwlock_unlock(&in->lock);
	inode_put(fs, in);
}

static void finish(struct settle *s, int err)
{
	struct fs *fs = s->fs;
	struct inode *in = s->inode;
	pthread_rwlock_wrlock(&in->lock);
	if (err == 0 && s->cancelled)
		err = -ECANCELED;
	if (err == 0 && !s->mem && in->row.staging_gen)
		err = drop_staging(s);
	s->active = false;
	if (err == 0) {
		atomic_fetch_add(&fs->count.destaged_files, 1);
		if (s->mem && in->mem && !in->held) { /* the map has it all now */
			membuf_unref(fs, in->mem);
			in->mem = NULL;
		}
	} else if (err == -ECANCELED) {
		atomic_fetch_add(&fs->count.destage_cancelled, 1);
	} else {
		log_error("inode %lu could not be destaged and stays staged: %s", in->ino,
			  strerror(-err));
	}
	membuf_unref(fs, s->mem);
	s->mem = NULL;
	bool retry = err < 0 && err != -ECANCELED && !in->gone && in->row.nlink;
	if (!retry) {
		bool again = err == -ECANCELED && in->writers == 0 && in->native_opens == 0;
		retire_locked(s, err, again);
		pthread_rwlock_unlock(&in->lock);
		inode_put(fs, in);
		return;
	}
	pthread_rwlock_unlock(&in->lock);
	turn_over(s, err, true);
}

static void done_cb(struct destage_source *src, int err)
{
	struct settle *s = (struct settle *)src;
	atomic_fetch_add(&s->fs->count.destaged_bytes, err == 0 ? src->len : 0);
	if (s->behind) {
		finish_behind(s, err);
		return;
	}
	if (err == 0 && !s->mem && ++s->at_range < s->ranges.n && !s->cancelled) {
		start_range(s); /* not by way of fs.waiters: who waits there may wait for this */
		return;
	}
	finish(s, err);
}

/* Gets the staged content ready: 1 start, 0 nothing to do, -EBUSY later. */
static int prepare_staged(struct settle *s)
{
	struct inode *in = s->inode;
	int r = content_ready(s->fs, in);
	if (r < 0)
		return r;
	r = staging_idle(in->fd, false);
	if (r <= 0) /* who maps it only to read would never see what is written later */
		return r < 0 ? r : -EBUSY;
	inode_end_native(in);
	r = inode_release_hold(s->fs, in, false);
	if (r == 0)
		r = ranges_find(s->fs, in, &s->ranges);
	s->at_range = 0;
	if (r < 0)
		return r;
	return s->ranges.n ? 1 : drop_staging(s);
}

/* Returns 1 when destage shall start, 0 when there is nothing to do, or -errno. */
static int prepare_locked(struct settle *s)
{
	struct inode *in = s->inode;
	if (in->gone || in->row.nlink == 0 || in->writers || in->native_opens)
		return 0;
	if (!in->mem && (in->row.flags & INODE_INLINE)) {
		int r = content_ready(s->fs, in);
		if (r < 0)
			return r;
	}
	if (!in->mem)
		return in->row.staging_gen ? prepare_staged(s) : 0;
	if (in->mem->len == 0)
		return inode_release_hold(s->fs, in, false);
	if (!in->held && !(in->row.flags & INODE_INLINE))
		return 0;
	s->mem = in->mem;
	atomic_fetch_add(&s->mem->refs, 1);
	s->source.at = 0;
	s->source.len = s->mem->len;
	s->source.small_together = true;
	return 1;
}

static void begin(struct settle *s)
{
	struct fs *fs = s->fs;
	struct inode *in = s->inode;
	pthread_rwlock_wrlock(&in->lock);
	s->cancelled = false;
	s->again_round = 0;
	s->source.read = read_cb;
	s->source.commit = commit_cb;
	s->source.done = done_cb;
	int r = prepare_locked(s);
	if (r > 0) {
		s->active = true;
		bool film = may_be_film(s);
		pthread_rwlock_unlock(&in->lock);
		s->job.run = start_film;
		if (film)
			workers_queue(films_workers(fs->films), &s->job);
		else if (s->mem)
			destage_start(s->fs->pool->destage, &s->source);
		else
			start_range(s);
		return;
	}
	if (r < 0 && r != -EBUSY && r != -EIO) {
		log_error("inode %lu cannot be destaged now: %s", in->ino, strerror(-r));
		r = -EBUSY;
	}
	if (r == -EBUSY) {
		content_rest(s->fs, in);
		pthread_rwlock_unlock(&in->lock);
		turn_over(s, 0, true);
		return;
	}
	retire_locked(s, r, false);
	pthread_rwlock_unlock(&in->lock);
	inode_put(fs, in);
}

static void *settler_main(void *arg)
{
	struct fs *fs = arg;
	struct settler *t = fs->settler;
	pthread_setname_np(pthread_self(), "settler");
	pthread_mutex_lock(&t->lock);
	while (!t->stopping) {
		uint64_t now = clock_mono_ms();
		if (!t->head || t->head->due_ms > now) {
			uint64_t until = t->head ? t->head->due_ms : now + 60000;
			cond_wait_until(&t->wake, &t->lock, until * 1000000);
			continue;
		}
		struct settle *s = t->head;
		list_remove_locked(t, s);
		run_locked(t, s);
		pthread_mutex_unlock(&t->lock);
		begin(s);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

int settler_start(struct fs *fs)
{
	struct settler *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	cond_init(&t->wake);
	cond_init(&t->quiet);
	atomic_init(&t->round, 1);
	fs->settler = t;
	int r = pthread_create(&t->thread, NULL, settler_main, fs);
	if (r) {
		free(t);
		fs->settler = NULL;
		return -r;
	}
	return 0;
}

/* Makes everything that waits due at once, unless all of it has come back: then nothing is gained before
 * its own time, and who hurries it again and again in the hope of room would never stop. */
static void hurry_locked(struct settler *t)
{
	struct settle *fresh = t->head;
	while (fresh && fresh->tried)
		fresh = fresh->next;
	if (!fresh)
		return;
	for (struct settle *s = t->head; s; s = s->next)
		s->due_ms = 0;
	pthread_cond_signal(&t->wake);
}

static void wait_quiet_locked(struct settler *t)
{
	cond_wait_until(&t->quiet, &t->lock, clock_mono_ns() + 20000000);
}

void settle_behind(struct fs *fs, struct inode *inode, uint64_t at)
{
	if (space_level(fs) < SPACE_TIGHT || inode->settle || inode->fd < 0 || inode->native_opens)
		return;
	off_t from = lseek(inode->fd, 0, SEEK_DATA);
	uint64_t to = at > BEHIND_GAP ? (at - BEHIND_GAP) / BEHIND_ALIGN * BEHIND_ALIGN : 0;
	if (from < 0 || to < (uint64_t)from + BEHIND_LEAST)
		return;
	if (staging_idle(inode->fd, false) != 1)
		return; /* whoever has it mapped would see holes, and could write into them */
	if (inode_release_hold(fs, inode, false) < 0)
		return;
	struct settle *s = settle_new(fs, inode);
	if (!s)
		return;
	s->behind = s->active = true;
	s->source.read = read_cb;
	s->source.commit = commit_cb;
	s->source.done = done_cb;
	s->source.at = (uint64_t)from;
	s->source.len = to - (uint64_t)from < BEHIND_MOST ? to - (uint64_t)from : BEHIND_MOST;
	pthread_mutex_lock(&fs->settler->lock);
	s->round = atomic_load(&fs->settler->round);
	run_locked(fs->settler, s);
	pthread_mutex_unlock(&fs->settler->lock);
	destage_start(fs->pool->destage, &s->source);
}

bool settle_wait_room(struct fs *fs)
{
	struct settler *t = fs->settler;
	settle_all(fs, false);
	destage_hurry(fs->pool->destage);
	SCOPED_LOCK(&t->lock);
	if (!t->active && !(t->head && t->head->due_ms == 0))
		return false;
	wait_quiet_locked(t);
	return true;
}

/* Something of that round or before is neither in packs nor was found busy; it is made due. */
static bool owes_locked(struct settler *t, uint64_t round)
{
	for (struct settle *s = t->running; s; s = s->next)
		if (s->round <= round)
			return true;
	for (struct settle *s = t->head; s; s = s->next) {
		if (s->round > round || s->tried)
			continue;
		list_remove_locked(t, s);
		s->due_ms = 0;
		list_insert_locked(t, s);
		return true;
	}
	return false;
}

void settle_all(struct fs *fs, bool wait)
{
	struct settler *t = fs->settler;
	if (!t)
		return;
	SCOPED_LOCK(&t->lock);
	for (struct settle *s = t->head; s && wait; s = s->next)
		s->tried = false;
	hurry_locked(t);
	if (!wait)
		return;
	uint64_t round = atomic_fetch_add(&t->round, 1);
	while (!atomic_load(&t->unwatched) && owes_locked(t, round)) {
		pthread_mutex_unlock(&t->lock);
		destage_hurry(fs->pool->destage);
		pthread_mutex_lock(&t->lock);
		wait_quiet_locked(t);
	}
}

/* On the way out: small content is committed as it is, staged files wait for the next mount. */
static void finish_inode(struct fs *fs, struct inode *in)
{
	if (in->gone || in->row.nlink == 0 || !S_ISREG(in->row.mode))
		return;
	int r = inode_release_hold(fs, in, false);
	bool native = in->native_written;
	if (r == 0 && in->row.staging_gen)
		r = content_ready(fs, in);
	if (r == 0 && native) {
		inode_end_native(in); /* unmounted: nothing can write any more */
		r = inode_commit_row(fs, in);
	}
	if (r == 0 && in->fd >= 0)
		r = io_fdatasync(in->fd); /* an unmount leaves nothing unsynced */
	if (r < 0)
		log_error("inode %lu: its last changes could not be committed: %s", in->ino,
			  strerror(-r));
	content_rest(fs, in);
}

static void give_up(struct settle *s)
{
	struct fs *fs = s->fs;
	struct inode *in = s->inode;
	pthread_rwlock_wrlock(&in->lock);
	finish_inode(fs, in);
	leave_inode_locked(s);
	free_settle(s);
	pthread_rwlock_unlock(&in->lock);
	inode_put(fs, in);
}

static void drain(struct fs *fs)
{
	struct settler *t = fs->settler;
	pthread_mutex_lock(&t->lock);
	while (t->active || t->head) {
		struct settle *s = t->head;
		if (s)
			list_remove_locked(t, s);
		pthread_mutex_unlock(&t->lock);
		if (s)
			give_up(s);
		else
			destage_flush(fs->pool->destage);
		pthread_mutex_lock(&t->lock);
		if (!s && t->active)
			wait_quiet_locked(t);
	}
	pthread_mutex_unlock(&t->lock);
}

void settle_unwatch(struct fs *fs)
{
	if (fs->settler)
		atomic_store(&fs->settler->unwatched, true);
}

void settler_stop(struct fs *fs)
{
	struct settler *t = fs->settler;
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stopping = true;
	atomic_store(&t->leaving, true);
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	drain(fs);
	inode_each_live(fs, finish_inode);
	drain(fs); /* what was called off at its very end has been put back */
	free(t);
	fs->settler = NULL;
}

void settle_get_stats(struct fs *fs, struct settle_stats *ret_stats)
{
	struct settler *t = fs->settler;
	*ret_stats = (struct settle_stats){ 0 };
	if (!t)
		return;
	SCOPED_LOCK(&t->lock);
	*ret_stats = (struct settle_stats){ t->waiting, t->active, t->failed };
}
