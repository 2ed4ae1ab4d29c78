// SPDX-License-Identifier: MIT
/* s3_call: one HTTP request to the object store, tried until it is answered or its time is up.
 *
 * An operation fills in what is asked and starts the call. The client's thread alone runs it
 * (s3_loop.c), tells its answer by `done` and frees it after that.
 */
#ifndef FOLDFS_S3_CALL_H
#define FOLDFS_S3_CALL_H
#include "s3_headers.h"
#include "s3_impl.h"

#define S3_SHA256_HEX 64

struct s3_call {
	struct job hashing; /* first */
	struct s3_task *task;
	struct s3 *s3;

	/* what is asked */
	const char *method;
	char what[40];		    /* as messages call it */
	char *url, *object;	    /* `object`: as messages call it */
	struct curl_slist *headers; /* beside those of the signature */
	struct s3_source body;	    /* of PUT and POST */
	struct buf own_body;	    /* where the body lies, if it is the call's own */
	char sha256[S3_SHA256_HEX + 1];
	void *into; /* exactly `len` bytes from `at` on are wanted there; else NULL */
	uint64_t at, len;
	bool may_be_short; /* fewer, where the object ends */
	struct buf text;   /* the answer's body, at most `limit` bytes; of an error, always */
	uint64_t limit;
	bool urgent;	    /* somebody waits for these bytes */
	bool persistent;    /* also made when its task is cancelled */
	bool if_none_match; /* says what a 412 means */
	bool absent_is_fine;
	bool may_fail_late; /* 200 may come with an <Error> */
	unsigned timeout_ms;
	void (*hashed)(struct s3_call *call); /* NULL: nobody asks. The body was, or can't be */
	void (*done)(struct s3_call *call);
	void *arg;
	unsigned number;

	/* what came of it */
	struct s3_answer answer;
	bool unsure; /* a try before the last got no answer, and may have had its effect */

	/* the loop's own */
	struct s3_call *prev, *next;
	CURL *easy;
	struct curl_slist *signed_headers;
	struct s3_headers head;
	char curl_text[CURL_ERROR_SIZE];
	const char *flaw;   /* what is wrong with the answer or the body, noticed on the way */
	bool flaw_is_final; /* another try would bring the same */
	int flaw_err;
	bool creds_retried;
	unsigned creds_seen;	    /* which of them signed the last try */
	uint64_t got, sent, wanted; /* wanted: of the range, once the answer has begun */
	unsigned tries;
	uint64_t end_ms, due_ms; /* of clock_mono_ms(); due: when it may be tried again */
};

/* key NULL: the bucket. NULL: no memory. */
struct s3_call *s3_call_new(struct s3_task *t, const char *method, const char *key,
			    const struct buf *query);
void s3_call_free(struct s3_call *c);
/* Both false: no memory. */
bool s3_call_header(struct s3_call *c, const char *name, const char *value);
bool s3_call_add(struct curl_slist **headers, const char *line);
void s3_call_start(struct s3_call *c); /* any thread; it will be told, and freed */

void s3_loop_take(struct s3_call *c); /* any thread: a call whose body is hashed */

/* Makes curl ready for the call's next try. 0 or -ENOMEM. */
int s3_exchange_begin(struct s3_call *c, uint64_t now_ms);

/* What a try came to: fills in the call's answer. True: another try may bring more; *ret_wait_ms is
 * then how long the server wants to be left alone (0: it does not say). */
bool s3_judge(struct s3_call *c, CURLcode code, uint64_t *ret_wait_ms);
/* The answer to a call that came to its end without the server: one sentence about it. */
void s3_judge_fail(struct s3_call *c, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Exactly these bytes of data or a file, `at` counted from the source's own. -ENODATA: it is too short. */
int s3_source_read(const struct s3_source *s, void *buf, size_t len, uint64_t at);
/* Reads and hashes a source; what a `read` brings is kept, and is the source then. -errno of the reading. */
int s3_hash_source(struct s3_source *source, struct buf *kept, char ret_hex[S3_SHA256_HEX + 1]);
#endif
