// SPDX-License-Identifier: MIT
/* vfw: codecs by the names that the headers of Video for Windows give them: a four-letter code
 * (BITMAPINFOHEADER) and a format tag (WAVEFORMATEX). AVI has nothing else, Matroska takes them over.
 */
#ifndef FOLDFS_VFW_H
#define FOLDFS_VFW_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The codec as in struct film_track; "" when unknown. `header` may be cut short. */
const char *vfw_video_codec(const uint8_t *header, size_t len);
const char *vfw_audio_codec(const uint8_t *header, size_t len);
/* Each picture of that codec stands for itself. */
bool vfw_all_key(const char *codec);
#endif
