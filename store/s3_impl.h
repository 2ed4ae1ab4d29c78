// SPDX-License-Identifier: MIT
/* s3_impl: the client's own structures. A request of s3.h becomes a task; a task makes calls. */
#ifndef FOLDFS_S3_IMPL_H
#define FOLDFS_S3_IMPL_H
#include "s3.h"
#include "s3_creds.h"
#include "s3_url.h"
#include "workers.h"
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

struct s3_call;

struct s3_calls { /* a list, the oldest first */
	struct s3_call *first, *last;
	unsigned n;
};

struct s3 {
	struct s3_options opt;
	struct s3_place place;
	char endpoint[512], region[64], provider[96]; /* provider: what curl wants to sign for */
	char *ca;
	atomic_bool quitting, stopping; /* all calls end; the thread does */
	struct workers *hashers;
	pthread_t thread;
	CURLM *multi;

	pthread_mutex_t lock;
	struct s3_calls incoming;
	unsigned cancels; /* tasks newly cancelled */
	struct s3_totals totals;

	/* the thread's own */
	struct s3_creds creds;
	unsigned creds_version;
	uint64_t creds_read_ms;
	struct s3_calls waiting[2]; /* those that bring bytes to a reader, and all others */
	struct s3_calls resting, active;
	unsigned sending; /* of the active, those of the second kind */
	CURL **spare;
	unsigned spares;
};

struct s3_task {
	struct s3 *s3;
	struct s3_request *rq;
	atomic_bool cancelled;
	void *state; /* the operation's own; freed with the task */
};

/* The operations. Each makes calls and ends its task with s3_task_end(), once. 0, or -errno and the
 * task is still the caller's. */
int s3_object_start(struct s3_task *t);
int s3_list_start(struct s3_task *t);
int s3_delete_start(struct s3_task *t);
int s3_multipart_start(struct s3_task *t);
int s3_orphans_start(struct s3_task *t);

/* On the client's thread: gives the request its answer and frees the task. */
void s3_task_end(struct s3_task *t, const struct s3_answer *answer);
/* Has all calls of a task end, but for those that are persistent. Any thread. */
void s3_task_cancel(struct s3_task *t);

/* The loop: runs calls until s3_loop_stop(), which ends what is left with -ECANCELED. */
int s3_loop_start(struct s3 *s3);
void s3_loop_stop(struct s3 *s3);
#endif
