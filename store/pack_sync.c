// SPDX-License-Identifier: MIT
/* Durability of appended frames. A caller needs a flush that *starts* after it came: it waits for
 * one that is running and then one of those waiting runs the next, for all of them. A round syncs
 * every live pack with writes completed since its last one, then the directory when a pack is new.
 *
 * After a failed fdatasync the kernel may drop the dirty pages and report the next one clean, so a
 * failure is kept: that pack is never called durable, and the whole set returns the error for ever
 * after, since whoever waits for "everything so far" can't be told anything better.
 */
#include "pack_set.h"
#include "log.h"
#include <errno.h>
#include <inttypes.h>

void open_pack_reap_locked(struct packs *p)
{
	struct open_pack **link = &p->live, *op;
	while ((op = *link)) {
		bool durable = op->sealed && op->n && op->synced == op->written;
		if (!durable || op->pins || op->failed) {
			link = &op->next;
			continue;
		}
		*link = op->next;
		open_pack_free(op);
	}
}

static struct open_pack *next_dirty_locked(struct packs *p, uint64_t round)
{
	for (struct open_pack *op = p->live; op; op = op->next)
		if (op->synced < op->written && op->sync_round < round)
			return op;
	return NULL;
}

static void note_failure_locked(struct packs *p, int err)
{
	if (err && !p->sync_failed)
		p->sync_failed = err;
}

static void run_round_locked(struct packs *p, uint64_t round)
{
	struct open_pack *op;
	while ((op = next_dirty_locked(p, round))) {
		uint64_t written = op->written;
		op->sync_round = round;
		op->pins++;
		pthread_mutex_unlock(&p->lock);
		int r = io_fdatasync(op->fd);
		if (r < 0)
			log_error("pack %016" PRIx64 ": sync: %s", op->id, strerror(-r));
		pthread_mutex_lock(&p->lock);
		op->pins--;
		if (r < 0 && !op->failed)
			op->failed = r;
		if (!op->failed)
			op->synced = written;
		note_failure_locked(p, r);
	}
	if (p->names_dirty) {
		p->names_dirty = false;
		pthread_mutex_unlock(&p->lock);
		int r = io_fsync_dir(p->opt.dirfd);
		if (r < 0)
			log_error("packs: sync of the directory: %s", strerror(-r));
		pthread_mutex_lock(&p->lock);
		note_failure_locked(p, r);
	}
	open_pack_reap_locked(p);
}

int pack_sync(struct packs *p)
{
	SCOPED_LOCK(&p->lock);
	uint64_t need = p->sync_started + 1;
	if (!p->sync_running && !p->names_dirty && !next_dirty_locked(p, UINT64_MAX))
		return p->sync_failed;
	while (p->sync_completed < need && !p->sync_failed) {
		if (p->sync_running) {
			pthread_cond_wait(&p->changed, &p->lock);
			continue;
		}
		uint64_t round = ++p->sync_started;
		p->sync_running = true;
		run_round_locked(p, round);
		p->sync_running = false;
		p->sync_completed = round;
		pthread_cond_broadcast(&p->changed);
	}
	return p->sync_failed;
}

struct pack_barrier {
	struct kv_barrier b; /* first: the engine hands it back */
	struct packs *p;
};

static int barrier_run(struct kv_barrier *b)
{
	return pack_sync(((struct pack_barrier *)b)->p);
}

static void barrier_release(struct kv_barrier *b)
{
	packs_unref(((struct pack_barrier *)b)->p);
	free(b);
}

struct kv_barrier *pack_barrier(struct packs *p)
{
	struct pack_barrier *b = calloc(1, sizeof *b);
	if (!b)
		return NULL;
	b->b.run = barrier_run;
	b->b.release = barrier_release;
	b->b.key = (uintptr_t)p;
	b->p = p;
	SCOPED_LOCK(&p->lock);
	p->refs++;
	return &b->b;
}
