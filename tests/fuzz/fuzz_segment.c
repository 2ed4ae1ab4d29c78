// SPDX-License-Identifier: MIT
/* Input: le64 position, le64 length, the segment's encoding. Reads that a valid extent row could ask
 * for must end, and in a segment that checks must give what was asked for. */
#include "fuzz.h"
#include "segment.h"
#include <errno.h>

static bool expected(int r)
{
	return r == 0 || r == -EUCLEAN;
}

static void count_chunk(void *arg, uint64_t chunk)
{
	uint64_t *n = arg;
	must(chunk);
	++*n;
}

/* All of it as pieces. Returns whether it could be read to its end. */
static bool read_all(const struct segment *seg, struct piece_vec *l, uint64_t *ret_end)
{
	struct segment_iter it;
	struct piece p;
	uint64_t at;
	*ret_end = 0;
	if (segment_seek(seg, 0, &it) < 0)
		return false;
	int r;
	while ((r = segment_next(&it, &p, &at)) == 1) {
		must(at == *ret_end && piece_valid(&p));
		*ret_end += piece_bytes(&p);
		must(*ret_end <= MAP_END_MAX);
		must(piece_vec_push(l, &p) == 0);
	}
	return r == 0;
}

static uint64_t bytes_of(const struct piece_vec *l)
{
	uint64_t n = 0;
	for (size_t i = 0; i < l->n; i++)
		n += piece_bytes(&l->v[i]);
	return n;
}

static void read_range(const struct segment *seg, bool good, uint64_t at, uint64_t len)
{
	struct piece_vec part = { 0 };
	uint64_t zeros = 0;
	uint32_t n = 0;
	int sliced = segment_slice(seg, at, len, SIZE_MAX, &part);
	int counted = segment_count(seg, at, len, &n), zeroed = segment_zeros(seg, at, len, &zeros);
	must(expected(sliced) && expected(counted) && expected(zeroed));
	must(!good || (sliced == 0 && counted == 0 && zeroed == 0));
	if (sliced == 0)
		must(bytes_of(&part) == len);
	must(zeroed || zeros <= len);
	if (good) {
		uint64_t found = 0;
		for (size_t i = 0; i < part.n; i++)
			found += piece_is_zero(&part.v[i]) ? piece_bytes(&part.v[i]) : 0;
		must(found == zeros && part.n <= 3 * (size_t)n);
	}
	piece_vec_done(&part);
}

bool fuzz_one(struct slice in)
{
	uint64_t at = take_le64(&in), len = take_le64(&in), end, marks = 0;
	struct segment seg;
	struct piece_vec all = { 0 };
	if (in.bad || segment_open(in, &seg) < 0)
		return false;
	bool good = segment_check(&seg) == 0, whole = read_all(&seg, &all, &end);
	must(whole || !good);
	must(expected(segment_marks(&seg, count_chunk, &marks)) && marks <= SEGMENT_PIECES);
	if (len && len <= MAP_END_MAX && at <= MAP_END_MAX - len)
		read_range(&seg, good && at + len <= end, at, len);
	if (good && end) {
		at %= end;
		read_range(&seg, true, at, 1 + len % (end - at));
	}
	piece_vec_done(&all);
	return good;
}

static void seed(const char *name, const struct piece *v, size_t n)
{
	struct buf b = { 0 };
	buf_put_le64(&b, 70);
	buf_put_le64(&b, 5000);
	segment_encode(v, n, true, &b);
	fuzz_seed_buf(name, &b);
}

void fuzz_seeds(void)
{
	static struct piece many[300];
	struct piece few[] = {
		{ .chunk = 10, .length = 65536, .repeat = 1 },
		{ .chunk = 11, .length = 4096, .offset = 512, .repeat = 1 },
		piece_zeros(1 << 20),
		{ .chunk = 3, .length = 4096, .repeat = 1000 },
	};
	seed("few", few, 4);
	for (unsigned i = 0; i < 300; i++)
		many[i] = i % 50 ? (struct piece){ .chunk = 100 + i, .length = 60, .repeat = 1 }
				 : piece_zeros(100);
	seed("groups", many, 300);
	for (unsigned i = 0; i < 300; i++)
		many[i] = (struct piece){ .chunk = 100 + i % 3 + i / 90 * 3,
					  .length = 60 + i,
					  .offset = i % 90 / 3 * 1000 + i / 3,
					  .repeat = 1 };
	for (unsigned i = 1; i < 300; i++)
		if (i >= 3 && many[i - 3].chunk == many[i].chunk)
			many[i].offset = many[i - 3].offset + (uint32_t)many[i - 3].length;
	seed("strands", many, 300);
}
