// SPDX-License-Identifier: MIT
/* replica_status: what has been shipped to a pool's replica, or which state of one a pool shows, as JSON. */
#ifndef FOLDFS_REPLICA_STATUS_H
#define FOLDFS_REPLICA_STATUS_H
#include "fs.h"
#include <jansson.h>

/* null: neither. */
json_t *replica_status(struct fs *fs);
#endif
