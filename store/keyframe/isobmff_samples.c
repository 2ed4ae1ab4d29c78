// SPDX-License-Identifier: MIT
/* The samples of a track whose tables are in `moov`:
 *
 *   stsz, stz2   the size of each sample, or one for all
 *   stco, co64   where each chunk begins in the file; its samples follow one another
 *   stsc         from chunk so and so on, each has so many samples
 *   stss, stps   the numbers of the samples where decoding can begin, from 1 on, ascending. Without an
 *                stss they all are. stps: pictures shown earlier can't be decoded (open GOP)
 *   sbgp         of the type `rap `, the same said in another way: so many samples are no such pictures,
 *                then so many are
 *
 * All are walked in step, once. Entries of stsc or stss that don't ascend are passed over.
 *
 * Sound without compression has a sample for each moment, some 10^8 in an hour: of such a track the
 * chunks are taken. What size their samples have, QuickTime says in the sample description only: stsz
 * has what they would be without packing, or 1.
 */
#include "isobmff.h"
#include "bytes.h"
#include "cleanup.h"
#include <errno.h>

struct marks {
	struct isobmff_table table;
	uint64_t next;
};

struct groups {
	struct isobmff_table table;
	uint64_t last; /* sample of the group */
	bool random_access;
};

struct run {
	uint64_t chunk; /* the first, from 1 on */
	uint32_t n;	/* samples of a chunk */
};

struct walk {
	struct isobmff *p;
	struct isobmff_track *t;
	const struct isobmff_tables *tables;
	uint64_t number; /* of the last sample, from 1 on */
	struct run run, next;
	struct marks keys, partial;
	struct groups groups;
	uint8_t halves; /* the two sizes of 4 bits that were read last */
	struct isobmff_table sizes, chunks, runs;
};

static int next_run(struct walk *w)
{
	const uint8_t *b;
	int r = isobmff_table_next(&w->runs, &b);
	if (r >= 0)
		w->next = r ? (struct run){ get_be32(b), get_be32(b + 4) }
			    : (struct run){ .chunk = UINT64_MAX };
	return r;
}

/* Chunks before the first entry are taken for its own. */
static int find_run(struct walk *w, uint64_t chunk)
{
	int r = 0;
	while (r >= 0 && w->next.chunk <= chunk) {
		w->run = w->next;
		r = next_run(w);
	}
	return r;
}

/* Whether sample `number` is in the table: 1, 0, -errno. */
static int is_marked(struct marks *m, uint64_t number)
{
	while (m->next < number) {
		const uint8_t *b;
		int r = isobmff_table_next(&m->table, &b);
		if (r < 0)
			return r;
		m->next = r ? get_be32(b) : UINT64_MAX;
	}
	return m->next == number;
}

static int is_grouped(struct groups *g, uint64_t number)
{
	while (g->last < number) {
		const uint8_t *b;
		int r = isobmff_table_next(&g->table, &b);
		if (r < 0)
			return r;
		g->last = r ? g->last + get_be32(b) : UINT64_MAX;
		g->random_access = r && get_be32(b + 4);
	}
	return g->random_access;
}

static int is_key(struct walk *w)
{
	if (!w->tables->keys_given)
		return 1;
	int r = is_marked(&w->keys, w->number);
	if (r == 0)
		r = is_marked(&w->partial, w->number);
	return r ? r : is_grouped(&w->groups, w->number);
}

static int next_size(struct walk *w, uint32_t *ret)
{
	const uint8_t *b;
	if (w->tables->size) {
		*ret = w->tables->size;
		return 1;
	}
	if (w->tables->bits == 4 && w->number % 2 == 0) {
		*ret = w->halves & 15;
		return 1;
	}
	int r = isobmff_table_next(&w->sizes, &b);
	if (r != 1)
		return r;
	switch (w->tables->bits) {
	case 4:
		w->halves = b[0];
		*ret = b[0] >> 4;
		break;
	case 8:
		*ret = b[0];
		break;
	case 16:
		*ret = get_be16(b);
		break;
	default:
		*ret = get_be32(b);
	}
	return 1;
}

static int walk_chunk(struct walk *w, uint64_t at, uint64_t n)
{
	uint64_t end = w->p->s->size;
	for (uint64_t i = 0; i < n; i++) {
		uint32_t len = 0;
		if (at >= end && w->tables->size) {
			w->number += n - i;
			return 0;
		}
		w->number++;
		int r = next_size(w, &len), key = r == 1 ? is_key(w) : 0;
		if (key < 0 || r < 0)
			return key < 0 ? key : r;
		if (r == 0)
			return 0;
		r = isobmff_add(w->p, w->t, at, len, key);
		if (r < 0)
			return r;
		at = at < end ? at + len : end;
	}
	return 0;
}

/* What a cut-off file has of it is as good as the whole. */
static int take_chunk(struct walk *w, uint64_t at, uint64_t n)
{
	const struct isobmff_tables *t = w->tables;
	uint64_t end = w->p->s->size, packets = n, size = t->size;
	w->number += n;
	if (t->packet_bytes && size != t->packet_bytes && (t->packet_samples > 1 || size == 1)) {
		packets = n / t->packet_samples;
		size = t->packet_bytes;
	}
	if (at >= end)
		return 0;
	uint64_t len = packets > (end - at) / size ? end - at : packets * size;
	return isobmff_add(w->p, w->t, at, len, true);
}

static int walk_chunks(struct walk *w)
{
	const struct isobmff_tables *t = w->tables;
	bool stretches = w->t->tiny && t->size;
	int r = next_run(w);
	if (r >= 0) {
		w->run = w->next;
		r = next_run(w);
	}
	for (uint64_t chunk = 1; r >= 0 && w->number < t->n; chunk++) {
		const uint8_t *b;
		r = isobmff_table_next(&w->chunks, &b);
		if (r <= 0)
			break;
		uint64_t at = t->chunks.width == 8 ? get_be64(b) : get_be32(b);
		r = find_run(w, chunk);
		if (r < 0)
			break;
		uint64_t left = t->n - w->number, n = w->run.n < left ? w->run.n : left;
		r = stretches ? take_chunk(w, at, n) : walk_chunk(w, at, n);
	}
	return r < 0 ? r : 0;
}

static void open_table(struct walk *w, struct isobmff_table *t, struct isobmff_span span)
{
	isobmff_table_open(t, w->p->s, &w->p->work_left, span);
}

int isobmff_samples_read(struct isobmff *p, struct isobmff_track *t,
			 const struct isobmff_tables *tables)
{
	if (t->kind == FILM_OTHER || t->elsewhere || !tables->n || !tables->runs.n ||
	    !tables->chunks.n)
		return 0;
	CLEANUP_FREE struct walk *w = malloc(sizeof *w);
	if (!w)
		return -ENOMEM;
	w->p = p;
	w->t = t;
	w->tables = tables;
	w->number = 0;
	w->halves = 0;
	w->run = w->next = (struct run){ 0 };
	w->keys.next = w->partial.next = w->groups.last = 0;
	w->groups.random_access = false;
	open_table(w, &w->sizes, tables->sizes);
	open_table(w, &w->chunks, tables->chunks);
	open_table(w, &w->runs, tables->runs);
	open_table(w, &w->keys.table, tables->keys);
	open_table(w, &w->partial.table, tables->partial);
	open_table(w, &w->groups.table, tables->groups);
	return walk_chunks(w);
}
