// SPDX-License-Identifier: MIT
/* tier_status: what tiers there are, what lies in them, and what moves, as JSON. */
#ifndef FOLDFS_TIER_STATUS_H
#define FOLDFS_TIER_STATUS_H
#include "pool.h"
#include <jansson.h>

/* 0 or -errno. Counts the packs' rows. */
int tier_status(struct pool *pool, json_t **ret_status);
json_t *tier_status_moved(const struct mover_result *result);
#endif
