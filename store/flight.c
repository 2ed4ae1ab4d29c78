// SPDX-License-Identifier: MIT
/* Frames in flight stand in a ring in the order they were begun. Whoever stores a frame marks it
 * done; if nobody is completing, it goes on to complete done frames from the oldest on, and leaves
 * at the first that is not done. So rows are committed in id order (the log's order is then id
 * order too: after a crash the chunks that exist are a prefix of those given out), by one thread
 * at a time, and nobody waits for anybody.
 *
 * Storing. Compressing takes several times as long as finding chunks does, so one file would keep one
 * core busy. While helpers are lent, a full frame is put in a list for them: at most FULL_PER_HELPER
 * for each of them that is at work. A helper is only asked for where a thread would be idle
 * otherwise; without one, and when the list is full, who brings a frame stores the oldest himself.
 * So there is always a thread at work on the list, memory is bounded, and where all workers have
 * files of their own to cut nothing changes hands. Who waits for frames stores from the list too.
 *
 * A frame that fails is remembered for good, since references to it may be asked about at any later
 * time; neighbours in sequence are one range, so a disk that stays full costs one record.
 *
 * A slice of the digests may be loaded by digests_add(), which takes long; it comes after the
 * waits, for the packer's neighbours know these chunks meanwhile. gc drops those, and takes digests
 * away: so flight_wait() sees to it that they are there. Digests are settled one step late, when the
 * log has got past the rows.
 *
 * Lock order: the packer's lock, then `lock` here, then the workers'. No lock is held while storing, committing,
 * calling `failed` or running waits.
 */
#include "flight.h"
#include "cleanup.h"
#include "log.h"
#include <assert.h>
#include <errno.h>

#define RING 1024u	   /* frames in flight; a power of two */
#define SPARE_BUILDERS 64u /* no more than were in use at once */
#define FULL_PER_HELPER 2u

struct helper {
	struct job job; /* first */
	struct flight *fl;
	bool busy;
};

struct flight {
	struct flight_options opt;
	pthread_mutex_t lock;
	pthread_cond_t advanced;
	struct flight_frame *ring[RING];
	uint64_t begun, completed, published; /* sequence numbers of the latest */
	bool completing;
	struct flight_frame *failed; /* ranges, the latest first */
	struct frame_builder *spare[SPARE_BUILDERS];
	unsigned spares;
	uint64_t frames, stored_bytes, helped;
	struct workers *workers; /* NULL: no help */
	struct helper *helpers;
	unsigned n_helpers, helping; /* lent at most; queued or at work */
	struct flight_frame *full, **full_tail;
	unsigned n_full;
	/* the completing thread's own: */
	uint64_t settle_lsn, settle_id, last_lsn, last_id;
	bool digests_failed;
};

int flight_open(const struct flight_options *opt, struct flight **ret_fl)
{
	struct flight *fl = calloc(1, sizeof *fl);
	if (!fl)
		return -ENOMEM;
	fl->opt = *opt;
	pthread_mutex_init(&fl->lock, NULL);
	pthread_cond_init(&fl->advanced, NULL);
	fl->full_tail = &fl->full;
	*ret_fl = fl;
	return 0;
}

void flight_close(struct flight *fl)
{
	if (!fl)
		return;
	pthread_mutex_lock(&fl->lock);
	assert(fl->begun == fl->completed);
	while (fl->completing || fl->helping) /* the last waits are still being told */
		pthread_cond_wait(&fl->advanced, &fl->lock);
	pthread_mutex_unlock(&fl->lock);
	for (struct flight_frame *f = fl->failed, *next; f; f = next) {
		next = f->next;
		free(f);
	}
	while (fl->spares)
		frame_builder_free(fl->spare[--fl->spares]);
	free(fl->helpers);
	pthread_cond_destroy(&fl->advanced);
	pthread_mutex_destroy(&fl->lock);
	free(fl);
}

static int builder_get_locked(struct flight *fl, struct frame_builder **ret_fb)
{
	if (!fl->spares)
		return frame_builder_new(ret_fb);
	*ret_fb = fl->spare[--fl->spares];
	frame_builder_reset(*ret_fb);
	return 0;
}

static void builder_put(struct flight *fl, struct frame_builder *fb)
{
	pthread_mutex_lock(&fl->lock);
	if (fb && fl->spares < SPARE_BUILDERS) {
		fl->spare[fl->spares++] = fb;
		fb = NULL;
	}
	pthread_mutex_unlock(&fl->lock);
	frame_builder_free(fb);
}

int flight_begin(struct flight *fl, uint64_t first_id, struct flight_frame **ret_frame)
{
	SCOPED_LOCK(&fl->lock);
	if (fl->begun - fl->completed == RING)
		return -EAGAIN;
	CLEANUP_FREE struct flight_frame *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	int r = builder_get_locked(fl, &f->fb);
	if (r < 0)
		return r;
	f->first_id = f->last_id = first_id;
	f->waits_tail = &f->waits;
	f->seq = ++fl->begun;
	fl->ring[f->seq % RING] = f;
	*ret_frame = TAKE_PTR(f);
	return 0;
}

/* Was any of these frames lost? They are completed, all of them. */
static int failure_between_locked(struct flight *fl, uint64_t first, uint64_t last)
{
	for (struct flight_frame *f = fl->failed; f && f->failed_to >= first; f = f->next)
		if (f->seq <= last)
			return f->err;
	return 0;
}

static void remember_failure_locked(struct flight *fl, struct flight_frame *f)
{
	if (fl->failed && fl->failed->failed_to + 1 == f->seq) {
		fl->failed->failed_to = f->seq;
		free(f);
		return;
	}
	f->failed_to = f->seq;
	f->next = fl->failed;
	fl->failed = f;
}

/* Makes the frame's chunks visible, or their loss known to the packer. */
static void commit_frame(struct flight *fl, struct flight_frame *f)
{
	if (!f->err)
		f->err = kv_commit(fl->opt.kv, TAKE_PTR(f->batch), &f->lsn);
	kv_batch_free(TAKE_PTR(f->batch));
	for (uint32_t i = 0; f->err && i < f->n; i++)
		fl->opt.failed(fl->opt.arg, &f->known[i].digest, f->known[i].id);
}

static void run_waits(struct flight *fl, struct packed_wait *waits)
{
	for (struct packed_wait *w = waits, *next; w; w = next) {
		next = w->next;
		pthread_mutex_lock(&fl->lock);
		int err = failure_between_locked(fl, w->first, w->frame);
		pthread_mutex_unlock(&fl->lock);
		w->run(w, err);
	}
}

static void publish_digests(struct flight *fl, const struct flight_frame *f)
{
	for (uint32_t i = 0; i < f->n; i++) {
		int r = digests_add(fl->opt.digests, &f->known[i].digest, f->known[i].id);
		if (r < 0 && !fl->digests_failed)
			log_warn("digests: %s; new data may be stored twice", strerror(-r));
		fl->digests_failed = r < 0;
	}
	fl->last_lsn = f->lsn;
	fl->last_id = f->last_id;
	if (fl->settle_lsn && kv_durable_lsn(fl->opt.kv) >= fl->settle_lsn) {
		digests_settle(fl->opt.digests, fl->settle_id + 1);
		fl->settle_lsn = 0;
	}
	if (!fl->settle_lsn) {
		fl->settle_lsn = f->lsn;
		fl->settle_id = f->last_id;
	}
}

/* Lets go of the builder and the list of chunks. */
static void strip_frame(struct flight *fl, struct flight_frame *f)
{
	if (f->fb)
		builder_put(fl, TAKE_PTR(f->fb)); /* f->known is its entries */
	else
		free(f->known);
	f->known = NULL;
}

/* Takes the oldest frame, which is committed or lost, out of the ring. */
static void retire_frame(struct flight *fl, struct flight_frame *f)
{
	bool lost = f->err < 0;
	if (lost)
		strip_frame(fl, f);
	pthread_mutex_lock(&fl->lock);
	struct packed_wait *waits = f->waits;
	fl->ring[f->seq % RING] = NULL;
	fl->completed = f->seq;
	if (lost) {
		remember_failure_locked(fl, f);
	} else {
		fl->frames += f->parts;
		fl->stored_bytes += f->stored_bytes;
	}
	pthread_cond_broadcast(&fl->advanced);
	pthread_mutex_unlock(&fl->lock);
	run_waits(fl, waits);
	if (!lost) {
		publish_digests(fl, f);
		strip_frame(fl, f);
		free(f);
	}
}

static void complete_frames(struct flight *fl, struct flight_frame *stored)
{
	pthread_mutex_lock(&fl->lock);
	stored->done = true;
	if (!fl->completing) {
		fl->completing = true;
		for (struct flight_frame *f;
		     (f = fl->ring[(fl->completed + 1) % RING]) && f->done;) {
			pthread_mutex_unlock(&fl->lock);
			commit_frame(fl, f);
			retire_frame(fl, f);
			pthread_mutex_lock(&fl->lock);
			fl->published = fl->completed;
			pthread_cond_broadcast(&fl->advanced);
		}
		fl->completing = false;
		pthread_cond_broadcast(&fl->advanced);
	}
	pthread_mutex_unlock(&fl->lock);
}

/* Compresses what the builder holds, appends it and adds its row to the frame's batch. */
static void append_part(struct flight *fl, struct flight_frame *f)
{
	struct frame_chunk chunks[FRAME_CHUNKS_MAX];
	struct frame_row row;
	if (!f->err)
		f->err = frame_seal(f->fb, fl->opt.level);
	if (!f->err)
		f->err = pack_append(fl->opt.packs, fl->opt.stream, f->fb, f->batch, chunks, &row);
	if (f->err)
		return;
	chunk_put_frame(f->batch, &row);
	f->parts++;
	f->stored_bytes += row.stored_len;
}

/* Keeps what completing needs, in little memory since that may be a while: the list of chunks. */
static void keep_known(struct flight *fl, struct flight_frame *f)
{
	f->n = f->fb->n;
	f->known = f->fb->entries;
	struct chunk_entry *copy = malloc(f->n * sizeof *copy);
	if (!copy)
		return;
	memcpy(copy, f->known, f->n * sizeof *copy);
	f->known = copy;
	builder_put(fl, TAKE_PTR(f->fb));
}

static void finish_store(struct flight *fl, struct flight_frame *f)
{
	keep_known(fl, f);
	complete_frames(fl, f);
}

static void store_here(struct flight *fl, struct flight_frame *f)
{
	f->batch = kv_batch_new();
	f->err = f->batch ? 0 : -ENOMEM;
	append_part(fl, f);
	finish_store(fl, f);
}

static struct flight_frame *take_full_locked(struct flight *fl)
{
	struct flight_frame *f = fl->full;
	if (!f)
		return NULL;
	fl->full = f->next;
	if (!fl->full)
		fl->full_tail = &fl->full;
	f->next = NULL;
	fl->n_full--;
	return f;
}

static void put_full_locked(struct flight *fl, struct flight_frame *f)
{
	*fl->full_tail = f;
	fl->full_tail = &f->next;
	fl->n_full++;
}

static void help(struct job *job)
{
	struct helper *h = (struct helper *)job;
	struct flight *fl = h->fl;
	pthread_mutex_lock(&fl->lock);
	for (struct flight_frame *f; (f = take_full_locked(fl));) {
		fl->helped++;
		pthread_mutex_unlock(&fl->lock);
		store_here(fl, f);
		pthread_mutex_lock(&fl->lock);
	}
	h->busy = false;
	fl->helping--;
	pthread_cond_broadcast(&fl->advanced);
	pthread_mutex_unlock(&fl->lock);
}

/* Is somebody going to look at the list once more? */
static bool room_for_full_locked(struct flight *fl)
{
	if (!fl->workers)
		return false;
	if (fl->n_full < fl->helping * FULL_PER_HELPER)
		return true;
	if (fl->helping == fl->n_helpers)
		return false;
	struct helper *h = fl->helpers;
	while (h->busy)
		h++;
	if (!workers_queue_if_idle(fl->workers, &h->job))
		return false;
	h->busy = true;
	fl->helping++;
	return true;
}

void flight_store(struct flight *fl, struct flight_frame *f)
{
	pthread_mutex_lock(&fl->lock);
	bool room = room_for_full_locked(fl);
	put_full_locked(fl, f);
	struct flight_frame *mine = room ? NULL : take_full_locked(fl);
	pthread_mutex_unlock(&fl->lock);
	if (mine)
		store_here(fl, mine);
}

/* Waits for frames to be completed, and does something for it where there is something to do. */
static void await_progress_locked(struct flight *fl)
{
	struct flight_frame *f = take_full_locked(fl);
	if (!f) {
		pthread_cond_wait(&fl->advanced, &fl->lock);
		return;
	}
	pthread_mutex_unlock(&fl->lock);
	store_here(fl, f);
	pthread_mutex_lock(&fl->lock);
}

void flight_throttle(struct flight *fl)
{
	SCOPED_LOCK(&fl->lock);
	while (fl->begun - fl->completed > RING / 2)
		await_progress_locked(fl);
}

int flight_help(struct flight *fl, struct workers *w, unsigned max)
{
	SCOPED_LOCK(&fl->lock);
	fl->workers = NULL;
	if (!w || !max)
		return 0;
	assert(!fl->helping);
	struct helper *helpers = calloc(max, sizeof *helpers);
	if (!helpers)
		return -ENOMEM;
	for (unsigned i = 0; i < max; i++) {
		helpers[i].job.run = help;
		helpers[i].fl = fl;
	}
	free(fl->helpers);
	fl->helpers = helpers;
	fl->n_helpers = max;
	fl->workers = w;
	return 0;
}

void flight_store_parts(struct flight *fl, struct flight_frame *f, const struct digest *digest,
			const void *data, uint32_t len)
{
	f->batch = kv_batch_new();
	f->err = f->batch ? 0 : -ENOMEM;
	for (uint32_t at = 0, part = 0; at < len; at += FRAME_DECODED_MAX, part++) {
		uint32_t n = len - at < FRAME_DECODED_MAX ? len - at : FRAME_DECODED_MAX;
		frame_builder_reset(f->fb);
		f->fb->part = (uint16_t)part;
		f->fb->chunk_len = len;
		frame_add(f->fb, f->first_id, digest, (const uint8_t *)data + at, n);
		append_part(fl, f);
		if (f->err)
			break;
	}
	finish_store(fl, f);
}

uint64_t flight_find(struct flight *fl, uint64_t id)
{
	SCOPED_LOCK(&fl->lock);
	uint64_t low = fl->completed + 1, high = fl->begun;
	if (low > high || id < fl->ring[low % RING]->first_id)
		return 0;
	while (low < high) { /* the last one that starts at or before id */
		uint64_t mid = high - (high - low) / 2;
		if (fl->ring[mid % RING]->first_id <= id)
			low = mid;
		else
			high = mid - 1;
	}
	return low;
}

void flight_when_stored(struct flight *fl, uint64_t frame, struct packed_wait *w)
{
	int err = 0;
	w->frame = frame;
	w->next = NULL;
	if (!w->first)
		w->first = frame;
	pthread_mutex_lock(&fl->lock);
	assert(frame && frame <= fl->begun && w->first <= frame);
	bool over = frame <= fl->completed;
	if (over) {
		err = failure_between_locked(fl, w->first, frame);
	} else {
		struct flight_frame *f = fl->ring[frame % RING];
		*f->waits_tail = w;
		f->waits_tail = &w->next;
	}
	pthread_mutex_unlock(&fl->lock);
	if (over)
		w->run(w, err);
}

void flight_wait(struct flight *fl, uint64_t seq)
{
	SCOPED_LOCK(&fl->lock);
	while (fl->published < seq)
		await_progress_locked(fl);
}

uint64_t flight_last(struct flight *fl)
{
	SCOPED_LOCK(&fl->lock);
	return fl->begun;
}

int flight_sync(struct flight *fl)
{
	pthread_mutex_lock(&fl->lock);
	while (fl->completing)
		pthread_cond_wait(&fl->advanced, &fl->lock);
	uint64_t lsn = fl->last_lsn, id = fl->last_id;
	pthread_mutex_unlock(&fl->lock);
	if (!lsn)
		return 0;
	int r = kv_sync(fl->opt.kv, lsn);
	if (r == 0)
		digests_settle(fl->opt.digests, id + 1);
	return r;
}

void flight_totals(struct flight *fl, uint64_t *ret_frames, uint64_t *ret_stored_bytes,
		   uint64_t *ret_helped)
{
	SCOPED_LOCK(&fl->lock);
	*ret_helped = fl->helped;
	*ret_frames = fl->frames;
	*ret_stored_bytes = fl->stored_bytes;
}
