// SPDX-License-Identifier: MIT
/* s3_object: the headers of requests that make an object. False: no memory. */
#ifndef FOLDFS_S3_OBJECT_H
#define FOLDFS_S3_OBJECT_H
#include "s3_call.h"

bool s3_object_headers(struct s3_call *c, const struct s3_request *rq); /* what stays with it */
bool s3_object_conditions(struct s3_call *c, const struct s3_request *rq);
#endif
