// SPDX-License-Identifier: MIT
/* s3_answer: what came of a request to an object store.
 *
 * err is 0 or one of these; whatever is not listed is -EIO, the server's own trouble that did not pass.
 *   -ENOENT      no such object                -EACCES       denied, wrong keys, or the clock is wrong
 *   -ENXIO       no such bucket                -EKEYEXPIRED  the credentials have expired
 *   -EEXIST      if_none_match: it exists      -EPROTO       not what S3 answers: length, range, XML, TLS
 *   -ESTALE      if_match: not this one        -EFBIG        longer than the caller takes
 *   -ETIMEDOUT   time is up                    -ENOSPC       a quota, or the server's disks are full
 *   -EAGAIN      429, 503: too busy            -EOPNOTSUPP   the server doesn't know such a request
 *   -ECONNREFUSED, -ECONNRESET, -EHOSTUNREACH  no connection, it broke, no such host
 *   -EREMOTEIO   archived: it has to be restored first      -ECANCELED, -ENOMEM
 */
#ifndef FOLDFS_S3_ANSWER_H
#define FOLDFS_S3_ANSWER_H
#include <stdint.h>

#define S3_ETAG_MAX 80
#define S3_TEXT_MAX 1536
#define S3_CODE_MAX 64
#define S3_META_MAX 6

struct s3_meta { /* x-amz-meta-NAME: VALUE */
	char name[32], value[128];
};

struct s3_entry {
	const char *key; /* the place's prefix taken off */
	uint64_t size;
	int64_t mtime_s; /* S3_ABORT_OLD: when the upload was begun */
};

struct s3_answer {
	int err;
	unsigned status;	/* HTTP's; 0: there was no answer */
	uint64_t size;		/* GET, READ, HEAD: of the whole object */
	uint64_t count;		/* GET: bytes; LIST: objects told; ABORT_OLD: uploads removed */
	int64_t mtime_s;	/* 0: not told */
	char etag[S3_ETAG_MAX]; /* as if_match wants it; empty: not told */
	struct s3_meta meta[S3_META_MAX];
	unsigned n_meta;
	char code[S3_CODE_MAX]; /* S3's name of the error */
	char text
		[S3_TEXT_MAX]; /* err < 0: a sentence with operation, object, cause and what to do */
};
#endif
