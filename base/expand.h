// SPDX-License-Identifier: MIT
/* What was compressed with zstd, whose length is known. */
#ifndef FOLDFS_BASE_EXPAND_H
#define FOLDFS_BASE_EXPAND_H

#include "bytes.h"

/* -EUCLEAN unless IN expands to exactly LEN bytes; -ENOMEM says nothing of the bytes. */
int expand_exact(void *out, size_t len, struct slice in);

#endif
