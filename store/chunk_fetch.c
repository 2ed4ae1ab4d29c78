// SPDX-License-Identifier: MIT
/* One batch of reading. Pieces are turned into places in frames; each frame is listed once however
 * many pieces lie in it. What the cache has is copied out. Of the rest, a raw frame is read just
 * where it is wanted (with its head, if that touches), a compressed one whole; reads of one pack that
 * touch become one, and all are issued at once. Then each frame is verified, decoded, offered to the
 * cache and copied out.
 *
 * A compressed frame is loaded by one thread at a time (loading.c): what others are at is left for a
 * further round, after our own are done and given up.
 *
 * Raw frames are not cached: the kernel caches the pack's pages already.
 *
 * A row found earlier in the batch serves its other chunks; several are kept, for the slices of a film are of
 * pictures, sound and what lies between them by turns. gc may meanwhile have moved them and removed
 * the pack, or given the frame back in place; healing may have moved them, too. So a pack that is gone
 * makes the caller begin anew (-ESTALE), and so does a frame that is no frame any more, if the row that
 * led there has changed: new rows are put before old places go. If it has not, that is damage: who
 * keeps account of it (chunks_on_damage) is told, and may even have mended it.
 *
 * A fetch belongs to one thread; its memory is kept between requests.
 */
#include "chunk_fetch.h"
#include "cleanup.h"
#include "fault.h"
#include "log.h"
#include "place.h"
#include <errno.h>
#include <inttypes.h>
#include <sys/uio.h>
#include <fcntl.h>

#define MERGE_GAP 4096u
#define MERGE_MAX (1u << 20)
#define STORED_KEPT (2u << 20)
#define CRUMBS 4u      /* pieces of a frame; fewer are asked for one by one */
#define TRY_DECODES 2u /* more than this many frames are left to a worker */

struct fetch *fetch_new(struct kv *kv, struct packs *packs, struct cache *cache,
			struct loading *loading, const struct fetch_damage *damage)
{
	struct fetch *f = calloc(1, sizeof *f);
	if (!f)
		return NULL;
	f->kv = kv;
	f->packs = packs;
	f->cache = cache;
	f->loading = loading;
	f->damage = damage;
	f->decoded = malloc(FRAME_DECODED_MAX);
	if (f->decoded)
		return f;
	free(f);
	return NULL;
}

void fetch_free(struct fetch *f)
{
	if (!f)
		return;
	free(f->stored);
	free(f->decoded);
	free(f);
}

static void forget_rows(struct fetch *f)
{
	for (unsigned i = 0; i < FETCH_ROWS; i++) {
		frame_row_done(&f->rows[i].row);
		f->rows[i] = (struct fetch_row){ 0 };
	}
}

void fetch_begin(struct fetch *f, enum fetch_mode mode)
{
	f->mode = mode;
	f->n_frames = f->n_pieces = f->n_ops = 0;
	f->gone = 0;
}

void fetch_end(struct fetch *f)
{
	forget_rows(f);
	if (f->stored_cap > STORED_KEPT) {
		free(TAKE_PTR(f->stored));
		f->stored_cap = 0;
	}
}

/* Neighbours are asked for in order, so the search goes on where it was. */
static bool find_in_row(struct fetch_row *fr, uint64_t id, uint32_t offset, uint32_t *ret_at,
			uint32_t *ret_left)
{
	const struct frame_row *row = &fr->row;
	uint32_t before = row->part * FRAME_DECODED_MAX;
	if (!row->n || id < row->chunks[0].id || id > row->chunks[row->n - 1].id || offset < before)
		return false;
	if (id < row->chunks[fr->i].id)
		fr->i = fr->at = 0;
	while (row->chunks[fr->i].id < id)
		fr->at += row->chunks[fr->i++].length;
	const struct frame_chunk *c = &row->chunks[fr->i];
	if (c->id != id || offset - before >= c->length)
		return false;
	*ret_at = fr->at + offset - before;
	*ret_left = c->length - (offset - before);
	return true;
}

int fetch_find(struct fetch *f, uint64_t id, uint32_t offset, uint32_t *ret_at, uint32_t *ret_left)
{
	for (uint32_t k = 0; k < FETCH_ROWS; k++) {
		uint32_t i = (f->row + FETCH_ROWS - k) % FETCH_ROWS;
		if (find_in_row(&f->rows[i], id, offset, ret_at, ret_left)) {
			f->row = i;
			return 0;
		}
	}
	f->row = f->oldest_row++ % FETCH_ROWS;
	struct fetch_row *fr = &f->rows[f->row];
	frame_row_done(&fr->row);
	*fr = (struct fetch_row){ 0 };
	int r = chunk_find(f->kv, id, offset, &fr->row, ret_at, ret_left);
	if (r < 0) {
		fr->row = (struct frame_row){ 0 };
		return r;
	}
	return find_in_row(fr, id, offset, ret_at, ret_left) ? 0 : -EUCLEAN;
}

/* Do the frame's bytes lie elsewhere now, or nowhere? */
static bool has_moved(struct fetch *f, const struct fetch_frame *fr)
{
	struct frame_row row = { 0 };
	uint32_t at, left;
	int r = chunk_find(f->kv, fr->id, fr->name.part * FRAME_DECODED_MAX, &row, &at, &left);
	bool moved = r == -ENOENT ||
		     (r == 0 && (row.pack != fr->place.pack || row.offset != fr->place.offset));
	if (r == 0)
		frame_row_done(&row);
	return moved;
}

static int damaged(struct fetch *f, const struct fetch_frame *fr, int err, const char *what)
{
	if (has_moved(f, fr))
		return -ESTALE;
	if (f->mode == FETCH_TRY)
		return -EAGAIN;	    /* telling takes longer than a receive thread may */
	if (f->mode != FETCH_AHEAD) /* who wants it will say so */
		log_error("pack %016" PRIx64 ", frame at %" PRIu64 " (chunk %" PRIu64 "): %s%s%s",
			  fr->place.pack, fr->place.offset, fr->id, what,
			  err == -EUCLEAN ? "" : ": ", err == -EUCLEAN ? "" : strerror(-err));
	if (f->mode != FETCH_READ || !f->damage->fn)
		return -EIO;
	f->damage->fn(f->damage->arg, fr->id, fr->name.part * FRAME_DECODED_MAX);
	return has_moved(f, fr) ? -ESTALE : -EIO;
}

/* gc may have moved what was in a pack that is gone: then its row is looked up again. */
static int no_pack(struct fetch *f, uint64_t pack, int err)
{
	if (err == -ENOENT) {
		f->gone = pack;
		return -ESTALE;
	}
	if (err == -ENOMEDIUM) {
		if (f->mode != FETCH_AHEAD)
			pack_say_absent(f->packs, pack);
		return -EIO;
	}
	log_error("pack %016" PRIx64 " cannot be read: %s", pack,
		  err == -EUCLEAN ? "its file is that of another pool" : strerror(-err));
	return err == -EUCLEAN ? -EIO : err;
}

/* The frame of the last row, listed; UINT32_MAX when there is no room. */
static uint32_t list_frame(struct fetch *f, uint64_t id)
{
	const struct frame_row *row = &f->rows[f->row].row;
	for (uint32_t i = f->n_frames; i--;)
		if (f->frames[i].place.offset == row->offset &&
		    f->frames[i].place.pack == row->pack)
			return i;
	if (f->n_frames == (f->mode == FETCH_AHEAD ? FETCH_FRAMES_AHEAD : FETCH_FRAMES))
		return UINT32_MAX;
	f->frames[f->n_frames] = (struct fetch_frame){
		.place = { row->pack, row->offset },
		.name = { row->chunks[0].id, row->part },
		.stored_len = row->stored_len,
		.decoded_len = row->decoded_len,
		.payload_at = (uint32_t)(sizeof(struct frame_header) +
					 row->n * sizeof(struct chunk_entry)),
		.chunks = row->n,
		.codec = row->codec,
		.cached = row->codec != CODEC_RAW || pack_is_far(f->packs, row->pack),
		.id = id,
		.id_at = f->rows[f->row].at,
		.lo = UINT32_MAX,
		.begin = UINT32_MAX,
	};
	return f->n_frames++;
}

/* Rows have checksums of their own; still, numbers that can't be true are not computed with. */
static bool row_plausible(const struct frame_row *row, uint32_t at, uint32_t left)
{
	return row->decoded_len && row->decoded_len <= FRAME_DECODED_MAX && row->n &&
	       row->n <= FRAME_CHUNKS_MAX && row->offset % FRAME_ALIGN == 0 &&
	       row->stored_len <= 2 * FRAME_DECODED_MAX && at <= row->decoded_len &&
	       left <= row->decoded_len - at &&
	       row->stored_len > sizeof(struct frame_header) + row->n * sizeof(struct chunk_entry);
}

int fetch_add(struct fetch *f, uint64_t id, uint32_t offset, uint32_t len, uint8_t *out)
{
	while (len) {
		uint32_t at, left;
		int r = fetch_find(f, id, offset, &at, &left);
		if (r == 0 && !row_plausible(&f->rows[f->row].row, at, left))
			r = -EUCLEAN;
		if (r < 0)
			return r;
		uint32_t i = f->n_pieces < FETCH_PIECES ? list_frame(f, id) : UINT32_MAX;
		if (i == UINT32_MAX) {
			r = fetch_run(f);
			if (r < 0)
				return r;
			i = list_frame(f, id);
		}
		uint32_t n = left < len ? left : len;
		f->pieces[f->n_pieces++] = (struct fetch_piece){ i, at, n, out };
		struct fetch_frame *fr = &f->frames[i];
		fr->begin = at < fr->begin ? at : fr->begin;
		fr->end = at + n > fr->end ? at + n : fr->end;
		fr->n++;
		out = out ? out + n : NULL;
		offset += n;
		len -= n;
	}
	return 0;
}

static int read_cache(struct fetch *f, const struct fetch_frame *fr, uint32_t at, uint32_t len,
		      void *out)
{
	if (f->mode == FETCH_AHEAD)
		return cache_has(f->cache, fr->place);
	if (f->mode != FETCH_TRY)
		return cache_read(f->cache, fr->place, at, len, out);
	int hit = cache_try_read(f->cache, fr->place, at, len, out);
	/* kept over a remount: once a worker has verified it, it serves us, too */
	f->unverified |= !hit && cache_has(f->cache, fr->place);
	return hit;
}

static void copy_pieces(struct fetch *f, const struct fetch_frame *fr, const uint8_t *data,
			uint32_t from)
{
	for (uint32_t i = 0; i < f->n_pieces; i++) {
		struct fetch_piece *p = &f->pieces[i];
		if (!p->len || &f->frames[p->frame] != fr)
			continue;
		memcpy(p->out, data + (p->at - from), p->len);
		p->len = 0;
	}
}

/* Many pieces of one frame are looked up once. */
static void take_crumbs(struct fetch *f)
{
	if (f->mode != FETCH_READ && f->mode != FETCH_TRY)
		return;
	for (uint32_t i = 0; i < f->n_frames; i++) {
		const struct fetch_frame *fr = &f->frames[i];
		if (fr->cached && fr->n >= CRUMBS &&
		    read_cache(f, fr, fr->begin, fr->end - fr->begin, f->decoded))
			copy_pieces(f, fr, f->decoded, fr->begin);
	}
}

/* Copies out what the cache has; what is left makes up each frame's [lo, hi). */
static void take_cached(struct fetch *f)
{
	f->unverified = false;
	take_crumbs(f);
	for (uint32_t i = 0; i < f->n_frames; i++) {
		f->frames[i].lo = UINT32_MAX;
		f->frames[i].hi = 0;
	}
	for (uint32_t i = 0; i < f->n_pieces; i++) {
		struct fetch_piece *p = &f->pieces[i];
		struct fetch_frame *fr = &f->frames[p->frame];
		int hit = 0;
		if (!p->len)
			continue;
		if (f->mode != FETCH_VERIFY && fr->cached && !fr->hi)
			hit = read_cache(f, fr, p->at, p->len, p->out);
		if (hit) {
			p->len = 0;
			continue;
		}
		fr->lo = p->at < fr->lo ? p->at : fr->lo;
		fr->hi = p->at + p->len > fr->hi ? p->at + p->len : fr->hi;
	}
}

/* Leaves alone what somebody else is loading. Returns how many frames that were. */
static uint32_t claim_frames(struct fetch *f)
{
	uint32_t others = 0;
	for (uint32_t i = 0; i < f->n_frames; i++) {
		struct fetch_frame *fr = &f->frames[i];
		fr->waits = false;
		if (!fr->hi || !fr->cached || f->mode == FETCH_VERIFY)
			continue;
		fr->loading.key = fr->place;
		fr->claimed = loading_begin(f->loading, &fr->loading);
		if (!fr->claimed) {
			fr->waits = true;
			fr->hi = 0;
			others++;
		}
	}
	return others;
}

/* What gc and scrub read is no use of it. */
static void note_reads(struct fetch *f)
{
	for (uint32_t i = 0; i < f->n_frames && f->mode != FETCH_VERIFY; i++)
		pack_note_read(f->packs, f->frames[i].place.pack,
			       f->frames[i].hi ? f->frames[i].len : 0);
}

static void release_frame(struct fetch *f, struct fetch_frame *fr)
{
	if (fr->claimed)
		loading_end(f->loading, &fr->loading);
	fr->claimed = false;
}

static void choose_range(struct fetch_frame *fr)
{
	uint32_t from, len;
	fr->from = fr->place.offset;
	fr->len = fr->stored_len;
	if (fr->cached)
		return;
	frame_raw_range(fr->decoded_len, fr->lo, fr->hi - fr->lo, &from, &len);
	fr->len = len + (from ? 0 : fr->payload_at);
	fr->from += from ? fr->payload_at + from : 0;
}

static int frame_order(const void *a, const void *b)
{
	const struct fetch_frame *x = *(struct fetch_frame *const *)a,
				 *y = *(struct fetch_frame *const *)b;
	if (x->place.pack != y->place.pack)
		return x->place.pack < y->place.pack ? -1 : 1;
	return (x->from > y->from) - (x->from < y->from);
}

/* Turns the frames that are still wanted into as few reads as touch. */
static int plan_reads(struct fetch *f)
{
	struct fetch_frame *order[FETCH_FRAMES];
	uint32_t n = 0;
	size_t total = 0;
	f->n_ops = 0;
	for (uint32_t i = 0; i < f->n_frames; i++)
		if (f->frames[i].hi) {
			choose_range(&f->frames[i]);
			order[n++] = &f->frames[i];
		}
	qsort(order, n, sizeof *order, frame_order);
	for (uint32_t i = 0; i < n; i++) {
		struct fetch_frame *fr = order[i];
		struct io_read_op *op = f->n_ops ? &f->ops[f->n_ops - 1] : NULL;
		uint64_t end = op ? (uint64_t)op->at + op->len : 0;
		if (op && f->op_packs[f->n_ops - 1] == fr->place.pack && fr->from >= end &&
		    fr->from - end <= MERGE_GAP && op->len + fr->len <= MERGE_MAX) {
			total += fr->from + fr->len - end;
			op->len = fr->from + fr->len - (uint64_t)op->at;
		} else {
			f->op_packs[f->n_ops] = fr->place.pack;
			f->ops[f->n_ops++] = (struct io_read_op){ .fd = -1,
								  .at = (off_t)fr->from,
								  .len = fr->len };
			total += fr->len + FRAME_ALIGN;
		}
		fr->op = f->n_ops - 1;
	}
	if (total > f->stored_cap) {
		free(f->stored);
		f->stored = malloc(total);
		f->stored_cap = f->stored ? total : 0;
	}
	size_t at = 0;
	for (uint32_t i = 0; f->stored && i < f->n_ops; i++) {
		f->ops[i].buf = f->stored + at;
		at += (f->ops[i].len + FRAME_ALIGN - 1) & ~(size_t)(FRAME_ALIGN - 1);
	}
	return f->stored || !total ? 0 : -ENOMEM;
}

static void put_fds(struct fetch *f)
{
	for (uint32_t i = 0; i < f->n_ops; i++)
		if (f->ops[i].fd >= 0)
			pack_fd_put(f->packs, f->op_packs[i], f->ops[i].fd);
	f->n_ops = 0;
}

static int get_fds(struct fetch *f)
{
	for (uint32_t i = 0; i < f->n_ops; i++) {
		int fd = f->mode == FETCH_TRY ? pack_fd_try_get(f->packs, f->op_packs[i])
					      : pack_fd_get(f->packs, f->op_packs[i]);
		if (fd == -EREMOTE)
			continue;
		if (fd < 0)
			return fd == -EAGAIN ? fd : no_pack(f, f->op_packs[i], fd);
		f->ops[i].fd = fd;
	}
	return 0;
}

/* What the page cache has; -EAGAIN when that is not all, or the filesystem can't tell. */
static int read_now(struct fetch *f)
{
	uint32_t decodes = 0;
	for (uint32_t i = 0; i < f->n_frames; i++)
		decodes += f->frames[i].hi && f->frames[i].codec != CODEC_RAW;
	if (decodes > TRY_DECODES)
		return -EAGAIN;
	for (uint32_t i = 0; i < f->n_ops; i++) {
		struct io_read_op *op = &f->ops[i];
		struct iovec v = { op->buf, op->len };
		op->result = preadv2(op->fd, &v, 1, op->at, RWF_NOWAIT);
		if (op->result != (ssize_t)op->len)
			return -EAGAIN;
	}
	return 0;
}

/* What has no descriptor, all at once. Nothing of it is taken for damage that the place did not say. */
static int read_far(struct fetch *f)
{
	struct place_read v[FETCH_FRAMES];
	uint32_t from[FETCH_FRAMES];
	size_t n = 0;
	for (uint32_t i = 0; i < f->n_ops; i++)
		if (f->ops[i].fd < 0) {
			struct io_read_op *op = &f->ops[i];
			from[n] = i;
			v[n++] = (struct place_read){ f->op_packs[i], (uint64_t)op->at, op->len,
						      op->buf, 0 };
		}
	if (n)
		pack_read_far(f->packs, v, n);
	for (size_t i = 0; i < n; i++) {
		if (v[i].result < 0)
			return no_pack(f, v[i].pack, (int)v[i].result);
		f->ops[from[i]].result = v[i].result;
	}
	return 0;
}

static int read_all(struct fetch *f)
{
	if (f->mode == FETCH_TRY)
		return read_now(f);
	int r = read_far(f);
	if (r < 0)
		return r;
	for (uint32_t i = 0, end; i < f->n_ops; i = end) { /* stretches of those with descriptors */
		for (end = i; end < f->n_ops && f->ops[end].fd >= 0;)
			end++;
		io_read_batch(&f->ops[i], end - i);
		end += end == i;
	}
	r = fault_hit("pack_read");
	if (r < 0 && f->n_ops)
		f->ops[0].result = r;
	return 0;
}

/* The head is of the frame that the row meant: same shape, and the chunk where it should be. */
static int check_head(const struct fetch_frame *fr, const void *bytes, struct frame_head *ret_head)
{
	size_t need;
	int r = frame_parse_head(bytes, fr->payload_at, fr->place.pack, fr->place.offset, ret_head,
				 &need);
	if (r < 0)
		return -EUCLEAN;
	if (ret_head->stored_len != fr->stored_len || ret_head->h.decoded_len != fr->decoded_len ||
	    ret_head->h.codec != fr->codec || ret_head->h.chunks != fr->chunks ||
	    ret_head->entries[0].id != fr->name.first_chunk || ret_head->h.part != fr->name.part)
		return -EUCLEAN;
	uint32_t at = 0, i = 0;
	while (i < fr->chunks && ret_head->entries[i].id < fr->id)
		at += ret_head->entries[i++].length;
	return i < fr->chunks && ret_head->entries[i].id == fr->id && at == fr->id_at ? 0
										      : -EUCLEAN;
}

static int take_raw(struct fetch *f, struct fetch_frame *fr, const uint8_t *bytes)
{
	uint32_t first = fr->lo / RAW_BLOCK; /* of the blocks that were read */
	if (fr->from == fr->place.offset) {
		struct frame_head head;
		int r = check_head(fr, bytes, &head);
		if (r < 0)
			return r;
		bytes += fr->payload_at;
	}
	/* so many small ones that each block is better verified once for all */
	bool crumbs = fr->n > 1 + (fr->hi - fr->lo) / (4 * RAW_BLOCK);
	int r = crumbs ? frame_raw_copy(fr->name, fr->decoded_len, bytes, fr->lo, fr->hi - fr->lo,
					f->decoded)
		       : 0;
	if (crumbs && r == 0)
		copy_pieces(f, fr, f->decoded, fr->lo);
	for (uint32_t i = 0; i < f->n_pieces && r == 0; i++) {
		struct fetch_piece *p = &f->pieces[i];
		if (!p->len || &f->frames[p->frame] != fr)
			continue;
		r = frame_raw_copy(fr->name, fr->decoded_len,
				   bytes + (size_t)(p->at / RAW_BLOCK - first) * RAW_STRIDE, p->at,
				   p->len, p->out);
		if (r == 0)
			p->len = 0;
	}
	return r;
}

static int take_whole(struct fetch *f, struct fetch_frame *fr, const uint8_t *bytes)
{
	struct frame_head head;
	int r = check_head(fr, bytes, &head);
	if (r < 0)
		return r;
	uint8_t *decoded = f->decoded;
	struct fetch_piece *whole = NULL; /* it all goes to one place: then decode there */
	for (uint32_t i = 0; i < f->n_pieces && !whole; i++)
		if (f->pieces[i].len == fr->decoded_len && &f->frames[f->pieces[i].frame] == fr)
			whole = &f->pieces[i];
	if (whole && whole->out)
		decoded = whole->out;
	r = frame_decode(&head, bytes, decoded);
	if (r < 0)
		return r;
	if (f->mode != FETCH_VERIFY)
		cache_put(f->cache, fr->place, decoded, fr->decoded_len);
	if (f->mode == FETCH_AHEAD)
		return 0;
	if (f->mode != FETCH_VERIFY)
		cache_used(f->cache, fr->place, fr->lo, fr->hi - fr->lo);
	for (uint32_t i = 0; i < f->n_pieces; i++) {
		struct fetch_piece *p = &f->pieces[i];
		if (!p->len || &f->frames[p->frame] != fr)
			continue;
		if (p->out != decoded)
			memcpy(p->out, decoded + p->at, p->len);
		p->len = 0;
	}
	return 0;
}

static int take_frame(struct fetch *f, struct fetch_frame *fr)
{
	const struct io_read_op *op = &f->ops[fr->op];
	uint64_t skip = fr->from - (uint64_t)op->at;
	if (op->result < 0)
		return damaged(f, fr, (int)op->result, "read");
	if ((uint64_t)op->result < skip + fr->len)
		return damaged(f, fr, -EUCLEAN, "the pack ends before it");
	const uint8_t *bytes = (const uint8_t *)op->buf + skip;
	int r = fr->cached ? take_whole(f, fr, bytes) : take_raw(f, fr, bytes);
	return r == -EUCLEAN ? damaged(f, fr, r, "its checksum is wrong") : r;
}

/* Raw frames are not for our cache: the kernel is told to have them ready. */
static void hint_raw(struct fetch *f)
{
	for (uint32_t i = 0; i < f->n_frames; i++) {
		struct fetch_frame *fr = &f->frames[i];
		if (fr->cached || !fr->hi)
			continue;
		choose_range(fr);
		int fd = pack_fd_get(f->packs, fr->place.pack);
		if (fd >= 0) {
			posix_fadvise(fd, (off_t)fr->from, fr->len, POSIX_FADV_WILLNEED);
			pack_fd_put(f->packs, fr->place.pack, fd);
		}
		fr->hi = 0;
	}
}

/* One round: everything but what others are loading. */
static int run_round(struct fetch *f, uint32_t *ret_others)
{
	int r = 0, first_error = 0;
	take_cached(f);
	if (f->mode == FETCH_AHEAD)
		hint_raw(f);
	*ret_others = claim_frames(f);
	if ((*ret_others || f->unverified) && f->mode == FETCH_TRY)
		r = -EAGAIN;
	if (r == 0)
		r = plan_reads(f);
	if (r == 0 && f->n_ops)
		r = get_fds(f);
	if (r == 0 && f->n_ops)
		r = read_all(f);
	for (uint32_t i = 0; i < f->n_frames; i++) {
		struct fetch_frame *fr = &f->frames[i];
		int err = r == 0 && fr->hi ? take_frame(f, fr) : 0;
		first_error = first_error ? first_error : err;
		release_frame(f, fr);
	}
	put_fds(f);
	if (r == 0)
		note_reads(f);
	return r ? r : first_error;
}

static void wait_for_others(struct fetch *f)
{
	for (uint32_t i = 0; i < f->n_frames; i++)
		if (f->frames[i].waits)
			loading_wait(f->loading, f->frames[i].place);
}

int fetch_run(struct fetch *f)
{
	uint32_t others;
	int r = run_round(f, &others);
	while (r == 0 && others && f->mode == FETCH_READ) {
		wait_for_others(f);
		r = run_round(f, &others);
	}
	f->n_frames = f->n_pieces = 0;
	return r;
}

/* 1: the head is there; 0: it is damaged (*ret_err tells how); -errno: the pack cannot be had. */
static int read_head(struct fetch *f, const struct fetch_frame *fr, int *ret_err)
{
	struct place_read v = { fr->place.pack, fr->place.offset, fr->payload_at, f->stored, 0 };
	int fd = pack_fd_get(f->packs, fr->place.pack);
	if (fd == -EREMOTE) {
		pack_read_far(f->packs, &v, 1);
		if (v.result < 0)
			return no_pack(f, v.pack, (int)v.result);
		*ret_err = -EUCLEAN;
		return (size_t)v.result == v.len;
	}
	if (fd < 0)
		return no_pack(f, fr->place.pack, fd);
	*ret_err = io_read_exact(fd, f->stored, fr->payload_at, (off_t)fr->place.offset);
	pack_fd_put(f->packs, fr->place.pack, fd);
	return *ret_err == 0;
}

int fetch_head(struct fetch *f, uint64_t id, struct frame_head *ret_head)
{
	uint32_t at, left;
	int r = fetch_find(f, id, 0, &at, &left);
	if (r == 0 && !row_plausible(&f->rows[f->row].row, at, left))
		r = -EUCLEAN;
	if (r < 0)
		return r;
	f->n_frames = 0;
	struct fetch_frame *fr = &f->frames[list_frame(f, id)];
	if (f->stored_cap < fr->payload_at) {
		free(f->stored);
		f->stored = malloc(fr->payload_at);
		f->stored_cap = f->stored ? fr->payload_at : 0;
	}
	if (!f->stored)
		return -ENOMEM;
	int err = 0;
	r = read_head(f, fr, &err);
	if (r < 0)
		return r;
	r = r ? fault_hit("pack_read") : err;
	if (r == 0)
		r = check_head(fr, f->stored, ret_head);
	return r < 0 ? damaged(f, fr, r, "head") : 0;
}
