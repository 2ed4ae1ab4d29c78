// SPDX-License-Identifier: MIT
/* access_unit: which pictures of a video stream decoding can begin with, told by the first bytes
 * after start codes and without any decoding.
 *
 *   MPEG-2, MPEG-4  an I picture
 *   VC-1            a picture after an entry point header
 *   H.264           an IDR picture, or one whose SEI has a recovery point (open GOPs, intra refresh)
 *   HEVC            an IRAP picture: types 16 to 21 (BLA, IDR, CRA)
 *
 * A picture begins with the sequence header, parameter set, delimiter or SEI that precedes it.
 */
#ifndef FOLDFS_ACCESS_UNIT_H
#define FOLDFS_ACCESS_UNIT_H
#include "film_run.h"
#include "film_source.h"

/* By the letters of film_track.codec: "mpeg2", "mpeg4", "vc1", "h264", "hevc". */
enum au_codec { AU_NONE, AU_MPEG2, AU_MPEG4, AU_VC1, AU_H264, AU_HEVC };
const char *au_codec_name(enum au_codec c); /* "" for AU_NONE */

enum au_unit {
	AU_OTHER,    /* a further slice, user data, filler */
	AU_LEADS,    /* the picture begins here, if none of these was there yet */
	AU_RECOVERY, /* AU_LEADS, and decoding can begin with the picture */
	AU_PICTURE,  /* its first slice or its header */
	AU_KEY,	     /* AU_PICTURE, of a kind that decoding can begin with */
};

#define AU_LOOK 4096u /* bytes of a unit that are looked at */

/* What the unit is whose first byte after the start code is *p. len > 0; it may run on into further
 * units. */
enum au_unit au_judge(enum au_codec c, const uint8_t *p, size_t len);

enum au_verdict { AU_MORE, AU_PLAIN, AU_IS_KEY };

/* The first picture of a packet, whose bytes come bit by bit. Begin with { .codec = C }. */
struct au_sniff {
	enum au_codec codec;
	bool recovery;
	bool in_unit;
	size_t unit;	/* after the last start code found, if in_unit */
	size_t scanned; /* where to look for the next */
};

/* p has all bytes so far, and the same as in the calls before. AU_MORE: that doesn't tell yet. */
enum au_verdict au_sniff(struct au_sniff *s, const uint8_t *p, size_t len);

/* All key pictures of a stream that lies in [at, end) of a file. */
int au_scan(struct film_source *s, enum au_codec c, uint64_t at, uint64_t end, struct film_run *r);
#endif
