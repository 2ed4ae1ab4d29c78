// SPDX-License-Identifier: MIT
/* s3_nonce: whose conditional PUT was it that succeeded?
 *
 * A PUT with a condition whose answer got lost is sent again and finds the condition not met: by what
 * it wrote itself, or by what another wrote? So it carries a random number as metadata, and whoever
 * then asks for the object's head knows.
 */
#ifndef FOLDFS_S3_NONCE_H
#define FOLDFS_S3_NONCE_H
#include "s3_call.h"

#define S3_NONCE_META "foldfs-put"

struct s3_nonce {
	char hex[33];
};

int s3_nonce_make(struct s3_nonce *ret_nonce);			/* 0 or -errno */
bool s3_nonce_add(const struct s3_nonce *n, struct s3_call *c); /* false: no memory */
bool s3_nonce_is_in(const struct s3_nonce *n, const struct s3_answer *head);
#endif
