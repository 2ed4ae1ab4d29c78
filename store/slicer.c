// SPDX-License-Identifier: MIT
/* Where stored bytes come again, the next chunk is expected to be the one that was stored after the
 * last: as many bytes as that has are hashed, and when the digest is right the chunker need not be
 * asked, which is half of the work. When it is wrong the hash was in vain; the more often that
 * happens, the longer no guess is made.
 *
 * So cuts also depend on what is stored: a chunk that ended with its file, or where a hole began,
 * may be found again within longer data. That is one more duplicate found, and the cuts after it
 * fall into step within a chunk or two, as they do after any change.
 */
#include "slicer.h"

#define MISSES_MAX 6 /* after these, 62 chunks are cut between two guesses */

/* The length of the chunk here, and its digest, if it is the one to be expected; else 0. */
static size_t guess(struct slicer *s, const uint8_t *data, size_t len, struct digest *ret_digest)
{
	struct digest expected;
	uint32_t n;
	if (!s->any || s->cutter.in_zeros)
		return 0;
	if (s->hold) {
		s->hold--;
		return 0;
	}
	if (!packer_guess(s->packer, &s->latest, &expected, &n) || n > len)
		return 0;
	digest_of(data, n, ret_digest);
	if (digest_equal(ret_digest, &expected)) {
		s->misses = 0;
		return n;
	}
	s->misses += s->misses < MISSES_MAX;
	s->hold = (1u << s->misses) - 2;
	return 0;
}

static enum cut next_item(struct slicer *s, const uint8_t *data, size_t len, bool last,
			  struct portion_item *item)
{
	enum cut cut = CUT_CHUNK;
	size_t n = guess(s, data, len, &item->digest);
	if (!n) {
		cut = cutter_next(&s->cutter, data, len, last, &n);
		if (cut == CUT_CHUNK)
			digest_of(data, n, &item->digest);
	}
	item->len = (uint32_t)n;
	item->zeros = cut == CUT_ZEROS;
	return cut;
}

size_t slicer_cut(struct slicer *s, struct portion *p, size_t fill, bool last, size_t room,
		  bool *ret_full)
{
	size_t at = 0;
	*ret_full = false;
	for (p->n = 0; p->n < PORTION_ITEMS && !*ret_full; p->n++) {
		struct portion_item *item = &p->items[p->n];
		enum cut cut = next_item(s, p->data + at, fill - at, last, item);
		if (cut == CUT_MORE)
			break;
		if (item->len > room - at) {
			*ret_full = true;
			if (cut == CUT_CHUNK || room == at)
				break;
			item->len = (uint32_t)(room - at);
			s->cutter.in_zeros = true; /* the rest of the run comes next */
		}
		if (cut == CUT_CHUNK) {
			s->any = true;
			s->latest = item->digest;
		}
		item->at = (uint32_t)at;
		at += item->len;
	}
	return at;
}
