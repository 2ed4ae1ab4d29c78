// SPDX-License-Identifier: MIT
/* The log writer: one thread that turns the queue into durable frames, a group at a time.
 *
 * It swaps the queue for its own empty one under the lock and works without the lock: barriers,
 * headers and checksums, file. The order of these steps is specified in wal.c.
 */
#include "wal_internal.h"
#include "cond.h"
#include "io.h"
#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#define COMPRESS_FROM 4096
#define COMPRESS_LEVEL 1
#define NOTE_MS 100		/* of quiet */
#define KEEP_BUFFER (16u << 20) /* larger ones are given back after use */

void wal_queue_done(struct wal_queue *q)
{
	for (struct kv_barrier *b = q->barriers, *next; b; b = next) {
		next = b->next;
		b->release(b);
	}
	buf_done(&q->bytes);
	free(q->parts);
	*q = (struct wal_queue){ 0 };
}

static void queue_reset(struct wal_queue *q)
{
	if (q->bytes.cap > KEEP_BUFFER)
		buf_done(&q->bytes);
	buf_reset(&q->bytes);
	q->n_parts = 0;
	q->barriers = NULL;
	q->barriers_tail = &q->barriers;
	q->first_lsn = 0;
}

/* Barriers with equal run and key. Open addressing, at most half full. */
static bool seen_before(struct kv_barrier **set, size_t mask, struct kv_barrier *b)
{
	size_t i = (size_t)((b->key ^ (uintptr_t)b->run) * 0x9e3779b97f4a7c15u >> 20);
	for (;; i++) {
		struct kv_barrier *other = set[i & mask];
		if (!other) {
			set[i & mask] = b;
			return false;
		}
		if (other->key == b->key && other->run == b->run)
			return true;
	}
}

static int run_barriers(struct wal_queue *q)
{
	size_t n = 0, mask = 15;
	for (struct kv_barrier *b = q->barriers; b; b = b->next)
		n++;
	while (mask < 2 * n)
		mask = mask * 2 + 1;
	/* Without memory for the set each barrier runs: slower, not wrong. */
	struct kv_barrier **set = n > 1 ? calloc(mask + 1, sizeof(struct kv_barrier *)) : NULL;
	int r = 0;
	for (struct kv_barrier *b = q->barriers; b && r == 0; b = b->next)
		if (!set || !seen_before(set, mask, b))
			r = b->run(b);
	free(set);
	for (struct kv_barrier *b = q->barriers, *next; b; b = next) {
		next = b->next;
		b->release(b);
	}
	q->barriers = NULL;
	q->barriers_tail = &q->barriers;
	return r;
}

/* Tries to compress the frame's payload to *out, header space in front. False: not worth it. */
static bool pack_frame(struct wal *w, struct slice raw, struct buf *out, size_t *ret_len)
{
	if (!w->opt.compress || raw.len < COMPRESS_FROM)
		return false;
	if (!w->zstd && !(w->zstd = ZSTD_createCCtx()))
		return false;
	buf_reset(&w->scratch);
	size_t room = raw.len - raw.len / 8;
	void *p = buf_extend(&w->scratch, room);
	if (!p)
		return false;
	size_t n = ZSTD_compressCCtx(w->zstd, p, room, raw.at, raw.len, COMPRESS_LEVEL);
	if (ZSTD_isError(n))
		return false;
	uint8_t *frame = buf_extend(out, wal_frame_size(n));
	if (!frame)
		return false;
	memset(frame + wal_frame_size(n) - WAL_ALIGN, 0, WAL_ALIGN);
	memcpy(frame + sizeof(struct wal_frame_header), p, n);
	*ret_len = n;
	return true;
}

/* Seals the frames of one part. *ret_bytes is what goes into the file: the queue's own bytes, or
 * with compression a copy. In the queue each frame's header holds its payload length only. */
static int seal_part(struct wal *w, const struct wal_part *part, uint64_t *lsn,
		     struct slice *ret_bytes)
{
	uint64_t seed = wal_segment_seed(&w->opt.id, part->segment->seq);
	uint8_t *data = w->writing.bytes.data;
	struct buf *out = &w->packed;
	struct wal_frame f = { .durable_lsn = atomic_load(&w->durable_lsn) };
	buf_reset(out);
	for (size_t at = part->begin; at < part->end; at += wal_frame_size(f.raw_len)) {
		uint8_t *frame = data + at;
		f.raw_len = get_le32(frame + offsetof(struct wal_frame_header, raw_len));
		f.lsn = (*lsn)++;
		f.stored = slice_of(frame + sizeof(struct wal_frame_header), f.raw_len);
		f.zstd = pack_frame(w, f.stored, out, &f.stored.len);
		if (f.zstd)
			frame = out->data + out->len - wal_frame_size(f.stored.len);
		else if (w->opt.compress && (frame = buf_extend(out, wal_frame_size(f.raw_len))))
			memcpy(frame, data + at, wal_frame_size(f.raw_len));
		if (!frame)
			return -ENOMEM;
		f.stored.at = frame + sizeof(struct wal_frame_header);
		wal_frame_seal(frame, &f, seed);
	}
	*ret_bytes = w->opt.compress ? slice_of(out->data, out->len)
				     : slice_of(data + part->begin, part->end - part->begin);
	return 0;
}

static void advance(struct wal *w, uint64_t lsn, size_t bytes);

/* The segment's header first, then what names it in the one before, then its frames: who finds it named
 * knows that it must be there. */
static int begin_next(struct wal *w, struct wal_segment *s, const char **ret_what)
{
	*ret_what = "log segment header";
	int r = wal_segment_begin(s, &w->opt.id);
	if (r < 0)
		return r;
	*ret_what = "end of a log segment";
	r = wal_segment_end(w->current, &w->opt.id, atomic_load(&w->durable_lsn), s->seq);
	if (r == 0)
		r = io_fdatasync(w->current->fd);
	if (r < 0)
		return r;
	w->current = s;
	atomic_store(&w->newest, s->seq);
	return 0;
}

static int write_part(struct wal *w, const struct wal_part *part, uint64_t *lsn,
		      const char **ret_what)
{
	struct wal_segment *s = part->segment;
	struct slice bytes;
	*ret_what = "log frames";
	int r = seal_part(w, part, lsn, &bytes);
	if (r == 0 && !s->header_there) {
		r = begin_next(w, s, ret_what);
		*ret_what = r < 0 ? *ret_what : "log frames";
	}
	if (r == 0)
		r = wal_flush_write(&w->flush, s->fd, bytes, s->written, ret_what);
	if (r == 0) {
		s->written += bytes.len;
		w->note_owed = true;
		advance(w, part->last_lsn, bytes.len);
	}
	return r;
}

static int write_group(struct wal *w, const char **ret_what)
{
	struct wal_queue *q = &w->writing;
	uint64_t lsn = q->first_lsn;
	*ret_what = "barrier";
	int r = run_barriers(q);
	for (size_t i = 0; i < q->n_parts && r == 0; i++)
		r = write_part(w, &q->parts[i], &lsn, ret_what);
	return r;
}

struct wal_waiter *wal_take_due_locked(struct wal *w, uint64_t lsn)
{
	struct wal_waiter *due = NULL, **due_tail = &due, **at = &w->waiters;
	while (*at) {
		struct wal_waiter *one = *at;
		if (one->lsn > lsn) {
			at = &one->next;
			continue;
		}
		*at = one->next;
		one->next = NULL;
		*due_tail = one;
		due_tail = &one->next;
	}
	w->waiters_tail = at;
	return due;
}

void wal_call_waiters(struct wal_waiter *due, int err)
{
	for (struct wal_waiter *next; due; due = next) {
		next = due->next;
		due->fn(due->arg, err);
		free(due);
	}
}

static void advance(struct wal *w, uint64_t lsn, size_t bytes)
{
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->durable_lsn, lsn);
	w->bytes_written += bytes;
	w->syncs++;
	struct wal_waiter *due = wal_take_due_locked(w, lsn);
	pthread_cond_broadcast(&w->advanced);
	pthread_mutex_unlock(&w->lock);
	wal_call_waiters(due, 0);
}

void wal_fail(struct wal *w, int err, const char *what)
{
	struct wal_queue dropped = { 0 };
	pthread_mutex_lock(&w->lock);
	bool first = !w->failed;
	if (first) {
		w->failed = err;
		dropped = w->queue;
		w->queue = (struct wal_queue){ 0 };
	}
	struct wal_waiter *due = wal_take_due_locked(w, UINT64_MAX);
	pthread_cond_broadcast(&w->advanced);
	pthread_cond_broadcast(&w->made);
	pthread_mutex_unlock(&w->lock);
	if (first)
		w->opt.on_failure(w->opt.arg, err, what);
	wal_queue_done(&dropped);
	wal_call_waiters(due, err);
}

static bool due_now_locked(const struct wal *w)
{
	if (!w->queue.n_parts)
		return false;
	if (w->hurry_lsn >= w->queue.first_lsn || w->queue.bytes.len >= WAL_HURRY_BYTES)
		return true;
	return w->opt.sync_interval_ms &&
	       clock_mono_ms() >= w->queue.since_ms + w->opt.sync_interval_ms;
}

/* The last batches cannot tell themselves that they were durable; whoever finds them damaged shall know.
 * So, when nothing follows for a while, a note says it. It need not be durable, and nothing depends
 * on it: a failure is no one's business until the next sync. */
static void write_note_locked(struct wal *w)
{
	struct wal_segment *s = w->current;
	w->note_owed = false;
	if (s != w->tail || wal_segment_room(s) < WAL_NOTE_SIZE)
		return;
	s->reserved += WAL_NOTE_SIZE;
	uint64_t lsn = atomic_load(&w->durable_lsn);
	pthread_mutex_unlock(&w->lock);
	wal_segment_note(s, &w->opt.id, lsn);
	pthread_mutex_lock(&w->lock);
}

static void wait_idle_locked(struct wal *w)
{
	uint64_t quiet_ms = w->opt.note_ms ? w->opt.note_ms : NOTE_MS;
	uint64_t until = (clock_mono_ms() + quiet_ms) * 1000000;
	if (!w->note_owed)
		pthread_cond_wait(&w->writer_wake, &w->lock);
	else if (cond_wait_until(&w->writer_wake, &w->lock, until) == ETIMEDOUT)
		write_note_locked(w);
}

/* Until a sync wants frames, the queue is long, or its oldest frame has waited long enough. */
static void wait_for_work_locked(struct wal *w)
{
	while (!w->stopping && !w->failed && !due_now_locked(w)) {
		if (!w->queue.n_parts) {
			wait_idle_locked(w);
			continue;
		}
		if (!w->opt.sync_interval_ms) {
			pthread_cond_wait(&w->writer_wake, &w->lock);
			continue;
		}
		uint64_t at = w->queue.since_ms + w->opt.sync_interval_ms;
		cond_wait_until(&w->writer_wake, &w->lock, at * 1000000);
	}
}

void *wal_writer_main(void *arg)
{
	struct wal *w = arg;
	pthread_setname_np(pthread_self(), "wal-writer");
	pthread_mutex_lock(&w->lock);
	for (;;) {
		wait_for_work_locked(w);
		if (w->stopping || w->failed)
			break;
		struct wal_queue taken = w->queue;
		w->queue = w->writing;
		w->writing = taken;
		if (!taken.barriers)
			w->writing.barriers_tail = &w->writing.barriers;
		w->queue.barriers_tail = &w->queue.barriers;
		pthread_cond_broadcast(&w->advanced); /* committers that found the queue full */
		pthread_mutex_unlock(&w->lock);
		const char *what;
		int r = write_group(w, &what);
		if (r < 0)
			wal_fail(w, r, what);
		pthread_mutex_lock(&w->lock);
		queue_reset(&w->writing);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}
