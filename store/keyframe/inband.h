// SPDX-License-Identifier: MIT
/* inband: parameter sets of H.264 and HEVC that are in the pictures themselves.
 *
 * MP4 and Matroska keep them in their headers. Programs that join films, or take them out of a transport
 * stream, write them before each key picture as well, and the picture has other bytes then although
 * it is the same. So they are found, and kept apart from it.
 */
#ifndef FOLDFS_INBAND_H
#define FOLDFS_INBAND_H
#include "film.h"
#include "film_source.h"

/* Is a NAL unit that begins with this byte a parameter set? */
bool inband_is_set(bool hevc, uint8_t first);

/* Fills `sets_at` and `sets_len` of key pictures in tracks that are fit for gathering. What can't be
 * read is left as it is; -errno of reading. */
int inband_find(struct film_source *s, struct film *f);
#endif
