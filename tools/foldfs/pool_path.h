// SPDX-License-Identifier: MIT
/* pool_path: which pool a path given by the user means. */
#ifndef FOLDFS_POOL_PATH_H
#define FOLDFS_POOL_PATH_H
#include "mountinfo.h"

/* A pool's directory is that pool; anything inside a foldfs mount is the pool mounted there. False
 * after a complaint. */
bool pool_path_find(const char *path, char ret_pool[PATH_MAX]);
#endif
