// SPDX-License-Identifier: MIT
/* Readers trust nothing: segment_open() checks that the index adds up, segment_next() that each
 * group ends where the index says the next begins. The zeros of the index are compared with the
 * pieces by segment_check() alone; a wrong number there spoils a count, never an address.
 */
#include "segment.h"
#include "cleanup.h"
#include <assert.h>
#include <errno.h>

static uint64_t group_zeros(const struct piece *v, size_t n, uint64_t *ret_bytes)
{
	uint64_t bytes = 0, zeros = 0;
	for (size_t i = 0; i < n; i++) {
		bytes += piece_bytes(&v[i]);
		zeros += piece_is_zero(&v[i]) ? piece_bytes(&v[i]) : 0;
	}
	*ret_bytes = bytes;
	return zeros;
}

static void encode_as(const struct piece *v, size_t n, bool in_strands, struct buf *out)
{
	CLEANUP_BUF struct buf pieces = { 0 };
	uint64_t base = 0;
	for (size_t i = 0; i < n && base == 0; i++)
		base = v[i].chunk;

	if (in_strands)
		buf_put_varint(out, 0);
	buf_put_varint(out, n);
	buf_put_varint(out, base);
	for (size_t i = 0; i < n; i += SEGMENT_GROUP) {
		struct strands s = strands_begin(base);
		uint64_t bytes;
		size_t start = pieces.len, count = n - i < SEGMENT_GROUP ? n - i : SEGMENT_GROUP;
		for (size_t k = i; k < i + count; k++)
			if (in_strands)
				strands_encode(&s, &pieces, &v[k]);
			else
				piece_encode(&pieces, &v[k], &s.expected);
		if (i + count == n)
			break;
		uint64_t zeros = group_zeros(v + i, count, &bytes);
		buf_put_varint(out, pieces.len - start);
		buf_put_varint(out, bytes);
		buf_put_varint(out, zeros);
	}
	buf_put(out, pieces.data, pieces.len);
	out->failed |= pieces.failed;
}

static bool goes_on(const struct piece *last, const struct piece *p)
{
	return p->chunk == last->chunk && p->offset == last->offset + last->length;
}

/* Does every second piece go on where one of the three before it ended? */
static bool are_strands(const struct piece *v, size_t n)
{
	size_t count = 0;
	for (size_t i = 1; i < n; i++)
		count += v[i].offset &&
			 (goes_on(&v[i - 1], &v[i]) || (i > 1 && goes_on(&v[i - 2], &v[i])) ||
			  (i > 2 && goes_on(&v[i - 3], &v[i])));
	return count >= n / 2 && count;
}

void segment_encode(const struct piece *v, size_t n, bool strands, struct buf *out)
{
	assert(n >= 1 && n <= SEGMENT_PIECES);
	encode_as(v, n, strands && are_strands(v, n), out);
}

int segment_open(struct slice val, struct segment *ret_seg)
{
	struct slice s = val;
	uint64_t n = take_varint(&s);
	bool in_strands = n == 0;
	if (in_strands)
		n = take_varint(&s);
	uint64_t base = take_varint(&s);
	if (s.bad || n < 1 || n > SEGMENT_PIECES || base > INT64_MAX)
		return -EUCLEAN;
	ret_seg->in_strands = in_strands;
	ret_seg->n = (uint32_t)n;
	ret_seg->base = base;
	ret_seg->groups = (uint32_t)((n + SEGMENT_GROUP - 1) / SEGMENT_GROUP);
	struct segment_group g = { 0 };
	for (uint32_t i = 0; i < ret_seg->groups; i++) {
		ret_seg->group[i] = g;
		if (i + 1 == ret_seg->groups)
			break;
		uint64_t coded = take_varint(&s), bytes = take_varint(&s), zeros = take_varint(&s);
		if (s.bad || coded > s.len || bytes > MAP_END_MAX - g.at || zeros > bytes)
			return -EUCLEAN;
		g.coded += (uint32_t)coded; /* each is at most s.len, which KV_VALUE_MAX bounds */
		g.at += bytes;
		g.zeros += zeros;
	}
	if (g.coded > s.len)
		return -EUCLEAN;
	ret_seg->coded = s;
	return 0;
}

static void iter_at_group(const struct segment *seg, uint32_t k, struct segment_iter *it)
{
	uint32_t from = seg->group[k].coded;
	*it = (struct segment_iter){
		.seg = seg,
		.s = slice_of(seg->coded.at + from, seg->coded.len - from),
		.at = seg->group[k].at,
		.strands = strands_begin(seg->base),
		.index = k * SEGMENT_GROUP,
	};
}

/* The last group that starts at or before byte `at`. */
static uint32_t find_group(const struct segment *seg, uint64_t at)
{
	uint32_t lo = 0, hi = seg->groups;
	while (hi - lo > 1) {
		uint32_t mid = (lo + hi) / 2;
		if (seg->group[mid].at <= at)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static int decode_next(struct segment_iter *it, struct piece *ret_piece)
{
	const struct segment *seg = it->seg;
	if (it->index == seg->n)
		return it->s.len ? -EUCLEAN : 0;
	if (it->index % SEGMENT_GROUP == 0) {
		const struct segment_group *g = &seg->group[it->index / SEGMENT_GROUP];
		if (g->at != it->at || g->coded != seg->coded.len - it->s.len)
			return -EUCLEAN;
		it->strands = strands_begin(seg->base);
	}
	bool good = seg->in_strands ? strands_decode(&it->strands, &it->s, ret_piece)
				    : piece_decode(&it->s, ret_piece, &it->strands.expected);
	return good && piece_bytes(ret_piece) <= MAP_END_MAX - it->at ? 1 : -EUCLEAN;
}

int segment_next(struct segment_iter *it, struct piece *ret_piece, uint64_t *ret_at)
{
	int r = 1;
	if (it->has_next)
		*ret_piece = it->next;
	else
		r = decode_next(it, ret_piece);
	if (r <= 0)
		return r;
	it->has_next = false;
	*ret_at = it->at;
	it->at += piece_bytes(ret_piece);
	it->index++;
	return 1;
}

int segment_seek(const struct segment *seg, uint64_t at, struct segment_iter *ret_it)
{
	iter_at_group(seg, find_group(seg, at), ret_it);
	for (;;) {
		int r = decode_next(ret_it, &ret_it->next);
		if (r <= 0)
			return r ? r : -EUCLEAN;
		if (ret_it->at + piece_bytes(&ret_it->next) > at) {
			ret_it->has_next = true;
			return 0;
		}
		ret_it->at += piece_bytes(&ret_it->next);
		ret_it->index++;
	}
}

int segment_slice(const struct segment *seg, uint64_t at, uint64_t len, size_t max,
		  struct piece_vec *l)
{
	struct segment_iter it;
	int r = segment_seek(seg, at, &it);
	uint64_t end = at + len;
	while (!r && it.at < end && l->n <= max) {
		struct piece p;
		uint64_t piece_at;
		r = segment_next(&it, &p, &piece_at);
		if (r <= 0)
			return r ? r : -EUCLEAN;
		r = piece_vec_push_slice(l, &p, at > piece_at ? at - piece_at : 0,
					 (end < it.at ? end : it.at) - piece_at);
	}
	return r;
}

static int zeros_before(const struct segment *seg, uint64_t at, uint64_t *ret_zeros)
{
	uint32_t k = find_group(seg, at);
	struct segment_iter it;
	iter_at_group(seg, k, &it);
	uint64_t zeros = seg->group[k].zeros;
	while (it.at < at) {
		struct piece p;
		uint64_t piece_at;
		int r = segment_next(&it, &p, &piece_at);
		if (r <= 0)
			return r ? r : -EUCLEAN;
		if (piece_is_zero(&p))
			zeros += (at < it.at ? at : it.at) - piece_at;
	}
	*ret_zeros = zeros;
	return 0;
}

int segment_zeros(const struct segment *seg, uint64_t at, uint64_t len, uint64_t *ret_zeros)
{
	uint64_t before, until;
	int r = zeros_before(seg, at, &before);
	if (!r)
		r = zeros_before(seg, at + len, &until);
	if (r)
		return r;
	if (until < before || until - before > len)
		return -EUCLEAN;
	*ret_zeros = until - before;
	return 0;
}

int segment_count(const struct segment *seg, uint64_t at, uint64_t len, uint32_t *ret_n)
{
	struct segment_iter first, last;
	int r = segment_seek(seg, at, &first);
	if (!r)
		r = segment_seek(seg, at + len - 1, &last);
	if (!r)
		*ret_n = last.index - first.index + 1;
	return r;
}

int segment_marks(const struct segment *seg, void (*mark)(void *arg, uint64_t chunk), void *arg)
{
	struct segment_iter it;
	iter_at_group(seg, 0, &it);
	for (;;) {
		struct piece p;
		uint64_t at;
		int r = segment_next(&it, &p, &at);
		if (r <= 0)
			return r;
		if (!piece_is_zero(&p))
			mark(arg, p.chunk);
	}
}

int segment_check(const struct segment *seg)
{
	struct segment_iter it;
	iter_at_group(seg, 0, &it);
	uint64_t zeros = 0;
	for (;;) {
		if (it.index < seg->n && it.index % SEGMENT_GROUP == 0 &&
		    seg->group[it.index / SEGMENT_GROUP].zeros != zeros)
			return -EUCLEAN;
		struct piece p;
		uint64_t at;
		int r = segment_next(&it, &p, &at);
		if (r <= 0)
			return r;
		zeros += piece_is_zero(&p) ? piece_bytes(&p) : 0;
	}
}
