// SPDX-License-Identifier: MIT
#include "isobmff_box.h"
#include "bytes.h"
#include <errno.h>

#define HEADER 8u
#define HEADER_WIDE 16u

int isobmff_box_next(struct isobmff_boxes *it, struct isobmff_box *ret)
{
	uint64_t room = it->end > it->at ? it->end - it->at : 0, header = HEADER;
	const uint8_t *h;
	if (room < HEADER || !*it->left)
		return 0;
	--*it->left;
	int r = film_source_get(it->s, it->at, room < HEADER_WIDE ? HEADER : HEADER_WIDE, &h);
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	uint64_t size = get_be32(h);
	if (size == 0)
		size = room;
	if (size == 1) {
		header = HEADER_WIDE;
		size = room < HEADER_WIDE ? 0 : get_be64(h + HEADER);
	}
	if (size < header)
		return 0;
	if (size > room)
		size = room;
	*ret = (struct isobmff_box){
		.type = get_be32(h + 4),
		.start = it->at,
		.at = it->at + header,
		.end = it->at + size,
	};
	it->at += size;
	return 1;
}

int isobmff_box_bytes(struct film_source *s, const struct isobmff_box *b, uint64_t skip, size_t len,
		      const uint8_t **ret)
{
	if (skip > b->end - b->at || len > b->end - b->at - skip)
		return 0;
	int r = film_source_get(s, b->at + skip, len, ret);
	return r == 0 ? 1 : r == -ENODATA ? 0 : r;
}
