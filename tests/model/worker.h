// SPDX-License-Identifier: MIT
/* worker: draws calls, runs each on both sides, and stops everybody at the first difference. */
#ifndef FOLDFS_WORKER_H
#define FOLDFS_WORKER_H
#include "model.h"

/* Runs options.steps calls of phase PHASE as worker NUMBER. 0, or 1 after a difference. */
int worker_run(unsigned number, uint64_t phase);
#endif
