// SPDX-License-Identifier: MIT
/* repair_index: the last resort, when LMDB's file cannot be read and there is no dump of it. */
#ifndef FOLDFS_REPAIR_INDEX_H
#define FOLDFS_REPAIR_INDEX_H
#include "aside.h"
#include "pool.h"

/* Puts the index and the log's files aside, where they lie; ret_aside is the index's name there. The
 * next opening for writing begins both anew, empty. Takes the lock for its duration. Durable on
 * return; after an interruption it may be called again. 0, -EBUSY, -errno and a sentence. */
int repair_begin_index(const char *path, char ret_aside[ASIDE_NAME_MAX], struct pool_error *err);
#endif
