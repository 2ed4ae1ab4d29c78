// SPDX-License-Identifier: MIT
/* startcode: the bytes 00 00 01, which divide the video streams of MPEG. */
#ifndef FOLDFS_STARTCODE_H
#define FOLDFS_STARTCODE_H
#include <stddef.h>
#include <stdint.h>

/* Where the first start code from `from` on begins; len if there is none. About as fast as memory,
 * whatever the bytes are. */
size_t startcode_find(const uint8_t *p, size_t from, size_t len);
#endif
