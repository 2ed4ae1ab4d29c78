// SPDX-License-Identifier: MIT
/* s3_page: one page of a list of objects (ListObjectsV2) or of unfinished uploads. */
#ifndef FOLDFS_S3_PAGE_H
#define FOLDFS_S3_PAGE_H
#include "bytes.h"

#define S3_PAGE_BYTES_MAX ((size_t)8 << 20)
#define S3_PAGE_ENTRIES_MAX 10000u

struct s3_page_entry {
	char *key;
	char *upload_id; /* of an upload; else NULL */
	uint64_t size;
	int64_t mtime_s; /* an upload: when it was begun */
};

struct s3_page {
	struct s3_page_entry *entries;
	size_t n, cap;
	bool truncated;
	char *token;			  /* what the next page is asked for with; */
	char *key_marker, *upload_marker; /* of uploads */
};

/* -EUCLEAN: no such page, or one that names no way to the next; -ENOMEM. s3_page_done() in any case. */
int s3_page_read(struct slice doc, struct s3_page *page);
void s3_page_done(struct s3_page *page);
#endif
