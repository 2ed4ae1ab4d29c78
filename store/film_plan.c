// SPDX-License-Identifier: MIT
/* Where a stream of pictures is cut must not depend on where it begins, or a trimmed film would share
 * nothing with the whole one: film_cuts.h. What it judges by is a hash of the lengths of the pictures of the group
 * before a key picture, which are the same in every container. Where groups are all alike that says
 * nothing, and the pool's chunker cuts the stream. A group too long for a chunk is cut as counted from its key picture.
 *
 * Parameter sets that are in a picture (keyframe/inband.h) are in no track: programs that join films put
 * them there.
 *
 * A film that lists its samples in no order of the file, or two times, is cut at its key pictures only, and
 * where that makes no sense either there is no plan. Nothing here is believed but that samples lie
 * within the file.
 *
 * Slices have their price in the index. Where it comes to more than a fiftieth of the film, the track that
 * makes the most of them for the fewest bytes is left ungathered, and so on.
 */
#include "film_plan.h"
#include "film_cuts.h"
#include <errno.h>
#include <stdlib.h>

#define SLICE_BYTES 8u	 /* of a stretch, in the index */
#define SLICES_WORTH 50u /* times their price */
/* Bytes of the file from which one chunk outside of tracks is made: it ends where one of pictures does, or
 * later. A weaver keeps a little more in memory. */
#define SECTION (2u << 20)
#define SECTION_MAX (3u << 20)

static int stream_push(struct plan_stream *s, struct plan_stretch stretch)
{
	struct plan_stretch *last = s->n ? &s->v[s->n - 1] : NULL;
	if (last && !stretch.cut && !stretch.lead && last->at + last->len == stretch.at &&
	    stretch.len <= UINT32_MAX - last->len) {
		last->len += stretch.len;
		return 0;
	}
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 256;
		struct plan_stretch *v = realloc(s->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = stretch;
	return 0;
}

static void stream_done(struct plan_stream *s)
{
	free(s->v);
	*s = (struct plan_stream){ 0 };
}

void film_plan_free(struct film_plan *plan)
{
	if (!plan)
		return;
	for (unsigned i = 0; i < PLAN_STREAMS; i++)
		stream_done(&plan->streams[i]);
	free(plan);
}

/* ---- one stream of pictures ---- */

struct pictures {
	struct plan_stream *s;
	struct cut_limits limits;
	uint64_t end;	/* of the last sample, in the file */
	uint64_t bytes; /* of the stream */
	uint64_t hash;	/* of the lengths since the last key picture */
	uint64_t last_hash;
	size_t groups, alike;
	struct cut_place *places;
	size_t n, cap;
};

static struct pictures pictures_of(struct plan_stream *s, const struct plan_limits *l)
{
	return (struct pictures){ .s = s, .limits = cut_limits_of(l->min, l->target, l->max) };
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 29;
}

static int add_place(struct pictures *p, uint64_t at, uint32_t hash, bool cut)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 256;
		struct cut_place *places = realloc(p->places, cap * sizeof *places);
		if (!places)
			return -ENOMEM;
		p->places = places;
		p->cap = cap;
	}
	p->places[p->n++] = (struct cut_place){ .at = at, .hash = hash, .cut = cut };
	return 0;
}

/* The next `len` bytes of the stream are a picture. A key picture comes before all others as a place to
 * cut at, and the first of the stream behind all: what its hash would be is not known. */
static int begin_picture(struct pictures *p, uint64_t len, bool key)
{
	uint32_t hash = (uint32_t)(mix(p->hash, 1) >> 33);
	if (key && p->n) {
		p->groups++;
		p->alike += p->hash == p->last_hash;
		p->last_hash = p->hash;
	}
	int r = add_place(p, p->bytes, !p->n ? UINT32_MAX : key ? hash : hash | 1u << 31, false);
	for (uint64_t at = p->limits.max; r == 0 && at < len; at += p->limits.max)
		r = add_place(p, p->bytes + at, UINT32_MAX, true);
	p->hash = mix(key ? 0 : p->hash, len);
	return r;
}

static int put_bytes(struct pictures *p, uint64_t at, uint64_t len)
{
	int r = 0;
	while (r == 0 && len) {
		uint64_t n = len < UINT32_MAX ? len : UINT32_MAX;
		r = stream_push(p->s, (struct plan_stretch){ .at = at, .len = (uint32_t)n });
		p->bytes += n;
		at += n;
		len -= n;
	}
	return r;
}

static int put_picture(struct pictures *p, uint64_t at, uint64_t len, bool key)
{
	int r = begin_picture(p, len, key);
	return r ? r : put_bytes(p, at, len);
}

/* The same, without the parameter sets that are in it. */
static int put_sample(struct pictures *p, const struct film_sample *m)
{
	uint64_t behind = m->sets_at + m->sets_len, rest = m->len - behind;
	int r = m->sets_at + rest ? begin_picture(p, m->sets_at + rest, m->key) : 0;
	if (r == 0)
		r = put_bytes(p, m->at, m->sets_at);
	return r ? r : put_bytes(p, m->at + behind, rest);
}

/* The picture that begins with sample `i`, which is a unit, or goes on with it. */
static int put_unit(struct pictures *p, const struct film *f, size_t i)
{
	const struct film_sample *m = &f->samples[i];
	uint64_t len = 0;
	int r = 0;
	if (m->begins || !p->n) {
		for (size_t k = i; k < f->n && f->samples[k].track == m->track; k++) {
			if (k > i && f->samples[k].begins)
				break;
			len += PLAN_LEAD + f->samples[k].len;
		}
		r = begin_picture(p, len, m->key);
	}
	if (r == 0)
		r = stream_push(p->s, (struct plan_stretch){ m->at, m->len, false, true });
	p->bytes += PLAN_LEAD + m->len;
	return r;
}

/* Bytes of the stream before the first chosen place at or after places[*k], UINT64_MAX: there is none. */
static uint64_t next_cut(const struct pictures *p, size_t *k)
{
	while (*k < p->n && !p->places[*k].cut)
		++*k;
	return *k < p->n ? p->places[*k].at : UINT64_MAX;
}

/* Divides stretches where chunks begin. -EBADMSG: one that can't be. */
static int cut_stretches(struct pictures *p)
{
	struct plan_stream cut = { 0 };
	uint64_t pos = 0;
	size_t k = 0;
	int r = 0;
	for (size_t i = 0; i < p->s->n && r == 0; i++) {
		struct plan_stretch left = p->s->v[i];
		while (left.len && r == 0) {
			struct plan_stretch part = left;
			part.cut = next_cut(p, &k) == pos;
			k += part.cut;
			uint64_t n = next_cut(p, &k) - pos, lead = left.lead ? PLAN_LEAD : 0;
			if (left.lead && n < lead + left.len)
				r = -EBADMSG;
			part.len = n - lead < left.len ? (uint32_t)(n - lead) : left.len;
			r = r ? r : stream_push(&cut, part);
			left.at += part.len;
			left.len -= part.len;
			left.lead = false;
			pos += lead + part.len;
		}
	}
	stream_done(p->s);
	*p->s = cut;
	return r;
}

/* Where pictures are all of one size (DV, DNxHD), their lengths tell nothing: the bytes have to. */
static int end_pictures(struct pictures *p)
{
	if (p->groups >= 8 && p->alike >= p->groups / 2) {
		p->s->by_content = true;
		return p->s->n && p->s->v[0].lead ? -EBADMSG : 0;
	}
	int r = film_cuts_choose(p->places, p->n, p->bytes, &p->limits);
	return r ? r : cut_stretches(p);
}

static void pictures_done(struct pictures *p)
{
	free(p->places);
	p->places = NULL;
}

/* ---- cut at key pictures, ungathered ---- */

static int first_video(const struct film *f)
{
	for (unsigned i = 0; i < f->n_tracks; i++)
		if (f->tracks[i].kind == FILM_VIDEO)
			return (int)i;
	return -1;
}

static int put_groups(const struct film *f, const struct plan_limits *limits, struct plan_stream *s)
{
	struct pictures p = pictures_of(s, limits);
	int track = first_video(f), r = 0;
	uint64_t begin = 0, end = 0;
	bool any = false;
	for (size_t i = 0; i < f->n && r == 0; i++) {
		const struct film_sample *m = &f->samples[i];
		if ((int)m->track != track)
			continue;
		if (m->key && (!any || m->at > begin)) {
			if (any)
				r = put_picture(&p, begin, m->at - begin, true);
			any = true;
			begin = m->at;
		} else if (!any || m->at < begin) {
			r = any ? -EBADMSG : 0;
			continue;
		}
		end = m->at + m->len > end ? m->at + m->len : end;
	}
	if (r == 0 && any && end > begin)
		r = put_picture(&p, begin, end - begin, true);
	if (r == 0)
		r = end_pictures(&p);
	pictures_done(&p);
	return r;
}

/* ---- gathered ---- */

struct gathering {
	struct film_plan *plan;
	int stream[FILM_TRACKS_MAX]; /* -1: not gathered */
	struct pictures p[FILM_TRACKS_MAX];
};

static void choose_tracks(struct gathering *g, const struct film *f,
			  const struct plan_limits *limits)
{
	for (unsigned i = 0; i < f->n_tracks; i++) {
		const struct film_track *t = &f->tracks[i];
		g->stream[i] = -1;
		if (!(t->whole || t->units) || t->kind == FILM_OTHER ||
		    g->plan->n + 1 >= PLAN_STREAMS)
			continue;
		struct plan_stream *s = &g->plan->streams[g->plan->n];
		s->by_content = t->kind == FILM_AUDIO;
		g->p[i] = pictures_of(s, limits);
		g->stream[i] = (int)g->plan->n++;
	}
}

static int gather_samples(struct gathering *g, const struct film *f)
{
	int r = 0;
	for (size_t i = 0; i < f->n && r == 0; i++) {
		const struct film_sample *m = &f->samples[i];
		struct pictures *p = &g->p[m->track];
		if (g->stream[m->track] < 0 || !m->len)
			continue;
		if (m->at < p->end)
			r = -EBADMSG;
		else if (p->s->by_content)
			r = stream_push(p->s, (struct plan_stretch){ .at = m->at, .len = m->len });
		else if (f->tracks[m->track].units)
			r = put_unit(p, f, i);
		else
			r = put_sample(p, m);
		p->end = m->at + m->len;
	}
	for (unsigned i = 0; i < f->n_tracks; i++) {
		if (r == 0 && g->stream[i] >= 0 && !g->p[i].s->by_content)
			r = end_pictures(&g->p[i]);
		pictures_done(&g->p[i]);
	}
	return r;
}

/* ---- what is in no track ---- */

/* The stream whose next stretch comes first in the file; NULL: none is left. */
static const struct plan_stretch *next_stretch(const struct film_plan *plan, size_t at[],
					       unsigned *ret_stream)
{
	const struct plan_stretch *first = NULL;
	for (unsigned i = 0; i < plan->n; i++) {
		const struct plan_stream *s = &plan->streams[i];
		if (at[i] < s->n && (!first || s->v[at[i]].at < first->at)) {
			first = &s->v[at[i]];
			*ret_stream = i;
		}
	}
	if (first)
		at[*ret_stream]++;
	return first;
}

static int put_rest(struct plan_stream *rest, uint64_t at, uint64_t end, bool cut)
{
	while (at < end) {
		uint64_t n = end - at < UINT32_MAX ? end - at : UINT32_MAX;
		int r = stream_push(
			rest, (struct plan_stretch){ .at = at, .len = (uint32_t)n, .cut = cut });
		if (r < 0)
			return r;
		at += n;
		cut = false;
	}
	return 0;
}

/* Fills the last stream with what the others leave. It is cut where pictures are, so that the bytes of
 * one of its chunks are from one part of the film. -EBADMSG: two streams want the same byte. */
static int find_rest(struct film_plan *plan)
{
	struct plan_stream *rest = &plan->streams[plan->n];
	size_t at[PLAN_STREAMS] = { 0 };
	uint64_t pos = 0, section = 0;
	const struct plan_stretch *next;
	unsigned stream = 0;
	bool cut = false;
	int r = 0;
	rest->n = 0;
	rest->by_content = true;
	while (r == 0 && (next = next_stretch(plan, at, &stream))) {
		if (next->at < pos)
			return -EBADMSG;
		if (next->at > pos) {
			cut = (cut && pos - section >= SECTION) || pos - section > SECTION_MAX;
			r = put_rest(rest, pos, next->at, cut);
			section = cut ? pos : section;
			cut = false;
		}
		cut = cut || (next->cut && !plan->streams[stream].by_content);
		pos = next->at + next->len;
	}
	if (pos > plan->size)
		return -EBADMSG;
	return r ? r : put_rest(rest, pos, plan->size, cut);
}

/* Leaves out the stream that costs most for what it has. */
static void drop_dearest(struct film_plan *plan)
{
	unsigned worst = 0;
	double least = 0;
	for (unsigned i = 0; i < plan->n; i++) {
		const struct plan_stream *s = &plan->streams[i];
		double bytes = 0;
		for (size_t k = 0; k < s->n; k++)
			bytes += s->v[k].len;
		double mean = s->n ? bytes / (double)s->n : 0;
		if (i == 0 || mean < least) {
			worst = i;
			least = mean;
		}
	}
	stream_done(&plan->streams[worst]);
	for (unsigned i = worst; i < plan->n; i++)
		plan->streams[i] = plan->streams[i + 1];
	plan->streams[plan->n--] = (struct plan_stream){ 0 };
}

static bool too_dear(const struct film_plan *plan)
{
	size_t n = 0;
	for (unsigned i = 0; i <= plan->n; i++)
		n += plan->streams[i].n;
	return n > plan->size / (SLICE_BYTES * SLICES_WORTH) + 64;
}

/* ---- all of it ---- */

static int plan_gathered(const struct film *f, const struct plan_limits *limits,
			 struct film_plan *plan)
{
	struct gathering *g = calloc(1, sizeof *g);
	if (!g)
		return -ENOMEM;
	g->plan = plan;
	choose_tracks(g, f, limits);
	int r = plan->n ? gather_samples(g, f) : -EBADMSG;
	free(g);
	while (r == 0) {
		r = find_rest(plan);
		if (r < 0 || !too_dear(plan))
			break;
		drop_dearest(plan);
		r = plan->n ? 0 : -EBADMSG;
	}
	plan->gathered = true;
	return r;
}

static int plan_groups(const struct film *f, const struct plan_limits *limits,
		       struct film_plan *plan)
{
	plan->n = 1;
	int r = put_groups(f, limits, &plan->streams[0]);
	return r ? r : find_rest(plan);
}

static struct film_plan *plan_new(uint64_t size)
{
	struct film_plan *plan = calloc(1, sizeof *plan);
	if (plan)
		plan->size = size;
	return plan;
}

int film_plan_make(const struct film *f, uint64_t size, const struct plan_limits *limits,
		   struct film_plan **ret_plan)
{
	*ret_plan = NULL;
	if (f->container == FILM_NONE || !f->n)
		return 0;
	for (int gather = limits->gather; gather >= 0; gather--) {
		struct film_plan *plan = plan_new(size);
		if (!plan)
			return -ENOMEM;
		int r = (gather ? plan_gathered : plan_groups)(f, limits, plan);
		if (r == 0 && plan->streams[0].n) {
			plan->n++;
			*ret_plan = plan;
			return 0;
		}
		film_plan_free(plan);
		if (r == -ENOMEM)
			return r;
	}
	return 0;
}
