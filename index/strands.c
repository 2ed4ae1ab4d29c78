// SPDX-License-Identifier: MIT
/* A film has a thousand slices a MiB, all of which each reading decodes: nothing is moved here but four bits, and no
 * function is called for a number of one byte or two.
 */
#include "strands.h"

static unsigned place_of(const struct strands *s, unsigned rank)
{
	return s->order >> 4 * rank & 15;
}

/* What was rank-th is the one used last now. */
static struct strand *strands_front(struct strands *s, unsigned rank)
{
	uint32_t place = place_of(s, rank), before = s->order & ((1u << 4 * rank) - 1);
	s->order = (s->order >> 4 * (rank + 1)) << 4 * (rank + 1) | before << 4 | place;
	return &s->v[place];
}

/* A piece that goes on with no strand. The place it takes is the one of the same chunk, or the last. */
static void strands_add(struct strands *s, const struct piece *p)
{
	unsigned rank = 0;
	while (rank < s->n && s->v[place_of(s, rank)].chunk != p->chunk)
		rank++;
	if (rank == s->n && s->n < STRANDS_MAX) {
		s->order |= rank << 4 * rank;
		s->n++;
	}
	rank = rank < s->n ? rank : s->n - 1;
	*strands_front(s, rank) =
		(struct strand){ .chunk = p->chunk, .end = p->offset + p->length };
	s->expected = p->chunk + 1;
}

/* As buf_put_varint(). */
static uint8_t *put_varint(uint8_t *out, uint64_t v)
{
	for (; v > 0x7f; v >>= 7)
		*out++ = (uint8_t)(v | 0x80);
	*out++ = (uint8_t)v;
	return out;
}

void strands_encode(struct strands *s, struct buf *out, const struct piece *p)
{
	uint8_t bytes[40], *end = bytes;
	if (piece_is_zero(p)) {
		*end++ = STRAND_ZEROS;
		end = put_varint(end, p->length);
		buf_put(out, bytes, (size_t)(end - bytes));
		return;
	}
	uint64_t head = p->length << STRAND_BITS;
	for (unsigned rank = 0; rank < s->n && p->repeat == 1; rank++) {
		const struct strand *v = &s->v[place_of(s, rank)];
		if (v->chunk != p->chunk || v->end != p->offset)
			continue;
		strands_front(s, rank)->end += p->length;
		end = put_varint(end, head | rank);
		buf_put(out, bytes, (size_t)(end - bytes));
		return;
	}
	if (p->chunk == s->expected && p->offset == 0 && p->repeat == 1) {
		end = put_varint(end, head | STRAND_NEXT);
	} else {
		int64_t jump = (int64_t)(p->chunk - s->expected);
		end = put_varint(end, head | STRAND_AT);
		end = put_varint(end, ((uint64_t)jump << 1) ^ (uint64_t)(jump >> 63));
		end = put_varint(end, p->offset);
		end = put_varint(end, p->repeat);
	}
	buf_put(out, bytes, (size_t)(end - bytes));
	strands_add(s, p);
}

static bool decode_zeros(struct slice *in, uint64_t length, struct piece *ret)
{
	*ret = piece_zeros(take_varint(in));
	return length == 0 && !in->bad && piece_valid(ret);
}

/* The length is known. What of the rest is out of range is made 0, of which no piece is valid. */
static void decode_at(struct strands *s, struct slice *in, struct piece *p)
{
	p->chunk = s->expected + (uint64_t)take_svarint(in);
	uint64_t offset = take_varint(in), repeat = take_varint(in);
	p->offset = (uint32_t)offset;
	p->repeat = offset > UINT32_MAX || repeat > UINT32_MAX ? 0 : (uint32_t)repeat;
}

static uint64_t take_head(struct slice *in)
{
	const uint8_t *p = in->at;
	size_t n = in->bad || in->len < 2 ? 0 : p[0] < 0x80 ? 1 : p[1] < 0x80 ? 2 : 0;
	if (!n)
		return take_varint(in);
	in->at = p + n;
	in->len -= n;
	return n == 1 ? p[0] : (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
}

bool strands_decode(struct strands *s, struct slice *in, struct piece *ret)
{
	uint64_t head = take_head(in);
	unsigned code = head & ((1u << STRAND_BITS) - 1);
	struct piece p = { .chunk = s->expected, .length = head >> STRAND_BITS, .repeat = 1 };
	if (code == STRAND_ZEROS)
		return decode_zeros(in, p.length, ret);
	if (code < STRANDS_MAX) {
		const struct strand *v = &s->v[place_of(s, code)];
		if (code >= s->n || v->end > UINT32_MAX)
			return false;
		p.chunk = v->chunk;
		p.offset = (uint32_t)v->end;
	} else if (code == STRAND_AT) {
		decode_at(s, in, &p);
	}
	if (in->bad || p.chunk == 0 || !piece_valid(&p))
		return false;
	if (code < STRANDS_MAX)
		strands_front(s, code)->end += p.length;
	else
		strands_add(s, &p);
	*ret = p;
	return true;
}
