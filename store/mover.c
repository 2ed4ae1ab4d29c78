// SPDX-License-Identifier: MIT
/* A pass lists all sealed packs, decides for each where it belongs, and moves them one by one. What could
 * not be moved for want of room is left to the next pass; what failed for another reason to one an hour
 * later.
 *
 * What people ask for moves several packs at once: each of them waits for its place now and then (an object
 * store answers late, a disk syncs), and others use the time. At most MOVES_MAX move, whoever asks, and
 * no pack twice at once: of two who copied it to the same place, one would remove the copy of the
 * other. Who waits for a turn sets `hurry`, and nobody sleeps for the rate's sake.
 *
 * Lock order: an errand's lock, then the mover's `lock`, which is a leaf.
 */
#include "mover.h"
#include "cleanup.h"
#include "cond.h"
#include "log.h"
#include "pack_leftover.h"
#include "pack_move.h"
#include "thread.h"
#include "tier_wishes.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define ROOM_LEFT ((uint64_t)32 << 20) /* of a colder tier's disk */
#define FADE_S 3600
#define FAILED_MAX 64u
#define RETRY_S 3600
#define MOVES_MAX 4u
#define WISHES_SHARE 20u /* finding out what files ask for takes at most this part of the time */

struct failure {
	uint64_t pack;
	int64_t until;
};

/* A move under way. */
struct turn {
	uint64_t pack; /* 0: none */
	unsigned to;
	uint64_t bytes; /* that it brings there */
};

struct mover {
	struct mover_options opt;
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t changed;
	bool stopping, woken, started;
	struct turn turns[MOVES_MAX];
	bool shut;	/* nothing may begin to move */
	unsigned hurry; /* who wait for a turn */
	bool renamed;	/* packs may have got other numbers since the wishes were looked for */
	struct mover_status status;
	uint64_t due_ns; /* when the bytes moved so far are no more than the rate allows */
	pthread_t thread;

	/* Of passes, one at a time: */
	pthread_mutex_t passing;
	struct failure failed[FAILED_MAX];
	unsigned next_failed;
	int64_t faded;
	struct wishes wishes;
	uint64_t wishes_due_ms;
};

/* A pack, and where it belongs. */
struct plan {
	struct pack_row row;
	int64_t used;	   /* last */
	unsigned nth;	   /* where it is, in the order from hot to cold */
	unsigned want;	   /* where it belongs */
	bool wished, kept; /* its files ask for that; it stays there whatever else */
};

struct pass {
	struct mover *m;
	struct plan *v;
	size_t n, cap;
	struct tier_info order[TIERS_MAX]; /* hot to cold */
	bool usable[TIERS_MAX];		   /* moves go there, in that order */
	bool full[TIERS_MAX];
	unsigned n_order;
	int64_t now;
	char error[160];
};

int mover_open(const struct mover_options *opt, struct mover **ret_m)
{
	struct mover *m = calloc(1, sizeof *m);
	if (!m)
		return -ENOMEM;
	m->opt = *opt;
	m->faded = clock_wall_ns() / 1000000000;
	pthread_mutex_init(&m->passing, NULL);
	pthread_mutex_init(&m->lock, NULL);
	cond_init(&m->changed);
	*ret_m = m;
	return 0;
}

void mover_close(struct mover *m)
{
	if (!m)
		return;
	mover_stop(m);
	int r = access_save(m->opt.access);
	if (r < 0)
		log_warn("when packs were read could not be noted: %s", strerror(-r));
	wishes_done(&m->wishes);
	pthread_mutex_destroy(&m->passing);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->changed);
	free(m);
}

void mover_get_status(struct mover *m, struct mover_status *ret_status)
{
	SCOPED_LOCK(&m->lock);
	*ret_status = m->status;
	for (unsigned i = 0; i < MOVES_MAX && !ret_status->moving; i++) {
		ret_status->moving = m->turns[i].pack;
		ret_status->pack = m->turns[i].pack;
		ret_status->to = m->turns[i].to;
	}
}

static bool stopping(struct mover *m)
{
	SCOPED_LOCK(&m->lock);
	return m->stopping;
}

/* ---- one pack ---- */

struct one {
	struct mover *m;
	bool paced;
	int (*go_on)(void *arg);
	void *arg;
};

static int pace(void *arg, uint64_t bytes)
{
	struct one *one = arg;
	struct mover *m = one->m;
	int r = one->go_on ? one->go_on(one->arg) : 0;
	SCOPED_LOCK(&m->lock);
	uint64_t rate = m->opt.rate_bytes_per_s, now = clock_mono_ns();
	m->due_ns = m->due_ns < now ? now : m->due_ns;
	if (one->paced && rate)
		m->due_ns += (uint64_t)((double)bytes * 1e9 / (double)rate);
	while (one->paced && rate && !m->stopping && !m->hurry && clock_mono_ns() < m->due_ns)
		cond_wait_until(&m->changed, &m->lock, m->due_ns);
	return r ? r : m->stopping ? -ECANCELED : 0;
}

static bool has_room(struct mover *m, unsigned tier, uint64_t bytes)
{
	struct place *pl = tiers_place(m->opt.tiers, tier);
	uint64_t total, avail;
	uint64_t leave = tier == TIER_HOT ? m->opt.short_bytes : ROOM_LEFT;
	return pl && pl->ops->room(pl, &total, &avail) == 0 && avail >= bytes + leave;
}

/* To compress it anew takes time, and as much of the pool's disk as it has: not while that is short of room. */
static int level_of(struct mover *m, const struct pack_row *row, unsigned tier)
{
	struct tier_info info;
	bool any = tiers_get(m->opt.tiers, tier, &info) && info.level;
	return any && has_room(m, TIER_HOT, row->bytes * MOVES_MAX) ? info.level : 0;
}

/* A free turn, unless the pack moves already. */
static struct turn *find_turn_locked(struct mover *m, uint64_t pack)
{
	struct turn *unused = NULL;
	for (unsigned i = 0; i < MOVES_MAX; i++) {
		if (m->turns[i].pack == pack)
			return NULL;
		if (!m->turns[i].pack)
			unused = &m->turns[i];
	}
	return m->shut ? NULL : unused;
}

/* What others are bringing there now. */
static uint64_t coming_locked(const struct mover *m, unsigned tier)
{
	uint64_t bytes = 0;
	for (unsigned i = 0; i < MOVES_MAX; i++)
		bytes += m->turns[i].pack && m->turns[i].to == tier ? m->turns[i].bytes : 0;
	return bytes;
}

/* Waits for a turn, and first until others bring no more there than `most`; *ret_coming: what they do bring. */
static struct turn *begin_turn(struct one *one, const struct turn *turn, uint64_t most,
			       uint64_t *ret_coming)
{
	struct mover *m = one->m;
	struct turn *own;
	SCOPED_LOCK(&m->lock);
	m->hurry += !one->paced;
	pthread_cond_broadcast(&m->changed);
	while (coming_locked(m, turn->to) > most || !(own = find_turn_locked(m, turn->pack)))
		pthread_cond_wait(&m->changed, &m->lock);
	m->hurry -= !one->paced;
	*ret_coming = coming_locked(m, turn->to);
	*own = *turn;
	return own;
}

static void end_turn(struct mover *m, struct turn *turn)
{
	SCOPED_LOCK(&m->lock);
	*turn = (struct turn){ 0 };
	pthread_cond_broadcast(&m->changed);
}

/* What is on its way may need all the room: then it is waited for. */
static int begin_with_room(struct one *one, const struct turn *turn, struct turn **ret_turn)
{
	uint64_t most = UINT64_MAX, coming;
	for (;;) {
		*ret_turn = begin_turn(one, turn, most, &coming);
		if (has_room(one->m, turn->to, turn->bytes + coming))
			return 0;
		end_turn(one->m, *ret_turn);
		if (!coming)
			return -ENOSPC;
		most = coming - 1;
	}
}

/* Not collected meanwhile: the index has it where it is not. */
static bool is_lost(struct mover *m, const struct pack_row *was)
{
	struct pack_row row;
	if (pack_get(m->opt.kv, was->id, &row) || row.state != PACK_SEALED || row.tier != was->tier)
		return false;
	log_error("pack %016" PRIx64 " is missing where it should lie", row.id);
	return true;
}

static int move_one(struct one *one, const struct pack_row *row, unsigned tier)
{
	struct mover *m = one->m;
	struct pack_move move = { .packs = m->opt.packs,
				  .rotten = m->opt.rotten,
				  .cache = m->opt.cache,
				  .pace = pace,
				  .arg = one };
	struct turn *turn, asked = { row->id, tier, row->bytes };
	if (!tiers_place(m->opt.tiers, tier) || !tiers_place(m->opt.tiers, row->tier))
		return -ENOMEDIUM;
	int r = begin_with_room(one, &asked, &turn);
	if (r < 0)
		return r;
	move.level = level_of(m, row, tier);
	r = pack_move(&move, row->id, (uint8_t)tier);
	if (r == -ENOENT && is_lost(m, row))
		r = -ENODATA;
	end_turn(m, turn);
	SCOPED_LOCK(&m->lock);
	m->renamed |= r == 0 && move.level;
	m->status.packs_moved += r == 0;
	m->status.bytes_moved += r == 0 ? row->bytes : 0;
	return r;
}

/* While nothing moves: copies on their way have no rows yet. */
static void remove_leftovers(struct mover *m, unsigned tier)
{
	pthread_mutex_lock(&m->lock);
	m->shut = true;
	for (unsigned i = 0; i < MOVES_MAX; i++)
		while (m->turns[i].pack)
			pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
	pack_leftover_remove(m->opt.packs, tier);
	pthread_mutex_lock(&m->lock);
	m->shut = false;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

const char *mover_reason(int err)
{
	return err == -ENOMEDIUM ? "a tier is absent"
	       : err == -ENOSPC	 ? "there is no room for it"
	       : err == -ENODATA ? "its file is missing"
	       : err == -EBUSY	 ? "it is being filled, or collected as garbage"
				 : strerror(-err);
}

/* ---- looking ---- */

static unsigned nth_of(const struct pass *pass, unsigned tier)
{
	for (unsigned i = 0; i < pass->n_order; i++)
		if (pass->order[i].number == tier)
			return i;
	return pass->n_order; /* nothing is known of it */
}

static int add_plan(void *arg, const struct pack_row *row)
{
	struct pass *pass = arg;
	struct access *access = pass->m->opt.access;
	if (row->state != PACK_SEALED)
		return 0;
	if (pass->n == pass->cap) {
		size_t cap = pass->cap ? pass->cap * 2 : 64;
		struct plan *grown = realloc(pass->v, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		pass->v = grown;
		pass->cap = cap;
	}
	struct plan *p = &pass->v[pass->n];
	*p = (struct plan){ .row = *row, .used = access_time(access, row->id) };
	p->used = p->used < row->created ? row->created : p->used;
	p->nth = p->want = nth_of(pass, row->tier);
	pass->n += p->nth < pass->n_order;
	return 0;
}

/* What could not be removed from a place while it was away is removed when it is back. */
static void look_for_tiers(struct mover *m)
{
	bool there[TIERS_MAX];
	for (unsigned i = 0; i < TIERS_MAX; i++)
		there[i] = tiers_place(m->opt.tiers, i);
	tiers_look(m->opt.tiers);
	for (unsigned i = 0; i < TIERS_MAX; i++) {
		if (!there[i] && tiers_place(m->opt.tiers, i))
			remove_leftovers(m, i);
	}
}

static void list_tiers(struct pass *pass)
{
	struct mover *m = pass->m;
	look_for_tiers(m);
	while (tiers_nth(m->opt.tiers, pass->n_order, &pass->order[pass->n_order])) {
		const struct tier_info *info = &pass->order[pass->n_order];
		pass->usable[pass->n_order++] = info->declared && !info->absent;
	}
}

static bool stop_is_asked(void *arg)
{
	return stopping(arg);
}

static int look_for_wishes(struct mover *m)
{
	struct wishes fresh;
	uint64_t began = clock_mono_ms();
	pthread_mutex_lock(&m->lock);
	bool renamed = m->renamed;
	m->renamed = false;
	pthread_mutex_unlock(&m->lock);
	if (began < m->wishes_due_ms && !renamed)
		return 0;
	struct wishes_stop stop = { stop_is_asked, m };
	int r = wishes_by_policy(m->opt.kv, m->opt.tiers, &stop, &fresh);
	if (r < 0)
		return r;
	wishes_done(&m->wishes);
	m->wishes = fresh;
	uint64_t ended = clock_mono_ms();
	m->wishes_due_ms = ended + (ended - began) * WISHES_SHARE;
	return 0;
}

/* ---- deciding ---- */

/* The hottest tier that files of it ask for; a colder one than it is in only if most of it is theirs. */
static void decide_by_wish(struct pass *pass, struct plan *p)
{
	const struct wish_tally *t = wishes_find(&pass->m->wishes, p->row.id);
	if (!t)
		return;
	unsigned nth = 0;
	while (nth < pass->n_order && !t->by[nth])
		nth++;
	if (nth == pass->n_order || (nth > p->nth && t->wished * 2 < t->stored))
		return;
	p->wished = true;
	p->kept = nth == 0;
	p->want = pass->usable[nth] ? nth : p->nth;
}

static void decide_by_age(struct pass *pass, struct plan *p)
{
	int64_t idle_ms = (pass->now - p->used) * 1000;
	for (unsigned i = pass->n_order; i-- > p->nth + 1;)
		if (pass->usable[i] && pass->order[i].age_ms &&
		    idle_ms >= (int64_t)pass->order[i].age_ms) {
			p->want = i;
			return;
		}
}

struct disk {
	uint64_t total, used; /* the pool's */
};

static bool look_at_disk(struct mover *m, struct disk *ret_disk)
{
	uint64_t total, avail;
	struct place *hot = tiers_place(m->opt.tiers, TIER_HOT);
	if (hot->ops->room(hot, &total, &avail) < 0 || avail > total)
		return false;
	*ret_disk = (struct disk){ total, total - avail };
	return true;
}

static uint64_t mark(const struct disk *d, unsigned percent)
{
	return d->total / 100 * percent;
}

static int longest_unused_first(const void *a, const void *b)
{
	const struct plan *x = a, *y = b;
	if (x->used != y->used)
		return x->used > y->used ? 1 : -1;
	return x->row.id > y->row.id ? 1 : -1;
}

/* With the packs sorted. */
static void decide_by_room(struct pass *pass, const struct disk *disk)
{
	struct mover *m = pass->m;
	uint64_t used = disk->used;
	unsigned to = 1;
	for (size_t i = 0; i < pass->n; i++)
		if (pass->v[i].nth == 0 && pass->v[i].want)
			used -= pass->v[i].row.bytes < used ? pass->v[i].row.bytes : used;
	if (used <= mark(disk, m->opt.high_watermark))
		return;
	for (size_t i = 0; i < pass->n && used > mark(disk, m->opt.low_watermark); i++) {
		struct plan *p = &pass->v[i];
		if (p->nth || p->want || p->kept)
			continue;
		while (to < pass->n_order &&
		       (!pass->usable[to] || !has_room(m, pass->order[to].number, p->row.bytes)))
			to++;
		if (to == pass->n_order)
			return;
		p->want = to;
		used -= p->row.bytes < used ? p->row.bytes : used;
	}
}

static void decide_by_use(struct pass *pass, const struct disk *disk)
{
	uint64_t used = disk->used;
	for (size_t i = 0; i < pass->n; i++) {
		struct plan *p = &pass->v[i];
		if (!p->nth || p->wished || !pass->usable[0] ||
		    access_bytes(pass->m->opt.access, p->row.id) <= p->row.bytes ||
		    used + p->row.bytes > mark(disk, pass->m->opt.low_watermark))
			continue;
		p->want = 0;
		used += p->row.bytes;
	}
}

static void decide(struct pass *pass)
{
	struct disk disk;
	for (size_t i = 0; i < pass->n; i++) {
		decide_by_wish(pass, &pass->v[i]);
		if (!pass->v[i].wished)
			decide_by_age(pass, &pass->v[i]);
	}
	if (pass->n)
		qsort(pass->v, pass->n, sizeof *pass->v, longest_unused_first);
	if (!look_at_disk(pass->m, &disk))
		return;
	decide_by_use(pass, &disk);
	decide_by_room(pass, &disk);
}

/* ---- a pass ---- */

static bool failed_lately(const struct pass *pass, uint64_t pack)
{
	for (unsigned i = 0; i < FAILED_MAX; i++)
		if (pass->m->failed[i].pack == pack && pass->m->failed[i].until > pass->now)
			return true;
	return false;
}

static void note_failure(struct pass *pass, const struct plan *p, int err)
{
	struct mover *m = pass->m;
	const char *name = pass->order[p->want].name;
	pass->full[p->want] |= err == -ENOSPC || err == -EDQUOT || err == -ENOMEDIUM;
	snprintf(pass->error, sizeof pass->error, "pack %016lx could not be moved to tier %s: %s",
		 p->row.id, name, mover_reason(err));
	if (pass->full[p->want])
		return;
	m->failed[m->next_failed++ % FAILED_MAX] =
		(struct failure){ p->row.id, pass->now + RETRY_S };
}

static bool wants_move(const struct pass *pass, const struct plan *p)
{
	return p->want != p->nth && !pass->full[p->want] && !failed_lately(pass, p->row.id);
}

static void tell_waiting(struct pass *pass)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < pass->n; i++)
		bytes += wants_move(pass, &pass->v[i]) ? pass->v[i].row.bytes : 0;
	SCOPED_LOCK(&pass->m->lock);
	pass->m->status.bytes_waiting = bytes;
}

/* Colder first: what leaves makes room for what comes back. */
static int move_all(struct pass *pass)
{
	struct one one = { .m = pass->m, .paced = true };
	int r = 0;
	for (int back = 0; back < 2; back++)
		for (size_t i = 0; i < pass->n && r == 0; i++) {
			struct plan *p = &pass->v[i];
			if (!wants_move(pass, p) || (p->want < p->nth) != back)
				continue;
			int e = stopping(pass->m)
					? -ECANCELED
					: move_one(&one, &p->row, pass->order[p->want].number);
			if (e == 0)
				p->nth = p->want;
			if (e == -ECANCELED || e == -EROFS)
				r = e;
			else if (e < 0 && e != -EBUSY && e != -ENOENT)
				note_failure(pass, p, e);
			p->want = p->nth;
			tell_waiting(pass);
		}
	return r;
}

static void fade(struct mover *m, int64_t now)
{
	if (now >= m->faded && now - m->faded < FADE_S)
		return;
	access_fade(m->opt.access);
	m->faded = now;
}

/* Each trouble once, as long as it lasts. */
static void end_pass(struct pass *pass)
{
	struct mover *m = pass->m;
	SCOPED_LOCK(&m->lock);
	if (*pass->error && strcmp(pass->error, m->status.last_error))
		log_warn("%s", pass->error);
	memcpy(m->status.last_error, pass->error, sizeof pass->error);
	m->status.bytes_waiting = 0;
	m->status.passes++;
}

int mover_run(struct mover *m)
{
	struct pass pass = { .m = m, .now = clock_wall_ns() / 1000000000 };
	SCOPED_LOCK(&m->passing);
	fade(m, pass.now);
	int r = access_save(m->opt.access);
	list_tiers(&pass);
	if (r == 0)
		r = look_for_wishes(m);
	if (r == 0)
		r = packs_each(m->opt.packs, add_plan, &pass);
	r = r == -EUCLEAN ? 0 : r; /* fsck's business */
	if (r == 0) {
		decide(&pass);
		tell_waiting(&pass);
		r = move_all(&pass);
	}
	if (r < 0 && r != -ECANCELED)
		snprintf(pass.error, sizeof pass.error, "packs could not be moved: %s",
			 mover_reason(r));
	end_pass(&pass);
	free(pass.v);
	return r;
}

/* ---- the thread ---- */

static void *mover_main(void *arg)
{
	struct mover *m = arg;
	pthread_setname_np(pthread_self(), "mover");
	pthread_mutex_lock(&m->lock);
	uint64_t due = clock_mono_ns() + m->opt.interval_s * 1000000000;
	while (!m->stopping) {
		if (!m->woken && clock_mono_ns() < due) {
			cond_wait_until(&m->changed, &m->lock, due);
			continue;
		}
		m->woken = false;
		pthread_mutex_unlock(&m->lock);
		mover_run(m);
		pthread_mutex_lock(&m->lock);
		due = clock_mono_ns() + m->opt.interval_s * 1000000000;
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

int mover_start(struct mover *m)
{
	int r = thread_start(&m->thread, mover_main, m);
	m->started = r == 0;
	return r;
}

void mover_wake(struct mover *m)
{
	SCOPED_LOCK(&m->lock);
	m->woken = true;
	pthread_cond_broadcast(&m->changed);
}

void mover_packs_renamed(struct mover *m)
{
	SCOPED_LOCK(&m->lock);
	m->renamed = true;
}

void mover_stop(struct mover *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->stopping = true;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
	if (m->started)
		pthread_join(m->thread, NULL);
	m->started = false;
}

/* ---- for people ---- */

struct errand {
	struct mover *m;
	int (*progress)(void *arg, const struct mover_result *so_far);
	void *arg;
	unsigned tier;
	struct pack_row *rows;
	size_t n;

	pthread_mutex_t lock; /* the rest, and `progress` is called with it */
	size_t next;
	int ended; /* the others need not move */
	struct mover_result result;
};

static int errand_goes_on(void *arg)
{
	struct errand *e = arg;
	SCOPED_LOCK(&e->lock);
	return e->progress && e->progress(e->arg, &e->result) ? -ECANCELED : 0;
}

static bool errand_is_over(void *arg)
{
	return errand_goes_on(arg) < 0;
}

/* Keeps of the list what shall move, as rows; counts. */
static int choose(struct errand *e, const struct wishes *w)
{
	struct pack_row *rows = e->rows = calloc(w->n + 1, sizeof *rows);
	if (!rows)
		return -ENOMEM;
	for (size_t i = 0; i < w->n; i++) {
		int r = pack_get(e->m->opt.kv, w->v[i].pack, &rows[e->n]);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r < 0 || rows[e->n].state == PACK_DOOMED || rows[e->n].tier == e->tier)
			continue;
		if (e->tier != TIER_HOT && w->v[i].wished * 2 < w->v[i].stored) {
			e->result.packs_shared++;
			e->result.bytes_shared += rows[e->n].bytes;
			continue;
		}
		e->result.packs++;
		e->result.bytes += rows[e->n].bytes;
		e->n++;
	}
	return 0;
}

static const struct pack_row *next_row(struct errand *e)
{
	SCOPED_LOCK(&e->lock);
	return e->ended || e->next == e->n ? NULL : &e->rows[e->next++];
}

static void note_move(struct errand *e, const struct pack_row *row, int r)
{
	SCOPED_LOCK(&e->lock);
	if (r == -ECANCELED || r == -EROFS) {
		e->ended = e->ended ? e->ended : r;
	} else if (r < 0 && r != -ENOENT) { /* that: collected meanwhile */
		e->result.packs_failed++;
		e->result.error = e->result.error ? e->result.error : r;
	} else if (r == 0) {
		if (e->tier == TIER_HOT)
			access_set(e->m->opt.access, row->id, clock_wall_ns() / 1000000000);
		e->result.packs_moved++;
		e->result.bytes_moved += row->bytes;
	}
}

static void *errand_main(void *arg)
{
	struct errand *e = arg;
	struct one one = { .m = e->m, .go_on = errand_goes_on, .arg = e };
	for (const struct pack_row *row; (row = next_row(e));)
		note_move(e, row, move_one(&one, row, e->tier));
	return NULL;
}

/* As many threads as can be had; this one is the first. */
static int move_rows(struct errand *e)
{
	pthread_t threads[MOVES_MAX];
	unsigned n = 0;
	while (n + 1 < MOVES_MAX && n + 1 < e->n && thread_start(&threads[n], errand_main, e) == 0)
		n++;
	errand_main(e);
	while (n)
		pthread_join(threads[--n], NULL);
	return e->ended;
}

int mover_move_files(struct mover *m, const uint64_t *inos, size_t n, unsigned tier,
		     int (*progress)(void *arg, const struct mover_result *so_far), void *arg,
		     struct mover_result *ret_result)
{
	struct errand e = { .m = m, .progress = progress, .arg = arg, .tier = tier };
	struct wishes_stop stop = { errand_is_over, &e };
	struct wishes w = { 0 };
	pthread_mutex_init(&e.lock, NULL);
	int r = packs_retire(m->opt.packs); /* what is being filled can move, too */
	if (r == 0)
		r = wishes_of_files(m->opt.kv, inos, n, &stop, &w);
	if (r == 0)
		r = choose(&e, &w);
	if (r == 0)
		r = move_rows(&e);
	free(e.rows);
	wishes_done(&w);
	pthread_mutex_destroy(&e.lock);
	*ret_result = e.result;
	return r;
}
