// SPDX-License-Identifier: MIT
#include "matroska_block.h"
#include "ebml.h"
#include <errno.h>

enum { LACING_NONE, LACING_XIPH, LACING_FIXED, LACING_EBML };

#define FLAG_KEY 0x80u

/* What of the block has not been read yet. */
struct rest {
	struct film_source *s;
	uint64_t at, len;
};

static int take(struct rest *rest, size_t len, const uint8_t **ret)
{
	if (len > rest->len)
		return -EBADMSG;
	int r = film_source_get(rest->s, rest->at, len, ret);
	if (r < 0)
		return r;
	rest->at += len;
	rest->len -= len;
	return 0;
}

/* Bytes of 255 and one below are added up. */
static int take_xiph(struct rest *rest, uint64_t *ret)
{
	uint64_t sum = 0;
	const uint8_t *p;
	do {
		int r = take(rest, 1, &p);
		if (r < 0)
			return r;
		sum += *p;
	} while (*p == 255);
	*ret = sum;
	return 0;
}

static int take_number(struct rest *rest, uint64_t *ret, unsigned *ret_len)
{
	const uint8_t *p;
	size_t len = rest->len < EBML_NUMBER_MAX ? (size_t)rest->len : EBML_NUMBER_MAX;
	ssize_t n = film_source_some(rest->s, rest->at, len, &p);
	if (n <= 0)
		return n < 0 ? (int)n : len ? -ENODATA : -EBADMSG;
	unsigned used = ebml_number(p, (size_t)n, ret);
	if (!used)
		return (size_t)n < len ? -ENODATA : -EBADMSG;
	rest->at += used;
	rest->len -= used;
	*ret_len = used;
	return 0;
}

/* The first length as it is, each further one as what it differs by from the one before; the
 * middle of a number's range stands for no difference. */
static int take_ebml(struct rest *rest, unsigned i, uint64_t before, uint64_t *ret)
{
	uint64_t v;
	unsigned used = 0;
	int r = take_number(rest, &v, &used);
	if (r < 0)
		return r;
	/* less than nothing wraps round to more than any block has */
	*ret = i ? before + v - (ebml_ones(used) >> 1) : v;
	return 0;
}

static int read_lacing(struct rest *rest, unsigned lacing, struct matroska_block *b)
{
	const uint8_t *p;
	uint64_t sum = 0;
	int r = take(rest, 1, &p);
	if (r < 0)
		return r;
	b->n = *p + 1u;
	if (lacing == LACING_FIXED) {
		for (unsigned i = 0; i < b->n; i++)
			b->len[i] = rest->len / b->n;
		return rest->len % b->n ? -EBADMSG : 0;
	}
	for (unsigned i = 0; i + 1 < b->n; i++) {
		r = lacing == LACING_XIPH ? take_xiph(rest, &b->len[i])
					  : take_ebml(rest, i, i ? b->len[i - 1] : 0, &b->len[i]);
		if (r < 0)
			return r;
		if (b->len[i] > rest->len || sum > rest->len - b->len[i])
			return -EBADMSG;
		sum += b->len[i];
	}
	b->len[b->n - 1] = rest->len - sum;
	return 0;
}

int matroska_block_read(struct film_source *s, uint64_t at, uint64_t len,
			struct matroska_block *ret)
{
	struct rest rest = { s, at, len };
	const uint8_t *p;
	unsigned used = 0;
	int r = take_number(&rest, &ret->track, &used);
	if (r == 0)
		r = take(&rest, 3, &p);
	if (r < 0)
		return r;
	unsigned lacing = p[2] >> 1 & 3u;
	ret->key = p[2] & FLAG_KEY;
	ret->n = 1;
	ret->len[0] = rest.len;
	if (lacing != LACING_NONE)
		r = read_lacing(&rest, lacing, ret);
	ret->at = rest.at;
	return r;
}
