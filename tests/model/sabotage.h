// SPDX-License-Identifier: MIT
/* sabotage: makes the target wrong on purpose, to show that the model notices (MODEL_BREAK). */
#ifndef FOLDFS_SABOTAGE_H
#define FOLDFS_SABOTAGE_H
#include "model.h"

/* Alters the call that the target is about to get, if options.sabotage names its kind and enough calls
 * have gone by. Returns whether the target shall not get it at all. */
bool sabotage(struct call *call, uint64_t step);
/* Comma-separated names of what can be broken. */
void sabotage_list(FILE *out);
#endif
