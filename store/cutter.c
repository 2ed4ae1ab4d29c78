// SPDX-License-Identifier: MIT
/* A run of HOLE_MIN zeros covers at least one whole block of PROBE bytes, however it lies, so one
 * word per block is looked at, and the rest only where that word is zero. A chunk is given out only
 * when a run's least length is at hand beyond its end: a run that begins in it has been seen.
 */
#include "cutter.h"
#include <string.h>

#define PROBE (HOLE_MIN / 2)

static bool probe(const uint8_t *block)
{
	uint64_t word;
	memcpy(&word, block, sizeof word);
	return !word && zero_run(block, PROBE) == PROBE;
}

/* Where the first long run of zeros begins; `limit` when none begins before that. */
static size_t find_zeros(const uint8_t *data, size_t len, size_t limit)
{
	size_t at = 0;
	while (at + PROBE <= len && at < limit + PROBE) {
		if (!probe(data + at)) {
			at += PROBE;
			continue;
		}
		size_t begin = at, end = at + zero_run(data + at, len - at);
		while (begin && !data[begin - 1])
			begin--;
		if (end - begin >= HOLE_MIN)
			return begin < limit ? begin : limit;
		at = (end + PROBE - 1) / PROBE * PROBE;
	}
	return limit;
}

enum cut cutter_next(struct cutter *c, const uint8_t *data, size_t len, bool last, size_t *ret_len)
{
	if (c->in_zeros && len) {
		size_t zeros = zero_run(data, len);
		c->in_zeros = zeros == len;
		*ret_len = zeros;
		if (zeros)
			return CUT_ZEROS;
	}
	if (!len)
		return CUT_MORE;
	size_t zeros = zero_run(data, len);
	if (zeros >= HOLE_MIN) {
		c->in_zeros = zeros == len;
		*ret_len = zeros;
		return CUT_ZEROS;
	}
	size_t cut = chunker_cut(c->chunker, data, len, last);
	if (!cut || (!last && cut + HOLE_MIN > len))
		return CUT_MORE;
	size_t solid = find_zeros(data, len, cut);
	*ret_len = solid < cut ? chunker_cut(c->chunker, data, solid, true) : cut;
	return CUT_CHUNK;
}
