// SPDX-License-Identifier: MIT
/* The samples of a fragment: `moof` has a `traf` for each track, or several, with
 *
 *   tfhd   u24 flags, u32 track; and, each where its flag is set:
 *          u64 base, u32 description, u32 duration, u32 size, u32 flags of the samples
 *   trun   u24 flags, u32 count; where flagged: i32 offset, u32 flags of the first sample; and for each
 *          sample, where flagged: u32 duration, size, flags, offset of its presentation
 *
 * What neither says is in a `trex` of `moov`. The samples of a trun follow one another from base +
 * offset on, and without an offset from where the trun before has ended. The base is the moof's
 * beginning where tfhd says so, or for the first traf; otherwise where the last traf's samples end.
 */
#include "isobmff.h"
#include "bytes.h"

#define TFHD_BASE 0x1u
#define TFHD_DESCRIPTION 0x2u
#define TFHD_DURATION 0x8u
#define TFHD_SIZE 0x10u
#define TFHD_FLAGS 0x20u
#define TFHD_FROM_MOOF 0x20000u

#define TRUN_OFFSET 0x1u
#define TRUN_FIRST_FLAGS 0x4u
#define TRUN_DURATION 0x100u
#define TRUN_SIZE 0x200u
#define TRUN_FLAGS 0x400u
#define TRUN_PRESENTATION 0x800u

/* Flags of a sample: no sync sample; depends on others. */
#define SAMPLE_NOT_SYNC 0x10000u
#define SAMPLE_DEPENDS 0x1000000u

struct traf {
	struct isobmff_track *track; /* NULL: none that is known */
	uint64_t base, at;	     /* at: where the next trun's samples begin without an offset */
	uint32_t size, flags;
};

struct trun {
	uint32_t flags, n, first_flags;
	struct isobmff_span samples;
	unsigned size_at, flags_at; /* within an entry */
};

static struct isobmff_track *find_track(struct isobmff *p, uint32_t id)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->tracks[i].id == id)
			return &p->tracks[i];
	return NULL;
}

int isobmff_defaults_read(struct isobmff *p, const struct isobmff_box *mvex)
{
	struct isobmff_boxes it = isobmff_children(p, mvex, 0);
	struct isobmff_box b;
	const uint8_t *f;
	int r;
	while ((r = isobmff_box_next(&it, &b)) == 1) {
		if (b.type != ISOBMFF_TYPE('t', 'r', 'e', 'x'))
			continue;
		r = isobmff_box_bytes(p->s, &b, 4, 20, &f);
		if (r < 0)
			return r;
		struct isobmff_track *t = r == 1 ? find_track(p, get_be32(f)) : NULL;
		if (!t)
			continue;
		t->size = get_be32(f + 12);
		t->flags = get_be32(f + 16);
	}
	return r;
}

static int read_tfhd(struct isobmff *p, const struct isobmff_box *b, uint64_t moof, struct traf *t)
{
	const uint8_t *f;
	uint64_t room = b->end - b->at;
	size_t len = room < 40 ? (size_t)room : 40;
	int r = len < 8 ? 0 : isobmff_box_bytes(p->s, b, 0, len, &f);
	if (r != 1)
		return r;
	uint32_t flags = get_be32(f) & 0xffffff;
	struct traf said = { .track = find_track(p, get_be32(f + 4)) };
	if (!said.track)
		return 0;
	struct slice s = slice_of(f + 8, len - 8);
	const uint8_t *base = flags & TFHD_BASE ? take_bytes(&s, 8) : NULL;
	take_bytes(&s, (flags & TFHD_DESCRIPTION ? 4 : 0) + (flags & TFHD_DURATION ? 4 : 0));
	const uint8_t *size = flags & TFHD_SIZE ? take_bytes(&s, 4) : NULL;
	const uint8_t *sample_flags = flags & TFHD_FLAGS ? take_bytes(&s, 4) : NULL;
	if (s.bad)
		return 0;
	said.base = base ? get_be64(base) : flags & TFHD_FROM_MOOF ? moof : t->base;
	said.at = said.base;
	said.size = size ? get_be32(size) : said.track->size;
	said.flags = sample_flags ? get_be32(sample_flags) : said.track->flags;
	*t = said;
	return 0;
}

/* Sound is whole in each sample; programs that mark it otherwise are not uncommon. */
static bool is_key(const struct isobmff_track *t, uint32_t flags)
{
	return t->kind == FILM_AUDIO || !(flags & (SAMPLE_NOT_SYNC | SAMPLE_DEPENDS));
}

/* Samples of one size without anything said of each. */
static int add_equal(struct isobmff *p, struct traf *t, const struct trun *run)
{
	struct isobmff_track *track = t->track;
	uint64_t end = p->s->size, left = t->at < end ? end - t->at : 0;
	uint64_t n = t->size ? left / t->size : 0;
	if (n > run->n)
		n = run->n;
	if (track->tiny || t->size <= ISOBMFF_TINY) {
		int r = isobmff_add(p, track, t->at, n * t->size, true);
		t->at += n * t->size;
		return r;
	}
	for (uint64_t i = 0; i < n; i++) {
		uint32_t flags =
			i == 0 && run->flags & TRUN_FIRST_FLAGS ? run->first_flags : t->flags;
		int r = isobmff_add(p, track, t->at, t->size, is_key(track, flags));
		if (r < 0)
			return r;
		t->at += t->size;
	}
	return 0;
}

static int add_listed(struct isobmff *p, struct traf *t, const struct trun *run)
{
	uint64_t end = p->s->size;
	const uint8_t *e;
	int r;
	isobmff_table_open(&p->table, p->s, &p->work_left, run->samples);
	for (bool first = true; (r = isobmff_table_next(&p->table, &e)) == 1; first = false) {
		uint32_t size = run->flags & TRUN_SIZE ? get_be32(e + run->size_at) : t->size;
		uint32_t flags = first && run->flags & TRUN_FIRST_FLAGS ? run->first_flags
				 : run->flags & TRUN_FLAGS ? get_be32(e + run->flags_at)
							   : t->flags;
		r = isobmff_add(p, t->track, t->at, size, is_key(t->track, flags));
		if (r < 0)
			return r;
		t->at = t->at < end ? t->at + size : end;
	}
	return r;
}

static int read_trun(struct isobmff *p, const struct isobmff_box *b, struct traf *t)
{
	const uint8_t *f;
	struct trun run = { 0 };
	uint64_t skip = 8;
	int r = isobmff_box_bytes(p->s, b, 0, 8, &f);
	if (r != 1)
		return r;
	run.flags = get_be32(f) & 0xffffff;
	run.n = get_be32(f + 4);
	if (run.flags & TRUN_OFFSET) {
		r = isobmff_box_bytes(p->s, b, skip, 4, &f);
		if (r != 1)
			return r;
		t->at = t->base + (uint64_t)(int64_t)(int32_t)get_be32(f);
		skip += 4;
	}
	if (run.flags & TRUN_FIRST_FLAGS) {
		r = isobmff_box_bytes(p->s, b, skip, 4, &f);
		if (r != 1)
			return r;
		run.first_flags = get_be32(f);
		skip += 4;
	}
	run.size_at = run.flags & TRUN_DURATION ? 4 : 0;
	run.flags_at = run.size_at + (run.flags & TRUN_SIZE ? 4 : 0);
	unsigned width = run.flags_at + (run.flags & TRUN_FLAGS ? 4 : 0) +
			 (run.flags & TRUN_PRESENTATION ? 4 : 0);
	if (!width)
		return add_equal(p, t, &run);
	run.samples = isobmff_span_of(b, skip, width, run.n);
	return add_listed(p, t, &run);
}

/* *base: of a traf that says nothing of it; then of the next. */
static int read_traf(struct isobmff *p, const struct isobmff_box *b, uint64_t moof, uint64_t *base)
{
	struct isobmff_boxes it = isobmff_children(p, b, 0);
	struct isobmff_box child;
	struct traf t = { .base = *base, .at = *base };
	int r;
	while ((r = isobmff_box_next(&it, &child)) == 1) {
		if (child.type == ISOBMFF_TYPE('t', 'f', 'h', 'd') && !t.track)
			r = read_tfhd(p, &child, moof, &t);
		else if (child.type == ISOBMFF_TYPE('t', 'r', 'u', 'n') && t.track)
			r = read_trun(p, &child, &t);
		if (r < 0)
			return r;
	}
	*base = t.at;
	return r;
}

int isobmff_fragment_read(struct isobmff *p, const struct isobmff_box *moof)
{
	struct isobmff_boxes it = isobmff_children(p, moof, 0);
	struct isobmff_box b;
	uint64_t base = moof->start;
	int r;
	while ((r = isobmff_box_next(&it, &b)) == 1) {
		if (b.type == ISOBMFF_TYPE('t', 'r', 'a', 'f'))
			r = read_traf(p, &b, moof->start, &base);
		if (r < 0)
			return r;
	}
	return r;
}
