// SPDX-License-Identifier: MIT
/* units: the NAL units that pictures of elementary streams (Annex B) of H.264 consist of.
 *
 * Containers put the length of each before it, in four bytes, where a stream has a start code. So the same
 * pictures are the same bytes but for these. Not so with HEVC: ffmpeg puts SEI from a container's header before
 * key pictures of a stream, and leaves a zero behind each picture that it takes from one.
 */
#ifndef FOLDFS_UNITS_H
#define FOLDFS_UNITS_H
#include "film.h"
#include "film_source.h"

/* Adds a track of them to a film that was found to be such a stream: one with `units`, whose samples are
 * units without start code. Parameter sets are left out, which containers keep elsewhere. Of a film that
 * has too many, or can't be read to its end, there are none; -errno of reading. */
int units_find(struct film_source *s, struct film *f);
#endif
