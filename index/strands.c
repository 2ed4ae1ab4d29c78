// SPDX-License-Identifier: MIT
#include "strands.h"

/* Puts the piece's chunk in front, in place of the one at i. */
static void strands_use(struct strands *s, unsigned i, const struct piece *p)
{
	memmove(&s->v[1], &s->v[0], i * sizeof *s->v);
	s->v[0] = (struct strand){ .chunk = p->chunk, .end = p->offset + p->length };
}

/* A piece that goes on with no strand. The place it takes is the one of the same chunk, or the last. */
static void strands_add(struct strands *s, const struct piece *p)
{
	unsigned i = 0;
	while (i < s->n && s->v[i].chunk != p->chunk)
		i++;
	if (i == s->n) {
		s->n += s->n < STRANDS_MAX;
		i = s->n - 1;
	}
	strands_use(s, i, p);
	s->expected = p->chunk + 1;
}

void strands_encode(struct strands *s, struct buf *out, const struct piece *p)
{
	if (piece_is_zero(p)) {
		buf_put_u8(out, STRAND_ZEROS);
		buf_put_varint(out, p->length);
		return;
	}
	for (unsigned i = 0; i < s->n && p->repeat == 1; i++)
		if (s->v[i].chunk == p->chunk && s->v[i].end == p->offset) {
			buf_put_varint(out, p->length << STRAND_BITS | i);
			strands_use(s, i, p);
			return;
		}
	if (p->chunk == s->expected && p->offset == 0 && p->repeat == 1) {
		buf_put_varint(out, p->length << STRAND_BITS | STRAND_NEXT);
	} else {
		buf_put_varint(out, p->length << STRAND_BITS | STRAND_AT);
		buf_put_svarint(out, (int64_t)(p->chunk - s->expected));
		buf_put_varint(out, p->offset);
		buf_put_varint(out, p->repeat);
	}
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

bool strands_decode(struct strands *s, struct slice *in, struct piece *ret)
{
	uint64_t head = take_varint(in);
	unsigned code = head & ((1u << STRAND_BITS) - 1);
	struct piece p = { .chunk = s->expected, .length = head >> STRAND_BITS, .repeat = 1 };
	if (code == STRAND_ZEROS)
		return decode_zeros(in, p.length, ret);
	if (code < STRANDS_MAX) {
		if (code >= s->n || s->v[code].end > UINT32_MAX)
			return false;
		p.chunk = s->v[code].chunk;
		p.offset = (uint32_t)s->v[code].end;
	} else if (code == STRAND_AT) {
		decode_at(s, in, &p);
	}
	if (in->bad || p.chunk == 0 || !piece_valid(&p))
		return false;
	if (code < STRANDS_MAX)
		strands_use(s, code, &p);
	else
		strands_add(s, &p);
	*ret = p;
	return true;
}
