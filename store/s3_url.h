// SPDX-License-Identifier: MIT
/* s3_url: s3://bucket/prefix and the addresses of what lies there. */
#ifndef FOLDFS_S3_URL_H
#define FOLDFS_S3_URL_H
#include "s3.h"

struct s3_place {
	char text[S3_KEY_MAX + 80];  /* s3://bucket/prefix, no slash at the end */
	char prefix[S3_KEY_MAX + 2]; /* empty, or with a slash at the end */
	char bucket[64];
	char base[512]; /* of the bucket: scheme, host and, in path style, /bucket */
};

/* -EINVAL with a sentence. Does not set the base. */
int s3_place_parse(const char *text, char error[S3_TEXT_MAX], struct s3_place *ret_place);
/* endpoint NULL: Amazon's in that region. -EINVAL with a sentence. */
int s3_place_set_base(struct s3_place *p, const char *endpoint, const char *region,
		      enum s3_style style, char error[S3_TEXT_MAX]);

/* Is it one that needs no encoding in any place, with none of its parts empty, `.` or `..`? */
bool s3_key_valid(const char *key);

/* Adds NAME=VALUE, percent-encoded. Names must come sorted: so they are signed. */
void s3_query_add(struct buf *query, const char *name, const char *value);
/* The address of a key (NULL: of the bucket), with the query unless that is NULL or empty.
 * The caller frees; NULL: no memory. */
char *s3_url_make(const struct s3_place *p, const char *key, const struct buf *query);
#endif
