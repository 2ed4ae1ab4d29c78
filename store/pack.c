// SPDX-License-Identifier: MIT
/* The set of packs: opening, closing, naming, giving away files. How frames get in is
 * pack_stream.c, how they become durable pack_sync.c, what a crash left pack_recover.c, what a
 * file holds pack_scan.c, and what it takes of the disk pack_room.c.
 *
 * Lock order: the set's lock is innermost and short; no file operation and no kv call is made under
 * it. kv's log writer calls pack_sync() through barriers, so nobody may wait for the log with the
 * lock held. The set lives until its owner has closed it and the last barrier is released.
 *
 * A doomed pack's file goes in three steps, each of which a crash may interrupt: the row says
 * doomed (in the caller's batch); when that is durable, the file is removed; then the row.
 */
#include "pack_set.h"
#include "access.h"
#include "cond.h"
#include "log.h"
#include "tiers.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#define MAX_OPEN_DEFAULT 256u

static void packs_free(struct packs *p)
{
	while (p->live) {
		struct open_pack *op = p->live;
		p->live = op->next;
		open_pack_free(op);
	}
	pack_fds_free(p->fds);
	if (p->ids)
		ids_close(p->ids);
	if (p->opt.dirfd >= 0)
		close(p->opt.dirfd);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p->holes);
	free(p);
}

void packs_unref(struct packs *p)
{
	pthread_mutex_lock(&p->lock);
	bool last = --p->refs == 0;
	pthread_mutex_unlock(&p->lock);
	if (last)
		packs_free(p);
}

/* By its row. While its tier is absent, what a move that a crash interrupted has left in the pool will do. */
static int open_pack(void *arg, uint64_t pack)
{
	struct packs *p = arg;
	struct pack_row row;
	char name[PACK_NAME_MAX];
	bool elsewhere =
		tiers_any(p->opt.tiers) && pack_get(p->opt.kv, pack, &row) == 0 && row.tier;
	int fd = elsewhere ? tiers_open_pack(p->opt.tiers, row.tier, pack) : 0;
	if (elsewhere && fd != -ENOMEDIUM)
		return fd;
	pack_name(pack, name);
	fd = openat(p->opt.dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 ? fd : elsewhere ? -ENOMEDIUM : -errno;
}

int packs_open(const struct packs_options *opt, struct packs **ret_p)
{
	struct packs *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->opt = *opt;
	p->refs = 1;
	if (!p->opt.target_bytes)
		p->opt.target_bytes = PACK_TARGET_DEFAULT;
	if (!p->opt.max_open)
		p->opt.max_open = MAX_OPEN_DEFAULT;
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->changed);
	int r = 0;
	p->opt.dirfd = fcntl(opt->dirfd, F_DUPFD_CLOEXEC, 0);
	if (p->opt.dirfd < 0)
		r = -errno;
	struct pack_fds_options fds = { .open = open_pack, .arg = p, .max_open = p->opt.max_open };
	memcpy(fds.pool_uuid, p->opt.pool_uuid, sizeof fds.pool_uuid);
	if (r == 0)
		r = pack_fds_new(&fds, &p->fds);
	if (r == 0 && !opt->read_only)
		r = ids_open(opt->kv, "pack", 1, &p->ids);
	if (r == 0)
		r = packs_recover(p);
	if (r == 0)
		r = workers_start("pack-gone", 1, &p->remover);
	if (r < 0) {
		packs_unref(p);
		return r;
	}
	*ret_p = p;
	return 0;
}

/* Packs that were begun and got nothing: their rows are gone by now, durably. */
static void remove_empty(struct packs *p)
{
	for (struct open_pack *op = p->live; op; op = op->next)
		if (op->sealed && !op->n)
			pack_unlink(p, op->id);
}

/* Each waits for the log, which a removal before it may have made longer. */
static void settle_locked(struct packs *p)
{
	while (p->dooms) {
		pthread_mutex_unlock(&p->lock);
		kv_sync(p->opt.kv, UINT64_MAX);
		pthread_mutex_lock(&p->lock);
		if (p->dooms)
			cond_wait_until(&p->changed, &p->lock, clock_mono_ns() + 1000000000);
	}
}

void packs_settle(struct packs *p)
{
	SCOPED_LOCK(&p->lock);
	settle_locked(p);
}

int packs_close(struct packs *p)
{
	if (!p)
		return 0;
	int r = 0;
	if (!p->opt.read_only) {
		r = packs_retire(p);
		int sync = kv_sync(p->opt.kv, UINT64_MAX); /* runs our barriers */
		r = r ? r : sync;
		if (sync == 0)
			remove_empty(p);
		sync = pack_sync(p);
		r = r ? r : sync;
	}
	pthread_mutex_lock(&p->lock);
	settle_locked(p);
	p->closed = true;
	pthread_mutex_unlock(&p->lock);
	workers_stop(p->remover);
	ids_close(p->ids);
	p->ids = NULL;
	packs_unref(p);
	return r;
}

int pack_row_commit(struct packs *p, uint64_t pack, const struct pack_row *row)
{
	struct kv_batch *batch = kv_batch_new();
	struct kv_barrier *barrier = batch ? pack_barrier(p) : NULL;
	if (!barrier) {
		kv_batch_free(batch);
		return -ENOMEM;
	}
	if (row)
		pack_put(batch, row);
	else
		pack_delete(batch, pack);
	if (!row)
		kv_batch_set_reserve(batch);
	kv_batch_barrier(batch, barrier);
	return kv_commit(p->opt.kv, batch, NULL);
}

int pack_fd_get(struct packs *p, uint64_t pack)
{
	return pack_fds_get(p->fds, pack);
}

int pack_fd_try_get(struct packs *p, uint64_t pack)
{
	return pack_fds_try_get(p->fds, pack);
}

void pack_fd_put(struct packs *p, uint64_t pack, int fd)
{
	pack_fds_put(p->fds, pack, fd);
}

void pack_replaced(struct packs *p, uint64_t pack)
{
	pack_fds_forget(p->fds, pack);
}

bool pack_reachable(struct packs *p, const struct pack_row *row)
{
	return !row->tier || tiers_place(p->opt.tiers, row->tier);
}

/* The place without descriptors that it lies in; NULL: none. */
static struct place *far_place(struct packs *p, uint64_t pack, int *ret_err)
{
	struct pack_row row;
	*ret_err = pack_get(p->opt.kv, pack, &row);
	if (*ret_err < 0 || !row.tier)
		return NULL;
	struct place *pl = tiers_place(p->opt.tiers, row.tier);
	*ret_err = pl ? 0 : -ENOMEDIUM;
	return pl && !pl->ops->open_pack ? pl : NULL;
}

bool pack_is_far(struct packs *p, uint64_t pack)
{
	int err;
	return tiers_any_far(p->opt.tiers) && far_place(p, pack, &err);
}

/* What cannot be had now is not there: nobody may take it for damage. */
static void judge_far(struct place_read *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].result < 0 && v[i].result != -ENOENT && v[i].result != -ENOMEM)
			v[i].result = -ENOMEDIUM;
}

void pack_read_far(struct packs *p, struct place_read *v, size_t n)
{
	for (size_t i = 0, end; i < n; i = end) {
		int err, other;
		struct place *pl = far_place(p, v[i].pack, &err);
		for (end = i + 1; end < n && far_place(p, v[end].pack, &other) == pl;)
			end++;
		if (pl)
			pl->ops->read(pl, v + i, end - i);
		else /* it has moved, or its place has gone */
			for (size_t k = i; k < end; k++)
				v[k].result = err == -ENOMEDIUM ? err : -ENOENT;
	}
	judge_far(v, n);
}

void pack_say_absent(struct packs *p, uint64_t pack)
{
	struct pack_row row;
	if (pack_get(p->opt.kv, pack, &row) == 0 && row.tier)
		tiers_say_absent(p->opt.tiers, row.tier, pack);
}

void pack_note_read(struct packs *p, uint64_t pack, uint32_t bytes)
{
	if (p->opt.access)
		access_note(p->opt.access, pack, bytes);
}

int pack_scan(struct packs *p, uint64_t pack, uint64_t from,
	      int (*fn)(void *arg, uint64_t offset, const struct frame_head *head), void *arg,
	      uint64_t *ret_end)
{
	int fd = pack_fds_get(p->fds, pack);
	if (fd < 0)
		return fd;
	int r = pack_scan_fd(fd, pack, from, fn, arg, ret_end);
	pack_fds_put(p->fds, pack, fd);
	return r;
}

int pack_unlink(struct packs *p, uint64_t pack)
{
	char name[PACK_NAME_MAX];
	pack_name(pack, name);
	int r = unlinkat(p->opt.dirfd, name, 0) ? -errno : 0;
	if (p->fds)
		pack_fds_forget(p->fds, pack);
	return r == -ENOENT ? 0 : r;
}

int pack_remove(struct packs *p, const struct pack_row *row)
{
	struct place *pl = row->tier ? tiers_place(p->opt.tiers, row->tier) : NULL;
	int r = row->tier && !pl ? -ENOMEDIUM : 0;
	if (pl)
		r = pl->ops->remove(pl, row->id);
	int hot = r == 0 ? pack_unlink(p, row->id) : 0;
	return r ? r : hot;
}

struct doom {
	struct kv_barrier b; /* first */
	struct job job;
	struct packs *p;
	struct pack_row row;
	unsigned refs; /* the barrier; and, once it ran, the removal */
};

static void doom_unref(struct doom *d)
{
	struct packs *p = d->p;
	pthread_mutex_lock(&p->lock);
	bool last = --d->refs == 0;
	pthread_mutex_unlock(&p->lock);
	if (!last)
		return;
	free(d);
	packs_unref(p);
}

static void doom_finish(struct doom *d)
{
	struct packs *p = d->p;
	pthread_mutex_lock(&p->lock);
	p->dooms--;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	doom_unref(d);
}

static void doom_remove(struct job *job)
{
	struct doom *d = (struct doom *)((char *)job - offsetof(struct doom, job));
	struct packs *p = d->p;
	int r = pack_remove(p, &d->row);
	if (r == 0 && !d->row.tier) {
		pthread_mutex_lock(&p->lock);
		p->bytes -= d->row.bytes;
		p->count--;
		packs_note_holes_locked(p, d->row.id, 0);
		pthread_mutex_unlock(&p->lock);
	}
	if (r == 0)
		r = pack_row_commit(p, d->row.id, NULL);
	if (r < 0)
		log_warn("pack %016" PRIx64 " could not be removed: %s", d->row.id, strerror(-r));
	doom_finish(d);
}

/* On the log writer's thread: unlinking a large file may block. */
static void doom_durable(void *arg, int err)
{
	struct doom *d = arg;
	d->job.run = doom_remove;
	if (err)
		doom_finish(d);
	else
		workers_queue(d->p->remover, &d->job);
}

/* Runs before the batch is written, but after it got its place in the log. */
static int doom_run(struct kv_barrier *b)
{
	struct doom *d = (struct doom *)b;
	struct packs *p = d->p;
	pthread_mutex_lock(&p->lock);
	bool closed = p->closed; /* then the next mount does it */
	d->refs += !closed;
	p->dooms += !closed;
	pthread_mutex_unlock(&p->lock);
	if (!closed)
		kv_when_durable(p->opt.kv, kv_last_lsn(p->opt.kv), doom_durable, d);
	return 0;
}

static void doom_release(struct kv_barrier *b)
{
	doom_unref((struct doom *)b);
}

static bool is_being_filled(struct packs *p, uint64_t pack)
{
	SCOPED_LOCK(&p->lock);
	for (struct open_pack *op = p->live; op; op = op->next)
		if (op->id == pack)
			return !op->sealed;
	return false;
}

int pack_doom(struct packs *p, struct kv_batch *batch, uint64_t pack)
{
	struct pack_row row;
	int r = p->opt.read_only ? -EROFS : pack_get(p->opt.kv, pack, &row);
	if (r == 0 && (row.state == PACK_DOOMED || is_being_filled(p, pack)))
		r = -EBUSY;
	if (r < 0)
		return r;
	struct doom *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->b.run = doom_run;
	d->b.release = doom_release;
	d->b.key = pack;
	d->p = p;
	d->refs = 1;
	d->row = row;
	pthread_mutex_lock(&p->lock);
	p->refs++;
	pthread_mutex_unlock(&p->lock);
	row.state = PACK_DOOMED;
	pack_put(batch, &row);
	kv_batch_barrier(batch, &d->b);
	return 0;
}

/* A pack that is being filled is longer than its row says. */
static void refresh_row(struct packs *p, struct pack_row *row)
{
	SCOPED_LOCK(&p->lock);
	for (struct open_pack *op = p->live; op; op = op->next)
		if (op->id == row->id && row->state == PACK_OPEN)
			row->bytes = op->end;
}

int packs_each(struct packs *p, int (*fn)(void *arg, const struct pack_row *row), void *arg)
{
	struct kv_iter *it = kv_iter_new(p->opt.kv, KV_PACK, NULL, 0, false);
	struct slice key, val;
	struct pack_row row;
	int r, damage = 0;
	if (!it)
		return -ENOMEM;
	while ((r = kv_iter_next(it, &key, &val)) > 0 || r == -EUCLEAN) {
		if (r < 0 || pack_decode_row(key, val, &row) < 0) {
			damage = -EUCLEAN;
			continue;
		}
		refresh_row(p, &row);
		r = fn(arg, &row);
		if (r)
			break;
	}
	kv_iter_free(it);
	return r ? r : damage;
}
