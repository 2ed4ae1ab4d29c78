// SPDX-License-Identifier: MIT
/* A map is worked off piece by piece into a fetch (chunk_fetch.c), which reads in batches. What is
 * left here is the shape of files: holes and runs of zeros, pieces that repeat (one repetition is
 * fetched, the others are copied), chunks longer than a frame.
 *
 * gc may move chunks and remove their pack, or give back their frame, between the look-up and the read.
 * The fetch then finds that out, and everything is done once more with fresh rows; gc commits the new
 * rows before anything goes, so the second time finds them.
 *
 * Fetches are kept in a list of idle ones, a few at most. The list's lock is a leaf.
 */
#include "chunks.h"
#include "chunk_fetch.h"
#include "cleanup.h"
#include "log.h"
#include "workers.h"
#include <errno.h>
#include <inttypes.h>

#define IDLE_MAX 8u
#define REPEATS_MAX 32u
#define STALE_TRIES 4
#define AHEAD_THREADS 16u /* most of them wait for a place far away */
#define AHEAD_WAITING 16u
#define AHEAD_PIECES 1024u
#define AHEAD_CHUNKS 4u	       /* of which slices may come by turns */
#define AHEAD_BYTES (1u << 20) /* of one job, so that several threads share a long stretch */

struct chunks {
	struct kv *kv;
	struct packs *packs;
	struct cache *cache;
	struct workers *ahead;
	struct loading loading;
	struct fetch_damage damage;
	pthread_mutex_t lock;
	struct fetch *idle;
	unsigned n_idle;
};

int chunks_open(struct kv *kv, struct packs *packs, struct cache *cache, struct chunks **ret_c)
{
	struct chunks *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->kv = kv;
	c->packs = packs;
	c->cache = cache;
	pthread_mutex_init(&c->lock, NULL);
	loading_init(&c->loading);
	int r = workers_start("read-ahead", AHEAD_THREADS, &c->ahead);
	if (r < 0) {
		chunks_close(c);
		return r;
	}
	*ret_c = c;
	return 0;
}

void chunks_close(struct chunks *c)
{
	if (!c)
		return;
	workers_stop(c->ahead);
	while (c->idle) {
		struct fetch *f = c->idle;
		c->idle = f->next;
		fetch_free(f);
	}
	loading_done(&c->loading);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void chunks_on_damage(struct chunks *c, void (*fn)(void *arg, uint64_t chunk, uint32_t offset),
		      void *arg)
{
	c->damage = (struct fetch_damage){ fn, arg };
}

static struct fetch *fetch_take(struct chunks *c)
{
	{
		SCOPED_LOCK(&c->lock);
		struct fetch *f = c->idle;
		if (f) {
			c->idle = f->next;
			c->n_idle--;
			return f;
		}
	}
	return fetch_new(c->kv, c->packs, c->cache, &c->loading, &c->damage);
}

static void fetch_give(struct chunks *c, struct fetch *f)
{
	fetch_end(f);
	{
		SCOPED_LOCK(&c->lock);
		if (c->n_idle < IDLE_MAX) {
			f->next = c->idle;
			c->idle = f;
			c->n_idle++;
			f = NULL;
		}
	}
	fetch_free(f);
}

/* Runs of a repeated piece: out[0, period) will be fetched, the rest up to len copied from it. */
struct repeat {
	uint8_t *out;
	uint64_t period, len;
};

struct reading {
	struct fetch *f;
	struct repeat repeats[REPEATS_MAX];
	unsigned n;
};

static int reading_run(struct reading *rd)
{
	int r = fetch_run(rd->f);
	for (unsigned i = 0; r == 0 && i < rd->n; i++) {
		struct repeat *rep = &rd->repeats[i];
		for (uint64_t have = rep->period; have < rep->len;) {
			uint64_t n = rep->len - have < have ? rep->len - have : have;
			memcpy(rep->out + have, rep->out, n);
			have += n;
		}
	}
	rd->n = 0;
	return r;
}

/* `len` bytes of the piece's repetitions from `skip` on. */
static int read_piece(struct reading *rd, const struct piece *piece, uint64_t skip, uint64_t len,
		      uint8_t *out)
{
	uint64_t period = piece->length, fetch = len < period ? len : period;
	if (!piece->chunk) {
		memset(out, 0, len);
		return 0;
	}
	if (period > CHUNK_LENGTH_MAX || piece->offset > CHUNK_LENGTH_MAX)
		return -EUCLEAN;
	if (len > period && rd->n == REPEATS_MAX) {
		int r = reading_run(rd);
		if (r < 0)
			return r;
	}
	uint64_t within = skip % period;
	uint64_t first = period - within < fetch ? period - within : fetch;
	int r = fetch_add(rd->f, piece->chunk, piece->offset + (uint32_t)within, (uint32_t)first,
			  out);
	if (r == 0 && fetch > first)
		r = fetch_add(rd->f, piece->chunk, piece->offset, (uint32_t)(fetch - first),
			      out + first);
	if (r == 0 && len > period)
		rd->repeats[rd->n++] = (struct repeat){ out, period, len };
	return r;
}

/* A piece that leads nowhere is damage of the index. */
static int explain(const struct mapped *m, int err)
{
	if (err != -ENOENT && err != -EUCLEAN)
		return err;
	log_error("chunk %" PRIu64 " %s; fsck.foldfs -n names the files it is a part of",
		  m->piece.chunk, err == -ENOENT ? "is lost" : "has a damaged row");
	return -EIO;
}

/* -ENOENT and -EUCLEAN are those of *ret_where. */
static int read_map_once(struct fetch *f, const struct map_vec *map, uint64_t at, size_t len,
			 uint8_t *out, const struct mapped **ret_where)
{
	struct reading rd = { .f = f };
	uint64_t pos = at, end = at + len;
	for (size_t i = 0; i < map->n && pos < end; i++) {
		const struct mapped *m = &map->v[i];
		uint64_t covers = m->piece.length * m->piece.repeat;
		if (m->at + covers <= pos)
			continue;
		if (m->at >= end)
			break;
		if (m->at > pos) {
			memset(out + (pos - at), 0, m->at - pos);
			pos = m->at;
		}
		uint64_t n = m->at + covers - pos;
		n = n < end - pos ? n : end - pos;
		int r = read_piece(&rd, &m->piece, pos - m->at, n, out + (pos - at));
		if (r < 0) {
			*ret_where = m;
			return r;
		}
		pos += n;
	}
	memset(out + (pos - at), 0, end - pos);
	return reading_run(&rd);
}

/* `current`: the map is a file's at this moment, so what it leads to has to be there. */
static int read_map(struct chunks *c, const struct map_vec *map, uint64_t at, size_t len, void *out,
		    enum fetch_mode mode, bool current)
{
	const struct mapped *where = NULL;
	struct fetch *f = fetch_take(c);
	if (!f)
		return -ENOMEM;
	int r = -ESTALE;
	for (int i = 0; i < STALE_TRIES && r == -ESTALE; i++) {
		where = NULL;
		fetch_begin(f, mode);
		r = read_map_once(f, map, at, len, out, &where);
		fetch_end(f);
	}
	uint64_t gone = f->gone;
	fetch_give(c, f);
	if (r == -ESTALE) {
		if (gone)
			log_error("pack %016" PRIx64 " is missing, and the index refers to it",
				  gone);
		else
			log_error("what was to be read has moved each time");
		r = -EIO;
	}
	return where && current ? explain(where, r) : r;
}

int chunks_read_map(struct chunks *c, const struct map_vec *map, uint64_t at, size_t len, void *out)
{
	return read_map(c, map, at, len, out, FETCH_READ, true);
}

int chunks_read_past_map(struct chunks *c, const struct map_vec *map, uint64_t at, size_t len,
			 void *out)
{
	return read_map(c, map, at, len, out, FETCH_READ, false);
}

int chunks_verify_map(struct chunks *c, const struct map_vec *map, uint64_t at, size_t len,
		      void *out)
{
	return read_map(c, map, at, len, out, FETCH_VERIFY, true);
}

int chunks_try_read_map(struct chunks *c, const struct map_vec *map, uint64_t at, size_t len,
			void *out)
{
	int r = read_map(c, map, at, len, out, FETCH_TRY, true);
	return r == -EAGAIN ? 0 : r < 0 ? r : 1;
}

struct ahead {
	struct job job;
	struct chunks *c;
	size_t n;
	struct piece pieces[];
};

static void ahead_run(struct job *job)
{
	struct ahead *a = (struct ahead *)((char *)job - offsetof(struct ahead, job));
	struct fetch *f = fetch_take(a->c);
	if (f) {
		int r = 0; /* an error is left to whoever wants the bytes */
		fetch_begin(f, FETCH_AHEAD);
		for (size_t i = 0; r == 0 && i < a->n; i++)
			r = fetch_add(f, a->pieces[i].chunk, a->pieces[i].offset,
				      (uint32_t)a->pieces[i].length, NULL);
		if (r == 0)
			fetch_run(f);
		fetch_give(a->c, f);
	}
	free(a);
}

/* Slices that go on where an earlier one ended, others in between, are one to who reads ahead. */
static void ahead_add(struct ahead *a, const struct piece *p)
{
	for (size_t back = 1; back <= AHEAD_CHUNKS && back <= a->n; back++) {
		struct piece *last = &a->pieces[a->n - back];
		if (last->chunk == p->chunk && last->offset + last->length == p->offset &&
		    last->length + p->length <= CHUNK_LENGTH_MAX) {
			last->length += p->length;
			return;
		}
	}
	a->pieces[a->n++] = *p;
}

/* One job for pieces [from, to). */
static void ahead_queue(struct chunks *c, const struct map_vec *map, size_t from, size_t to)
{
	struct ahead *a = malloc(sizeof *a + (to - from) * sizeof *a->pieces);
	if (!a)
		return;
	*a = (struct ahead){ .job.run = ahead_run, .c = c };
	for (size_t i = from; i < to; i++)
		if (map->v[i].piece.chunk && map->v[i].piece.length <= CHUNK_LENGTH_MAX)
			ahead_add(a, &map->v[i].piece);
	workers_queue(c->ahead, &a->job);
}

void chunks_prefetch(struct chunks *c, const struct map_vec *map)
{
	size_t from = 0;
	uint64_t bytes = 0;
	for (size_t i = 0; i < map->n; i++) {
		bytes += map->v[i].piece.length;
		bool full = bytes >= AHEAD_BYTES || i - from >= AHEAD_PIECES || i + 1 == map->n;
		if (!full)
			continue;
		if (workers_waiting(c->ahead) >= AHEAD_WAITING)
			return; /* the reader is faster than that anyway */
		ahead_queue(c, map, from, i + 1);
		from = i + 1;
		bytes = 0;
	}
}

static bool is_far(struct chunks *c, const struct piece *p)
{
	uint32_t at, left;
	struct fetch *f = fetch_take(c);
	if (!f)
		return false;
	fetch_begin(f, FETCH_AHEAD);
	bool far = fetch_find(f, p->chunk, p->offset, &at, &left) == 0 &&
		   pack_is_far(c->packs, f->rows[f->row].row.pack);
	fetch_give(c, f);
	return far;
}

void chunks_prefetch_far(struct chunks *c, const struct map_vec *map)
{
	size_t first = 0;
	while (first < map->n && !map->v[first].piece.chunk)
		first++;
	if (first < map->n && map->v[first].piece.offset <= CHUNK_LENGTH_MAX &&
	    is_far(c, &map->v[first].piece))
		chunks_prefetch(c, map);
}

/* Is there anything of the chunk at or after `offset`? */
static bool goes_on(struct fetch *f, uint64_t id, uint32_t offset)
{
	uint32_t at, left;
	return offset < CHUNK_LENGTH_MAX && fetch_find(f, id, offset, &at, &left) == 0;
}

static int chunk_read_once(struct fetch *f, uint64_t id, uint8_t *out, uint32_t len)
{
	uint32_t at, left;
	int r = fetch_find(f, id, 0, &at, &left);
	if (r < 0)
		return r;
	if (left > len || (left < len && left < FRAME_DECODED_MAX))
		return -EUCLEAN;
	r = fetch_add(f, id, 0, len, out);
	if (r == -ENOENT || (r == 0 && left == FRAME_DECODED_MAX && goes_on(f, id, len)))
		return -EUCLEAN;
	return r < 0 ? r : fetch_run(f);
}

int chunk_read(struct chunks *c, uint64_t id, void *out, uint32_t len)
{
	struct fetch *f = fetch_take(c);
	if (!f)
		return -ENOMEM;
	int r = -ESTALE;
	for (int i = 0; i < STALE_TRIES && r == -ESTALE; i++) {
		fetch_begin(f, FETCH_READ);
		r = chunk_read_once(f, id, out, len);
		fetch_end(f);
	}
	fetch_give(c, f);
	return r == -ESTALE ? -EIO : r;
}

int chunks_frame_digests(struct chunks *c, uint64_t id, struct chunk_entry **ret_entries,
			 uint32_t *ret_n)
{
	struct frame_head head;
	struct fetch *f = fetch_take(c);
	if (!f)
		return -ENOMEM;
	int r = -ESTALE;
	for (int i = 0; i < STALE_TRIES && r == -ESTALE; i++) {
		fetch_begin(f, FETCH_VERIFY);
		r = fetch_head(f, id, &head);
		if (r == -ESTALE)
			fetch_end(f);
	}
	if (r == 0) {
		size_t len = head.h.chunks * sizeof **ret_entries;
		struct chunk_entry *copy = malloc(len);
		r = copy ? 0 : -ENOMEM;
		if (copy) {
			memcpy(copy, head.entries, len);
			*ret_entries = copy;
			*ret_n = head.h.chunks;
		}
	}
	fetch_give(c, f);
	return r == -ESTALE ? -EIO : r;
}
