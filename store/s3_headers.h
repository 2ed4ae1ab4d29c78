// SPDX-License-Identifier: MIT
/* s3_headers: what the head of an HTTP answer says, line by line. The lines are a stranger's bytes. */
#ifndef FOLDFS_S3_HEADERS_H
#define FOLDFS_S3_HEADERS_H
#include "s3_answer.h"
#include <stdbool.h>
#include <stddef.h>

struct s3_headers {
	unsigned status; /* 0: there was no valid status line */
	bool has_length, has_range;
	uint64_t length;	  /* Content-Length */
	uint64_t first, last, of; /* Content-Range: bytes first-last/of */
	unsigned retry_after_s;
	int64_t date_s, mtime_s; /* 0: not told */
	char etag[S3_ETAG_MAX], region[64];
	struct s3_meta meta[S3_META_MAX]; /* what has room here; the rest is left out */
	unsigned n_meta;
};

/* A status line starts anew: only the last head counts, as after `100 Continue`. The line may end with
 * CR LF. What makes no sense is left out. */
void s3_headers_line(struct s3_headers *h, const char *line, size_t len);
#endif
