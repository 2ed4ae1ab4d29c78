// SPDX-License-Identifier: MIT
/* outcome: whether two results mean the same, and how to say that they do not. */
#ifndef FOLDFS_OUTCOME_H
#define FOLDFS_OUTCOME_H
#include "model.h"

/* Equal result, errno and bytes; equal attributes if the call brought some. */
bool outcomes_agree(struct playground *playground, const struct call *call,
		    const struct outcome out[SIDES], char *why, size_t why_size);
/* Compares what users see of an inode. Times: equal, or both made in one run by one call. */
bool stats_agree(const struct stat *target, const struct stat *reference, char *why,
		 size_t why_size);
/* "ret=-1 ENOENT" */
void outcome_text(const struct outcome *out, char *text, size_t size);
/* "pwrite(slot=3, off=4096, len=10, seed=77) as 0" */
void call_text(const struct call *call, char *text, size_t size);
#endif
