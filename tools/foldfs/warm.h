// SPDX-License-Identifier: MIT
/* warm: reads files, so that they lie in caches when somebody wants them. */
#ifndef FOLDFS_WARM_H
#define FOLDFS_WARM_H
#include <jansson.h>

/* All files in these trees, in the order of their names; what cannot be read is complained of. */
json_t *warm_paths(char **paths, int n);
void warm_show(const json_t *result);
#endif
