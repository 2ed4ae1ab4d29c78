// SPDX-License-Identifier: MIT
#include "s3_call.h"
#include "cleanup.h"
#include "log.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ACTIVE_MAX 256u
#define HASHERS 4u
#define MIB ((uint64_t)1 << 20)
#define PART_MIN ((uint64_t)5 << 20) /* the server's rule for all parts but the last */
#define PART_MAX ((uint64_t)512 << 20)

void s3_defaults(struct s3_options *o)
{
	*o = (struct s3_options){
		.active = 32,
		.connect_ms = 10000,
		.stall_ms = 30000,
		.timeout_ms = 60000,
		.tries = 10,
		.backoff_ms = 100,
		.backoff_max_ms = 5000,
		.part_size = (uint64_t)16 << 20,
		.parts_active = 4,
	};
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_started;

static void start_curl(void)
{
	curl_started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int check_options(const struct s3_options *o, char error[S3_TEXT_MAX])
{
	const char *what = NULL;
	if (!o->active || o->active > ACTIVE_MAX)
		what = "between 1 and 256 requests can be under way at once";
	else if (o->part_size < PART_MIN || o->part_size > PART_MAX || o->part_size % MIB ||
		 !o->parts_active)
		what = "parts have 5 MiB to 512 MiB, whole ones, and at least one is under way";
	else if (!o->connect_ms || !o->stall_ms || !o->timeout_ms || !o->tries || !o->backoff_ms ||
		 !o->backoff_max_ms)
		what = "time limits, waits and tries must be more than 0";
	else if (o->ca && access(o->ca, R_OK))
		what = "the file of trusted certificates can't be read";
	if (!what)
		return 0;
	snprintf(error, S3_TEXT_MAX, "%.200s: %s.", o->place, what);
	return -EINVAL;
}

static int find_server(struct s3 *s3, const struct s3_options *o, char error[S3_TEXT_MAX])
{
	const char *region = o->region		 ? o->region
			     : *s3->creds.region ? s3->creds.region
						 : "us-east-1";
	const char *endpoint = o->endpoint	     ? o->endpoint
			       : *s3->creds.endpoint ? s3->creds.endpoint
						     : NULL;
	if (strlen(region) >= sizeof s3->region || strpbrk(region, ": /\r\n") || !*region) {
		snprintf(error, S3_TEXT_MAX, "'%.64s' can't be the name of a region.", region);
		return -EINVAL;
	}
	strcpy(s3->region, region);
	snprintf(s3->provider, sizeof s3->provider, "aws:amz:%s:s3", region);
	return s3_place_set_base(&s3->place, endpoint, region, o->style, error);
}

static int start(struct s3 *s3, char error[S3_TEXT_MAX])
{
	int r = workers_start("s3-hash", HASHERS, &s3->hashers);
	if (r == 0)
		r = s3_loop_start(s3);
	if (r < 0)
		snprintf(error, S3_TEXT_MAX, "%.200s: the client can't be started: %s.",
			 s3->place.text, strerror(-r));
	return r;
}

int s3_open(const struct s3_options *o, char error[S3_TEXT_MAX], struct s3 **ret_s3)
{
	struct s3 *s3 = calloc(1, sizeof *s3);
	pthread_once(&curl_once, start_curl);
	if (!s3 || curl_started) {
		free(s3);
		snprintf(error, S3_TEXT_MAX, "there is no memory for a client of %.200s.",
			 o->place);
		return -ENOMEM;
	}
	s3->opt = *o;
	pthread_mutex_init(&s3->lock, NULL);
	int r = s3_place_parse(o->place, error, &s3->place);
	if (r == 0)
		r = check_options(o, error);
	if (r == 0)
		r = s3_creds_load(error, &s3->creds);
	if (r == 0)
		r = find_server(s3, o, error);
	if (r == 0 && o->ca && !(s3->ca = strdup(o->ca)))
		r = -ENOMEM;
	if (r == 0)
		r = start(s3, error);
	if (r < 0) {
		s3_close(s3);
		return r;
	}
	s3->opt.place = s3->opt.endpoint = s3->opt.region = s3->opt.ca = NULL; /* not ours */
	*ret_s3 = s3;
	return 0;
}

void s3_quit(struct s3 *s3)
{
	atomic_store(&s3->quitting, true);
	curl_multi_wakeup(s3->multi);
}

void s3_close(struct s3 *s3)
{
	if (!s3)
		return;
	s3_loop_stop(s3);
	workers_stop(s3->hashers);
	s3_creds_wipe(&s3->creds);
	pthread_mutex_destroy(&s3->lock);
	free(s3->ca);
	free(s3);
}

void s3_totals(struct s3 *s3, struct s3_totals *ret_totals)
{
	SCOPED_LOCK(&s3->lock);
	*ret_totals = s3->totals;
}

void s3_task_cancel(struct s3_task *t)
{
	atomic_store(&t->cancelled, true);
	pthread_mutex_lock(&t->s3->lock);
	t->s3->cancels++;
	pthread_mutex_unlock(&t->s3->lock);
	curl_multi_wakeup(t->s3->multi);
}

void s3_task_end(struct s3_task *t, const struct s3_answer *answer)
{
	struct s3 *s3 = t->s3;
	struct s3_request *rq = t->rq;
	uint64_t told = rq->answer.count;
	rq->answer = *answer;
	if (rq->op == S3_LIST || rq->op == S3_ABORT_OLD)
		rq->answer.count = told;
	pthread_mutex_lock(&s3->lock);
	rq->own = NULL;
	s3->totals.requests++;
	s3->totals.failures += answer->err < 0;
	pthread_mutex_unlock(&s3->lock);
	free(t->state);
	free(t);
	rq->done(rq);
}

static bool key_fits(const struct s3 *s3, const char *key)
{
	return key && s3_key_valid(key) && strlen(key) + strlen(s3->place.prefix) <= S3_KEY_MAX;
}

/* NULL, or what is wrong with it. */
static const char *flaw_of(const struct s3 *s3, const struct s3_request *rq)
{
	bool prefix = rq->op == S3_LIST || rq->op == S3_ABORT_OLD;
	if (rq->op == S3_DELETE_MANY) {
		for (size_t i = 0; i < rq->n_keys; i++)
			if (!key_fits(s3, rq->keys[i]))
				return "a key of those to be deleted can't be one of an object";
	} else if (prefix ? !rq->key || strlen(rq->key) > S3_KEY_MAX / 2 : !key_fits(s3, rq->key)) {
		return "this can't be the key of an object";
	}
	if (rq->op == S3_GET && (!rq->len || !rq->into || rq->at + rq->len < rq->at))
		return "a range of no bytes can't be asked for";
	if (rq->op == S3_READ && !rq->whole)
		return "there is no buffer for the object";
	for (unsigned i = 0; i < rq->n_meta; i++)
		if (strpbrk(rq->meta[i].value, "\r\n") || !*rq->meta[i].value ||
		    !s3_key_valid(rq->meta[i].name))
			return "metadata must be of printable characters, and not empty";
	return NULL;
}

static int start_task(struct s3_task *t)
{
	switch (t->rq->op) {
	case S3_LIST:
		return s3_list_start(t);
	case S3_ABORT_OLD:
		return s3_orphans_start(t);
	case S3_DELETE_MANY:
		return s3_delete_start(t);
	case S3_PUT:
		if (t->rq->source.len > t->s3->opt.part_size)
			return s3_multipart_start(t);
		return s3_object_start(t);
	default:
		return s3_object_start(t);
	}
}

static int refuse(struct s3 *s3, struct s3_request *rq, int err, const char *why)
{
	rq->answer.err = err;
	snprintf(rq->answer.text, sizeof rq->answer.text, "%.600s/%.600s: %s.", s3->place.text,
		 rq->key ? rq->key : "", why);
	return err;
}

int s3_submit(struct s3 *s3, struct s3_request *rq)
{
	const char *flaw = flaw_of(s3, rq);
	memset(&rq->answer, 0, sizeof rq->answer);
	rq->own = NULL;
	if (flaw)
		return refuse(s3, rq, -EINVAL, flaw);
	if (atomic_load(&s3->quitting))
		return refuse(s3, rq, -ECANCELED, "cancelled");
	struct s3_task *t = calloc(1, sizeof *t);
	if (!t)
		return refuse(s3, rq, -ENOMEM, "there is no memory left");
	t->s3 = s3;
	t->rq = rq;
	rq->own = t;
	int r = start_task(t);
	if (r == 0)
		return 0;
	rq->own = NULL;
	free(t->state);
	free(t);
	return refuse(s3, rq, r, r == -ENOMEM ? "there is no memory left" : strerror(-r));
}

void s3_cancel(struct s3 *s3, struct s3_request *rq)
{
	pthread_mutex_lock(&s3->lock);
	if (rq->own) {
		atomic_store(&rq->own->cancelled, true);
		s3->cancels++;
	}
	pthread_mutex_unlock(&s3->lock);
	curl_multi_wakeup(s3->multi);
}

struct s3_waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void wake_waiter(struct s3_request *rq)
{
	struct s3_waiter *w = rq->waiter;
	SCOPED_LOCK(&w->lock);
	w->done = true;
	pthread_cond_signal(&w->cond);
}

int s3_run(struct s3 *s3, struct s3_request *rq)
{
	struct s3_waiter w = { .lock = PTHREAD_MUTEX_INITIALIZER,
			       .cond = PTHREAD_COND_INITIALIZER };
	assert(!pthread_equal(pthread_self(), s3->thread));
	rq->waiter = &w;
	rq->done = wake_waiter;
	int r = s3_submit(s3, rq);
	pthread_mutex_lock(&w.lock);
	while (r == 0 && !w.done)
		pthread_cond_wait(&w.cond, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.lock);
	return r < 0 ? r : rq->answer.err;
}
