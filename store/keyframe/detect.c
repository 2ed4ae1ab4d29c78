// SPDX-License-Identifier: MIT
#include "detect.h"
#include "inband.h"
#include <errno.h>

/* Those with a magic number first: an elementary stream has none worth the name. */
static const struct film_parser *const parsers[] = {
	&film_isobmff,	/* MP4, MOV */
	&film_matroska, /* and WebM */
	&film_avi,	/* and OpenDML */
	&film_mpegts,	/* and M2TS */
	&film_mxf,	/* OP1a, OP-Atom */
	&film_annexb,	/* H.264, HEVC */
	NULL,
};

int film_find(struct film_source *s, struct film *f)
{
	const uint8_t *head;
	for (size_t i = 0; parsers[i]; i++) {
		ssize_t len = film_source_some(s, 0, DETECT_HEAD, &head);
		if (len <= 0)
			return (int)len;
		if (!parsers[i]->looks(head, (size_t)len))
			continue;
		int r = parsers[i]->parse(s, f);
		if (r == 0)
			return inband_find(s, f);
		if (r != -EBADMSG)
			return r;
		film_done(f);
	}
	return 0;
}
