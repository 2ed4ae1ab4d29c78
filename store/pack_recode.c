// SPDX-License-Identifier: MIT
/* A frame that gets shorter moves all that follow, and a frame's sum is bound to its pack and place: so the
 * frames go into a pack with a number of its own, as those that gc moves do. Ids of chunks, and so the
 * keys of the rows of frames, stay.
 *
 *   1  samples of the pack's frames are compressed: does it pay?
 *   2  the new pack is made, frame by frame, in a file without a name in the pool
 *   3  it is put into its tier, durably         no row names it: it goes with the next mount
 *   4  it is read back: each frame decodes to   likewise
 *      the bytes that the old one held
 *   5  one batch: the new pack's row, the       before it is durable likewise; then the old pack is
 *      frames' rows, the old pack is doomed     doomed, and goes as any other (pack.c)
 *   6  when that is durable the old one goes
 *
 * The number of the new pack is reserved durably before the file is put: what a crash leaves in the tier is
 * never taken for another pack. In the pool itself the next mount makes a pack of each file that has frames,
 * so there the number is reserved by a row that dooms it, until the batch in step 5 puts its own.
 *
 * Readers that looked a row up before the batch find the old pack, or nothing, and look again, as after gc.
 *
 * Who dooms a pack must know all rows that name it. They need not be searched for: a row names a frame,
 * and has that frame's ids. So the footer must list frames from the header to itself without a gap,
 * each must be sound (head, decoded bytes, digests of its chunks), and each have either one row, which
 * names all of it, or none: then nobody asks for it, and it is not carried along. Whatever else is found is
 * somebody else's to put right, and the pack is moved as it is, with its damage. Nothing gains a fresh sum
 * that was not proven by the old one.
 *
 * Rows may change while all this goes on: gc empties the pack, healing takes a chunk out of it. In the
 * batch each row must still be what it was, under the lock under which others change them; else the move
 * is given up, and the next pass finds what there is then.
 *
 * A frame holds at most FRAME_DECODED_MAX, and zstd needs a window, and tables, for no more than that: 6 MiB
 * at any level. For the same reason matching over long distances has nothing to find: measured on headers, Python
 * and programs in frames of 256 KiB, the result is 1 % longer at level 9 and 0.01 % shorter at 19.
 */
#include "pack_recode.h"
#include "access.h"
#include "cleanup.h"
#include "digest.h"
#include "fault.h"
#include "log.h"
#include "pack_set.h"
#include "pack_source.h"
#include "tiers.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#define SAMPLES 16u
#define PAYS(len) ((len) / 100 * 97) /* no longer than that */
#define STORED_MAX (2 * FRAME_DECODED_MAX)
#define ROWS_MAX (32u << 20) /* of one batch */
#define ROW_BYTES(n) (64u + 15u * (n))

struct moved_frame {
	uint64_t from, to;	/* offsets in the old and the new pack */
	uint64_t first_id, sum; /* of the decoded bytes */
	uint32_t was_len, len, decoded_len, n;
	uint16_t part;
	uint8_t was_codec, codec;
};

struct recode {
	const struct pack_move *m;
	struct packs *p;
	const struct pack_row *was;
	struct pack_row row; /* of the new pack */
	struct pack_source from;
	struct footer_entry *listed;
	size_t n_listed;
	struct moved_frame *v;
	size_t n;
	int tmp; /* the new pack */
	uint64_t end, last_chunk, rows_bytes;
	int stopped; /* what pace() said */
	/* the frame at hand: */
	struct frame_builder *fb;
	uint8_t *stored, *decoded;
	struct frame_head head;
};

/* ---- the old pack ---- */

static int read_source(void *arg, void *buf, size_t len, uint64_t at)
{
	return pack_source_peek(arg, buf, len, at);
}

/* Frames from the header to the footer, without a gap? */
static int read_footer(struct recode *c)
{
	struct pack_bytes bytes = { read_source, &c->from, c->from.bytes };
	struct pack_header header;
	uint64_t at = sizeof header, end;
	int r = pack_source_peek(&c->from, &header, sizeof header, 0);
	if (r == 0 && !pack_header_is(&header, c->was->id, c->p->opt.pool_uuid))
		r = -EUCLEAN;
	if (r == 0)
		r = pack_footer_find(&bytes, c->was->id, &c->listed, &c->n_listed, &end);
	for (size_t i = 0; i < c->n_listed && r == 0; i++) {
		if (c->listed[i].offset != at || c->listed[i].stored_len > STORED_MAX)
			r = -EUCLEAN;
		at += c->listed[i].stored_len;
	}
	return r ? r : c->n_listed && at == end ? 0 : -EUCLEAN;
}

/* The chunks are what their digests say. Parts of one have none: their frame's sum has to do. */
static bool digests_right(const struct recode *c)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < c->head.h.chunks && !c->head.h.chunk_len; i++) {
		struct digest digest;
		digest_of(c->decoded + at, c->head.entries[i].length, &digest);
		if (!digest_equal(&digest, &c->head.entries[i].digest))
			return false;
		at += c->head.entries[i].length;
	}
	return true;
}

/* Reads a frame and decodes it. */
static int take_frame(struct recode *c, const struct footer_entry *e,
		      int (*get)(struct pack_source *s, void *buf, size_t len, uint64_t at))
{
	size_t need;
	int r = get(&c->from, c->stored, e->stored_len, e->offset);
	if (r == 0)
		r = frame_parse_head(c->stored, e->stored_len, c->was->id, e->offset, &c->head,
				     &need);
	if (r == 0 && c->head.stored_len != e->stored_len)
		r = -EUCLEAN;
	if (r == 0)
		r = frame_decode(&c->head, c->stored, c->decoded);
	if (r == 0 && !digests_right(c))
		r = -EUCLEAN;
	return r == -EAGAIN ? -EUCLEAN : r;
}

/* Compresses it anew, into c->fb. How long it will be: it stays as it is if that is shorter. */
static int compress_frame(struct recode *c, uint32_t *ret_len)
{
	uint32_t at = 0;
	frame_builder_reset(c->fb);
	c->fb->part = c->head.h.part;
	c->fb->chunk_len = c->head.h.chunk_len;
	for (uint32_t i = 0; i < c->head.h.chunks; i++) {
		const struct chunk_entry *e = &c->head.entries[i];
		frame_add(c->fb, e->id, &e->digest, c->decoded + at, e->length);
		at += e->length;
	}
	int r = frame_seal(c->fb, c->m->level);
	*ret_len = (uint32_t)c->fb->stored.len < c->head.stored_len ? (uint32_t)c->fb->stored.len
								    : c->head.stored_len;
	return r;
}

static int pace(struct recode *c, uint64_t bytes)
{
	int r = c->m->pace ? c->m->pace(c->m->arg, bytes) : 0;
	c->stopped = c->stopped ? c->stopped : r;
	return r;
}

/* 1: it does. */
static int sample(struct recode *c)
{
	uint64_t was = 0, now = 0;
	uint32_t len;
	size_t n = c->n_listed < SAMPLES ? c->n_listed : SAMPLES;
	for (size_t i = 0; i < n; i++) {
		const struct footer_entry *e = &c->listed[c->n_listed * i / n];
		int r = take_frame(c, e, pack_source_peek);
		if (r == 0)
			r = compress_frame(c, &len);
		if (r == 0)
			r = pace(c, e->stored_len);
		if (r < 0)
			return r;
		was += e->stored_len;
		now += len;
	}
	return now <= PAYS(was);
}

/* ---- rows ---- */

static bool is_row_of(const struct recode *c, const struct frame_row *row, uint64_t offset)
{
	const struct frame_head *h = &c->head;
	bool same = row->pack == c->was->id && row->offset == offset &&
		    row->stored_len == h->stored_len && row->decoded_len == h->h.decoded_len &&
		    row->codec == h->h.codec && row->n == h->h.chunks;
	for (uint32_t i = 0; same && i < row->n; i++)
		same = row->chunks[i].id == h->entries[i].id &&
		       row->chunks[i].length == h->entries[i].length;
	return same;
}

/* 1: one row names all of the frame at hand; 0: none names any of it; -EUCLEAN: something in between. */
static int find_row(struct recode *c, uint64_t offset)
{
	struct kv *kv = c->p->opt.kv;
	struct frame_row row = { 0 };
	uint16_t part = c->head.h.part;
	int r = chunk_get_frame(kv, c->head.entries[0].id, part, &row);
	bool whole = r == 0 && is_row_of(c, &row, offset), named = false;
	if (r < 0 && r != -ENOENT)
		return r;
	frame_row_done(&row);
	for (uint32_t i = 0; i < c->head.h.chunks && !whole && !named; i++) {
		uint32_t at, left;
		r = chunk_find(kv, c->head.entries[i].id, part * FRAME_DECODED_MAX, &row, &at,
			       &left);
		if (r < 0 && r != -ENOENT)
			return r;
		named = r == 0 && row.pack == c->was->id && row.offset == offset;
		if (r == 0)
			frame_row_done(&row);
	}
	return named ? -EUCLEAN : whole;
}

/* ---- the new pack ---- */

static int begin_pack(struct recode *c)
{
	c->row = *c->was;
	c->end = sizeof(struct pack_header);
	c->row.first_chunk = UINT64_MAX;
	c->tmp = openat(c->p->opt.dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (c->tmp < 0)
		return -errno;
	int r = ids_next(c->p->ids, &c->row.id);
	if (r == 0)
		r = pack_header_write(c->tmp, c->row.id, c->p->opt.pool_uuid, c->row.created);
	return r;
}

/* Writes the shorter of both. */
static int put_frame(struct recode *c, uint64_t from)
{
	const struct frame_head *h = &c->head;
	struct moved_frame *f = &c->v[c->n];
	struct frame_chunk chunks[FRAME_CHUNKS_MAX];
	struct frame_row row;
	uint32_t len;
	int r = compress_frame(c, &len);
	if (r < 0)
		return r;
	*f = (struct moved_frame){
		.from = from,
		.to = c->end,
		.first_id = h->entries[0].id,
		.sum = checksum64(c->decoded, h->h.decoded_len),
		.was_len = h->stored_len,
		.len = len,
		.decoded_len = h->h.decoded_len,
		.n = h->h.chunks,
		.part = h->h.part,
		.was_codec = h->h.codec,
		.codec = h->h.codec,
	};
	const uint8_t *bytes = c->stored;
	uint64_t last = h->entries[h->h.chunks - 1].id;
	if (len < h->stored_len) {
		frame_place(c->fb, c->row.id, c->end, chunks, &row);
		bytes = c->fb->stored.data;
		f->codec = row.codec;
	} else {
		frame_rebind(c->stored, h->h.chunks, c->row.id, c->end);
	}
	r = io_write(c->tmp, bytes, len, (off_t)c->end);
	c->end += len;
	c->rows_bytes += ROW_BYTES(f->n);
	c->row.first_chunk = f->first_id < c->row.first_chunk ? f->first_id : c->row.first_chunk;
	c->last_chunk = last > c->last_chunk ? last : c->last_chunk;
	c->n++;
	return r;
}

static int finish_pack(struct recode *c)
{
	struct footer_entry *entries = calloc(c->n + 1, sizeof *entries);
	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < c->n; i++)
		entries[i] = (struct footer_entry){ .offset = c->v[i].to,
						    .first_chunk = c->v[i].first_id,
						    .stored_len = c->v[i].len,
						    .decoded_len = c->v[i].decoded_len };
	int r = pack_footer_write(c->tmp, c->row.id, c->end, entries, c->n, c->last_chunk,
				  &c->row.bytes);
	free(entries);
	return r;
}

/* 0: it is there, in c->tmp, and smaller enough. */
static int make_pack(struct recode *c)
{
	int r = begin_pack(c);
	c->v = calloc(c->n_listed, sizeof *c->v);
	if (!c->v)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_listed && r == 0; i++) {
		const struct footer_entry *e = &c->listed[i];
		r = take_frame(c, e, pack_source_read);
		int wanted = r == 0 ? find_row(c, e->offset) : 0;
		if (wanted < 0)
			r = wanted;
		else if (wanted)
			r = put_frame(c, e->offset);
		if (r == 0)
			r = pace(c, e->stored_len);
	}
	if (r == 0 && (!c->n || c->rows_bytes > ROWS_MAX))
		r = PACK_AS_IS;
	if (r == 0)
		r = finish_pack(c);
	if (r == 0 && c->row.bytes > PAYS(c->was->bytes))
		r = PACK_AS_IS;
	return r ? r : fault_hit("move_recoded");
}

/* 0, or PACK_AS_IS for whatever reason but that it was stopped. */
static int prepare(struct recode *c)
{
	int r = frame_builder_new(&c->fb);
	c->stored = malloc(STORED_MAX);
	c->decoded = malloc(FRAME_DECODED_MAX);
	if (r < 0 || !c->stored || !c->decoded || rotten_has_pack(c->m->rotten, c->was->id))
		return PACK_AS_IS;
	r = read_footer(c);
	if (r == 0)
		r = sample(c);
	if (r > 0)
		r = make_pack(c);
	else
		r = PACK_AS_IS;
	return c->stopped ? c->stopped : r ? PACK_AS_IS : 0;
}

/* ---- putting it there ---- */

struct recoded {
	struct place_source s; /* first */
	struct recode *c;
};

static int read_recoded(struct place_source *from, void *buf, size_t len, uint64_t at)
{
	struct recode *c = ((struct recoded *)from)->c;
	int r = io_read_exact(c->tmp, buf, len, (off_t)at);
	return r ? r : pace(c, len);
}

/* Does the file hold the new pack: every frame where its row will say, with the bytes it had before? */
static int verify(struct recode *c, int fd)
{
	struct footer_entry *entries = NULL;
	uint64_t at, id = c->row.id;
	size_t n = 0, need;
	int r = pack_header_check(fd, id, c->p->opt.pool_uuid);
	if (r == 0)
		r = pack_footer_read(fd, id, &entries, &n, &at);
	free(entries);
	if (r == -ENOENT || (r == 0 && (n != c->n || at != c->end)))
		r = -EUCLEAN;
	for (size_t i = 0; i < c->n && r == 0; i++) {
		const struct moved_frame *f = &c->v[i];
		struct frame_head h;
		r = io_read_exact(fd, c->stored, f->len, (off_t)f->to);
		if (r == 0)
			r = frame_parse_head(c->stored, f->len, id, f->to, &h, &need);
		if (r == 0 && (h.stored_len != f->len || h.h.decoded_len != f->decoded_len ||
			       h.h.chunks != f->n || h.h.codec != f->codec || h.h.part != f->part ||
			       h.entries[0].id != f->first_id))
			r = -EUCLEAN;
		if (r == 0)
			r = frame_decode(&h, c->stored, c->decoded);
		if (r == 0 && checksum64(c->decoded, f->decoded_len) != f->sum)
			r = -EUCLEAN;
	}
	return r == -EAGAIN ? -EUCLEAN : r;
}

/* An object store has compared what it got with its sum: its length tells that it is there. */
static int read_back(struct recode *c, struct place *to)
{
	uint64_t bytes = 0;
	CLEANUP_CLOSE int fd = to->ops->open_pack ? to->ops->open_pack(to, c->row.id) : -1;
	int r = fault_hit("move_read_back");
	if (r == 0 && to->ops->open_pack)
		r = fd < 0 ? fd : verify(c, fd);
	else if (r == 0 && (r = to->ops->size(to, c->row.id, &bytes)) == 0)
		r = bytes == c->row.bytes ? 0 : -EUCLEAN;
	if (r < 0)
		log_error("pack %016" PRIx64 ": what was made of it does not read back: %s",
			  c->was->id, r == -EUCLEAN ? "it has other bytes" : strerror(-r));
	return r == -EUCLEAN || r == -ENOENT ? -EIO : r;
}

/* Who finds the file without its own row shall remove it. */
static int reserve(struct recode *c)
{
	struct pack_row doomed = c->row;
	doomed.state = PACK_DOOMED;
	int r = c->row.tier == TIER_HOT ? pack_row_commit(c->p, c->row.id, &doomed) : 0;
	return r ? r : kv_sync(c->p->opt.kv, UINT64_MAX); /* the number is nobody else's */
}

static int put(struct recode *c, struct place *to)
{
	struct recoded s = { { read_recoded, c->row.bytes }, c };
	int r = to->ops->open_pack ? 0 : verify(c, c->tmp);
	if (r == 0)
		r = reserve(c);
	if (r == 0)
		r = to->ops->put(to, c->row.id, &s.s);
	if (r == 0)
		r = read_back(c, to);
	return r ? r : fault_hit("move_compared");
}

/* ---- switching ---- */

static int switch_frame(struct recode *c, struct kv_batch *batch, const struct moved_frame *f)
{
	struct frame_row row = { 0 };
	int r = chunk_get_frame(c->p->opt.kv, f->first_id, f->part, &row);
	if (r < 0)
		return r == -ENOENT ? -EBUSY : r;
	if (row.pack != c->was->id || row.offset != f->from || row.stored_len != f->was_len ||
	    row.decoded_len != f->decoded_len || row.n != f->n || row.codec != f->was_codec)
		r = -EBUSY;
	row.pack = c->row.id;
	row.offset = f->to;
	row.stored_len = f->len;
	row.codec = f->codec;
	if (r == 0)
		chunk_put_frame(batch, &row);
	frame_row_done(&row);
	return r;
}

static int switch_rows_locked(struct recode *c, uint64_t *ret_lsn)
{
	struct kv *kv = c->p->opt.kv;
	struct pack_row now;
	int r = pack_get(kv, c->was->id, &now);
	if (r == 0 && (now.state != PACK_SEALED || now.tier != c->was->tier ||
		       rotten_has_pack(c->m->rotten, now.id)))
		r = -EBUSY;
	struct kv_batch *batch = r == 0 ? kv_batch_new() : NULL;
	if (!batch)
		return r ? r : -ENOMEM;
	pack_put(batch, &c->row); /* first: who sees a row of a frame finds the pack */
	for (size_t i = 0; i < c->n && r == 0; i++)
		r = switch_frame(c, batch, &c->v[i]);
	if (r == 0)
		r = pack_doom(c->p, batch, c->was->id);
	if (r == 0)
		return kv_commit(kv, batch, ret_lsn);
	kv_batch_free(batch);
	return r;
}

/* It has moved, whatever happens now. */
static void finish(struct recode *c, uint64_t lsn)
{
	struct packs *p = c->p;
	if (c->row.tier == TIER_HOT) {
		SCOPED_LOCK(&p->lock);
		p->bytes += c->row.bytes;
		p->count++;
	}
	cache_forget_pack(c->m->cache, c->was->id);
	if (p->opt.access)
		access_set(p->opt.access, c->row.id, access_time(p->opt.access, c->was->id));
	int r = fault_hit("move_switched");
	if (r == 0)
		r = kv_sync(p->opt.kv, lsn);
	if (r == 0)
		packs_settle(p);
	if (r == 0)
		r = fault_hit("move_removed");
	if (r < 0)
		log_warn("pack %016" PRIx64
			 " has moved, and could not be removed from where it was: %s",
			 c->was->id, strerror(-r));
}

static int move(struct recode *c, struct place *to, uint8_t tier)
{
	uint64_t lsn = 0;
	c->row.tier = tier;
	int r = put(c, to);
	rotten_lock_rows(c->m->rotten);
	if (r == 0)
		r = switch_rows_locked(c, &lsn);
	rotten_unlock_rows(c->m->rotten);
	if (r == 0) {
		finish(c, lsn);
		return 0;
	}
	int gone = to->ops->remove(to, c->row.id);
	if (gone == 0 && tier == TIER_HOT)
		gone = pack_row_commit(c->p, c->row.id, NULL);
	if (gone < 0) /* the next mount does it */
		log_warn("pack %016" PRIx64
			 ": what was made of it for its tier could not be removed: %s",
			 c->was->id, strerror(-gone));
	return r;
}

int pack_recode(const struct pack_move *m, const struct pack_row *row, uint8_t tier,
		struct pack_row *ret_row)
{
	struct recode c = { .m = m, .p = m->packs, .was = row, .tmp = -1 };
	struct place *from = tiers_place(c.p->opt.tiers, row->tier);
	struct place *to = tiers_place(c.p->opt.tiers, tier);
	if (!from || !to)
		return -ENOMEDIUM;
	int r = pack_source_open(&c.from, from, row->id);
	r = r < 0 ? PACK_AS_IS : prepare(&c);
	if (r == 0)
		r = move(&c, to, tier);
	if (r == 0 && ret_row)
		*ret_row = c.row;
	pack_source_close(&c.from);
	if (c.tmp >= 0)
		close(c.tmp);
	frame_builder_free(c.fb);
	free(c.stored);
	free(c.decoded);
	free(c.listed);
	free(c.v);
	return r;
}
