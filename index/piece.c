// SPDX-License-Identifier: MIT
#include "piece.h"
#include "chunk_row.h"
#include "rows_format.h"
#include <errno.h>
#include <stdlib.h>

bool piece_valid(const struct piece *p)
{
	if (piece_is_zero(p))
		return p->offset == 0 && p->repeat == 1 && p->length && p->length <= MAP_END_MAX;
	return p->chunk <= INT64_MAX && p->repeat && p->length && p->length <= CHUNK_LENGTH_MAX &&
	       p->offset <= CHUNK_LENGTH_MAX - p->length;
}

bool piece_merge(struct piece *last, const struct piece *p)
{
	if (last->chunk != p->chunk)
		return false;
	if (piece_is_zero(p)) {
		last->length += p->length;
		return true;
	}
	if (last->repeat == 1 && p->repeat == 1 && last->offset + last->length == p->offset) {
		last->length += p->length;
		return true;
	}
	if (last->offset == p->offset && last->length == p->length &&
	    last->repeat <= UINT32_MAX - p->repeat) {
		last->repeat += p->repeat;
		return true;
	}
	return false;
}

static struct piece piece_part(const struct piece *p, uint64_t from, uint64_t to)
{
	struct piece part = *p;
	part.repeat = 1;
	part.length = to - from;
	if (!piece_is_zero(p))
		part.offset += (uint32_t)from;
	return part;
}

unsigned piece_slice(const struct piece *p, uint64_t from, uint64_t to, struct piece ret[3])
{
	uint64_t first = from / p->length, last = (to - 1) / p->length;
	uint64_t head = from % p->length, tail = (to - 1) % p->length + 1;
	unsigned n = 0;
	if (first == last) {
		ret[n++] = piece_part(p, head, tail);
		return n;
	}
	if (head) {
		ret[n++] = piece_part(p, head, p->length);
		first++;
	}
	uint64_t whole = last - first + (tail == p->length);
	if (whole) {
		ret[n] = *p;
		ret[n++].repeat = (uint32_t)whole;
	}
	if (tail != p->length)
		ret[n++] = piece_part(p, 0, tail);
	return n;
}

void piece_encode(struct buf *out, const struct piece *p, uint64_t *expected)
{
	if (piece_is_zero(p)) {
		buf_put_u8(out, 0);
		buf_put_varint(out, p->length);
		return;
	}
	unsigned flags = (p->chunk != *expected ? PIECE_JUMP : 0) | (p->offset ? PIECE_OFFSET : 0) |
			 (p->repeat > 1 ? PIECE_REPEAT : 0);
	buf_put_varint(out, p->length << PIECE_FLAG_BITS | flags);
	if (flags & PIECE_JUMP)
		buf_put_svarint(out, (int64_t)(p->chunk - *expected));
	if (flags & PIECE_OFFSET)
		buf_put_varint(out, p->offset);
	if (flags & PIECE_REPEAT)
		buf_put_varint(out, p->repeat);
	*expected = p->chunk + 1;
}

bool piece_decode(struct slice *s, struct piece *ret, uint64_t *expected)
{
	uint64_t head = take_varint(s);
	if (head == 0) {
		*ret = piece_zeros(take_varint(s));
		return !s->bad && piece_valid(ret);
	}
	struct piece p = { .chunk = *expected, .length = head >> PIECE_FLAG_BITS, .repeat = 1 };
	uint64_t offset = 0, repeat = 1;
	if (head & PIECE_JUMP)
		p.chunk += (uint64_t)take_svarint(s);
	if (head & PIECE_OFFSET)
		offset = take_varint(s);
	if (head & PIECE_REPEAT)
		repeat = take_varint(s);
	if (s->bad || p.chunk == 0 || offset > UINT32_MAX || repeat > UINT32_MAX)
		return false;
	p.offset = (uint32_t)offset;
	p.repeat = (uint32_t)repeat;
	if (!piece_valid(&p))
		return false;
	*expected = p.chunk + 1;
	*ret = p;
	return true;
}

int piece_vec_push(struct piece_vec *l, const struct piece *p)
{
	if (l->n && piece_merge(&l->v[l->n - 1], p)) {
		/* The grown piece may now equal the one before it: a repeat that was cut in two. */
		while (l->n > 1 && piece_merge(&l->v[l->n - 2], &l->v[l->n - 1]))
			l->n--;
		return 0;
	}
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct piece *v = realloc(l->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = *p;
	return 0;
}

int piece_vec_push_zeros(struct piece_vec *l, uint64_t length)
{
	struct piece p = piece_zeros(length);
	return length ? piece_vec_push(l, &p) : 0;
}

int piece_vec_push_slice(struct piece_vec *l, const struct piece *p, uint64_t from, uint64_t to)
{
	struct piece part[3];
	unsigned n = piece_slice(p, from, to, part);
	for (unsigned i = 0; i < n; i++) {
		int r = piece_vec_push(l, &part[i]);
		if (r)
			return r;
	}
	return 0;
}

void piece_vec_trim(struct piece_vec *l)
{
	while (l->n && piece_is_zero(&l->v[l->n - 1]))
		l->n--;
}

void piece_vec_done(struct piece_vec *l)
{
	free(l->v);
	*l = (struct piece_vec){ 0 };
}
