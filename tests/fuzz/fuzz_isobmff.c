// SPDX-License-Identifier: MIT
/* Input: le32 where a hole of zeros is, le32 its length, le32 by how much the file has shrunk since its
 * size was asked for; the file's bytes. A film's samples are in the hole, so that a few KB of tables
 * make a film. */
#include "fuzz.h"
#include "film_boxes.h"
#include <errno.h>

#define HOLE_MAX (1u << 20)

static void check_film(const struct film *f, uint64_t size)
{
	uint64_t bytes = 0, at[FILM_TRACKS_MAX] = { 0 }, end[FILM_TRACKS_MAX] = { 0 };
	must(f->n_tracks <= FILM_TRACKS_MAX && f->n <= FILM_SAMPLES_MAX);
	must(f->container == FILM_MP4 || f->container == FILM_FRAGMENTED || !f->n_tracks);
	for (unsigned i = 0; i < f->n_tracks; i++)
		must(memchr(f->tracks[i].codec, 0, sizeof f->tracks[i].codec));
	for (size_t i = 0; i < f->n; i++) {
		const struct film_sample *s = &f->samples[i];
		must(s->len && s->at < size && s->len <= size - s->at);
		must(s->track < f->n_tracks && f->tracks[s->track].kind != FILM_OTHER);
		must(s->at >= end[s->track] || s->at + s->len <= at[s->track]);
		at[s->track] = s->at;
		end[s->track] = s->at + s->len;
		bytes += s->len;
	}
	must(bytes <= size);
}

bool fuzz_one(struct slice in)
{
	struct holed h = { .at = take_le32(&in), .len = take_le32(&in) };
	uint64_t shrunk = take_le32(&in);
	struct film_source s;
	struct film f = { 0 };
	if (in.bad)
		return false;
	h.data = in.at;
	h.n = in.len;
	h.at = h.at < h.n ? h.at : h.n;
	h.len %= HOLE_MAX + 1;
	h.there = h.n + h.len;
	h.there -= shrunk < h.there ? shrunk : h.there;
	must(holed_open(&s, &h) == 0);
	/* no input may need more than that, let alone what a source grants */
	s.budget = 4 * s.size + (1u << 20);
	const uint8_t *head;
	ssize_t len = film_source_some(&s, 0, DETECT_HEAD, &head);
	bool looks = len > 0 && film_isobmff.looks(head, (size_t)len);
	int r = film_isobmff.parse(&s, &f);
	must(r == 0 || r == -EBADMSG || r == -E2BIG);
	check_film(&f, s.size);
	bool valid = looks && r == 0 && f.n;
	film_source_done(&s);
	film_done(&f);
	return valid;
}

/* The hole comes last, in a box mdat of that length. */
static void seed(const char *name, struct buf *film, uint32_t hole)
{
	struct buf in = { 0 };
	PUT32(film, hole + 8);
	buf_put(film, "mdat", 4);
	buf_put_le32(&in, (uint32_t)film->len);
	buf_put_le32(&in, hole);
	buf_put_le32(&in, 0);
	buf_put(&in, film->data, film->len);
	buf_done(film);
	fuzz_seed_buf(name, &in);
}

static void seed_tables(void)
{
	struct buf b = { 0 };
	put_ftyp(&b, "isom");
	size_t moov = box_begin(&b, "moov");
	struct track_boxes t = track_begin(&b, 1, "vide");
	put_video_entry(&b, "avc1");
	BOX32(&b, "stsz", 0, 0, 6, 500, 20, 30, 400, 10, 0);
	BOX32(&b, "stsc", 0, 2, 1, 2, 1, 3, 1, 1);
	BOX32(&b, "stco", 0, 4, 2000, 3000, 4000, 5000);
	BOX32(&b, "stss", 0, 1, 1);
	BOX32(&b, "stps", 0, 1, 4);
	BOX32(&b, "sbgp", 0, 0x72617020, 3, 2, 0, 1, 1, 3, 0);
	track_end(&b, t);
	t = track_begin(&b, 2, "soun");
	put_esds_entry(&b, 0x40, false);
	BOX32(&b, "stz2", 0, 4, 5, 0x7f3a9000);
	BOX32(&b, "stsc", 0, 1, 1, 5, 1);
	BOX32(&b, "co64", 0, 1, 0, 6000);
	track_end(&b, t);
	t = track_begin(&b, 3, "text");
	BOX32(&b, "stsz", 0, 40, 2);
	BOX32(&b, "stsc", 0, 1, 1, 1, 1);
	BOX32(&b, "stco", 0, 2, 7000, 7040);
	track_end(&b, t);
	box_end(&b, moov);
	seed("tables", &b, 100000);
}

static void seed_quicktime(void)
{
	struct buf b = { 0 };
	size_t moov = box_begin(&b, "moov");
	BOX32(&b, "mvhd", 0, 0, 0);
	struct track_boxes t = track_begin(&b, 1, "soun");
	put_packed_entry(&b, "ima4", 68, 64);
	BOX32(&b, "stsz", 0, 1, 6400);
	BOX32(&b, "stsc", 0, 1, 1, 1600, 1);
	BOX32(&b, "stco", 0, 4, 3000, 5000, 8000, 20000);
	track_end(&b, t);
	t = track_begin(&b, 2, "soun");
	put_esds_entry(&b, 0x6b, true);
	BOX32(&b, "stsz", 0, 417, 30);
	BOX32(&b, "stsc", 0, 1, 1, 10, 1);
	BOX32(&b, "stco", 0, 3, 30000, 40000, 50000);
	track_end(&b, t);
	t = track_begin(&b, 3, "vide");
	put_video_entry(&b, "apch");
	BOX32(&b, "stz2", 0, 16, 4, 0x10001000, 0x20002000);
	BOX32(&b, "stsc", 0, 1, 1, 1, 1);
	BOX32(&b, "stco", 0, 4, 60000, 65000, 70000, 80000);
	track_end(&b, t);
	box_end(&b, moov);
	seed("quicktime", &b, 200000);
}

static void seed_fragments(void)
{
	struct buf b = { 0 };
	put_ftyp(&b, "iso6");
	size_t moov = box_begin(&b, "moov");
	struct track_boxes t = track_begin(&b, 1, "vide");
	put_video_entry(&b, "hvc1");
	track_end(&b, t);
	t = track_begin(&b, 2, "soun");
	put_esds_entry(&b, 0x40, false);
	track_end(&b, t);
	size_t mvex = box_begin(&b, "mvex");
	BOX32(&b, "trex", 0, 1, 1, 1, 900, 0x1010000);
	BOX32(&b, "trex", 0, 2, 1, 1, 300, 0);
	box_end(&b, mvex);
	box_end(&b, moov);
	for (unsigned i = 0; i < 3; i++) {
		size_t moof = box_begin(&b, "moof"), traf = box_begin(&b, "traf");
		BOX32(&b, "tfhd", 0x20000, 1);
		BOX32(&b, "trun", 0x205, 3, 4000 + 30000 * i, 0, 1000, 200, 300);
		BOX32(&b, "trun", 0x400, 2, 0x2000000, 0x1010000);
		box_end(&b, traf);
		traf = box_begin(&b, "traf");
		if (i)
			BOX32(&b, "tfhd", 0x39, 2, 0, 20000 * i, 1, 1024, 100, 0);
		else
			BOX32(&b, "tfhd", 0, 2);
		BOX32(&b, "trun", 0, 20);
		BOX32(&b, "trun", 0xf00, 2, 0, 50, 0, 0, 0, 60, 0, 0);
		box_end(&b, traf);
		box_end(&b, moof);
	}
	seed("fragments", &b, 300000);
}

void fuzz_seeds(void)
{
	seed_tables();
	seed_quicktime();
	seed_fragments();
}
