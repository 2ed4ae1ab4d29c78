// SPDX-License-Identifier: MIT
/* The decision about a chunk is a loop of short rounds. Each round holds the lock, and either
 * decides, or finds that something must be learnt first that takes long (the index, a frame's
 * digests, the stored bytes themselves, room for a frame): it lets go of the lock, learns it, and
 * starts over, since others may have added the same chunk meanwhile. What was learnt is kept in a
 * `struct round`, so that each thing is done once and the loop ends.
 *
 * A duplicate is believed on its full digest, never on the 16 bytes that the index compares, and
 * only while the pack it lies in counts as verified. Otherwise its bytes are read and compared; when
 * they are not what they should be, the chunk gets those at hand, under its own id (rotten.h): so
 * writing bytes again heals all files that have them. The same is done, before anything is decided,
 * for chunks that scrub found. Only where that fails the chunk is stored under a new id, which takes the
 * old one's place here and in the index.
 *
 * Nothing here waits for durability, and nothing that fails to be stored is found again: flight
 * tells us about each chunk of a lost frame before it tells those who wait for it.
 *
 * gc. The mark is asked about every hit under the lock, and the chunks it refuses are as good as
 * unknown. What a round learnt from the index before a pass ended may be about chunks that are gone:
 * `epoch` tells. Neighbours are dropped at the end of a pass for the same reason.
 *
 * Ids. The next id follows from the last row; gc, which may delete the last rows, keeps KV_META
 * "next_chunk". Ids of frames that a crash took are given again: their digests may still be in
 * the index, which is one more reason to believe only the full digest of a frame that has a row.
 *
 * Stretches. Which chunk is to be expected after another (packer_guess) is told from ids, and files are read
 * in the order they were written; so it matters that workers who store new files at once do not take turns
 * chunk by chunk. `stretch` is whose turn it is. Nothing relies on it: who has waited PATIENCE_NS for his
 * goes on without.
 *
 * Lock order: `lock`, then flight's, gc's marks. Not held while storing, reading or waiting.
 */
#include "packer.h"
#include "cleanup.h"
#include "clock.h"
#include "cond.h"
#include "evidence.h"
#include "flight.h"
#include "log.h"
#include "neighbours.h"
#include "sequel.h"
#include <errno.h>

#define NEIGHBOURS_BYTES (8u << 20)
#define SEQUEL_FRAMES 64u /* at most 48 KiB each, mostly a few hundred bytes */
#define ROUNDS_MAX 16	  /* after that the chunk is stored, known or not */
#define PATIENCE_NS 2000000u
#define KEPT_MAX 8u /* full frames of a stretch */

struct packer {
	struct packer_options opt;
	struct kv *kv;
	struct flight *flight;
	pthread_mutex_t lock;
	struct neighbours *near;
	struct sequel *sequel;
	struct evidence_source source;
	struct flight_frame *filling;	      /* NULL: the next new chunk begins one */
	const struct packer_stretch *stretch; /* to which new chunks are being added, or NULL */
	pthread_cond_t stretch_over;
	uint64_t next_id;
	bool (*mark)(void *arg, uint64_t chunk);
	void *mark_arg;
	uint64_t epoch; /* counts ended gc passes, and times that chunks were found rotten */
	struct packer_stats stats;
};

/* One chunk on its way through packer_add(). */
struct round {
	const struct digest *digest;
	const void *data;
	uint32_t len;
	unsigned rounds;
	bool searched;	   /* the index knows no more than the neighbours */
	uint64_t epoch;	   /* as of that search */
	uint64_t verified; /* id whose bytes were compared, 0: none */
	uint64_t whole;	   /* id whose parts were looked at */
	uint64_t rotten;   /* id that must not be relied upon */
	bool waited;	   /* for another stretch */
	struct packer_stretch *stretch;
	struct packed *ret;
};

static int64_t now_s(void)
{
	return clock_wall_ns() / 1000000000;
}

static void forget_lost(void *arg, const struct digest *digest, uint64_t id)
{
	struct packer *p = arg;
	SCOPED_LOCK(&p->lock);
	neighbours_remove(p->near, digest, id);
}

/* ---- opening ---- */

/* The digests of one frame row, again. A frame that cannot be read is left to scrub. */
static int readd_row(struct packer *p, const struct frame_row *row, uint64_t from)
{
	struct chunk_entry *entries = NULL;
	uint32_t n = 0;
	int r = 0;
	if (row->part || !row->n ||
	    chunks_frame_digests(p->opt.chunks, row->chunks[0].id, &entries, &n))
		return 0;
	for (uint32_t i = 0; i < n && r == 0; i++)
		if (entries[i].id >= from)
			r = digests_add(p->opt.digests, &entries[i].digest, entries[i].id);
	free(entries);
	return r;
}

/* The key of the row that `from` would be in. */
static void row_before(struct packer *p, uint64_t from, uint8_t key[10])
{
	struct slice k, v;
	put_be64(key, from);
	put_be16(key + 8, 0);
	struct kv_iter *it = kv_iter_new(p->kv, KV_CHUNK, key, 10, true);
	if (it && kv_iter_next(it, &k, &v) == 1 && k.len == 10)
		memcpy(key, k.at, 10);
	kv_iter_free(it);
}

static int readd_digests(struct packer *p)
{
	uint64_t from = digests_watermark(p->opt.digests);
	if (from >= p->next_id)
		return 0;
	uint8_t key[10];
	struct slice k, v;
	row_before(p, from, key);
	struct kv_iter *it = kv_iter_new(p->kv, KV_CHUNK, key, sizeof key, false);
	int r = it ? 0 : -ENOMEM, more = 0;
	while (r == 0 && (more = kv_iter_next(it, &k, &v)) != 0) {
		struct frame_row row = { 0 };
		if (more < 0 && more != -EUCLEAN)
			r = more;
		if (more == 1 && frame_decode_row(k, v, &row) == 0)
			r = readd_row(p, &row, from);
		frame_row_done(&row);
	}
	kv_iter_free(it);
	if (r == 0)
		digests_settle(p->opt.digests, p->next_id);
	return r;
}

static int find_next_id(struct packer *p)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint64_t last;
	int r = chunk_last_id(p->kv, &last);
	if (r < 0)
		return r;
	p->next_id = last + 1;
	r = kv_get(p->kv, KV_META, PACKER_NEXT_KEY, strlen(PACKER_NEXT_KEY), &val);
	if (r == 0 && val.len == 8 && get_le64(val.data) > p->next_id)
		p->next_id = get_le64(val.data);
	return r == -ENOENT ? 0 : r;
}

static void packer_free(struct packer *p)
{
	flight_close(p->flight);
	neighbours_free(p->near);
	sequel_free(p->sequel);
	pthread_cond_destroy(&p->stretch_over);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

int packer_open(const struct packer_options *opt, struct packer **ret_p)
{
	struct packer *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->opt = *opt;
	p->kv = extents_kv(opt->extents);
	p->source = (struct evidence_source){
		.kv = p->kv,
		.chunks = opt->chunks,
		.digests = opt->digests,
		.rotten = opt->rotten,
		.verify_age_s = opt->verify_age_s,
	};
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->stretch_over);
	struct flight_options fo = {
		.kv = p->kv,
		.packs = opt->packs,
		.digests = opt->digests,
		.level = opt->level,
		.stream = opt->stream,
		.failed = forget_lost,
		.arg = p,
	};
	int r = neighbours_new(NEIGHBOURS_BYTES, &p->near);
	if (r == 0)
		r = sequel_new(SEQUEL_FRAMES, &p->sequel);
	if (r == 0)
		r = flight_open(&fo, &p->flight);
	if (r == 0)
		r = find_next_id(p);
	if (r == 0)
		r = readd_digests(p);
	if (r < 0) {
		packer_free(p);
		return r;
	}
	*ret_p = p;
	return 0;
}

int packer_close(struct packer *p)
{
	if (!p)
		return 0;
	packer_drain(p);
	int r = flight_sync(p->flight);
	packer_free(p);
	return r;
}

/* ---- what is known of a chunk ---- */

/* Makes the whole frame's chunks neighbours, unless a gc pass has ended since. Takes the entries. */
static void learn_locked(struct packer *p, struct evidence *e, uint64_t epoch)
{
	if (p->epoch != epoch) {
		evidence_done(e);
		return;
	}
	neighbours_load(p->near, e->entries, e->n, e->trusted_until);
	for (uint32_t i = 0; i < e->n; i++) {
		if (e->entries[i].id != e->id)
			continue;
		/* pushed out by the others, or another chunk's until now */
		struct neighbour *known = neighbours_find(p->near, &e->entries[i].digest);
		if (!known || known->id != e->id)
			neighbours_put(p->near, &e->entries[i].digest, e->id, e->trusted_until);
	}
	sequel_put(p->sequel, TAKE_PTR(e->entries), e->n);
}

/* Gives a chunk that does not read back the bytes at hand; one that cannot be read just now keeps what it
 * has. */
static bool heal(struct packer *p, struct round *round, uint64_t id)
{
	struct rotten_chunk chunk = { .id = id, .length = round->len, .digest = *round->digest };
	struct frame_row row = { 0 };
	uint32_t at, left;
	if (!p->opt.rotten || chunk_find(p->kv, id, 0, &row, &at, &left) < 0)
		return false;
	chunk.pack = row.pack;
	chunk.offset = row.offset;
	bool wrong = row.n == 1 || rotten_frame_is_wrong(p->opt.rotten, &row) > 0;
	frame_row_done(&row);
	return wrong && rotten_add(p->opt.rotten, &chunk) == 0 &&
	       rotten_heal(p->opt.rotten, round->digest, round->data, round->len) > 0 &&
	       !rotten_has(p->opt.rotten, id);
}

static void search(struct packer *p, struct round *round)
{
	struct evidence e;
	int r = evidence_find(&p->source, round->digest, round->rotten, &e);
	if (r < 0 && round->verified != e.id && heal(p, round, e.id)) {
		round->verified = e.id;
		round->searched = false; /* now it can be told */
	}
	if (r <= 0)
		return;
	SCOPED_LOCK(&p->lock);
	learn_locked(p, &e, round->epoch);
}

/* Reads a chunk whose pack nobody verified for long, and compares. */
static int compare_stored(struct packer *p, struct round *round, uint64_t id)
{
	struct evidence e;
	int r = evidence_compare(&p->source, id, round->data, round->len, &e);
	if (r == -ENOMEM)
		return r;
	if (r < 0 && r != -ENOENT && heal(p, round, id)) {
		round->verified = id;
		return -EAGAIN;
	}
	if (r < 0) {
		log_warn("chunk %llu does not read back (%s); it is stored anew",
			 (unsigned long long)id, r == -EAGAIN ? "other bytes" : strerror(-r));
		round->rotten = id;
		round->searched = false; /* the index may lead to a healthy copy */
		return -EAGAIN;
	}
	round->verified = id;
	pthread_mutex_lock(&p->lock);
	for (uint32_t i = 0; i < e.n; i++) {
		struct neighbour *known = neighbours_find(p->near, &e.entries[i].digest);
		if (known && known->id == e.entries[i].id && known->trusted_until < e.trusted_until)
			known->trusted_until = e.trusted_until;
	}
	pthread_mutex_unlock(&p->lock);
	evidence_done(&e);
	return -EAGAIN;
}

/* 1: the chunk stored after the one with this digest. 0: cannot be told; -1: not before the frame of
 * *ret_missing was learnt. */
static int guess_here(struct packer *p, const struct digest *after, struct chunk_entry *ret_next,
		      uint64_t *ret_missing, uint64_t *ret_epoch)
{
	SCOPED_LOCK(&p->lock);
	struct neighbour *known = neighbours_find(p->near, after);
	*ret_epoch = p->epoch;
	if (!known)
		return 0;
	int r = sequel_next(p->sequel, known->id, ret_next);
	*ret_missing = r < 0 ? known->id + 1 : known->id;
	if (r <= 0 && (*ret_missing >= p->next_id || flight_find(p->flight, *ret_missing)))
		return 0;
	return r > 0 ? 1 : -1;
}

bool packer_guess(struct packer *p, const struct digest *after, struct digest *ret_digest,
		  uint32_t *ret_len)
{
	struct chunk_entry next;
	struct evidence e;
	uint64_t missing, epoch;
	int r = guess_here(p, after, &next, &missing, &epoch);
	if (r < 0 && evidence_frame(&p->source, missing, &e) > 0) {
		pthread_mutex_lock(&p->lock);
		learn_locked(p, &e, epoch);
		pthread_mutex_unlock(&p->lock);
		r = guess_here(p, after, &next, &missing, &epoch);
	}
	if (r <= 0)
		return false;
	*ret_digest = next.digest;
	*ret_len = next.length;
	return true;
}

/* ---- one round; each of these is entered with the lock and returns without it ---- */

static int take_duplicate_locked(struct packer *p, struct round *round, uint64_t id, uint64_t frame)
{
	*round->ret = (struct packed){ .id = id, .frame = frame, .duplicate = true };
	p->stats.chunks++;
	p->stats.duplicates++;
	p->stats.bytes_in += round->len;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

/* Gives the chunk its id, in a frame that is being filled or was begun for it. */
static void name_new_locked(struct packer *p, struct round *round, struct flight_frame *f)
{
	uint64_t id = p->next_id++;
	f->last_id = id;
	neighbours_put(p->near, round->digest, id, now_s() + (int64_t)p->opt.verify_age_s);
	*round->ret = (struct packed){ .id = id, .frame = f->seq };
	p->stats.chunks++;
	p->stats.bytes_in += round->len;
	p->stats.bytes_new += round->len;
}

static struct flight_frame *detach_locked(struct packer *p)
{
	return TAKE_PTR(p->filling);
}

static void store_kept(struct packer *p, struct packer_stretch *stretch)
{
	for (struct flight_frame *f = TAKE_PTR(stretch->full), *next; f; f = next) {
		next = TAKE_PTR(f->next);
		flight_store(p->flight, f);
	}
	stretch->n = 0;
}

/* True: the frame is kept for the end of the stretch. */
static bool keep_full(struct packer_stretch *stretch, struct flight_frame *f)
{
	if (!stretch || stretch->n == KEPT_MAX)
		return false;
	*(stretch->full ? &stretch->last->next : &stretch->full) = f;
	stretch->last = f;
	stretch->n++;
	return true;
}

static int begin_frame_locked(struct packer *p, struct packer_stretch *stretch,
			      struct flight_frame **ret_frame)
{
	int r = flight_begin(p->flight, p->next_id, ret_frame);
	if (r < 0)
		pthread_mutex_unlock(&p->lock);
	if (r == -EAGAIN && stretch)
		store_kept(p, stretch); /* others wait for these */
	if (r == -EAGAIN)
		flight_throttle(p->flight);
	return r;
}

static int store_long_locked(struct packer *p, struct round *round)
{
	struct flight_frame *f;
	int r = begin_frame_locked(p, round->stretch, &f);
	if (r < 0)
		return r;
	name_new_locked(p, round, f);
	pthread_mutex_unlock(&p->lock);
	flight_store_parts(p->flight, f, round->digest, round->data, round->len);
	return 0;
}

/* Waits for the turn of the round's stretch, once; true: the lock was released, everything may have changed. */
static bool await_turn_locked(struct packer *p, struct round *round)
{
	if (p->stretch && p->stretch != round->stretch && !round->waited) {
		uint64_t until = clock_mono_ns() + PATIENCE_NS;
		while (p->stretch && p->stretch != round->stretch &&
		       cond_wait_until(&p->stretch_over, &p->lock, until) == 0)
			;
		round->waited = true;
		return true;
	}
	if (!p->stretch)
		p->stretch = round->stretch;
	return false;
}

static int store_new_locked(struct packer *p, struct round *round)
{
	bool is_long = round->len > FRAME_DECODED_MAX;
	if (await_turn_locked(p, round)) {
		pthread_mutex_unlock(&p->lock);
		return -EAGAIN;
	}
	if (p->filling && (is_long || !frame_fits(p->filling->fb, round->len))) {
		struct flight_frame *full = detach_locked(p);
		if (!keep_full(round->stretch, full)) {
			pthread_mutex_unlock(&p->lock);
			flight_store(p->flight, full);
			return -EAGAIN;
		}
	}
	if (is_long)
		return store_long_locked(p, round);
	if (!p->filling) {
		int r = begin_frame_locked(p, round->stretch, &p->filling);
		if (r < 0)
			return r;
	}
	struct flight_frame *f = p->filling;
	name_new_locked(p, round, f);
	frame_add(f->fb, round->ret->id, round->digest, round->data, round->len);
	f = frame_fits(f->fb, 1) ? NULL : detach_locked(p);
	if (f && keep_full(round->stretch, f))
		f = NULL;
	pthread_mutex_unlock(&p->lock);
	if (f)
		flight_store(p->flight, f);
	return 0;
}

/* A chunk in parts may have lost some, or lie in packs of different age. */
static int look_at_parts(struct packer *p, struct round *round, uint64_t id)
{
	int64_t until;
	round->whole = id;
	if (!evidence_whole(&p->source, id, round->len, &until)) {
		round->rotten = id;
		round->searched = false;
		return -EAGAIN;
	}
	SCOPED_LOCK(&p->lock);
	struct neighbour *known = neighbours_find(p->near, round->digest);
	if (known && known->id == id && until < known->trusted_until && round->verified != id)
		known->trusted_until = until;
	return -EAGAIN;
}

static int decide(struct packer *p, struct round *round)
{
	pthread_mutex_lock(&p->lock);
	struct neighbour *e = neighbours_find(p->near, round->digest);
	if (e && e->id == round->rotten) {
		neighbours_remove(p->near, round->digest, e->id);
		e = NULL;
	}
	if (e && round->rounds < ROUNDS_MAX) {
		uint64_t id = e->id, frame = flight_find(p->flight, id);
		if (!frame && round->len > FRAME_DECODED_MAX && round->whole != id) {
			pthread_mutex_unlock(&p->lock);
			return look_at_parts(p, round, id);
		}
		if (!frame && id != round->verified && now_s() >= e->trusted_until) {
			pthread_mutex_unlock(&p->lock);
			return compare_stored(p, round, id);
		}
		if (!p->mark || p->mark(p->mark_arg, id))
			return take_duplicate_locked(p, round, id, frame);
		return store_new_locked(p, round); /* being collected */
	}
	if (!round->searched || round->epoch != p->epoch) {
		round->searched = true;
		round->epoch = p->epoch;
		pthread_mutex_unlock(&p->lock);
		search(p, round);
		return -EAGAIN;
	}
	return store_new_locked(p, round);
}

int packer_add_side_by_side(struct packer *p, struct packer_stretch *stretch,
			    const struct digest *digest, const void *data, uint32_t len,
			    struct packed *ret_packed)
{
	if (!len || len > CHUNK_LENGTH_MAX)
		return -EINVAL;
	struct round round = {
		.digest = digest, .data = data, .len = len, .stretch = stretch, .ret = ret_packed
	};
	int r;
	rotten_heal(p->opt.rotten, digest, data, len);
	while ((r = decide(p, &round)) == -EAGAIN)
		round.rounds++;
	return r;
}

int packer_add(struct packer *p, const struct digest *digest, const void *data, uint32_t len,
	       struct packed *ret_packed)
{
	return packer_add_side_by_side(p, NULL, digest, data, len, ret_packed);
}

void packer_end_stretch(struct packer *p, struct packer_stretch *stretch)
{
	pthread_mutex_lock(&p->lock);
	if (p->stretch == stretch) {
		p->stretch = NULL;
		pthread_cond_signal(&p->stretch_over);
	}
	pthread_mutex_unlock(&p->lock);
	store_kept(p, stretch);
}

/* ---- the rest of the interface ---- */

void packer_when_stored(struct packer *p, uint64_t frame, struct packed_wait *w)
{
	flight_when_stored(p->flight, frame, w);
}

void packer_flush(struct packer *p, uint64_t frame)
{
	pthread_mutex_lock(&p->lock);
	struct flight_frame *f = p->filling && p->filling->seq <= frame ? detach_locked(p) : NULL;
	pthread_mutex_unlock(&p->lock);
	if (f)
		flight_store(p->flight, f);
}

void packer_drain(struct packer *p)
{
	pthread_mutex_lock(&p->lock);
	uint64_t last = flight_last(p->flight);
	pthread_mutex_unlock(&p->lock);
	packer_flush(p, last);
	flight_wait(p->flight, last);
}

int packer_help(struct packer *p, struct workers *w, unsigned max)
{
	return flight_help(p->flight, w, max);
}

uint64_t packer_next_id(struct packer *p)
{
	SCOPED_LOCK(&p->lock);
	return p->next_id;
}

void packer_set_mark(struct packer *p, bool (*mark)(void *arg, uint64_t chunk), void *arg)
{
	SCOPED_LOCK(&p->lock);
	p->mark = mark;
	p->mark_arg = arg;
	if (!mark) {
		p->epoch++;
		neighbours_clear(p->near);
	}
}

void packer_distrust(struct packer *p)
{
	SCOPED_LOCK(&p->lock);
	p->epoch++;
	neighbours_clear(p->near);
}

void packer_get_stats(struct packer *p, struct packer_stats *ret_stats)
{
	pthread_mutex_lock(&p->lock);
	*ret_stats = p->stats;
	pthread_mutex_unlock(&p->lock);
	flight_totals(p->flight, &ret_stats->frames, &ret_stats->bytes_stored, &ret_stats->helped);
}
