// SPDX-License-Identifier: MIT
/* tier: what foldfs tier shows, and the attribute by which files are pinned. */
#ifndef FOLDFS_TIER_H
#define FOLDFS_TIER_H
#include <jansson.h>
#include <stdbool.h>

/* All give 0, or -1 after a complaint. */
int tier_show_status(const char *pool, bool json);
int tier_pin(char **paths, int n);
int tier_unpin(char **paths, int n);
void tier_show_moved(const json_t *result);
/* True after a complaint that not everything has moved. */
bool tier_complain(const json_t *result, const char *pool);
#endif
