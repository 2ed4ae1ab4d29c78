// SPDX-License-Identifier: MIT
#include "isobmff_table.h"
#include <assert.h>
#include <errno.h>

struct isobmff_span isobmff_span_of(const struct isobmff_box *b, uint64_t skip, unsigned width,
				    uint64_t n)
{
	uint64_t room = b->end - b->at;
	assert(width >= 1 && width <= 32);
	if (skip > room)
		skip = room;
	uint64_t fit = (room - skip) / width;
	return (struct isobmff_span){
		.at = b->at + skip,
		.n = n < fit ? n : fit,
		.width = width,
	};
}

void isobmff_table_open(struct isobmff_table *t, struct film_source *s, unsigned *left,
			struct isobmff_span span)
{
	t->s = s;
	t->left = left;
	t->rest = span;
	t->used = t->have = 0;
}

static int fill(struct isobmff_table *t)
{
	struct isobmff_span *rest = &t->rest;
	uint64_t n = rest->n;
	t->used = t->have = 0;
	if (!n)
		return 0;
	if (n > ISOBMFF_TABLE_BUFFER / rest->width)
		n = ISOBMFF_TABLE_BUFFER / rest->width;
	if (n > *t->left)
		return -E2BIG;
	*t->left -= (unsigned)n;
	size_t len = (size_t)n * rest->width;
	int r = film_source_copy(t->s, rest->at, len, t->buffer);
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	t->have = len;
	rest->at += len;
	rest->n -= n;
	return 1;
}

int isobmff_table_next(struct isobmff_table *t, const uint8_t **ret)
{
	if (t->used == t->have) {
		int r = fill(t);
		if (r <= 0)
			return r;
	}
	*ret = t->buffer + t->used;
	t->used += t->rest.width;
	return 1;
}
