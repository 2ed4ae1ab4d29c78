// SPDX-License-Identifier: MIT
/* What the chunkers have in common: the limits of their parameters and the end of the stream.
 * A chunker itself only looks for the first cut in a buffer; it keeps no state between calls. */
#include "chunker.h"
#include <errno.h>
#include <string.h>

int chunker_check(const struct chunker_params *p)
{
	if (p->kind != CHUNKER_FASTCDC && p->kind != CHUNKER_MINCDC)
		return -ENOTSUP;
	if (p->min < CHUNKER_MIN_LEAST || p->min >= p->avg || p->avg >= p->max ||
	    p->max > CHUNKER_MAX_MOST || (p->avg & (p->avg - 1)))
		return -EINVAL;
	return 0;
}

int chunker_init(struct chunker *c, const struct chunker_params *p)
{
	int r = chunker_check(p);
	if (r < 0)
		return r;
	c->params = *p;
	if (p->kind == CHUNKER_MINCDC)
		mincdc_init(&c->mincdc, p->min, p->avg, p->max);
	else
		fastcdc_init(&c->fastcdc, p->min, p->avg, p->max);
	return 0;
}

size_t chunker_cut(const struct chunker *c, const uint8_t *data, size_t len, bool last)
{
	if (c->params.kind == CHUNKER_MINCDC)
		return mincdc_cut(&c->mincdc, data, len, last);
	size_t cut = fastcdc_cut(&c->fastcdc, data, len);
	return cut || !last ? cut : len;
}

size_t zero_run(const uint8_t *data, size_t len)
{
	static const uint8_t zeros[4096];
	size_t n = 0;

	if (len && data[0]) /* most data: no call */
		return 0;
	while (len - n >= sizeof zeros && !memcmp(data + n, zeros, sizeof zeros))
		n += sizeof zeros;
	for (uint64_t word; len - n >= sizeof word; n += sizeof word) {
		memcpy(&word, data + n, sizeof word);
		if (word)
			break;
	}
	while (n < len && !data[n])
		n++;
	return n;
}
