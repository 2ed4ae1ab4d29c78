// SPDX-License-Identifier: MIT
/* media: what of films can be seen from outside: container, tracks, groups of pictures. */
#ifndef FOLDFS_MEDIA_H
#define FOLDFS_MEDIA_H
#include <jansson.h>

/* One object for each path: "container", "tracks". NULL after a complaint. */
json_t *media_of(char **paths, int n);
#endif
