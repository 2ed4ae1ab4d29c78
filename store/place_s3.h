// SPDX-License-Identifier: MIT
/* place_s3: packs in a bucket, s3://bucket/prefix, under packs/; the label lies beside them. */
#ifndef FOLDFS_PLACE_S3_H
#define FOLDFS_PLACE_S3_H
#include "place.h"
#include "s3.h"

/* Asks the server nothing. `storage_class`: of the packs, NULL: the bucket's. -errno with a sentence.
 * There are no descriptors (open_pack is NULL) and there is no end of room. lock() keeps nobody away: a
 * bucket has no locks, and what stands for them (if_match) needs an owner who renews it. */
int place_s3_open(const struct s3_options *opt, const char *storage_class, char why[S3_TEXT_MAX],
		  struct place **ret_place);
#endif
