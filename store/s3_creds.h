// SPDX-License-Identifier: MIT
/* s3_creds: who asks an object store, as AWS's own tools find it out.
 *
 * AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else the profile AWS_PROFILE
 * (`default`) in AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials), then in AWS_CONFIG_FILE
 * (~/.aws/config), where region and endpoint_url are found, too, unless AWS_REGION, AWS_DEFAULT_REGION,
 * AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL say. Roles and single sign-on are not known here.
 */
#ifndef FOLDFS_S3_CREDS_H
#define FOLDFS_S3_CREDS_H
#include "s3_answer.h"
#include <stdbool.h>

struct s3_creds {
	char key_id[256], secret[256], token[8192];
	char region[64], endpoint[256]; /* empty: not told */
	bool from_files;		/* the keys are; s3_creds_load() may find newer ones */
};

/* -ENOKEY: there are none; -EINVAL: half of a pair, or too long; or why a file can't be read. Says so
 * in a sentence that names files and variables, and nothing of what is in them. */
int s3_creds_load(char error[S3_TEXT_MAX], struct s3_creds *ret_creds);
bool s3_creds_equal(const struct s3_creds *a, const struct s3_creds *b); /* the same keys */
void s3_creds_wipe(struct s3_creds *c);
#endif
