// SPDX-License-Identifier: MIT
/* The write-ahead log: specification.
 *
 * FILES. DIR/wal-<16 hex digits of seq>, each of a length that its header says, blocks allocated when it is made.
 *
 *   0      wal_segment_header (wal_format.h), the only thing in the first 4096 bytes, so that no
 *          later write touches its block
 *   4096   frames, each at a multiple of 8, one after the other; then whatever (zeros, or a write
 *          that was cut off)
 *
 *   frame: wal_frame_header, stored_len bytes of payload, zeros up to a multiple of 8
 *
 * A segment belongs to the log from the moment that its header is valid; before that it is only
 * room. Numbers name files; the order of the log is the order of first_lsn.
 *
 * VALID. A header is valid iff its checksum, magic and version are right and its seq is the file
 * name's. A frame at offset x of a segment is valid iff
 *   - its mark is the one of (pool uuid, wal id, seq),
 *   - it ends within the file and its lengths are within bounds, flags known,
 *   - its checksum is XXH3-64 of header and payload, seeded with a hash of (pool uuid, wal id, seq).
 * So nothing of another pool, of an earlier log of this pool, or of another segment is ever valid.
 * wal id is random, drawn when an empty log begins, and kept in LMDB; LSNs of one log are
 * consecutive.
 *
 * WRITING. Commits hand in frames in LSN order. Each is promised bytes in a segment that is already
 * allocated (wal_space.c), else the commit is refused with -ENOSPC. One thread (wal_writer.c) then
 * repeats, for all frames that are queued:
 *
 *   1. runs their barriers in order, equal ones once: the things the frames name become durable
 *   2. per segment: if it is the segment's first use, writes its header, fdatasync, writes an *end* that
 *      names it behind the frames of the segment before, fdatasync; then writes the frames, fdatasync
 *   3. moves the durable LSN, wakes who waits for it
 *
 * When nothing has come for a while, it writes a *note* behind the last frame, which need not be durable.
 * Ends and notes are no batches: they take no LSN and carry that of the batch that comes next.
 *
 * How recovery tells a torn tail from damage: a frame carries the durable LSN at the time it was written
 * (that is all a note is for), and a segment's header proves that all before its first_lsn is durable. An
 * end proves that the segment it names was there, with its header. The first segment of a run is named
 * by LMDB before the first commit, at each checkpoint the newest one that an end names, and the one that
 * LMDB names is not trimmed. A segment has the length that its header says until it is ended by
 * recovery or by a clean close, which cut it behind the end. So no file of the log can be missing, cut or emptied
 * without a word.
 *
 * FAILURE. If a barrier, a write or a sync fails, the state of the file is unknown, and a repeated
 * fsync may report success for pages that the kernel has dropped. So nothing is repeated: the log
 * has failed, everyone who waits gets the error, no frame is accepted any more.
 *
 * RECOVERY (wal_replay.c). C is the checkpoint LSN that LMDB holds.
 *   1. List the segments with valid headers by first_lsn. Another pool's uuid or another wal id:
 *      -ESTALE. Start at the last one with first_lsn <= C + 1; none: -ENOENT.
 *   2. Read frames while they are valid and consecutive; apply those above C. At the first other
 *      bytes go on in the next segment, whose first_lsn must be the next LSN. If it is not, frames
 *      that were durable are gone: -ENOENT when the file prev_seq is missing, cut, or without a valid
 *      header, else -EUCLEAN.
 *   3. The log ends at LSN E in the last segment. If that has an end that names another one, or has
 *      no end and not the length it was made with: -ENOENT, as a file is missing, or is not whole. If anywhere
 *      behind a valid frame has a durable_lsn > E, then frames that were durable are damaged: -EUCLEAN;
 *      in a file without valid header, that is what is wrong: -ENOENT. If not, whatever lies there was never
 *      acknowledged to anyone (the last group's writes may reach the disk in any order): a torn tail, and it
 *      is cut off.
 *   4. E < C is damage too: LMDB never runs ahead of the log. Without the segment that LMDB names, or its
 *      header: -ENOENT. And so instead of each -EUCLEAN while a segment that another one's header
 *      names is missing or has none, or any header is altered: nothing is given up for damage when
 *      a file may be whole somewhere else.
 *   5. The last segment gets an end that names nothing, is synced (its frames may be in the page cache
 *      only) and cut behind that; the log goes on in a new segment. Frames are never appended to a
 *      file that was found at open.
 *
 * Locks: kv's commit lock, then wal.lock. Callbacks, barriers and I/O run without either.
 */
#include "wal.h"
#include "cond.h"
#include "io.h"
#include "thread.h"
#include "wal_internal.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <zstd.h>

#define SEGMENT_DEFAULT ((size_t)16 << 20)
#define SEGMENT_MIN ((size_t)64 << 10)
#define SEGMENT_USUAL_MAX ((size_t)64 << 20)

static size_t segment_size(size_t wanted)
{
	if (!wanted)
		return SEGMENT_DEFAULT;
	if (wanted < SEGMENT_MIN)
		return SEGMENT_MIN;
	return wanted > SEGMENT_USUAL_MAX ? SEGMENT_USUAL_MAX : wanted & ~(size_t)4095;
}

static void wal_init(struct wal *w, const struct wal_options *opt)
{
	w->opt = *opt;
	w->opt.segment_bytes = segment_size(opt->segment_bytes);
	pthread_mutex_init(&w->lock, NULL);
	cond_init(&w->writer_wake);
	cond_init(&w->maker_wake);
	cond_init(&w->made);
	cond_init(&w->advanced);
	w->spares_wanted = WAL_SPARES;
	w->keep_after = opt->keep_after;
	w->keep_least = opt->keep_least;
	w->waiters_tail = &w->waiters;
	w->queue.barriers_tail = &w->queue.barriers;
	w->writing.barriers_tail = &w->writing.barriers;
}

static void stop_threads(struct wal *w, bool writer, bool maker)
{
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_broadcast(&w->writer_wake);
	pthread_cond_broadcast(&w->maker_wake);
	pthread_cond_broadcast(&w->made);
	pthread_cond_broadcast(&w->advanced);
	pthread_mutex_unlock(&w->lock);
	if (writer)
		pthread_join(w->writer, NULL);
	if (maker)
		pthread_join(w->maker, NULL);
}

static int start_threads(struct wal *w)
{
	int r = thread_start(&w->writer, wal_writer_main, w);
	if (r < 0)
		return r;
	r = thread_start(&w->maker, wal_maker_main, w);
	if (r < 0)
		stop_threads(w, true, false);
	return r;
}

/* The first segment of this run, in the log from the start: a log that is needed has a file. */
static int begin_segment(struct wal *w, struct wal_segment *old)
{
	struct wal_segment *last = old;
	size_t size = w->opt.segment_bytes;
	int r;
	/* On a nearly full disk a small one will do: it must be possible to mount and delete. */
	do {
		r = wal_segment_create(w->opt.dirfd, ++w->last_seq, size, &w->tail);
		size = size / 2 & ~(size_t)4095;
	} while (r == -ENOSPC && size >= SEGMENT_MIN);
	if (r < 0)
		return r;
	while (last && last->next)
		last = last->next;
	w->tail->prev_seq = last ? last->seq : 0;
	w->tail->first_lsn = w->last_lsn + 1;
	r = wal_segment_begin(w->tail, &w->opt.id);
	if (r < 0)
		return r;
	w->current = w->tail;
	atomic_init(&w->newest, w->tail->seq);
	if (last)
		last->next = w->tail;
	w->oldest = old ? old : w->tail;
	for (struct wal_segment *s = w->oldest; s; s = s->next)
		w->bytes_on_disk += s->size;
	return 0;
}

static void free_list(struct wal *w, struct wal_segment *s, bool remove_files, int *result)
{
	for (struct wal_segment *next; s; s = next) {
		int r = 0;
		next = s->next;
		if (remove_files)
			r = wal_segment_remove(w->opt.dirfd, s);
		else
			wal_segment_free(s);
		if (*result == 0)
			*result = r;
	}
}

static void wal_free(struct wal *w)
{
	wal_queue_done(&w->queue);
	wal_queue_done(&w->writing);
	wal_flush_done(&w->flush);
	buf_done(&w->packed);
	buf_done(&w->scratch);
	ZSTD_freeCCtx(w->zstd);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->writer_wake);
	pthread_cond_destroy(&w->maker_wake);
	pthread_cond_destroy(&w->made);
	pthread_cond_destroy(&w->advanced);
	free(w);
}

int wal_start(const struct wal_options *opt, uint64_t last_lsn, uint64_t last_seq,
	      struct wal_segment *old, struct wal **ret_wal)
{
	struct wal *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	wal_init(w, opt);
	w->last_lsn = last_lsn;
	w->last_seq = last_seq;
	atomic_init(&w->durable_lsn, last_lsn);
	wal_flush_init(&w->flush, opt->backend);
	int r = begin_segment(w, old);
	if (r == 0)
		r = start_threads(w);
	if (r < 0) {
		for (struct wal_segment *s = old; s; s = s->next)
			if (s->next == w->tail)
				s->next = NULL;
		if (w->tail)
			wal_segment_remove(w->opt.dirfd, w->tail);
		wal_free(w);
		return r;
	}
	*ret_wal = w;
	return 0;
}

/* The file has no room for more frames, and says so itself. */
static int close_segment(struct wal *w, struct wal_segment *s)
{
	int r = 0;
	if (s == w->current) /* the others name the one that follows */
		r = wal_segment_end(s, &w->opt.id, atomic_load(&w->durable_lsn), 0);
	if (r == 0 && ftruncate(s->fd, (off_t)s->written))
		r = -errno;
	return r < 0 ? r : io_fsync(s->fd);
}

/* What stays of a log whose frames are all in the base. */
static int close_kept(struct wal *w)
{
	struct wal_segment **at = &w->oldest;
	int r = 0;
	for (struct wal_segment *s; r == 0 && (s = *at) != NULL;) {
		if (s->fd >= 0 && s->written == WAL_FRAMES_AT) {
			*at = s->next;
			r = wal_segment_remove(w->opt.dirfd, s);
			continue;
		}
		if (s->fd >= 0)
			r = close_segment(w, s);
		at = &s->next;
	}
	return r;
}

int wal_stop(struct wal *w, bool in_base)
{
	int r = 0;
	if (!w)
		return 0;
	bool remove_files = in_base && w->keep_after >= w->last_lsn;
	stop_threads(w, true, true);
	wal_call_waiters(wal_take_due_locked(w, UINT64_MAX), w->failed ? w->failed : -ESHUTDOWN);
	if (in_base && !remove_files)
		r = close_kept(w);
	free_list(w, w->doomed, true, &r);
	free_list(w, w->oldest, remove_files, &r);
	free_list(w, w->spare, true, &r);
	free_list(w, w->big, true, &r);
	if (in_base && r == 0)
		r = io_fsync_dir(w->opt.dirfd);
	wal_free(w);
	return r;
}

/* Makes sure that a frame can be added to the queue without failing half-way. */
static int queue_reserve(struct wal_queue *q, size_t frame_size)
{
	if (q->n_parts == q->max_parts) {
		size_t max = q->max_parts ? q->max_parts * 2 : 4;
		struct wal_part *parts = realloc(q->parts, max * sizeof *parts);
		if (!parts)
			return -ENOMEM;
		q->parts = parts;
		q->max_parts = max;
	}
	size_t len = q->bytes.len;
	bool ok = buf_extend(&q->bytes, frame_size);
	q->bytes.len = len;
	q->bytes.failed = false;
	return ok ? 0 : -ENOMEM;
}

static void queue_frame_locked(struct wal *w, struct slice payload, size_t size)
{
	struct wal_queue *q = &w->queue;
	struct wal_part *part = q->n_parts ? &q->parts[q->n_parts - 1] : NULL;
	uint8_t *frame = buf_extend(&q->bytes, size);
	memset(frame, 0, sizeof(struct wal_frame_header));
	memset(frame + size - WAL_ALIGN, 0, WAL_ALIGN);
	put_le32(frame + offsetof(struct wal_frame_header, raw_len), (uint32_t)payload.len);
	if (payload.len)
		memcpy(frame + sizeof(struct wal_frame_header), payload.at, payload.len);
	if (!part) {
		q->first_lsn = w->last_lsn;
		q->since_ms = clock_mono_ms();
		pthread_cond_signal(&w->writer_wake);
	}
	if (!part || part->segment != w->tail) {
		part = &q->parts[q->n_parts++];
		*part = (struct wal_part){ .segment = w->tail, .begin = q->bytes.len - size };
	}
	part->end = q->bytes.len;
	part->last_lsn = w->last_lsn;
	if (q->bytes.len >= WAL_HURRY_BYTES && q->bytes.len - size < WAL_HURRY_BYTES)
		pthread_cond_signal(&w->writer_wake);
}

static void queue_barriers_locked(struct wal_queue *q, struct kv_barrier *barriers)
{
	*q->barriers_tail = barriers;
	while (*q->barriers_tail)
		q->barriers_tail = &(*q->barriers_tail)->next;
}

static int append_locked(struct wal *w, struct slice payload, struct kv_barrier *barriers,
			 bool may_use_reserve, uint64_t *ret_lsn)
{
	size_t size = wal_frame_size(payload.len);
	while (w->queue.bytes.len >= WAL_QUEUE_BYTES && !w->failed && !w->stopping)
		pthread_cond_wait(&w->advanced, &w->lock);
	if (w->failed)
		return w->failed;
	int r = wal_place_locked(w, size, may_use_reserve);
	if (r == 0)
		r = queue_reserve(&w->queue, size);
	if (r < 0)
		return r;
	w->tail->reserved += size;
	w->last_lsn++;
	queue_frame_locked(w, payload, size);
	queue_barriers_locked(&w->queue, barriers);
	*ret_lsn = w->last_lsn;
	return 0;
}

int wal_append(struct wal *w, struct slice payload, struct kv_barrier *barriers,
	       bool may_use_reserve, uint64_t *ret_lsn)
{
	if (payload.len > WAL_PAYLOAD_MAX)
		return -E2BIG;
	pthread_mutex_lock(&w->lock);
	int r = append_locked(w, payload, barriers, may_use_reserve, ret_lsn);
	pthread_mutex_unlock(&w->lock);
	return r;
}

static void hurry_locked(struct wal *w, uint64_t lsn)
{
	if (lsn <= w->hurry_lsn)
		return;
	w->hurry_lsn = lsn;
	pthread_cond_signal(&w->writer_wake);
}

int wal_sync(struct wal *w, uint64_t lsn)
{
	if (lsn <= atomic_load(&w->durable_lsn))
		return 0;
	pthread_mutex_lock(&w->lock);
	if (!w->failed)
		hurry_locked(w, lsn);
	while (atomic_load(&w->durable_lsn) < lsn && !w->failed && !w->stopping)
		pthread_cond_wait(&w->advanced, &w->lock);
	int r = atomic_load(&w->durable_lsn) >= lsn ? 0 : w->failed ? w->failed : -ESHUTDOWN;
	pthread_mutex_unlock(&w->lock);
	return r;
}

void wal_when_durable(struct wal *w, uint64_t lsn, bool hurry, void (*fn)(void *arg, int err),
		      void *arg)
{
	if (lsn <= atomic_load(&w->durable_lsn)) {
		fn(arg, 0);
		return;
	}
	struct wal_waiter *one = malloc(sizeof *one);
	if (!one) { /* a sync may be waited for; others come from the writer's thread, too */
		fn(arg, hurry ? wal_sync(w, lsn) : -ENOMEM);
		return;
	}
	*one = (struct wal_waiter){ .lsn = lsn, .fn = fn, .arg = arg };
	pthread_mutex_lock(&w->lock);
	bool durable = lsn <= atomic_load(&w->durable_lsn);
	int failed = w->failed;
	if (!durable && !failed) {
		*w->waiters_tail = one;
		w->waiters_tail = &one->next;
		if (hurry)
			hurry_locked(w, lsn);
		one = NULL;
	}
	pthread_mutex_unlock(&w->lock);
	if (one)
		fn(arg, durable ? 0 : failed);
	free(one);
}

uint64_t wal_durable_lsn(struct wal *w)
{
	return atomic_load(&w->durable_lsn);
}

uint64_t wal_last_lsn(struct wal *w)
{
	return atomic_load(&w->last_lsn);
}

uint32_t wal_seq_tag(uint64_t seq)
{
	return (uint32_t)(seq % 0x7fffffff) + 1;
}

uint32_t wal_newest(struct wal *w)
{
	return wal_seq_tag(atomic_load(&w->newest));
}

void wal_named(struct wal *w, uint32_t tag)
{
	pthread_mutex_lock(&w->lock);
	w->opt.named = tag;
	pthread_mutex_unlock(&w->lock);
}

void wal_trim(struct wal *w, uint64_t lsn)
{
	pthread_mutex_lock(&w->lock);
	w->trimmed_lsn = lsn;
	w->make_result = 0; /* a checkpoint may have made space: worth another attempt */
	wal_trim_locked(w);
	pthread_cond_signal(&w->maker_wake);
	pthread_mutex_unlock(&w->lock);
}

void wal_keep(struct wal *w, uint64_t after, uint64_t least)
{
	pthread_mutex_lock(&w->lock);
	w->keep_after = after;
	w->keep_least = least;
	wal_trim_locked(w);
	pthread_mutex_unlock(&w->lock);
}

bool wal_give_room(struct wal *w)
{
	pthread_mutex_lock(&w->lock);
	bool given = wal_give_room_locked(w);
	pthread_mutex_unlock(&w->lock);
	return given;
}

static uint64_t filled_bytes_locked(const struct wal *w, unsigned *ret_segments)
{
	uint64_t sum = 0;
	unsigned n = 0;
	for (struct wal_segment *s = w->oldest; s; s = s->next, n++)
		sum += s->fd >= 0 ? s->reserved : s->size;
	*ret_segments = n;
	return sum;
}

void wal_stats(struct wal *w, struct kv_stats *ret_stats)
{
	pthread_mutex_lock(&w->lock);
	ret_stats->log_start_lsn = w->oldest->first_lsn - 1;
	ret_stats->wal_bytes_filled = filled_bytes_locked(w, &ret_stats->wal_segments);
	ret_stats->durable_lsn = atomic_load(&w->durable_lsn);
	ret_stats->wal_bytes_on_disk = w->bytes_on_disk;
	ret_stats->wal_bytes_written = w->bytes_written;
	ret_stats->wal_syncs = w->syncs;
	ret_stats->wal_backend = wal_flush_name(&w->flush);
	pthread_mutex_unlock(&w->lock);
}
