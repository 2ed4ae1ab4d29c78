// SPDX-License-Identifier: MIT
/* A unit ends where zeros begin that lead to the next start code: none ends with one. Where a picture begins
 * is told as by access_unit.c, and what of it is a parameter set as by inband.c: both have to come to the
 * same for a picture that lies in a container.
 */
#include "units.h"
#include "access_unit.h"
#include "inband.h"
#include "startcode.h"
#include <errno.h>
#include <string.h>

#define BACK 16u /* bytes before a start code that the next window has, too: zeros */

struct finder {
	struct film *film;
	uint16_t track;
	/* the unit whose end is looked for: */
	bool open, set;
	enum au_unit kind;
	uint64_t at;
	/* the picture that it is of: */
	bool leading, recovery, begins;
	size_t first; /* its first sample */
};

static int add_unit(struct finder *u, uint64_t end)
{
	struct film_sample s = { .at = u->at, .track = u->track, .begins = u->begins };
	if (u->set || end <= u->at)
		return 0;
	if (end - u->at > UINT32_MAX)
		return -E2BIG;
	s.len = (uint32_t)(end - u->at);
	if (u->begins)
		u->first = u->film->n;
	u->begins = false;
	return film_add_sample(u->film, &s);
}

/* The open unit ends here. */
static int end_unit(struct finder *u, uint64_t end)
{
	if (!u->open)
		return 0;
	u->open = false;
	if (u->kind != AU_OTHER && !u->leading)
		u->leading = u->begins = true;
	u->recovery |= u->kind == AU_RECOVERY;
	int r = add_unit(u, end);
	if (r < 0 || (u->kind != AU_PICTURE && u->kind != AU_KEY))
		return r;
	if ((u->kind == AU_KEY || u->recovery) && u->first < u->film->n)
		u->film->samples[u->first].key = true;
	u->leading = u->recovery = false;
	return 0;
}

static void begin_unit(struct finder *u, const uint8_t *p, size_t len, uint64_t at)
{
	u->open = true;
	u->at = at;
	u->kind = len ? au_judge(AU_H264, p, len) : AU_OTHER;
	u->set = len && inband_is_set(false, *p);
}

static size_t zeros_before(const uint8_t *p, size_t i)
{
	size_t n = 0;
	while (n < i && !p[i - 1 - n])
		n++;
	return n;
}

/* The units whose start codes lie in the window from p[i] on. Returns where to go on: at a start code behind which
 * the window has too little. */
static ssize_t take_window(struct finder *u, const uint8_t *p, size_t i, size_t len, uint64_t at,
			   bool last)
{
	while ((i = startcode_find(p, i, len)) < len) {
		size_t unit = i + 3;
		if (!last && len - unit < AU_LOOK)
			return (ssize_t)i;
		int r = end_unit(u, at + i - zeros_before(p, i));
		if (r < 0)
			return r;
		begin_unit(u, p + unit, len - unit, at + unit);
		i = unit;
	}
	if (!last)
		return (ssize_t)(len - 2); /* it may have begun */
	int r = end_unit(u, at + len - zeros_before(p, len));
	return r < 0 ? r : (ssize_t)len;
}

static int find(struct film_source *s, struct finder *u)
{
	const uint8_t *p;
	uint64_t next = 0;
	while (next < s->size) {
		size_t back = next < BACK ? (size_t)next : BACK;
		uint64_t at = next - back;
		ssize_t len = film_source_window(s, at, 2 * AU_LOOK, &p);
		if (len <= (ssize_t)back)
			return len < 0 ? (int)len : -ENODATA;
		bool last = len < (ssize_t)(2 * AU_LOOK) || (uint64_t)len >= s->size - at;
		ssize_t to = take_window(u, p, back, (size_t)len, at, last);
		if (to < 0)
			return (int)to;
		next = at + (uint64_t)to;
	}
	return 0;
}

int units_find(struct film_source *s, struct film *f)
{
	struct finder u = { .film = f, .first = SIZE_MAX };
	size_t before = f->n;
	int track = -E2BIG;
	if (f->container == FILM_H264)
		track = film_add_track(f, FILM_VIDEO, au_codec_name(AU_H264));
	if (track < 0)
		return 0;
	u.track = (uint16_t)track;
	f->tracks[track].units = true;
	int r = find(s, &u);
	if (r == 0)
		return 0;
	f->n = before;
	f->n_tracks--;
	return r == -E2BIG || r == -EDQUOT || r == -ENODATA ? 0 : r;
}
