// SPDX-License-Identifier: MIT
/* repair_labels: labels of tiers' places that are damaged or gone. */
#ifndef FOLDFS_REPAIR_LABELS_H
#define FOLDFS_REPAIR_LABELS_H
#include "pool.h"

/* One sentence for each that is wrong; returns how many could be written anew. Of the others, which cannot
 * be told to be this pool's, `refused` is told: they are as absent. */
unsigned repair_labels_look(struct pool *pool, void (*error)(void *arg, const char *sentence),
			    void (*refused)(void *arg, const char *sentence), void *arg);
/* Writes these anew, says so, and returns how many that were. */
unsigned repair_labels(struct pool *pool, void (*done)(void *arg, const char *sentence), void *arg);
#endif
