// SPDX-License-Identifier: MIT
/* s3: a place in an object store, s3://bucket/prefix, which one thread asks for everybody.
 *
 * A request is filled in by its caller, submitted, and answered by one call of `done` on the client's thread,
 * which must not block there (it may submit more). Until then it and what it points to belong to the
 * client. Many are under way at once; what asks for bytes goes before what brings some.
 * What may succeed later is tried again: connections that break, stalls, 429, 500, 502, 503, 504, with
 * waits that grow and are random, or as long as Retry-After says, within the request's time limit.
 *
 * Keys are of [A-Za-z0-9._~/-], at most S3_KEY_MAX bytes with the place's prefix, which is put
 * before them and taken off again.
 */
#ifndef FOLDFS_S3_H
#define FOLDFS_S3_H
#include "bytes.h"
#include "s3_answer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define S3_KEY_MAX 1000

struct s3;
enum s3_style { S3_STYLE_AUTO, S3_STYLE_PATH, S3_STYLE_HOST };

struct s3_options {
	const char *place; /* s3://bucket or s3://bucket/prefix */
	const char
		*endpoint; /* https://host[:port]; NULL: AWS's variables and files, else Amazon's */
	const char *region;  /* NULL: the same, else us-east-1 */
	const char *ca;	     /* file with certificates that are trusted; NULL: the system's */
	enum s3_style style; /* AUTO: the bucket in the path, unless the endpoint is Amazon's */
	unsigned active;     /* requests under way at once */
	unsigned connect_ms; /* time limits: to connect; */
	unsigned stall_ms;   /* without a byte moving, in whole seconds; */
	unsigned timeout_ms; /* for a request with all its tries, and 4 s more per MiB it moves */
	unsigned tries;	     /* 1: nothing is tried again */
	unsigned backoff_ms, backoff_max_ms; /* the first wait at most, and any */
	uint64_t
		part_size; /* a longer object is uploaded in parts of this, whole MiB, at least 5 */
	unsigned parts_active; /* of one object at once */
};
void s3_defaults(struct s3_options *o);

/* Starts a client. Who it is comes from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or
 * the files of AWS_PROFILE, and is read again when the server finds it expired. Asks the server
 * nothing. -errno with a sentence: -EINVAL the options, -ENOKEY no credentials. */
int s3_open(const struct s3_options *o, char error[S3_TEXT_MAX], struct s3 **ret_s3);
/* From now on all requests, also those under way, end soon with -ECANCELED. Any thread. */
void s3_quit(struct s3 *s3);
/* Does that, and frees it. Not from `done`. NULL is fine. */
void s3_close(struct s3 *s3);

enum s3_op {
	S3_GET,		/* bytes at..at+len-1 of an object go to `into` */
	S3_READ,	/* a whole object of at most `len` bytes goes to `whole` */
	S3_HEAD,	/* only what an answer tells */
	S3_PUT,		/* the source becomes an object, visible as a whole or not at all */
	S3_DELETE,	/* also succeeds when there is none */
	S3_DELETE_MANY, /* keys[n_keys] */
	S3_LIST,	/* `each` object whose key begins with `key` */
	S3_ABORT_OLD,	/* uploads in parts below `key`, begun over `age_s` ago and not finished */
};

/* Bytes to send: from `at` on of `data`, else of what `read` brings, else of `fd`. They stay as they are
 * until `done`: data and files are read for the sum, for the wire, and for another try. */
struct s3_source {
	const void *data;
	/* Brings exactly these bytes, or -errno. Each of them once, in order, 1 MiB at a time; it may
	 * block. What it brings is kept in memory until it is sent: parts_active + 1 parts at most. */
	int (*read)(void *arg, void *buf, size_t len, uint64_t at);
	void *arg;
	int fd;
	uint64_t at, len;
};

struct s3_request {
	enum s3_op op;
	const char *key;
	uint64_t at;	   /* GET */
	void *into;	   /* GET */
	size_t len;	   /* GET, READ */
	bool may_be_short; /* GET: the object may end before, answer.count says; else -EPROTO */
	struct buf *whole; /* READ; the caller's to free */
	struct s3_source source;    /* PUT */
	const char *storage_class;  /* PUT; NULL: the bucket's */
	const struct s3_meta *meta; /* PUT */
	unsigned n_meta;
	bool if_none_match;	 /* PUT: only if there is no such object, else -EEXIST */
	const char *if_match;	 /* GET, PUT: only if this is its etag, else -ESTALE */
	const char *const *keys; /* DELETE_MANY */
	size_t n_keys;
	uint64_t age_s; /* ABORT_OLD */
	/* LIST, ABORT_OLD, on the client's thread; what is not 0 ends the request with that. */
	int (*each)(struct s3_request *rq, const struct s3_entry *entry);
	unsigned timeout_ms; /* 0: the client's */
	void (*done)(struct s3_request *rq);
	void *arg; /* the caller's */

	struct s3_answer answer;
	struct s3_task *own; /* these two are the client's */
	struct s3_waiter *waiter;
};

/* 0, or -EINVAL, -ENOMEM with a sentence in the answer; `done` is then not called. Any thread. */
int s3_submit(
	struct s3 *s3,
	struct s3_request *
		rq); /* Has it end soon, with -ECANCELED unless it is through. The request must live until this returns. */
void s3_cancel(struct s3 *s3, struct s3_request *rq);
/* Submits and waits; `done` is not used. Returns answer.err. Not from the client's thread. */
int s3_run(struct s3 *s3, struct s3_request *rq);

struct s3_totals {			    /* since it was opened, but for the last two */
	uint64_t requests, tries, failures; /* ended; sent to the server; ended with an error */
	uint64_t bytes_in, bytes_out, active, waiting;
};
void s3_totals(struct s3 *s3, struct s3_totals *ret_totals);
#endif
