// SPDX-License-Identifier: MIT
/* What follows a start code, for each codec, from ISO 13818-2, 14496-2, SMPTE 421, H.264 and H.265:
 *
 *   MPEG-2  b3 sequence, b8 group, 00 picture: 10 bits number, 3 bits type, 1 is I
 *   MPEG-4  b0 sequence, b3 group, b6 VOP: 2 bits type, 0 is I
 *   VC-1    0f sequence, 0e entry point, 0d frame
 *   H.264   5 bits type: 1, 2, 5 (IDR) slice, 6 SEI, 7 and 8 parameter sets, 9 delimiter. A slice is
 *           a picture's first if its first number, of the first macroblock, is 0, which is one bit 1
 *   HEVC    6 bits type from bit 1, layer, then the slice's first bit says the same
 *
 * ffprobe counts the zero byte before a start code to the picture that follows in H.264, and to that
 * which precedes in HEVC; so do we, that both agree.
 */
#include "access_unit.h"
#include "rbsp.h"
#include "startcode.h"

#define NOWHERE UINT64_MAX
#define SEI_RECOVERY_POINT 6u

const char *au_codec_name(enum au_codec c)
{
	static const char *const names[] = {
		[AU_NONE] = "",	  [AU_MPEG2] = "mpeg2", [AU_MPEG4] = "mpeg4",
		[AU_VC1] = "vc1", [AU_H264] = "h264",	[AU_HEVC] = "hevc",
	};
	return names[c];
}

static enum au_unit judge_mpeg2(const uint8_t *p, size_t len)
{
	if (*p == 0xb3 || *p == 0xb8)
		return AU_LEADS;
	if (*p != 0 || len < 3)
		return AU_OTHER;
	return (p[2] >> 3 & 7) == 1 ? AU_KEY : AU_PICTURE;
}

static enum au_unit judge_mpeg4(const uint8_t *p, size_t len)
{
	if (*p == 0xb0 || *p == 0xb3)
		return AU_LEADS;
	if (*p != 0xb6 || len < 2)
		return AU_OTHER;
	return p[1] >> 6 == 0 ? AU_KEY : AU_PICTURE;
}

static enum au_unit judge_vc1(const uint8_t *p)
{
	return *p == 0x0f   ? AU_LEADS
	       : *p == 0x0e ? AU_RECOVERY
	       : *p == 0x0d ? AU_PICTURE
			    : AU_OTHER;
}

/* Messages of SEI: type and length, each a sum of bytes of which all but the last are ff. */
static unsigned sei_number(struct rbsp *r)
{
	unsigned sum = 0;
	uint8_t b;
	do {
		b = rbsp_byte(r);
		sum += b;
	} while (b == 0xff);
	return sum;
}

static bool has_recovery_point(const uint8_t *p, size_t len)
{
	struct rbsp r = rbsp_of(p, len < AU_LOOK ? len : AU_LOOK);
	while (!r.bad) {
		unsigned type = sei_number(&r);
		unsigned size = sei_number(&r);
		if (type == SEI_RECOVERY_POINT && size && !r.bad)
			return true;
		while (size-- && !r.bad)
			rbsp_byte(&r);
	}
	return false;
}

static enum au_unit judge_h264(const uint8_t *p, size_t len)
{
	unsigned type = *p & 0x1f;
	switch (type) {
	case 1:
	case 2:
	case 5:
		if (len < 2 || !(p[1] & 0x80))
			return AU_OTHER;
		return type == 5 ? AU_KEY : AU_PICTURE;
	case 6:
		return has_recovery_point(p + 1, len - 1) ? AU_RECOVERY : AU_LEADS;
	case 7:
	case 8:
	case 9:
		return AU_LEADS;
	default:
		return AU_OTHER;
	}
}

static enum au_unit judge_hevc(const uint8_t *p, size_t len)
{
	unsigned type = *p >> 1 & 0x3f;
	if (len < 3 || *p & 1 || p[1] & 0xf8) /* of an enhancement layer */
		return AU_OTHER;
	if (type <= 9 || (type >= 16 && type <= 21)) {
		if (!(p[2] & 0x80))
			return AU_OTHER;
		return type >= 16 ? AU_KEY : AU_PICTURE;
	}
	return (type >= 32 && type <= 35) || type == 39 ? AU_LEADS : AU_OTHER;
}

enum au_unit au_judge(enum au_codec c, const uint8_t *p, size_t len)
{
	switch (c) {
	case AU_MPEG2:
		return judge_mpeg2(p, len);
	case AU_MPEG4:
		return judge_mpeg4(p, len);
	case AU_VC1:
		return judge_vc1(p);
	case AU_H264:
		return judge_h264(p, len);
	case AU_HEVC:
		return judge_hevc(p, len);
	default:
		return AU_OTHER;
	}
}

#define SNIFF_ENOUGH 3u /* bytes that tell what a unit is, unless it is an SEI */

enum au_verdict au_sniff(struct au_sniff *s, const uint8_t *p, size_t len)
{
	for (;;) {
		size_t next = startcode_find(p, s->scanned, len);
		if (s->in_unit) {
			/* Of an SEI all must be there: the recovery point may come last. */
			if (next == len && (len - s->unit < SNIFF_ENOUGH ||
					    (s->codec == AU_H264 && (p[s->unit] & 0x1f) == 6)))
				break;
			enum au_unit u = next > s->unit
						 ? au_judge(s->codec, p + s->unit, next - s->unit)
						 : AU_OTHER;
			if (u == AU_KEY || (u == AU_PICTURE && s->recovery))
				return AU_IS_KEY;
			if (u == AU_PICTURE)
				return AU_PLAIN;
			s->recovery |= u == AU_RECOVERY;
			s->in_unit = false;
		}
		if (next == len)
			break;
		s->unit = s->scanned = next + 3;
		s->in_unit = true;
	}
	if (len - s->scanned > 2)
		s->scanned = len - 2;
	return AU_MORE;
}

struct scan {
	enum au_codec codec;
	bool recovery;
	uint64_t lead; /* where the picture to come begins; NOWHERE if nothing of it was seen */
	struct film_run *run;
};

static int take_unit(struct scan *s, enum au_unit u, uint64_t at)
{
	int r = 0;
	if (u == AU_OTHER)
		return 0;
	if (s->lead == NOWHERE)
		s->lead = at;
	if (u == AU_RECOVERY)
		s->recovery = true;
	if (u == AU_LEADS || u == AU_RECOVERY)
		return 0;
	if (u == AU_KEY || s->recovery)
		r = film_run_key(s->run, s->lead);
	s->lead = NOWHERE;
	s->recovery = false;
	return r;
}

/* The units of a window. Returns how far it came: a unit that the window has too little of is left,
 * and the byte before it. */
static ssize_t scan_window(struct scan *s, const uint8_t *p, size_t len, uint64_t at, bool last)
{
	size_t i = 0;
	while ((i = startcode_find(p, i, len)) < len) {
		size_t unit = i + 3;
		if (!last && len - unit < AU_LOOK)
			return (ssize_t)(i ? i - 1 : 0);
		bool zero = i && !p[i - 1] && s->codec != AU_HEVC;
		if (unit < len) {
			enum au_unit u = au_judge(s->codec, p + unit, len - unit);
			int r = take_unit(s, u, at + i - zero);
			if (r < 0)
				return r;
		}
		i = unit;
	}
	return (ssize_t)(last ? len : len - 3);
}

int au_scan(struct film_source *s, enum au_codec c, uint64_t at, uint64_t end, struct film_run *r)
{
	struct scan scan = { .codec = c, .lead = at, .run = r };
	const uint8_t *p;
	while (at < end) {
		ssize_t len = film_source_window(s, at, 2 * AU_LOOK, &p);
		if (len <= 0)
			return (int)len;
		bool last = len < (ssize_t)(2 * AU_LOOK) || (uint64_t)len >= end - at;
		if ((uint64_t)len > end - at)
			len = (ssize_t)(end - at);
		ssize_t used = scan_window(&scan, p, (size_t)len, at, last);
		if (used < 0)
			return (int)used;
		at += (uint64_t)used;
	}
	return 0;
}
