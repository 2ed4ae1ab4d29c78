// SPDX-License-Identifier: MIT
/* replica_status: what has been shipped to a pool's replica, as JSON. */
#ifndef FOLDFS_REPLICA_STATUS_H
#define FOLDFS_REPLICA_STATUS_H
#include "replicator.h"
#include <jansson.h>

/* `r` NULL: there is none, which is null. */
json_t *replica_status(struct pool *pool, struct replicator *r);
#endif
