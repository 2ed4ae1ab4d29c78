// SPDX-License-Identifier: MIT
/* Units follow one another in a sample, each behind its length in four bytes. (One, two and three are
 * possible; nobody writes them. Then lengths make no sense soon, and nothing is found.)
 */
#include "inband.h"
#include "bytes.h"
#include <errno.h>
#include <string.h>

#define LOOK 1024u /* bytes read at once */
#define UNITS_MAX 24u
#define HEAD 5u /* length, and type */

enum unit { UNIT_PICTURE, UNIT_BEFORE, UNIT_SET };

/* H.264: 7, 8, 13, 15 parameter sets, 6 SEI, 9 delimiter. HEVC: 32 to 34; 39, 35. */
static enum unit judge(bool hevc, uint8_t first)
{
	unsigned type = hevc ? first >> 1 & 0x3f : first & 0x1f;
	if (hevc)
		return type >= 32 && type <= 34	  ? UNIT_SET
		       : type == 35 || type == 39 ? UNIT_BEFORE
						  : UNIT_PICTURE;
	return type == 7 || type == 8 || type == 13 || type == 15 ? UNIT_SET
	       : type == 6 || type == 9				  ? UNIT_BEFORE
								  : UNIT_PICTURE;
}

bool inband_is_set(bool hevc, uint8_t first)
{
	return judge(hevc, first) == UNIT_SET;
}

/* Bytes [at, at + HEAD) of the sample, through a buffer that holds [*have_at, + LOOK). */
static int look(struct film_source *s, const struct film_sample *m, uint32_t at, uint8_t *buf,
		uint32_t *have_at, uint32_t *have)
{
	if (*have && at >= *have_at && at + HEAD <= *have_at + *have)
		return 0;
	uint32_t n = m->len - at < LOOK ? m->len - at : LOOK;
	int r = film_source_copy(s, m->at + at, n, buf);
	*have_at = at;
	*have = r < 0 ? 0 : n;
	return r;
}

static int find_in(struct film_source *s, bool hevc, struct film_sample *m)
{
	uint8_t buf[LOOK];
	uint32_t have_at = 0, have = 0, at = 0, begin = 0, end = 0;
	for (unsigned i = 0; i < UNITS_MAX && m->len - at > HEAD; i++) {
		int r = look(s, m, at, buf, &have_at, &have);
		if (r < 0)
			return r;
		const uint8_t *p = buf + (at - have_at);
		uint32_t len = get_be32(p);
		if (len == 0 || len > m->len - at - 4)
			return 0;
		enum unit u = judge(hevc, p[4]);
		if (u == UNIT_PICTURE || (u == UNIT_BEFORE && end))
			break;
		at += 4 + len;
		if (u == UNIT_SET) {
			begin = end ? begin : at - 4 - len;
			end = at;
		}
	}
	if (end <= UINT16_MAX) {
		m->sets_at = (uint16_t)begin;
		m->sets_len = (uint16_t)(end - begin);
	}
	return 0;
}

int inband_find(struct film_source *s, struct film *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct film_sample *m = &f->samples[i];
		const struct film_track *t = &f->tracks[m->track];
		bool hevc = strcmp(t->codec, "hevc") == 0;
		if (!m->key || !t->whole || (!hevc && strcmp(t->codec, "h264") != 0))
			continue;
		int r = find_in(s, hevc, m);
		if (r == -EDQUOT || r == -ENODATA)
			return 0;
		if (r < 0)
			return r;
	}
	return 0;
}
