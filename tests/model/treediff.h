// SPDX-License-Identifier: MIT
/* treediff: compares everything of two trees: names, attributes, content, links. */
#ifndef FOLDFS_TREEDIFF_H
#define FOLDFS_TREEDIFF_H
#include <stddef.h>

/* Number of differences; each is one line on stderr (the first 20). */
size_t treediff(const char *target, const char *reference);
#endif
