// SPDX-License-Identifier: MIT
/* film_hint: whether a staged file is a film, and how its chunks are then to be made. */
#ifndef FOLDFS_FILM_HINT_H
#define FOLDFS_FILM_HINT_H
#include "film_plan.h"
#include "inode.h"

/* May it be worth the question? The content is all in the staging file, which has no holes. Caller holds
 * the inode's lock. */
bool film_hint_wanted(const struct fs *fs, const struct inode *inode);
/* Blocks, for seconds at worst; on a thread of films_workers(). NULL: destage it as any other file.
 * `over` may end it early. */
struct film_plan *film_hint(struct fs *fs, struct inode *inode, bool (*over)(void *arg), void *arg);
#endif
