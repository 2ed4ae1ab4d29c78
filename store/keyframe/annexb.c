// SPDX-License-Identifier: MIT
/* Elementary streams as Annex B of H.264 and of H.265 has them: NAL units with start codes between, and
 * nothing else; neither index nor header. So a film is recognised by what it would be as one: a start
 * code at its very beginning, nothing but units that may stand there, parameter sets that make sense,
 * and a first slice that refers to them. Then all of it is searched for start codes.
 */
#include "access_unit.h"
#include "detect.h"
#include "parameter_set.h"
#include "startcode.h"
#include <errno.h>

#define HEAD (64u << 10) /* bytes within which the first slice must begin */

enum belief { NO, PERHAPS, YES };

static enum belief believe(enum au_codec c, const uint8_t *p, size_t len)
{
	struct parameter_sets sets = { 0 };
	size_t at = startcode_find(p, 0, len < 4 ? len : 4);
	if (at > 1 || (at == 1 && *p))
		return NO;
	while (at < len) {
		size_t unit = at + 3;
		at = startcode_find(p, unit, len);
		/* The last one may not be all there; of a slice the first bytes are enough. */
		bool right = parameter_sets_take(&sets, c, p + unit, at - unit);
		if (sets.slice)
			return YES;
		if (!right && at < len)
			return NO;
	}
	return sets.sps_any ? PERHAPS : NO;
}

static bool looks(const uint8_t *head, size_t len)
{
	return believe(AU_H264, head, len) != NO || believe(AU_HEVC, head, len) != NO;
}

static int parse(struct film_source *s, struct film *f)
{
	const uint8_t *head;
	ssize_t len = film_source_some(s, 0, HEAD, &head);
	if (len < 0)
		return (int)len;
	enum au_codec c = believe(AU_H264, head, (size_t)len) == YES   ? AU_H264
			  : believe(AU_HEVC, head, (size_t)len) == YES ? AU_HEVC
								       : AU_NONE;
	if (c == AU_NONE)
		return -EBADMSG;
	f->container = c == AU_H264 ? FILM_H264 : FILM_HEVC;
	int track = film_add_track(f, FILM_VIDEO, au_codec_name(c));
	if (track < 0)
		return track;
	f->tracks[track].runs = true;
	struct film_run run = { .film = f, .track = (uint16_t)track };
	int r = au_scan(s, c, 0, s->size, &run);
	return r < 0 ? r : film_run_end(&run, s->size);
}

const struct film_parser film_annexb = { looks, parse };
