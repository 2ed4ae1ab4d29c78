// SPDX-License-Identifier: MIT
/* MP4, MOV and fragmented MP4: where the tables of the film say that its samples are.
 *
 * A film has one box `moov`, before or after the bytes of the samples, with a `trak` for each track.
 * Its tables (isobmff_samples.c) give the size of each sample, how many stand together in a chunk,
 * where each chunk is, and which samples are key pictures. A fragmented film goes on with any number
 * of `moof`, each with such tables for the stretch that follows it (isobmff_fragments.c): `moov` then
 * has the tracks and little else. What a sample is to be decoded with is in isobmff_entry.c.
 *
 * Work and memory are bounded by the file's size, whatever it says:
 *   - boxes stand within boxes and one after the other, so that no byte is in two tables; how deep they
 *     are is limited;
 *   - a table has the entries its box has room for;
 *   - boxes, entries and samples are counted, up to work_left: a sparse file has room for any number;
 *   - samples without an entry of their own, all of one size, are charged to bytes_left, and so is
 *     any other that lies in the file: a film that counts more bytes than the file has is left there.
 */
#include "isobmff.h"
#include "bytes.h"
#include "cleanup.h"
#include "detect.h"
#include <errno.h>

#define WORK_MAX (8 * FILM_SAMPLES_MAX) /* a sample has up to four entries, or a fragment */

struct isobmff_boxes isobmff_children(struct isobmff *p, const struct isobmff_box *b, uint64_t skip)
{
	return (struct isobmff_boxes){
		.s = p->s,
		.at = skip < b->end - b->at ? b->at + skip : b->end,
		.end = b->end,
		.left = &p->work_left,
	};
}

int isobmff_add(struct isobmff *p, struct isobmff_track *t, uint64_t at, uint64_t len, bool key)
{
	if (!len || len > UINT32_MAX || at >= p->s->size || len > p->s->size - at)
		return 0;
	if (len > p->bytes_left || !p->work_left)
		return -E2BIG;
	p->bytes_left -= len;
	p->work_left--;
	if (t->kind == FILM_OTHER || t->elsewhere || (at < t->end && at + len > t->at))
		return 0;
	t->at = at;
	t->end = at + len;
	return film_add_sample(p->f, &(struct film_sample){
					     .at = at,
					     .len = (uint32_t)len,
					     .track = t->number,
					     .key = key,
				     });
}

static int read_moov(struct isobmff *p, const struct isobmff_box *moov)
{
	struct isobmff_boxes it = isobmff_children(p, moov, 0);
	struct isobmff_box b, mvex = { 0 };
	int r;
	while ((r = isobmff_box_next(&it, &b)) == 1) {
		if (b.type == ISOBMFF_TYPE('t', 'r', 'a', 'k'))
			r = isobmff_track_read(p, &b);
		else if (b.type == ISOBMFF_TYPE('m', 'v', 'e', 'x'))
			mvex = b;
		if (r < 0)
			return r;
	}
	if (r < 0 || !mvex.type)
		return r;
	p->f->container = FILM_FRAGMENTED;
	return isobmff_defaults_read(p, &mvex);
}

static int parse(struct film_source *s, struct film *f)
{
	CLEANUP_FREE struct isobmff *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->s = s;
	p->f = f;
	p->work_left = WORK_MAX;
	p->bytes_left = s->size;
	struct isobmff_boxes it = { .s = s, .end = s->size, .left = &p->work_left };
	struct isobmff_box b;
	int r;
	while ((r = isobmff_box_next(&it, &b)) == 1) {
		if (b.type == ISOBMFF_TYPE('m', 'o', 'o', 'v') && f->container == FILM_NONE) {
			f->container = FILM_MP4;
			r = read_moov(p, &b);
		} else if (b.type == ISOBMFF_TYPE('m', 'o', 'o', 'f') && p->n) {
			f->container = FILM_FRAGMENTED;
			r = isobmff_fragment_read(p, &b);
		}
		if (r < 0)
			return r;
	}
	return r < 0 ? r : f->container == FILM_NONE ? -EBADMSG : 0;
}

/* The first box is `ftyp` in all but old QuickTime films, which begin with any of a few. */
static bool looks(const uint8_t *head, size_t len)
{
	if (len < 16)
		return false;
	uint32_t size = get_be32(head), child = get_be32(head + 12);
	switch (get_be32(head + 4)) {
	case ISOBMFF_TYPE('f', 't', 'y', 'p'):
	case ISOBMFF_TYPE('s', 't', 'y', 'p'):
		return size >= 16 && size <= 65536;
	case ISOBMFF_TYPE('m', 'o', 'o', 'v'):
		return child == ISOBMFF_TYPE('m', 'v', 'h', 'd') ||
		       child == ISOBMFF_TYPE('t', 'r', 'a', 'k');
	case ISOBMFF_TYPE('w', 'i', 'd', 'e'):
		return size == 8 && child == ISOBMFF_TYPE('m', 'd', 'a', 't');
	case ISOBMFF_TYPE('m', 'd', 'a', 't'):
		return size <= 1 || size >= 8;
	case ISOBMFF_TYPE('f', 'r', 'e', 'e'):
	case ISOBMFF_TYPE('s', 'k', 'i', 'p'):
	case ISOBMFF_TYPE('p', 'n', 'o', 't'):
		return size == 1 || size >= 8;
	default:
		return false;
	}
}

const struct film_parser film_isobmff = { looks, parse };
