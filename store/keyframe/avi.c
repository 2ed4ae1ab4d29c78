// SPDX-License-Identifier: MIT
/* AVI: RIFF chunks (four letters, a size of 4 bytes, the payload, filled up to an even length), of which
 * LIST and RIFF hold others behind four more letters.
 *
 * The head (LIST hdrl) describes the streams, LIST movi holds the samples, idx1 indexes them; a file of
 * OpenDML goes on with RIFF AVIX, each with a LIST movi of its own. Lists are entered by stepping over
 * their heads, since what follows the last child follows the list, too: so there is no depth, and sizes
 * of lists matter only where one is skipped.
 *
 * Samples come from the indexes, which alone know the keys. What lies behind the last one of a stream
 * that an index names (all, in a file that is not finished) is walked chunk by chunk.
 */
#include "avi_streams.h"
#include "bytes.h"
#include "detect.h"
#include "vfw.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_HEAD 12u
#define FORMAT_MAX 40u /* bytes of strf that are looked at */

struct chunk {
	uint8_t id[4], list[4]; /* the letters; of a list also those of its kind */
	uint32_t size;		/* as it is said to be */
	uint64_t payload,
		end; /* where they are in the file; a list's payload begins behind its kind */
};

static bool is(const uint8_t *letters, const char *what)
{
	return !memcmp(letters, what, 4);
}

static bool is_list(const struct chunk *c)
{
	return is(c->id, "LIST") || is(c->id, "RIFF");
}

/* -ENODATA at the end of the file; -EBADMSG: these are no letters. */
static int read_chunk(struct film_source *s, uint64_t at, struct chunk *ret)
{
	const uint8_t *p;
	int r = film_source_get(s, at, AVI_CHUNK_HEAD, &p);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < 4; i++)
		if (p[i] < ' ' || p[i] > '~')
			return -EBADMSG;
	memcpy(ret->id, p, 4);
	ret->size = get_le32(p + 4);
	ret->payload = at + AVI_CHUNK_HEAD;
	ret->end = ret->payload + ret->size + (ret->size & 1);
	if (!is_list(ret))
		return 0;
	r = film_source_get(s, at, LIST_HEAD, &p);
	if (r < 0)
		return r;
	memcpy(ret->list, p + 8, 4);
	ret->payload += 4;
	return 0;
}

/* -- the head -------------------------------------------------------------------------------- */

/* The stream being described. */
struct head {
	struct avi *a;
	uint8_t type[4], handler[4];
};

static int read_strh(struct head *h, const struct chunk *c)
{
	const uint8_t *p;
	int r = film_source_get(h->a->s, c->payload, 8, &p);
	if (r < 0)
		return r;
	memcpy(h->type, p, 4);
	memcpy(h->handler, p + 4, 4);
	return 0;
}

static const char *video_codec(const struct head *h, const uint8_t *format, size_t len)
{
	uint8_t handler[20] = { 0 };
	const char *codec = vfw_video_codec(format, len);
	memcpy(handler + 16, h->handler, 4);
	if (is(h->type, "iavs"))
		return "dv";
	return *codec ? codec : vfw_video_codec(handler, sizeof handler);
}

static int read_strf(struct head *h, const struct chunk *c)
{
	struct avi *a = h->a;
	const uint8_t *p;
	ssize_t n =
		film_source_some(a->s, c->payload, c->size < FORMAT_MAX ? c->size : FORMAT_MAX, &p);
	if (n < 0)
		return (int)n;
	bool video = is(h->type, "vids") || is(h->type, "iavs");
	if (!a->n_streams || a->streams[a->n_streams - 1].known || (!video && !is(h->type, "auds")))
		return 0;
	const char *codec = video ? video_codec(h, p, (size_t)n) : vfw_audio_codec(p, (size_t)n);
	int track = film_add_track(a->f, video ? FILM_VIDEO : FILM_AUDIO, codec);
	if (track < 0)
		return 0; /* without more tracks than that the film is one, too */
	a->f->tracks[track].whole = true;
	struct avi_stream *st = &a->streams[a->n_streams - 1];
	st->known = true;
	st->track = (unsigned)track;
	st->all_key = !video || vfw_all_key(codec);
	return 0;
}

static int read_described(struct head *h, const struct chunk *c)
{
	struct avi *a = h->a;
	if (is(c->id, "strh"))
		return read_strh(h, c);
	if (is(c->id, "strf"))
		return read_strf(h, c);
	if (is(c->id, "indx") && a->n_streams) {
		struct avi_stream *st = &a->streams[a->n_streams - 1];
		st->indx_at = c->payload;
		st->indx_len = c->size;
	} else if (is(c->id, "idx1")) {
		a->idx1_at = c->payload;
		a->idx1_len = c->size;
	}
	return 0;
}

/* Up to the end of the first RIFF, or to where nothing makes sense any more. */
static int read_head(struct avi *a)
{
	struct head h = { .a = a };
	struct chunk c;
	for (uint64_t at = LIST_HEAD; !a->idx1_at;) {
		int r = read_chunk(a->s, at, &c);
		if (r < 0)
			return r == -EBADMSG || r == -ENODATA ? 0 : r;
		at = c.end;
		if (is(c.id, "RIFF"))
			return 0;
		if (!is(c.id, "LIST")) {
			r = read_described(&h, &c);
			if (r < 0)
				return r == -ENODATA ? 0 : r;
		} else if (is(c.list, "strl")) {
			if (a->n_streams == AVI_STREAMS_MAX)
				continue;
			a->n_streams++;
			memset(h.type, 0, sizeof h.type);
			at = c.payload;
		} else if (is(c.list, "hdrl")) {
			at = c.payload;
		} else if (is(c.list, "movi") && !a->movi_at) {
			a->movi_at = c.payload - 4;
		}
		if (at < c.payload) /* a list that is said to be shorter than its head */
			at = c.payload;
	}
	return 0;
}

/* -- the samples ----------------------------------------------------------------------------- */

struct avi_stream *avi_stream_of(struct avi *a, const uint8_t *id)
{
	static const char *const video[] = { "dc", "db", "iv", "__" };
	if (id[0] < '0' || id[0] > '9' || id[1] < '0' || id[1] > '9')
		return NULL;
	struct avi_stream *st = &a->streams[(id[0] - '0') * 10 + (id[1] - '0')];
	if (!st->known)
		return NULL;
	if (a->f->tracks[st->track].kind == FILM_AUDIO)
		return memcmp(id + 2, "wb", 2) != 0 ? NULL : st;
	for (size_t i = 0; i < sizeof video / sizeof *video; i++)
		if (!memcmp(id + 2, video[i], 2))
			return st;
	return NULL;
}

int avi_add(struct avi *a, struct avi_stream *st, uint64_t at, uint32_t len, bool key)
{
	if (!len || at > a->s->size || len > a->s->size - at)
		return 0;
	struct film_sample sample = {
		.at = at,
		.len = len,
		.track = (uint16_t)st->track,
		.key = key || st->all_key,
	};
	if (at + len > st->end)
		st->end = at + len + (len & 1);
	return film_add_sample(a->f, &sample);
}

static int read_indexes(struct avi *a)
{
	int r = 0;
	bool all = true;
	for (unsigned i = 0; r == 0 && i < a->n_streams; i++) {
		if (a->streams[i].known && a->streams[i].indx_at)
			r = avi_index_opendml(a, i);
		all &= a->streams[i].end || !a->streams[i].known;
	}
	return r < 0 || all || !a->idx1_at ? r : avi_index_old(a);
}

static int compare_samples(const void *p, const void *q)
{
	const struct film_sample *a = p, *b = q;
	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->len < b->len ? -1 : a->len > b->len;
}

/* Brings the samples into the order of the file, and leaves out those that lie upon others. */
static void put_in_order(struct film *f)
{
	size_t i = 1, n = 0;
	while (i < f->n && f->samples[i].at >= f->samples[i - 1].at)
		i++;
	if (i < f->n)
		qsort(f->samples, f->n, sizeof *f->samples, compare_samples);
	for (i = 0; i < f->n; i++) {
		const struct film_sample *before = n ? &f->samples[n - 1] : NULL;
		if (!before || f->samples[i].at >= before->at + before->len)
			f->samples[n++] = f->samples[i];
	}
	f->n = n;
}

/* Where some stream has no index any more: behind the indexed samples of the one with the earliest end. */
static uint64_t walk_start(const struct avi *a)
{
	uint64_t at = UINT64_MAX;
	for (unsigned i = 0; i < a->n_streams; i++)
		if (a->streams[i].known && a->streams[i].end < at)
			at = a->streams[i].end;
	return at ? at : a->movi_at + 4;
}

/* All chunks from `at` on, of each stream those behind what the index has named. */
static int walk(struct avi *a, uint64_t at)
{
	struct chunk c;
	for (;;) {
		int r = read_chunk(a->s, at, &c);
		if (r < 0)
			return r == -EBADMSG || r == -ENODATA ? 0 : r;
		bool enter = is_list(&c) &&
			     (is(c.list, "movi") || is(c.list, "rec ") || is(c.list, "AVIX"));
		struct avi_stream *st = avi_stream_of(a, c.id);
		r = st && c.payload >= st->end ? avi_add(a, st, c.payload, c.size, false) : 0;
		if (r < 0)
			return r;
		at = enter || c.end < c.payload ? c.payload : c.end;
	}
}

/* H.264 with start codes is not what other containers hold. */
static int find_start_codes(struct avi *a)
{
	bool seen[FILM_TRACKS_MAX] = { false };
	for (size_t i = 0; i < a->f->n; i++) {
		const struct film_sample *s = &a->f->samples[i];
		struct film_track *t = &a->f->tracks[s->track];
		const uint8_t *p;
		if (seen[s->track])
			continue;
		seen[s->track] = true;
		if (s->len < 4 || (strcmp(t->codec, "h264") != 0 && strcmp(t->codec, "hevc") != 0))
			continue;
		int r = film_source_get(a->s, s->at, 4, &p);
		if (r < 0)
			return r == -ENODATA ? 0 : r;
		t->whole = memcmp(p, "\0\0\0\1", 4) != 0;
	}
	return 0;
}

static int parse(struct film_source *s, struct film *f)
{
	struct avi a = { .s = s, .f = f };
	f->container = FILM_AVI;
	int r = read_head(&a);
	if (r == 0 && !f->n_tracks)
		return -EBADMSG;
	if (r == 0)
		r = read_indexes(&a);
	if (r == 0 && a.movi_at)
		r = walk(&a, walk_start(&a));
	put_in_order(f);
	return r < 0 ? r : find_start_codes(&a);
}

static bool looks(const uint8_t *head, size_t len)
{
	return len >= LIST_HEAD && is(head, "RIFF") && is(head + 8, "AVI ");
}

const struct film_parser film_avi = { looks, parse };
