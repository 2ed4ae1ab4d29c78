// SPDX-License-Identifier: MIT
/* One pass:
 *
 *   1  set the marks of extents and packer: from here on every reference that is made is seen
 *   2  scan all inode rows and segments
 *   3  wait for the windows in flight: they may hold duplicates found before step 1
 *   4  count, over all frame rows, what is live in each pack; choose the packs that go
 *   5  collect their rows, some packs at a time, and sweep them (sweep.c), the emptiest first
 *   6  clear the marks
 *
 * No room: when a pack cannot be moved as a whole, what was moved of it is given back, and it goes on
 * with the room that made. When not even that makes any, and at the beginning of a pass when the disk is
 * short of room, relieve() drops all frames of all packs in which everything is dead, and gives them back
 * in place. Then also packs above `min_live_percent` are rewritten, as long as the disk is short.
 * What a pack's file takes beyond its rows' frames (a pass that ended halfway) counts as dead.
 *
 * Which chunks are dead? Those below the first id not given out before step 1, that no mark
 * named. A dead chunk may still become live until it is condemned, by a duplicate hit; after that
 * the packer stores the bytes anew. Nothing else can bring one back: a file that gets pieces from
 * another gets live ones, and what destage commits comes from the packer.
 *
 * Which packs may go? A pack is swept by its rows, so all of them must be there: it must be
 * sealed, and the frames that were on their way into it completed, those of chunks being healed
 * (rotten.h) too. Hence the order in ready_victims(): retire, drain, look at the state. A pack still
 * being filled is retired only if it is empty enough itself.
 *
 * Memory: two bits per chunk id, and 32 bytes per row of the packs at hand, at most
 * ROWS_AT_ONCE unless one pack has more.
 *
 * Lock order: `lock` is innermost and never held while working.
 */
#include "gc.h"
#include "cleanup.h"
#include "cond.h"
#include "log.h"
#include "marks.h"
#include "sweep.h"
#include <errno.h>

#define MIN_LIVE_PERCENT 75
#define MIN_LIVE_SHORT 95 /* when the disk is short of room */
#define SLACK_MIN 65536u
#define ROWS_AT_ONCE (1u << 20)
#define PROGRESS_ROWS 65536u

struct gc {
	struct gc_options opt;
	struct kv *kv;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool running, stopping;
};

/* What one pack holds, in decoded bytes. */
struct tally {
	struct pack_row row;
	uint64_t live, dead, rows;
	uint64_t stored, stored_dead; /* of its frames; of those with nothing live */
	uint64_t slack;		      /* stored bytes that no row leads to */
	uint64_t trimmed;
	bool victim, swept;
	size_t rank; /* of a victim, in the order of sweeping */
};

struct pass {
	struct gc *gc;
	struct marks *marks;
	struct sweep *sweep;
	struct tally *packs; /* by id */
	size_t n, cap;
	size_t *order; /* victims, the emptiest first */
	size_t n_order;
	struct gc_result result;
	void (*progress)(void *arg, const struct gc_result *so_far);
	void *arg;
	uint64_t started_ns, paced_bytes;
	uint64_t lsn; /* of the latest batch */
	bool short_of_room, relieved;
	bool scraping; /* nothing could be given back: goes on with what is left to others */
	bool doomed;   /* packs were, whose files may still be there */
};

int gc_open(const struct gc_options *opt, struct gc **ret_gc)
{
	struct gc *gc = calloc(1, sizeof *gc);
	if (!gc)
		return -ENOMEM;
	gc->opt = *opt;
	gc->kv = extents_kv(opt->extents);
	if (!gc->opt.min_live_percent)
		gc->opt.min_live_percent = MIN_LIVE_PERCENT;
	cond_init(&gc->changed);
	pthread_mutex_init(&gc->lock, NULL);
	*ret_gc = gc;
	return 0;
}

void gc_stop(struct gc *gc)
{
	SCOPED_LOCK(&gc->lock);
	gc->stopping = true;
	pthread_cond_broadcast(&gc->changed);
}

void gc_close(struct gc *gc)
{
	if (!gc)
		return;
	gc_stop(gc);
	pthread_mutex_lock(&gc->lock);
	while (gc->running)
		pthread_cond_wait(&gc->changed, &gc->lock);
	pthread_mutex_unlock(&gc->lock);
	pthread_cond_destroy(&gc->changed);
	pthread_mutex_destroy(&gc->lock);
	free(gc);
}

static bool is_short(struct gc *gc)
{
	uint64_t avail;
	return packs_avail(gc->opt.packs, &avail) < 0 || avail < gc->opt.short_bytes;
}

static bool is_full(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

static bool stopping(struct gc *gc)
{
	SCOPED_LOCK(&gc->lock);
	return gc->stopping;
}

static void report(struct pass *pass)
{
	if (pass->progress)
		pass->progress(pass->arg, &pass->result);
}

/* Sleeps until the bytes rewritten so far are no more than the rate allows. */
static void pace(void *arg, uint64_t bytes)
{
	struct pass *pass = arg;
	struct gc *gc = pass->gc;
	pass->paced_bytes += bytes;
	pass->result.bytes_rewritten += bytes;
	if (!gc->opt.rate_bytes_per_s || pass->short_of_room)
		return;
	uint64_t due = pass->started_ns + (uint64_t)((double)pass->paced_bytes * 1e9 /
						     (double)gc->opt.rate_bytes_per_s);
	SCOPED_LOCK(&gc->lock);
	while (!gc->stopping && clock_mono_ns() < due)
		cond_wait_until(&gc->changed, &gc->lock, due);
}

/* ---- marking ---- */

static bool keep_duplicate(void *arg, uint64_t chunk)
{
	return marks_keep(arg, chunk);
}

static void keep_reference(void *arg, uint64_t chunk)
{
	if (chunk && !marks_keep(arg, chunk))
		log_error("gc: chunk %llu was given to a file while it was being collected",
			  (unsigned long long)chunk);
}

static int mark(struct pass *pass)
{
	struct gc *gc = pass->gc;
	extents_set_mark(gc->opt.extents, keep_reference, pass->marks);
	packer_set_mark(gc->opt.packer, keep_duplicate, pass->marks);
	int r = extents_scan(gc->opt.extents, keep_reference, pass->marks);
	if (r == 0 && gc->opt.destage)
		destage_settle(gc->opt.destage);
	return r;
}

/* ---- counting ---- */

static int add_pack(void *arg, const struct pack_row *row)
{
	struct pass *pass = arg;
	if (row->state == PACK_DOOMED)
		return 0;
	if (pass->n == pass->cap) {
		size_t cap = pass->cap ? pass->cap * 2 : 64;
		struct tally *grown = realloc(pass->packs, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		pass->packs = grown;
		pass->cap = cap;
	}
	pass->packs[pass->n++] = (struct tally){ .row = *row };
	return 0;
}

static int tally_order(const void *a, const void *b)
{
	uint64_t x = ((const struct tally *)a)->row.id, y = ((const struct tally *)b)->row.id;
	return (x > y) - (x < y);
}

static struct tally *tally_of(struct pass *pass, uint64_t pack)
{
	struct tally key = { .row.id = pack };
	return pass->n ? bsearch(&key, pass->packs, pass->n, sizeof key, tally_order) : NULL;
}

static void count_row(struct pass *pass, struct tally *t, const struct frame_row *row)
{
	uint64_t live_before = t->live;
	t->rows++;
	for (uint32_t i = 0; i < row->n; i++) {
		bool live = marks_live(pass->marks, row->chunks[i].id);
		*(live ? &t->live : &t->dead) += row->chunks[i].length;
		*(live ? &pass->result.bytes_live : &pass->result.bytes_dead) +=
			row->chunks[i].length;
		if (!row->part)
			(*(live ? &pass->result.chunks_live : &pass->result.chunks_dead))++;
	}
	t->stored += row->stored_len;
	if (t->live == live_before)
		t->stored_dead += row->stored_len;
}

/* Bytes of the file that are neither a frame of ours, nor header or footer, nor given back. */
static void find_slack(struct pass *pass, struct tally *t)
{
	uint64_t allocated, known = t->stored + t->rows * sizeof(struct footer_entry);
	if (t->row.state != PACK_SEALED ||
	    pack_allocated(pass->gc->opt.packs, t->row.id, &allocated) < 0)
		return;
	if (allocated > known + known / 8 + SLACK_MIN) /* trimming leaves parts of blocks */
		t->slack = allocated - known;
}

/* Calls fn for every frame row in key order. A damaged row ends the pass: nobody knows which chunks
 * it named, nor in which pack. */
static int each_row(struct pass *pass,
		    int (*fn)(struct pass *pass, const struct frame_row *row, void *arg), void *arg)
{
	struct kv_iter *it = kv_iter_new(pass->gc->kv, KV_CHUNK, NULL, 0, false);
	struct slice key, val;
	uint64_t rows = 0;
	int r = it ? 0 : -ENOMEM, more;
	while (r == 0 && (more = kv_iter_next(it, &key, &val)) != 0) {
		struct frame_row row = { 0 };
		if (more > 0)
			more = frame_decode_row(key, val, &row);
		r = more < 0 ? more : fn(pass, &row, arg);
		frame_row_done(&row);
		if (++rows % PROGRESS_ROWS == 0) {
			report(pass);
			if (stopping(pass->gc))
				r = -ECANCELED;
		}
	}
	kv_iter_free(it);
	return r;
}

static int count_one(struct pass *pass, const struct frame_row *row, void *arg)
{
	struct tally **last = arg; /* rows of one pack come in runs */
	if (!*last || (*last)->row.id != row->pack)
		*last = tally_of(pass, row->pack);
	if (*last)
		count_row(pass, *last, row);
	return 0;
}

static int count(struct pass *pass)
{
	struct tally *last = NULL;
	int r = packs_each(pass->gc->opt.packs, add_pack, pass);
	if (r < 0)
		return r;
	if (pass->n)
		qsort(pass->packs, pass->n, sizeof *pass->packs, tally_order);
	r = each_row(pass, count_one, &last);
	for (size_t i = 0; i < pass->n; i++)
		find_slack(pass, &pass->packs[i]);
	report(pass);
	return r;
}

/* ---- choosing ---- */

static double live_share(const struct tally *t)
{
	double decoded = (double)(t->live + t->dead), held = decoded;
	if (t->stored)
		held += decoded / (double)t->stored * (double)t->slack;
	return held > 0 ? (double)t->live / held : 0;
}

static bool too_empty(const struct tally *t, unsigned min_live_percent)
{
	return live_share(t) * 100 < min_live_percent;
}

static int emptier_first(const void *a, const void *b, void *arg)
{
	const struct tally *x = &((struct tally *)arg)[*(const size_t *)a];
	const struct tally *y = &((struct tally *)arg)[*(const size_t *)b];
	double p = live_share(x), q = live_share(y);
	if (p != q)
		return p > q ? 1 : -1;
	return x->row.id > y->row.id ? 1 : -1;
}

/* Makes sure that nothing is on its way into the packs chosen, and drops those that are not sealed
 * even so. */
static int ready_victims(struct pass *pass)
{
	struct gc *gc = pass->gc;
	bool open = false;
	for (size_t i = 0; i < pass->n; i++)
		open = open || (pass->packs[i].victim && pass->packs[i].row.state == PACK_OPEN);
	if (open) {
		int r = packs_retire(gc->opt.packs);
		if (r < 0)
			return r;
	}
	packer_drain(gc->opt.packer);
	rotten_lock_rows(gc->opt.rotten); /* and what is being healed */
	rotten_unlock_rows(gc->opt.rotten);
	for (size_t i = 0; i < pass->n; i++) {
		struct tally *t = &pass->packs[i];
		if (!t->victim)
			continue;
		int r = pack_get(gc->kv, t->row.id, &t->row);
		if (r < 0 && r != -ENOENT)
			return r;
		t->victim = r == 0 && t->row.state == PACK_SEALED;
	}
	return 0;
}

/* Of a pack elsewhere what lives is written to the pool's own disk. */
static bool may_sweep(const struct pass *pass, const struct tally *t)
{
	return pack_reachable(pass->gc->opt.packs, &t->row) &&
	       (!t->row.tier || !t->live || !pass->short_of_room);
}

/* How much may come from colder tiers to the pool's own disk: no more than the mover would leave there. */
static uint64_t room_for_recalls(struct gc *gc)
{
	uint64_t total, used;
	if (!gc->opt.recall_percent || packs_disk(gc->opt.packs, &total, &used) < 0)
		return UINT64_MAX;
	uint64_t most = total / 100 * gc->opt.recall_percent;
	return most > used ? most - used : 0;
}

/* Of the victims, in their order. */
static void bound_recalls(struct pass *pass)
{
	uint64_t room = room_for_recalls(pass->gc);
	size_t kept = 0;
	for (size_t i = 0; i < pass->n_order; i++) {
		struct tally *t = &pass->packs[pass->order[i]];
		uint64_t bytes = t->row.tier && t->live ? t->stored - t->stored_dead : 0;
		t->victim = bytes <= room;
		room -= t->victim ? bytes : 0;
		if (t->victim)
			pass->order[kept++] = pass->order[i];
	}
	pass->n_order = kept;
}

static int choose(struct pass *pass)
{
	unsigned least = pass->gc->opt.min_live_percent;
	if (pass->short_of_room && least < MIN_LIVE_SHORT)
		least = MIN_LIVE_SHORT;
	for (size_t i = 0; i < pass->n; i++) {
		struct tally *t = &pass->packs[i];
		bool fresh = t->row.state == PACK_OPEN && !t->rows;
		t->victim = !fresh && too_empty(t, least) && may_sweep(pass, t);
	}
	int r = ready_victims(pass);
	if (r < 0)
		return r;
	pass->order = calloc(pass->n + 1, sizeof *pass->order);
	if (!pass->order)
		return -ENOMEM;
	for (size_t i = 0; i < pass->n; i++)
		if (pass->packs[i].victim)
			pass->order[pass->n_order++] = i;
	qsort_r(pass->order, pass->n_order, sizeof *pass->order, emptier_first, pass->packs);
	bound_recalls(pass);
	for (size_t i = 0; i < pass->n_order; i++)
		pass->packs[pass->order[i]].rank = i;
	return 0;
}

/* ---- sweeping ---- */

/* Rows of the packs at places [from, to) of pass->order; or, to be relieved, of pass->packs. */
struct group {
	struct sweep_frame *v;
	size_t n, cap;
	uint64_t previous; /* pack of the row before */
	size_t from, to;
	bool relief;
};

static bool wants_relief(const struct tally *t)
{
	return t->row.state == PACK_SEALED && !t->row.tier && !t->swept && t->live &&
	       (t->stored_dead || t->slack);
}

static bool group_wants(const struct pass *pass, const struct group *g, const struct tally *t)
{
	size_t at = g->relief ? (size_t)(t - pass->packs) : t->rank;
	return (g->relief ? wants_relief(t) : t->victim) && at >= g->from && at < g->to;
}

static int collect_one(struct pass *pass, const struct frame_row *row, void *arg)
{
	struct group *g = arg;
	bool adjacent = row->pack == g->previous;
	g->previous = row->pack;
	struct tally *t = tally_of(pass, row->pack);
	if (!t || !group_wants(pass, g, t))
		return 0;
	if (g->n == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 1024;
		struct sweep_frame *grown = realloc(g->v, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		g->v = grown;
		g->cap = cap;
	}
	g->v[g->n++] = (struct sweep_frame){
		.pack = row->pack,
		.first_id = row->chunks[0].id,
		.offset = row->offset,
		.stored_len = row->stored_len,
		.part = row->part,
		.adjacent = adjacent,
	};
	return 0;
}

static int by_pack_and_id(const void *a, const void *b)
{
	const struct sweep_frame *x = a, *y = b;
	if (x->pack != y->pack)
		return x->pack > y->pack ? 1 : -1;
	if (x->first_id != y->first_id)
		return x->first_id > y->first_id ? 1 : -1;
	return (int)x->part - (int)y->part;
}

static int collect(struct pass *pass, struct group *g)
{
	int r = each_row(pass, collect_one, g);
	if (r == 0 && g->n)
		qsort(g->v, g->n, sizeof *g->v, by_pack_and_id);
	return r;
}

static struct sweep_frame *rows_of(struct group *g, uint64_t pack, size_t *ret_n)
{
	size_t low = 0, high = g->n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (g->v[mid].pack < pack)
			low = mid + 1;
		else
			high = mid;
	}
	for (high = low; high < g->n && g->v[high].pack == pack;)
		high++;
	*ret_n = high - low;
	return g->v + low;
}

/* Gives back what has gone from the pack, once that is durable. */
static int give_back(struct pass *pass, struct group *g, struct tally *t, uint64_t *ret_won)
{
	size_t n;
	struct sweep_frame *frames = rows_of(g, t->row.id, &n);
	*ret_won = 0;
	int r = kv_sync(pass->gc->kv, UINT64_MAX); /* also what healing and earlier passes took */
	if (r < 0)
		return r;
	r = sweep_trim(pass->sweep, t->row.id, frames, n, ret_won);
	if (r < 0 && r != -ENOENT) /* it has moved, and is another pack now */
		log_warn("gc: pack %016llx could not be given back in part: %s",
			 (unsigned long long)t->row.id, strerror(-r));
	pass->result.packs_trimmed += *ret_won && !t->trimmed;
	pass->result.bytes_freed += *ret_won;
	t->trimmed += *ret_won;
	report(pass);
	return 0; /* it takes what it took before, and the next pass tries again */
}

static int relieve_group(struct pass *pass, size_t from, size_t to, uint64_t *won)
{
	struct group g = { .from = from, .to = to, .relief = true };
	int r = collect(pass, &g);
	for (size_t i = from; i < to && r == 0; i++) {
		struct tally *t = &pass->packs[i];
		uint64_t bytes = 0;
		size_t n;
		if (!wants_relief(t))
			continue;
		struct sweep_frame *frames = rows_of(&g, t->row.id, &n);
		r = stopping(pass->gc) ? -ECANCELED : 0;
		if (r == 0)
			r = sweep_drop(pass->sweep, t->row.id, frames, n, &pass->lsn);
		if (r == 0)
			r = give_back(pass, &g, t, &bytes);
		*won += bytes;
	}
	free(g.v);
	return r;
}

/* Makes room without needing any. Packs with nothing live are left out: they go as a whole. */
static int relieve(struct pass *pass, uint64_t *ret_won)
{
	int r = 0;
	*ret_won = 0;
	pass->relieved = pass->short_of_room = true;
	for (size_t from = 0, to; from < pass->n && r == 0; from = to) {
		uint64_t rows = 0;
		for (to = from; to < pass->n && (to == from || rows < ROWS_AT_ONCE); to++)
			rows += wants_relief(&pass->packs[to]) ? pass->packs[to].rows : 0;
		if (rows)
			r = relieve_group(pass, from, to, ret_won);
	}
	return r;
}

/* There was no room to go on with this pack. 1 when there is some now. */
static int make_room(struct pass *pass, struct group *g, struct tally *t)
{
	uint64_t won = 0;
	int r = give_back(pass, g, t, &won);
	if (r == 0 && pass->doomed) {
		packs_settle(pass->gc->opt.packs);
		pass->doomed = false;
		won++;
	}
	if (r == 0 && !won && !pass->relieved)
		r = relieve(pass, &won);
	bool scrape = !won && !pass->scraping;
	if (r == 0 && (scrape || won)) {
		pass->scraping = scrape;
		sweep_leave(pass->sweep, scrape ? SWEEP_FLOOR_LEAST : SWEEP_FLOOR);
		won++;
	}
	if (r == 0 && won && stopping(pass->gc))
		r = -ECANCELED;
	return r < 0 ? r : won > 0;
}

static int sweep_one(struct pass *pass, struct group *g, struct tally *t)
{
	uint64_t moved = 0, bytes;
	size_t n;
	struct sweep_frame *frames = rows_of(g, t->row.id, &n);
	int r, room;
	do {
		r = sweep_pack(pass->sweep, t->row.id, frames, n, &bytes, &pass->lsn);
		moved += bytes;
		room = is_full(r) ? make_room(pass, g, t) : 0;
	} while (room > 0);
	if (room < 0)
		return room;
	if (r == 0) /* something has to stay: the rest does not */
		return give_back(pass, g, t, &bytes);
	if (r > 0) {
		t->swept = pass->doomed = true;
		pass->result.bytes_freed +=
			t->row.bytes > t->trimmed ? t->row.bytes - t->trimmed : 0;
		(*(moved ? &pass->result.packs_rewritten : &pass->result.packs_dropped))++;
	}
	report(pass);
	return r < 0 ? r : 0;
}

/* A victim only because the disk was short of room, which it no longer is. */
static bool is_full_enough(struct pass *pass, const struct tally *t)
{
	return pass->short_of_room && !too_empty(t, pass->gc->opt.min_live_percent) &&
	       !is_short(pass->gc);
}

static int sweep_group(struct pass *pass, size_t from, size_t to)
{
	struct group g = { .from = from, .to = to };
	int r = collect(pass, &g);
	for (size_t i = from; i < to && r == 0; i++) {
		struct tally *t = &pass->packs[pass->order[i]];
		if (is_full_enough(pass, t))
			continue;
		r = stopping(pass->gc) ? -ECANCELED : sweep_one(pass, &g, t);
		/* what is gone shall be given back before anything is written */
		bool last_empty = !t->live &&
				  (i + 1 == pass->n_order || pass->packs[pass->order[i + 1]].live);
		if (r == 0 && last_empty)
			r = kv_sync(pass->gc->kv, pass->lsn);
		if (r == 0 && last_empty && pass->short_of_room)
			packs_settle(pass->gc->opt.packs);
	}
	free(g.v);
	return r;
}

static int sweep_victims(struct pass *pass)
{
	uint64_t won = 0;
	int r = pass->short_of_room ? relieve(pass, &won) : 0;
	for (size_t from = 0, to; from < pass->n_order && r == 0; from = to) {
		uint64_t rows = 0;
		for (to = from; to < pass->n_order && (to == from || rows < ROWS_AT_ONCE); to++)
			rows += pass->packs[pass->order[to]].rows;
		r = sweep_group(pass, from, to);
	}
	if (is_full(r) && pass->result.bytes_freed) { /* more than that cannot be had */
		log_info("gc: there was no room to rewrite all packs that deserve it");
		r = 0;
	}
	if (r == 0 && pass->lsn)
		r = kv_sync(pass->gc->kv, pass->lsn);
	if (r == 0)
		packs_settle(pass->gc->opt.packs); /* who asked for space finds it */
	return r;
}

/* ---- a pass ---- */

static int run_pass(struct pass *pass)
{
	struct sweep_options so = {
		.gc = &pass->gc->opt,
		.marks = NULL,
		.pace = pace,
		.arg = pass,
	};
	int r = marks_new(packer_next_id(pass->gc->opt.packer), &pass->marks);
	so.marks = pass->marks;
	pass->short_of_room = is_short(pass->gc);
	if (r == 0)
		r = sweep_new(&so, &pass->sweep);
	if (r == 0)
		r = mark(pass);
	if (r == 0)
		r = count(pass);
	if (r == 0)
		r = choose(pass);
	if (r == 0)
		r = sweep_victims(pass);
	packer_set_mark(pass->gc->opt.packer, NULL, NULL);
	extents_set_mark(pass->gc->opt.extents, NULL, NULL);
	sweep_free(pass->sweep);
	marks_free(pass->marks);
	free(pass->packs);
	free(pass->order);
	return r;
}

int gc_run(struct gc *gc, void (*progress)(void *arg, const struct gc_result *so_far), void *arg,
	   struct gc_result *ret_result)
{
	pthread_mutex_lock(&gc->lock);
	bool busy = gc->running || gc->stopping;
	gc->running = gc->running || !busy;
	pthread_mutex_unlock(&gc->lock);
	if (busy)
		return -EBUSY;
	struct pass pass = {
		.gc = gc,
		.progress = progress,
		.arg = arg,
		.started_ns = clock_mono_ns(),
	};
	int r = run_pass(&pass);
	*ret_result = pass.result;
	pthread_mutex_lock(&gc->lock);
	gc->running = false;
	pthread_cond_broadcast(&gc->changed);
	pthread_mutex_unlock(&gc->lock);
	return r;
}
