// SPDX-License-Identifier: MIT
/* A source takes turns on the workers: one turn cuts one window, or only commits what has become
 * ready. Between turns it is queued behind the others, so that a stream of a terabyte does not keep
 * small files waiting, or *parked* until a window of its own is stored. A source is queued, in
 * its turn, or parked, never two of these: so its callbacks never run side by side.
 *
 * A window is read in portions into the worker's buffer. Each portion is first cut and hashed as a
 * whole, then packed as a stretch (packer.h), so that workers who store files at once don't mix them
 * chunk by chunk. Windows end where a chunk does, hence nothing of the buffer outlives the turn; the
 * bytes after the last cut are read again in the next one. What a window keeps is its pieces, at
 * most WINDOW_PIECES, and a source has at most two windows on their way: memory is one buffer per
 * worker and two short lists per source.
 *
 * Of a film a window is what its weaver gives (weaver.h), which keeps what it has gathered from turn to
 * turn; the chunks that a window's slices are of were stored in it or in one before.
 *
 * Who seals the last frame? A frame fills by itself while new data comes in. When all workers are
 * idle and a window of an ordinary source waits, the frame is sealed at once; a source that can't go
 * on before its window is stored seals it too, and at least every second somebody does. Small files
 * that shall share frames wait for that, or for a nudge, a flush, a settle.
 *
 * Lock order: `lock` comes after everything of the callers and before the workers' own; it is never
 * held while calling the packer or a callback.
 */
#include "destage.h"
#include "cleanup.h"
#include "cond.h"
#include "log.h"
#include "slicer.h"
#include "weaver.h"
#include <errno.h>
#include <stdatomic.h>

#define PORTION (1u << 20) /* bytes read at once; twice the lookahead if that is more */
#define WINDOW_PIECES 4096u
#define WOVEN_PIECES 16384u /* of a window of a film: slices of a few hundred bytes */
#define WINDOWS 2u	    /* of one source on their way */
#define FLUSH_POLL_MS 20
#define SEAL_MS 1000		     /* an ordinary window waits no longer for a frame to fill */
#define NICENESS 10		     /* whoever has just written has other work than this */
#define WANTED_NS 100000000u	     /* so long after a call of destage_give_way() */
#define WANTED_WHOLE_NS 10000000000u /* who goes on waiting has the disk to himself so long, */
#define WANTED_SHARE 8		     /* then a worker works this part of the time */
#define STEP_NS 5000000
#define HURRY_MS 200 /* after destage_hurry() */

enum window_state { WINDOW_FREE, WINDOW_CUTTING, WINDOW_WAITING, WINDOW_STORED };

struct window {
	struct packed_wait wait;
	struct destage_run *run;
	uint64_t at, len;
	uint64_t first_frame, last_frame; /* 0: nothing in it was new */
	struct piece *pieces;
	size_t n, cap;
	int err;
	/* guarded by the lock: */
	enum window_state state;
	uint64_t number;
	struct window *older, *newer; /* all that are on their way */
};

struct destage_run {
	struct destage *d;
	struct destage_source *s;
	struct window windows[WINDOWS];
	unsigned head, count;	/* of those on their way */
	uint64_t at, committed; /* cut up to here; bytes that commit() took */
	struct slicer slicer;
	struct weaver *weaver; /* of a film */
	bool cut_failed;       /* the latest window is the last, and carries the error */
	int err;	       /* why nothing more is committed */
	bool parked;	       /* guarded by the lock */
};

struct destage {
	struct packer *packer;
	struct chunker chunker;
	struct workers *workers;
	size_t portion;
	pthread_mutex_t lock;
	pthread_cond_t progress; /* a source or a window is over */
	struct destage_source *oldest, *newest;
	struct window *oldest_window, *newest_window;
	uint64_t sources, windows; /* numbers given out */
	uint64_t *finishing;	   /* sources whose done() is running, one place per worker */
	unsigned n_workers;
	unsigned busy;	    /* sources queued or in their turn */
	unsigned hurried;   /* callers that wait for everything */
	unsigned impatient; /* waiting windows of ordinary sources */
	uint64_t sealed_ms, hurried_ms;
	atomic_ullong wanted_ns;       /* when somebody last waited for the disk; 0: never */
	atomic_ullong wanted_since_ns; /* since when workers give way; 0: they don't */
	atomic_ullong gave_way;
	bool (*at_work)(void *arg); /* NULL: nobody to be asked */
	void *at_work_arg;
	uint64_t pending;
	struct portion *portions;    /* idle */
	_Atomic(struct loom *) loom; /* idle */
	struct job nudge;
	bool nudged;
};

/* ---- pieces ---- */

static int piece_add(struct window *w, const struct piece *p)
{
	struct piece *last = w->n ? &w->pieces[w->n - 1] : NULL;
	w->len += p->length;
	if (last && !p->chunk && !last->chunk) {
		last->length += p->length;
		return 0;
	}
	if (last && last->chunk == p->chunk && last->offset == p->offset &&
	    last->length == p->length && last->repeat < UINT32_MAX) {
		last->repeat++;
		return 0;
	}
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 4 : 4;
		struct piece *grown = realloc(w->pieces, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		w->pieces = grown;
		w->cap = cap;
	}
	w->pieces[w->n++] = *p;
	return 0;
}

static void needs_frames(struct window *w, uint64_t first, uint64_t last)
{
	if (first && (!w->first_frame || first < w->first_frame))
		w->first_frame = first;
	if (last > w->last_frame)
		w->last_frame = last;
}

/* ---- pace ---- */

static bool is_hurried(struct destage *d)
{
	SCOPED_LOCK(&d->lock);
	return d->hurried || (d->hurried_ms && clock_mono_ms() - d->hurried_ms < HURRY_MS);
}

static bool is_wanted(struct destage *d, uint64_t now)
{
	if (d->at_work && d->at_work(d->at_work_arg))
		destage_give_way(d);
	uint64_t wanted = atomic_load(&d->wanted_ns);
	return wanted && (now < wanted || now - wanted < WANTED_NS) && !is_hurried(d);
}

/* After some work, begun at *since: who waits for the disk has it to himself for a while, and from then on most
 * of the time. Not at the cost of what else is queued here, which may be small files whose time to be durable has
 * come: true when this turn should end for them. */
static bool let_others(struct destage *d, uint64_t *since)
{
	uint64_t begin = clock_mono_ns(), now = begin, idle = 0;
	if (!is_wanted(d, now)) {
		atomic_store(&d->wanted_since_ns, 0);
		*since = now;
		return false;
	}
	uint64_t share = (now - *since) * (WANTED_SHARE - 1);
	unsigned long long none = 0;
	atomic_fetch_add(&d->gave_way, 1);
	atomic_compare_exchange_strong(&d->wanted_since_ns, &none, begin);
	bool queued = false;
	do {
		queued = workers_waiting(d->workers) > 0;
		if (queued)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = STEP_NS }, NULL);
		now = clock_mono_ns();
		idle = now - atomic_load(&d->wanted_since_ns);
	} while (is_wanted(d, now) && (idle < WANTED_WHOLE_NS || now - begin < share));
	if (!is_wanted(d, now))
		atomic_store(&d->wanted_since_ns,
			     0); /* there may be no work left that would see it */
	*since = now;
	return queued;
}

/* ---- one window ---- */

static int pack_item(struct window *w, struct packer_stretch *stretch, struct portion *b,
		     const struct portion_item *item)
{
	struct packed packed = { 0 };
	int r = item->zeros ? 0
			    : packer_add_side_by_side(w->run->d->packer, stretch, &item->digest,
						      b->data + item->at, item->len, &packed);
	struct piece piece = { .chunk = packed.id, .length = item->len, .repeat = 1 };
	if (r == 0)
		r = piece_add(w, &piece);
	if (r == 0)
		needs_frames(w, packed.frame, packed.frame);
	return r;
}

static int pack_items(struct window *w, struct portion *b)
{
	struct packer_stretch stretch = { 0 };
	int r = 0;
	for (size_t i = 0; i < b->n && r == 0; i++)
		r = pack_item(w, &stretch, b, &b->items[i]);
	packer_end_stretch(w->run->d->packer, &stretch);
	return r;
}

/* Fills the window from the source; w->err says how that went. */
static void cut_window(struct destage_run *run, struct window *w, struct portion *b)
{
	struct destage_source *s = run->s;
	uint64_t end = s->at + s->len;
	size_t fill = 0;
	bool full = false;
	uint64_t since = clock_mono_ns();
	while (!w->err && !full && run->at < end && w->n + PORTION_ITEMS <= WINDOW_PIECES) {
		size_t more = b->size - fill;
		if (more > end - run->at - fill)
			more = end - run->at - fill;
		w->err = more ? s->read(s, b->data + fill, more, run->at + fill) : 0;
		if (w->err)
			break;
		fill += more;
		size_t used = slicer_cut(&run->slicer, b, fill, run->at + fill == end,
					 DESTAGE_WINDOW - w->len, &full);
		w->err = pack_items(w, b);
		run->at += used;
		fill -= used;
		memmove(b->data, b->data + used, fill);
		if (!s->small_together && let_others(run->d, &since))
			full = true;
	}
}

/* The same for a film. A plan that does not fit the bytes is given up, with the window: 0 and
 * run->weaver is NULL. */
static int weave_window(struct destage_run *run, struct window *w)
{
	int r = 1;
	uint64_t since = clock_mono_ns(), paced = 0;
	while (r > 0 && w->len < DESTAGE_WINDOW && w->n < WOVEN_PIECES) {
		struct woven woven;
		r = weaver_next(run->weaver, DESTAGE_WINDOW - w->len, &woven);
		if (r > 0)
			needs_frames(w, woven.first_frame, woven.last_frame);
		int added = r > 0 ? piece_add(w, &woven.piece) : 0;
		r = added < 0 ? added : r;
		if (w->len - paced >= PORTION) {
			paced = w->len;
			if (let_others(run->d, &since))
				break;
		}
	}
	if (r == -EBADMSG) {
		log_debug("a film is not what its tables say; it is stored as other files are");
		weaver_free(TAKE_PTR(run->weaver));
		w->n = 0;
		w->len = 0;
		return 0;
	}
	run->at += w->len;
	return r < 0 ? r : 0;
}

static struct portion *portion_get(struct destage *d)
{
	pthread_mutex_lock(&d->lock);
	struct portion *b = d->portions;
	if (b)
		d->portions = b->next;
	pthread_mutex_unlock(&d->lock);
	if (b)
		return b;
	b = malloc(sizeof *b + d->portion);
	if (b)
		b->size = d->portion;
	return b;
}

static void portion_put(struct destage *d, struct portion *b)
{
	SCOPED_LOCK(&d->lock);
	b->next = d->portions;
	d->portions = b;
}

static struct window *window_begin(struct destage_run *run)
{
	struct destage *d = run->d;
	struct window *w = &run->windows[(run->head + run->count) % WINDOWS];
	struct piece *pieces = w->pieces;
	size_t cap = w->cap;
	*w = (struct window){ .run = run, .at = run->at, .pieces = pieces, .cap = cap };
	run->count++;
	SCOPED_LOCK(&d->lock);
	w->state = WINDOW_CUTTING;
	w->number = ++d->windows;
	w->older = d->newest_window;
	*(w->older ? &w->older->newer : &d->oldest_window) = w;
	d->newest_window = w;
	return w;
}

static void window_end(struct destage_run *run, struct window *w)
{
	struct destage *d = run->d;
	run->head = (run->head + 1) % WINDOWS;
	run->count--;
	SCOPED_LOCK(&d->lock);
	w->state = WINDOW_FREE;
	*(w->older ? &w->older->newer : &d->oldest_window) = w->newer;
	*(w->newer ? &w->newer->older : &d->newest_window) = w->older;
	pthread_cond_broadcast(&d->progress);
}

static void window_stored(struct packed_wait *wait, int err)
{
	struct window *w = (struct window *)wait;
	struct destage_run *run = w->run;
	struct destage *d = run->d;
	SCOPED_LOCK(&d->lock);
	w->err = err;
	w->state = WINDOW_STORED;
	if (!run->s->small_together)
		d->impatient--;
	if (!run->parked)
		return;
	run->parked = false;
	d->busy++;
	workers_queue(d->workers, &run->s->job);
}

static void window_wait(struct destage_run *run, struct window *w)
{
	struct destage *d = run->d;
	bool waits = !w->err && w->last_frame;
	pthread_mutex_lock(&d->lock);
	w->state = waits ? WINDOW_WAITING : WINDOW_STORED;
	if (waits && !run->s->small_together)
		d->impatient++;
	pthread_mutex_unlock(&d->lock);
	if (!waits)
		return;
	w->wait.run = window_stored;
	w->wait.first = w->first_frame;
	packer_when_stored(d->packer, w->last_frame, &w->wait);
}

/* ---- one turn of a source ---- */

static struct window *stored_window_locked(struct destage_run *run)
{
	struct window *w = &run->windows[run->head];
	return run->count && w->state == WINDOW_STORED ? w : NULL;
}

/* Hands over what is stored, in order. After an error the rest is only let go of. */
static void commit_stored(struct destage_run *run)
{
	struct destage *d = run->d;
	for (;;) {
		pthread_mutex_lock(&d->lock);
		struct window *w = stored_window_locked(run);
		pthread_mutex_unlock(&d->lock);
		if (!w)
			return;
		if (!run->err)
			run->err = w->err;
		if (!run->err)
			run->err = run->s->commit(run->s, w->at, w->len, w->pieces, w->n);
		if (!run->err) {
			run->committed += w->len;
			SCOPED_LOCK(&d->lock);
			d->pending -= w->len;
		}
		window_end(run, w);
	}
}

static bool may_cut(const struct destage_run *run)
{
	const struct destage_source *s = run->s;
	return !run->err && !run->cut_failed && run->at < s->at + s->len && run->count < WINDOWS;
}

static void cut_one_window(struct destage_run *run)
{
	struct window *w = window_begin(run);
	w->err = run->weaver ? weave_window(run, w) : 0;
	struct portion *b = run->weaver || w->err ? NULL : portion_get(run->d);
	if (b) {
		cut_window(run, w, b);
		portion_put(run->d, b);
	} else if (!run->weaver && !w->err) {
		w->err = -ENOMEM;
	}
	run->cut_failed = w->err != 0;
	window_wait(run, w);
}

static void finish(struct destage_source *s, int err, uint64_t given_up)
{
	struct destage *d = s->destage;
	uint64_t *place = d->finishing;
	pthread_mutex_lock(&d->lock);
	while (*place)
		place++;
	*place = s->number;
	d->pending -= given_up;
	*(s->older ? &s->older->newer : &d->oldest) = s->newer;
	*(s->newer ? &s->newer->older : &d->newest) = s->older;
	pthread_mutex_unlock(&d->lock);
	s->done(s, err);
	pthread_mutex_lock(&d->lock);
	*place = 0;
	pthread_cond_broadcast(&d->progress);
	pthread_mutex_unlock(&d->lock);
}

static void finish_run(struct destage_run *run)
{
	struct destage_source *s = run->s;
	int err = run->err;
	uint64_t given_up = s->len - run->committed;
	for (unsigned i = 0; i < WINDOWS; i++)
		free(run->windows[i].pieces);
	weaver_free(run->weaver);
	free(run);
	s->run = NULL;
	finish(s, err, given_up);
}

/* Shall the frame being filled be sealed by the worker that leaves this turn? */
static bool time_to_seal_locked(struct destage *d, bool blocked)
{
	uint64_t now = clock_mono_ms();
	bool idle = !d->busy && (d->impatient || d->hurried);
	bool late = d->impatient && now - d->sealed_ms >= SEAL_MS;
	if (!idle && !late && !(blocked && d->impatient))
		return false;
	d->sealed_ms = now;
	return true;
}

static void leave_turn(struct destage_run *run)
{
	struct destage *d = run->d;
	bool over = !run->count && !may_cut(run);
	pthread_mutex_lock(&d->lock);
	if (!over && (may_cut(run) || stored_window_locked(run))) {
		workers_queue(d->workers, &run->s->job);
		pthread_mutex_unlock(&d->lock);
		return;
	}
	d->busy--;
	run->parked = !over;
	bool seal = time_to_seal_locked(d, run->count == WINDOWS);
	pthread_mutex_unlock(&d->lock);
	/* a parked run may be gone by now */
	if (over)
		finish_run(run);
	if (seal)
		packer_flush(d->packer, UINT64_MAX);
}

static int read_for_weaver(void *arg, void *buf, size_t len, uint64_t at)
{
	struct destage_source *s = arg;
	return s->read(s, buf, len, at);
}

/* Without a weaver, for want of memory too, the source is cut as any other. */
static void begin_weaving(struct destage_run *run, struct film_plan *plan)
{
	struct destage_source *s = run->s;
	struct weaver_options opt = {
		.packer = run->d->packer,
		.chunker = &run->d->chunker,
		.plan = plan,
		.read = read_for_weaver,
		.arg = s,
		.spare = &run->d->loom,
	};
	if (s->at != 0 || s->len != plan->size)
		film_plan_free(plan);
	else if (weaver_new(&opt, &run->weaver) < 0)
		run->weaver = NULL;
}

static struct destage_run *run_new(struct destage_source *s)
{
	struct destage_run *run = calloc(1, sizeof *run);
	if (!run)
		return NULL;
	run->d = s->destage;
	run->s = s;
	run->at = s->at;
	run->slicer.packer = run->d->packer;
	run->slicer.cutter.chunker = &run->d->chunker;
	if (s->plan)
		begin_weaving(run, TAKE_PTR(s->plan));
	return run;
}

static void take_turn(struct job *job)
{
	struct destage_source *s =
		(struct destage_source *)((char *)job - offsetof(struct destage_source, job));
	if (!s->run)
		s->run = run_new(s);
	if (!s->run) {
		pthread_mutex_lock(&s->destage->lock);
		s->destage->busy--;
		pthread_mutex_unlock(&s->destage->lock);
		film_plan_free(TAKE_PTR(s->plan));
		finish(s, -ENOMEM, s->len);
		return;
	}
	commit_stored(s->run);
	if (may_cut(s->run))
		cut_one_window(s->run);
	commit_stored(s->run);
	leave_turn(s->run);
}

/* ---- the interface ---- */

static void run_nudge(struct job *job)
{
	struct destage *d = (struct destage *)((char *)job - offsetof(struct destage, nudge));
	pthread_mutex_lock(&d->lock);
	d->nudged = false;
	pthread_mutex_unlock(&d->lock);
	packer_flush(d->packer, UINT64_MAX);
}

static void destage_free(struct destage *d)
{
	packer_help(d->packer, NULL, 0);
	workers_stop(d->workers);
	for (struct portion *b = d->portions, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	loom_free(d->loom);
	pthread_cond_destroy(&d->progress);
	pthread_mutex_destroy(&d->lock);
	free(d->finishing);
	free(d);
}

int destage_open(const struct destage_options *opt, struct destage **ret_d)
{
	struct destage *d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	cond_init(&d->progress);
	pthread_mutex_init(&d->lock, NULL);
	d->packer = opt->packer;
	d->nudge.run = run_nudge;
	d->n_workers = opt->workers;
	if (!d->n_workers) {
		long n = sysconf(_SC_NPROCESSORS_ONLN);
		d->n_workers = n > 0 ? (unsigned)n : 1;
	}
	d->finishing = calloc(d->n_workers, sizeof *d->finishing);
	int r = d->finishing ? chunker_init(&d->chunker, &opt->chunker) : -ENOMEM;
	if (r == 0)
		r = workers_start("destage", d->n_workers, &d->workers);
	if (r == 0) {
		workers_set_nice(d->workers, NICENESS);
		r = packer_help(d->packer, d->workers, d->n_workers - 1);
	}
	if (r < 0) {
		destage_free(d);
		return r;
	}
	size_t least = 2 * cutter_lookahead(&(struct cutter){ .chunker = &d->chunker });
	d->portion = least > PORTION ? least : PORTION;
	*ret_d = d;
	return 0;
}

void destage_start(struct destage *d, struct destage_source *s)
{
	s->destage = d;
	s->run = NULL;
	s->newer = NULL;
	s->job.run = take_turn;
	SCOPED_LOCK(&d->lock);
	s->number = ++d->sources;
	s->older = d->newest;
	*(s->older ? &s->older->newer : &d->oldest) = s;
	d->newest = s;
	d->pending += s->len;
	d->busy++;
	workers_queue(d->workers, &s->job);
}

static bool source_left_locked(struct destage *d, uint64_t number)
{
	if (d->oldest && d->oldest->number <= number)
		return true;
	for (unsigned i = 0; i < d->n_workers; i++)
		if (d->finishing[i] && d->finishing[i] <= number)
			return true;
	return false;
}

static bool window_left_locked(struct destage *d, uint64_t number)
{
	return d->oldest_window && d->oldest_window->number <= number;
}

/* Workers seal the last frame when they become idle; that may be long when others keep them busy
 * with bytes that are all known, so it is also done from here now and then. */
static void wait_until_gone(struct destage *d, bool (*left_locked)(struct destage *, uint64_t),
			    uint64_t number)
{
	pthread_mutex_lock(&d->lock);
	d->hurried++;
	while (left_locked(d, number)) {
		pthread_mutex_unlock(&d->lock);
		packer_flush(d->packer, UINT64_MAX);
		pthread_mutex_lock(&d->lock);
		if (!left_locked(d, number))
			break;
		cond_wait_until(&d->progress, &d->lock,
				clock_mono_ns() + FLUSH_POLL_MS * 1000000ull);
	}
	d->hurried--;
	pthread_mutex_unlock(&d->lock);
}

void destage_flush(struct destage *d)
{
	pthread_mutex_lock(&d->lock);
	uint64_t number = d->sources;
	pthread_mutex_unlock(&d->lock);
	wait_until_gone(d, source_left_locked, number);
}

void destage_settle(struct destage *d)
{
	pthread_mutex_lock(&d->lock);
	uint64_t number = d->windows;
	pthread_mutex_unlock(&d->lock);
	wait_until_gone(d, window_left_locked, number);
}

void destage_close(struct destage *d)
{
	if (!d)
		return;
	wait_until_gone(d, source_left_locked, UINT64_MAX);
	destage_free(d);
}

void destage_nudge(struct destage *d)
{
	SCOPED_LOCK(&d->lock);
	if (d->nudged)
		return;
	d->nudged = true;
	workers_queue(d->workers, &d->nudge);
}

void destage_hurry(struct destage *d)
{
	pthread_mutex_lock(&d->lock);
	d->hurried_ms = clock_mono_ms();
	pthread_mutex_unlock(&d->lock);
	destage_nudge(d);
}

void destage_give_way(struct destage *d)
{
	atomic_store_explicit(&d->wanted_ns, clock_mono_ns(), memory_order_relaxed);
}

void destage_watch(struct destage *d, bool (*at_work)(void *arg), void *arg)
{
	d->at_work_arg = arg;
	d->at_work = at_work;
}

uint64_t destage_gave_way(struct destage *d)
{
	return atomic_load(&d->gave_way);
}

uint64_t destage_pending_bytes(struct destage *d)
{
	SCOPED_LOCK(&d->lock);
	return d->pending;
}
