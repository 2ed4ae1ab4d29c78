// SPDX-License-Identifier: MIT
/* One `trak` of a film: what it is, and where its tables are. Then their samples are read.
 *
 *   tkhd                  its id
 *   mdia  hdlr            video, audio or something else
 *         minf  dinf dref the files that samples are in: this one, usually
 *               stbl      the tables
 */
#include "isobmff.h"
#include "bytes.h"

#define DEPTH_MAX 6u
#define DREF_MAX 64u

struct trak {
	unsigned depth;
	uint32_t id, handler;
	uint64_t elsewhere; /* bit i: data reference i, from 1 on, is another file */
	struct isobmff_box stsd;
	struct isobmff_tables tables;
};

static int read_children(struct isobmff *p, const struct isobmff_box *parent, struct trak *t);

static int read_id(struct isobmff *p, const struct isobmff_box *tkhd, struct trak *t)
{
	const uint8_t *b;
	int r = isobmff_box_bytes(p->s, tkhd, 0, 24, &b);
	if (r == 1)
		t->id = get_be32(b + (b[0] == 1 ? 20 : 12));
	return r;
}

/* QuickTime has a second one in minf, of the kind dhlr, for the files. */
static int read_handler(struct isobmff *p, const struct isobmff_box *hdlr, struct trak *t)
{
	const uint8_t *b;
	int r = isobmff_box_bytes(p->s, hdlr, 4, 8, &b);
	if (r == 1 && get_be32(b) != ISOBMFF_TYPE('d', 'h', 'l', 'r'))
		t->handler = get_be32(b + 4);
	return r;
}

static int read_files(struct isobmff *p, const struct isobmff_box *dref, struct trak *t)
{
	struct isobmff_boxes it = isobmff_children(p, dref, 8);
	struct isobmff_box file;
	const uint8_t *b;
	int r;
	for (unsigned i = 1; i < DREF_MAX && (r = isobmff_box_next(&it, &file)) == 1; i++) {
		r = isobmff_box_bytes(p->s, &file, 0, 4, &b);
		if (r < 0)
			return r;
		if (r == 1 && !(get_be32(b) & 1))
			t->elsewhere |= 1ull << i;
	}
	return 0;
}

/* Tables of a version, flags, a count and so many entries. */
static int find_table(struct isobmff *p, const struct isobmff_box *box, unsigned width,
		      struct isobmff_span *ret)
{
	const uint8_t *b;
	int r = isobmff_box_bytes(p->s, box, 4, 4, &b);
	if (r == 1)
		*ret = isobmff_span_of(box, 8, width, get_be32(b));
	return r;
}

/* stsz: size of all or 0, count, sizes; stz2: how many bits a size has, count, sizes. */
static int find_sizes(struct isobmff *p, const struct isobmff_box *box, struct isobmff_tables *t)
{
	const uint8_t *b;
	int r = isobmff_box_bytes(p->s, box, 4, 8, &b);
	if (r != 1)
		return r;
	bool packed = box->type == ISOBMFF_TYPE('s', 't', 'z', '2');
	t->n = get_be32(b + 4);
	t->size = packed ? 0 : get_be32(b);
	t->bits = packed ? b[3] : 32;
	if (t->size)
		return 0;
	if (t->bits != 4 && t->bits != 8 && t->bits != 16 && t->bits != 32)
		t->bits = 32;
	unsigned width = t->bits < 8 ? 1 : t->bits / 8, per_entry = t->bits < 8 ? 2 : 1;
	t->sizes = isobmff_span_of(box, 12, width, (t->n + per_entry - 1) / per_entry);
	if (t->n > t->sizes.n * per_entry)
		t->n = t->sizes.n * per_entry;
	return 0;
}

/* sbgp: type of the groups, in version 1 a parameter, count, so many samples of a group each. */
static int find_groups(struct isobmff *p, const struct isobmff_box *box, struct isobmff_tables *t)
{
	const uint8_t *b;
	int r = isobmff_box_bytes(p->s, box, 0, 8, &b);
	if (r != 1 || get_be32(b + 4) != ISOBMFF_TYPE('r', 'a', 'p', ' '))
		return r;
	uint64_t skip = b[0] == 1 ? 12 : 8;
	r = isobmff_box_bytes(p->s, box, skip, 4, &b);
	if (r == 1)
		t->groups = isobmff_span_of(box, skip + 4, 8, get_be32(b));
	return r;
}

static int read_table(struct isobmff *p, const struct isobmff_box *b, struct isobmff_tables *t)
{
	switch (b->type) {
	case ISOBMFF_TYPE('s', 't', 's', 'z'):
	case ISOBMFF_TYPE('s', 't', 'z', '2'):
		return find_sizes(p, b, t);
	case ISOBMFF_TYPE('s', 't', 's', 'c'):
		return find_table(p, b, 12, &t->runs);
	case ISOBMFF_TYPE('s', 't', 'c', 'o'):
		return find_table(p, b, 4, &t->chunks);
	case ISOBMFF_TYPE('c', 'o', '6', '4'):
		return find_table(p, b, 8, &t->chunks);
	case ISOBMFF_TYPE('s', 't', 's', 's'):
		t->keys_given = true;
		return find_table(p, b, 4, &t->keys);
	case ISOBMFF_TYPE('s', 't', 'p', 's'):
		return find_table(p, b, 4, &t->partial);
	case ISOBMFF_TYPE('s', 'b', 'g', 'p'):
		return find_groups(p, b, t);
	default:
		return 0;
	}
}

static int read_box(struct isobmff *p, const struct isobmff_box *b, struct trak *t)
{
	switch (b->type) {
	case ISOBMFF_TYPE('t', 'k', 'h', 'd'):
		return read_id(p, b, t);
	case ISOBMFF_TYPE('h', 'd', 'l', 'r'):
		return read_handler(p, b, t);
	case ISOBMFF_TYPE('d', 'r', 'e', 'f'):
		return read_files(p, b, t);
	case ISOBMFF_TYPE('s', 't', 's', 'd'):
		t->stsd = *b;
		return 0;
	case ISOBMFF_TYPE('m', 'd', 'i', 'a'):
	case ISOBMFF_TYPE('m', 'i', 'n', 'f'):
	case ISOBMFF_TYPE('d', 'i', 'n', 'f'):
	case ISOBMFF_TYPE('s', 't', 'b', 'l'):
		return read_children(p, b, t);
	default:
		return read_table(p, b, &t->tables);
	}
}

static int read_children(struct isobmff *p, const struct isobmff_box *parent, struct trak *t)
{
	struct isobmff_boxes it = isobmff_children(p, parent, 0);
	struct isobmff_box b;
	int r = 0;
	if (t->depth == DEPTH_MAX)
		return 0;
	t->depth++;
	while (r >= 0 && (r = isobmff_box_next(&it, &b)) == 1)
		r = read_box(p, &b, t);
	t->depth--;
	return r;
}

static enum film_kind kind_of(uint32_t handler)
{
	return handler == ISOBMFF_TYPE('v', 'i', 'd', 'e')   ? FILM_VIDEO
	       : handler == ISOBMFF_TYPE('s', 'o', 'u', 'n') ? FILM_AUDIO
							     : FILM_OTHER;
}

int isobmff_track_read(struct isobmff *p, const struct isobmff_box *trak)
{
	struct trak t = { 0 };
	struct isobmff_entry entry = { 0 };
	if (p->n == FILM_TRACKS_MAX)
		return 0;
	int r = read_children(p, trak, &t);
	enum film_kind kind = kind_of(t.handler);
	if (r >= 0 && t.stsd.type)
		r = isobmff_entry_read(p, &t.stsd, kind, &entry);
	if (r < 0)
		return r;
	int number = film_add_track(p->f, kind, entry.codec);
	if (number < 0)
		return number;
	struct isobmff_track *track = &p->tracks[p->n++];
	*track = (struct isobmff_track){
		.id = t.id,
		.number = (uint16_t)number,
		.kind = kind,
		.tiny = entry.pcm || (t.tables.size && t.tables.size <= ISOBMFF_TINY),
		.elsewhere = entry.files & t.elsewhere,
	};
	p->f->tracks[number].whole = kind != FILM_OTHER && entry.plain && !track->tiny;
	t.tables.packet_bytes = entry.packet_bytes;
	t.tables.packet_samples = entry.packet_samples;
	return isobmff_samples_read(p, track, &t.tables);
}
