// SPDX-License-Identifier: MIT
/* replica: what foldfs replica shows. */
#ifndef FOLDFS_REPLICA_H
#define FOLDFS_REPLICA_H
#include <jansson.h>

void replica_show(const json_t *status);
#endif
