// SPDX-License-Identifier: MIT
#include "ranges.h"
#include "content.h"
#include <stdlib.h>
#include <unistd.h>

#define GAP_MAX (64u * 1024) /* ranges closer than this are destaged as one */
#define WIDEN_MAX (256u * 1024)

static int add(struct ranges *l, uint64_t from, uint64_t to)
{
	struct range *last = l->n ? &l->v[l->n - 1] : NULL;
	if (last && from <= last->to + GAP_MAX) {
		last->to = to > last->to ? to : last->to;
		return 0;
	}
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 8;
		struct range *p = realloc(l->v, cap * sizeof *p);
		if (!p)
			return -ENOMEM;
		l->v = p;
		l->cap = cap;
	}
	l->v[l->n++] = (struct range){ from, to };
	return 0;
}

/* Widens a range to the boundaries of the pieces it cuts through, so that unchanged neighbours
 * are found again as the chunks they were. */
static int widen(struct fs *fs, const struct inode *in, uint64_t *from, uint64_t *to)
{
	const struct inode_row *row = &in->row;
	if (!content_has_map(row))
		return 0;
	uint64_t lo = *from > WIDEN_MAX ? *from - WIDEN_MAX : 0;
	uint64_t hi = row->size - *to > WIDEN_MAX ? *to + WIDEN_MAX : row->size;
	struct map_vec map = { 0 };
	int r = extents_map(fs->pool->extents, row, lo, *from - lo + 1, &map);
	for (size_t i = 0; r >= 0 && i < map.n; i++)
		if (map.v[i].at <= *from &&
		    map.v[i].at + map.v[i].piece.length * map.v[i].piece.repeat > *from)
			*from = map.v[i].at;
	map.n = 0;
	if (r >= 0 && *to < hi)
		r = extents_map(fs->pool->extents, row, *to - 1, hi - *to + 1, &map);
	if (r >= 0 && map.n && map.v[0].at < *to) {
		uint64_t end = map.v[0].at + map.v[0].piece.length * map.v[0].piece.repeat;
		*to = end > *to ? end : *to;
	}
	map_vec_done(&map);
	return r < 0 ? r : 0;
}

int ranges_find(struct fs *fs, const struct inode *in, struct ranges *ret_ranges)
{
	uint64_t pos = 0, size = in->row.size;
	ret_ranges->n = 0;
	while (pos < size) {
		off_t from = lseek(in->fd, (off_t)pos, SEEK_DATA);
		if (from < 0 && errno == ENXIO)
			break;
		off_t to = from < 0 ? from : lseek(in->fd, from, SEEK_HOLE);
		if (to < 0)
			return -errno;
		if ((uint64_t)from >= size)
			break;
		uint64_t a = (uint64_t)from, b = (uint64_t)to < size ? (uint64_t)to : size;
		pos = b;
		int r = widen(fs, in, &a, &b);
		if (r == 0)
			r = add(ret_ranges, a, b);
		if (r < 0)
			return r;
	}
	return 0;
}

void ranges_done(struct ranges *ranges)
{
	free(ranges->v);
	*ranges = (struct ranges){ 0 };
}
