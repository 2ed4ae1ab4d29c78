// SPDX-License-Identifier: MIT
/* status: what a pool and its daemon tell about themselves, as JSON. */
#ifndef FOLDFS_STATUS_H
#define FOLDFS_STATUS_H
#include "fs.h"
#include <jansson.h>

/* `fs` is NULL for a pool that is opened but not mounted. New references; NULL: no memory. */
json_t *status_stats(struct pool *pool, struct fs *fs);
/* Counts all rows (usage.h). *ret_df untouched on failure. */
int status_df(struct pool *pool, struct fs *fs, json_t **ret_df);
/* `inodes`: a JSON array of numbers; the answer has one object for each. -EINVAL if it is not,
 * -ENOENT when one has no row. */
int status_du(struct pool *pool, const json_t *inodes, json_t **ret_du);
json_t *status_gc(const struct gc_result *result);
json_t *status_scrub(const struct scrub_status *status);
/* With what is damaged now, frame by frame and file by file. For a pool opened for writing. */
int status_scrub_damage(struct pool *pool, json_t **ret_scrub);
#endif
