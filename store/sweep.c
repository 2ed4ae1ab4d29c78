// SPDX-License-Identifier: MIT
/* Frame by frame in id order: each chunk that is not live is condemned, which is final and known to
 * the packer at once; its digest is removed; only then does the row go, with the batch. Live chunks
 * of neighbouring frames are joined into new frames as long as they fit. A source frame is never
 * split over two new ones, so that every row put replaces whole rows and the batch may be committed
 * after any of them, as it is when the disk gets full halfway.
 *
 * Readers may see a batch while it goes in, row by row. The new row is put before the rows it
 * replaces are deleted: until its old row is gone a chunk is found there (that one has the greater
 * key, or the same), from then on in the new one.
 *
 * Joined frames must not enclose the ids of a row that stays (chunk_row.h): only frames whose rows
 * stand next to each other in KV_CHUNK are joined, and a frame that has to stay, because it can't
 * be read, ends the run. Dead frames between them don't: their rows go in the same batch.
 *
 * Bytes are hashed again before they get a fresh checksum in their new place: gc shall not make
 * damage look valid.
 *
 * Trimming. What is given back is never again what somebody looks for: its chunks were condemned, so no
 * duplicate leads to them; the rows are gone, durably; and a digest that a crash brings back leads to an id
 * without a row. A reader that looked a row up earlier finds zeros, which have no checksum, looks it up
 * again, and finds the new place (chunk_fetch.c). Frames healed meanwhile stay: what is kept is all that
 * had a row when the pack's were collected, but for those that went by us.
 *
 * The last SWEEP_FLOOR bytes of a disk are left to the log and the index; who can make room in no other
 * way takes of them, and gives back more than that before it goes on.
 */
#include "sweep.h"
#include "cleanup.h"
#include "log.h"
#include <errno.h>

#define FRAMES_PER_BATCH 2048u

struct sweep {
	struct sweep_options opt;
	struct kv *kv;
	struct frame_builder *out;
	struct sweep_frame *sources[FRAME_CHUNKS_MAX]; /* whose rows `out` replaces */
	unsigned n_sources;
	bool joined; /* nothing that stays lies between `out` and the frame at hand */
	bool stays;  /* something in this pack could not be moved */
	struct kv_batch *batch;
	uint64_t pack, moved;
	uint32_t floor;
	uint8_t *data; /* decoded live bytes of the frame at hand */
	struct mapped pieces[FRAME_CHUNKS_MAX];
};

int sweep_new(const struct sweep_options *opt, struct sweep **ret_s)
{
	struct sweep *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->opt = *opt;
	s->kv = extents_kv(opt->gc->extents);
	s->floor = SWEEP_FLOOR;
	s->data = malloc(FRAME_DECODED_MAX);
	int r = s->data ? frame_builder_new(&s->out) : -ENOMEM;
	if (r < 0) {
		sweep_free(s);
		return r;
	}
	*ret_s = s;
	return 0;
}

void sweep_free(struct sweep *s)
{
	if (!s)
		return;
	frame_builder_free(s->out);
	free(s->data);
	free(s);
}

void sweep_leave(struct sweep *s, uint32_t bytes)
{
	s->floor = bytes;
}

static int leave_floor(struct sweep *s)
{
	uint64_t avail;
	int r = packs_avail(s->opt.gc->packs, &avail);
	return r ? r : avail < s->floor + s->out->stored.len ? -ENOSPC : 0;
}

/* Writes the new frame and lets it take the place of its sources. */
static int flush_out(struct sweep *s)
{
	struct frame_chunk chunks[FRAME_CHUNKS_MAX];
	struct frame_row row;
	if (!s->out->n)
		return 0;
	int r = frame_seal(s->out, s->opt.gc->level);
	if (r == 0)
		r = leave_floor(s);
	if (r == 0)
		r = pack_append(s->opt.gc->packs, PACK_STREAM_GC, s->out, s->batch, chunks, &row);
	if (r < 0)
		return r;
	chunk_put_frame(s->batch, &row);
	for (unsigned i = 0; i < s->n_sources; i++) {
		struct sweep_frame *from = s->sources[i];
		from->fate = SWEEP_LEAVING;
		if (from->first_id != row.chunks[0].id || from->part != row.part)
			chunk_delete_frame(s->batch, from->first_id, from->part);
	}
	s->moved += row.stored_len;
	s->n_sources = 0;
	frame_builder_reset(s->out);
	s->opt.pace(s->opt.arg, row.stored_len);
	return 0;
}

static const struct chunk_entry *entry_of(const struct chunk_entry *entries, uint32_t n,
					  uint64_t id)
{
	for (uint32_t i = 0; i < n; i++)
		if (entries[i].id == id)
			return &entries[i];
	return NULL;
}

/* Condemns what is not live and moves the rest to the front. Returns how many are left. */
static uint32_t keep_live(struct sweep *s, struct frame_row *row, const struct chunk_entry *entries,
			  uint32_t n)
{
	uint32_t live = 0;
	for (uint32_t i = 0; i < row->n; i++) {
		if (!marks_condemn(s->opt.marks, row->chunks[i].id)) {
			row->chunks[live++] = row->chunks[i];
			continue;
		}
		const struct chunk_entry *e = entry_of(entries, n, row->chunks[i].id);
		if (e)
			digests_remove(s->opt.gc->digests, &e->digest, e->id);
	}
	return live;
}

/* Reads the first n chunks of the row, one after the other, into s->data. */
static int read_live(struct sweep *s, const struct frame_row *row, uint32_t n, uint32_t *ret_len)
{
	uint32_t len = 0;
	for (uint32_t i = 0; i < n; i++) {
		s->pieces[i] = (struct mapped){
			.at = len,
			.piece = { .chunk = row->chunks[i].id,
				   .length = row->chunks[i].length,
				   .offset = row->part * FRAME_DECODED_MAX,
				   .repeat = 1 },
		};
		len += row->chunks[i].length;
	}
	*ret_len = len;
	struct map_vec map = { .v = s->pieces, .n = n, .cap = FRAME_CHUNKS_MAX };
	/* the caches are for readers */
	return chunks_verify_map(s->opt.gc->chunks, &map, 0, len, s->data);
}

/* The length of a chunk in parts; 0 when this row holds the whole of its chunks. */
static int long_length(struct sweep *s, const struct frame_row *row, uint32_t *ret_len)
{
	uint64_t id = row->chunks[0].id, len = 0;
	struct frame_row part = { 0 };
	*ret_len = 0;
	if (!row->part && (row->n != 1 || row->decoded_len < FRAME_DECODED_MAX))
		return 0;
	for (uint16_t i = 0;; i++) {
		int r = chunk_get_frame(s->kv, id, i, &part);
		if (r == -ENOENT && i > row->part)
			break;
		if (r < 0)
			return r;
		len += part.decoded_len;
		frame_row_done(&part);
	}
	*ret_len = len > FRAME_DECODED_MAX ? (uint32_t)len : 0;
	return 0;
}

static bool fits(const struct frame_builder *fb, uint32_t n, uint32_t len)
{
	return fb->len + len <= FRAME_DECODED_MAX && fb->n + n <= FRAME_CHUNKS_MAX;
}

static bool digests_right(struct sweep *s, const struct frame_row *row, uint32_t live,
			  const struct chunk_entry *entries, uint32_t n, bool is_part)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < live; i++) {
		const struct chunk_entry *e = entry_of(entries, n, row->chunks[i].id);
		struct digest digest;
		if (!e)
			return false;
		if (!is_part) {
			digest_of(s->data + at, row->chunks[i].length, &digest);
			if (!digest_equal(&digest, &e->digest))
				return false;
		}
		at += row->chunks[i].length;
	}
	return true;
}

/* Adds the row's first `live` chunks to the new frame. */
static int move_live(struct sweep *s, const struct frame_row *row, uint32_t live,
		     const struct chunk_entry *entries, uint32_t n, struct sweep_frame *frame)
{
	uint32_t len, whole;
	int r = long_length(s, row, &whole);
	if (r == 0)
		r = read_live(s, row, live, &len);
	if (r == 0 && !digests_right(s, row, live, entries, n, whole))
		r = -EUCLEAN;
	if (r < 0)
		return r;
	if (!s->joined || whole || !fits(s->out, live, len))
		r = flush_out(s);
	if (r < 0)
		return r;
	if (whole) {
		s->out->part = row->part;
		s->out->chunk_len = whole;
	}
	uint32_t at = 0;
	for (uint32_t i = 0; i < live; i++) {
		const struct frame_chunk *c = &row->chunks[i];
		frame_add(s->out, c->id, &entry_of(entries, n, c->id)->digest, s->data + at,
			  c->length);
		at += c->length;
	}
	s->sources[s->n_sources++] = frame;
	s->joined = true;
	return whole ? flush_out(s) : 0;
}

/* Is this about the frame itself, so that the others can still be moved? */
static bool is_damage(int r)
{
	return r == -EUCLEAN || r == -EIO || r == -ENOENT;
}

/* A chunk in parts goes as a whole, wherever its other parts lie: one of which some are left would be found
 * by its first, and be no chunk. */
static int delete_dead(struct sweep *s, const struct sweep_frame *frame,
		       const struct frame_row *row)
{
	chunk_delete_frame(s->batch, frame->first_id, frame->part);
	bool in_parts = row->part || row->decoded_len == FRAME_DECODED_MAX;
	for (uint16_t part = 0; in_parts && part < CHUNK_LENGTH_MAX / FRAME_DECODED_MAX; part++) {
		struct frame_row other = { 0 };
		int r = part == frame->part ? 0
					    : chunk_get_frame(s->kv, frame->first_id, part, &other);
		frame_row_done(&other);
		if (r == -ENOENT && part > frame->part)
			break;
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && part != frame->part)
			chunk_delete_frame(s->batch, frame->first_id, part);
	}
	return 0;
}

static int sweep_frame(struct sweep *s, struct sweep_frame *frame)
{
	struct frame_row row = { 0 };
	CLEANUP_FREE struct chunk_entry *entries = NULL;
	uint32_t n = 0;
	s->joined = s->joined && frame->adjacent && frame->fate == SWEEP_HERE;
	if (frame->fate == SWEEP_GONE)
		return 0;
	int r = chunk_get_frame(s->kv, frame->first_id, frame->part, &row);
	if (r == -ENOENT) { /* dropped by sweep_drop, listed elsewhere */
		frame->fate = SWEEP_GONE;
		return 0;
	}
	if (r == 0 && row.pack != s->pack) { /* healed since, and so moved away */
		frame_row_done(&row);
		s->joined = false;
		s->stays = true; /* other rows of it may be new; the next pass counts again */
		return flush_out(s);
	}
	if (r == 0) {
		int unread = chunks_frame_digests(s->opt.gc->chunks, frame->first_id, &entries, &n);
		uint32_t live = keep_live(s, &row, entries, n);
		if (!live) {
			r = delete_dead(s, frame, &row);
			frame->fate = r == 0 ? SWEEP_LEAVING : frame->fate;
		} else {
			r = unread ? unread : move_live(s, &row, live, entries, n, frame);
		}
	}
	frame_row_done(&row);
	if (r < 0 && is_damage(r)) {
		log_warn("gc: pack %016llx: the frame of chunk %llu stays: %s",
			 (unsigned long long)s->pack, (unsigned long long)frame->first_id,
			 strerror(-r));
		r = flush_out(s); /* may itself fail for another reason */
		s->joined = false;
		s->stays = true;
	}
	return r;
}

/* What was moved so far, and what was dropped. The rows of what was moved carry barriers. */
static int commit_batch(struct sweep *s, struct sweep_frame *frames, size_t n, uint64_t *ret_lsn)
{
	struct kv_batch *batch = TAKE_PTR(s->batch);
	uint8_t next[8];
	put_le64(next, packer_next_id(s->opt.gc->packer));
	kv_batch_put(batch, KV_META, PACKER_NEXT_KEY, strlen(PACKER_NEXT_KEY), next, sizeof next);
	kv_batch_set_reserve(batch);
	int r = kv_commit(s->kv, batch, ret_lsn);
	for (size_t i = 0; i < n; i++)
		if (frames[i].fate == SWEEP_LEAVING)
			frames[i].fate = r < 0 ? SWEEP_HERE : SWEEP_GONE;
	return r;
}

/* A pack of very small chunks has very long rows: more than one batch can take. */
static int renew_batch(struct sweep *s, struct sweep_frame *frames, size_t n, uint64_t *ret_lsn)
{
	int r = flush_out(s);
	if (r < 0)
		return r;
	r = commit_batch(s, frames, n, ret_lsn);
	s->batch = kv_batch_new();
	return r < 0 ? r : s->batch ? 0 : -ENOMEM;
}

static int begin(struct sweep *s, uint64_t pack)
{
	s->pack = pack;
	s->moved = 0;
	s->n_sources = 0;
	s->joined = s->stays = false;
	s->batch = kv_batch_new();
	if (!s->batch)
		return -ENOMEM;
	frame_builder_reset(s->out);
	return 0;
}

/* With the lock of rows: does `one` to each frame, and commits what came of it. */
static int each_frame(struct sweep *s, struct sweep_frame *frames, size_t n, uint64_t *ret_lsn,
		      int (*one)(struct sweep *s, struct sweep_frame *frame))
{
	int r = 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		r = one(s, &frames[i]);
		if (r == 0 && i % FRAMES_PER_BATCH == FRAMES_PER_BATCH - 1)
			r = renew_batch(s, frames, n, ret_lsn);
	}
	return r == 0 ? flush_out(s) : r;
}

static int sweep_pack_locked(struct sweep *s, uint64_t pack, struct sweep_frame *frames, size_t n,
			     uint64_t *ret_lsn)
{
	int r = begin(s, pack);
	if (r < 0)
		return r;
	r = each_frame(s, frames, n, ret_lsn, sweep_frame);
	if (r == 0 && !s->stays)
		r = pack_doom(s->opt.gc->packs, s->batch, pack);
	int committed = s->batch ? commit_batch(s, frames, n, ret_lsn) : 0;
	if (committed < 0 || r < 0)
		return committed < 0 ? committed : r;
	cache_forget_pack(s->opt.gc->cache, pack);
	return s->stays ? 0 : 1;
}

int sweep_pack(struct sweep *s, uint64_t pack, struct sweep_frame *frames, size_t n,
	       uint64_t *ret_moved, uint64_t *ret_lsn)
{
	rotten_lock_rows(s->opt.gc->rotten);
	int r = sweep_pack_locked(s, pack, frames, n, ret_lsn);
	rotten_unlock_rows(s->opt.gc->rotten);
	*ret_moved = s->moved;
	return r;
}

/* ---- without room ---- */

static bool all_dead(const struct sweep *s, const struct frame_row *row)
{
	for (uint32_t i = 0; i < row->n; i++)
		if (marks_live(s->opt.marks, row->chunks[i].id))
			return false;
	return true;
}

static int drop_frame(struct sweep *s, struct sweep_frame *frame)
{
	struct frame_row row = { 0 };
	CLEANUP_FREE struct chunk_entry *entries = NULL;
	uint32_t n = 0;
	int r = frame->fate == SWEEP_GONE
			? -ENOENT
			: chunk_get_frame(s->kv, frame->first_id, frame->part, &row);
	if (r < 0) {
		frame->fate = r == -ENOENT ? SWEEP_GONE : frame->fate;
		return r == -ENOENT ? 0 : r;
	}
	if (row.pack == s->pack && all_dead(s, &row)) {
		chunks_frame_digests(s->opt.gc->chunks, frame->first_id, &entries, &n);
		if (!keep_live(s, &row, entries, n)) { /* none was wanted meanwhile */
			r = delete_dead(s, frame, &row);
			frame->fate = r == 0 ? SWEEP_LEAVING : frame->fate;
		}
	}
	frame_row_done(&row);
	return r;
}

int sweep_drop(struct sweep *s, uint64_t pack, struct sweep_frame *frames, size_t n,
	       uint64_t *ret_lsn)
{
	rotten_lock_rows(s->opt.gc->rotten);
	int r = begin(s, pack);
	if (r == 0)
		r = each_frame(s, frames, n, ret_lsn, drop_frame);
	int committed = s->batch ? commit_batch(s, frames, n, ret_lsn) : 0;
	rotten_unlock_rows(s->opt.gc->rotten);
	return committed < 0 ? committed : r;
}

static int place_order(const void *a, const void *b)
{
	uint64_t x = ((const struct pack_place *)a)->offset,
		 y = ((const struct pack_place *)b)->offset;
	return (x > y) - (x < y);
}

int sweep_trim(struct sweep *s, uint64_t pack, const struct sweep_frame *frames, size_t n,
	       uint64_t *ret_bytes)
{
	CLEANUP_FREE struct pack_place *keep = malloc((n + 1) * sizeof *keep);
	size_t kept = 0;
	*ret_bytes = 0;
	if (!keep)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (frames[i].fate != SWEEP_GONE)
			keep[kept++] =
				(struct pack_place){ frames[i].offset, frames[i].stored_len };
	if (kept)
		qsort(keep, kept, sizeof *keep, place_order);
	return pack_trim(s->opt.gc->packs, pack, keep, kept, ret_bytes);
}
