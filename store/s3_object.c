// SPDX-License-Identifier: MIT
/* Requests for one object that are one call: GET, READ, HEAD, DELETE, and PUT of what is not too long. */
#include "s3_call.h"
#include "s3_nonce.h"
#include "s3_object.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct put {
	struct s3_nonce nonce;
	struct s3_answer refused;
};

bool s3_object_headers(struct s3_call *c, const struct s3_request *rq)
{
	char name[64];
	bool good =
		!rq->storage_class || s3_call_header(c, "x-amz-storage-class", rq->storage_class);
	for (unsigned i = 0; good && i < rq->n_meta; i++) {
		snprintf(name, sizeof name, "x-amz-meta-%s", rq->meta[i].name);
		good = s3_call_header(c, name, rq->meta[i].value);
	}
	return good;
}

/* Without its quotes when writing: radosgw 16 compares them, too, and Amazon takes it either way. */
static bool add_if_match(struct s3_call *c, const struct s3_request *rq)
{
	char etag[S3_ETAG_MAX];
	size_t len = strlen(rq->if_match);
	if (rq->op != S3_PUT || len < 2 || rq->if_match[0] != '"' || len >= sizeof etag)
		return s3_call_header(c, "If-Match", rq->if_match);
	snprintf(etag, sizeof etag, "%.*s", (int)len - 2, rq->if_match + 1);
	return s3_call_header(c, "If-Match", etag);
}

bool s3_object_conditions(struct s3_call *c, const struct s3_request *rq)
{
	c->if_none_match = rq->if_none_match;
	return (!rq->if_none_match || s3_call_header(c, "If-None-Match", "*")) &&
	       (!rq->if_match || add_if_match(c, rq));
}

static void plain_done(struct s3_call *c)
{
	struct s3_request *rq = c->task->rq;
	if (rq->op == S3_READ && c->answer.err == 0) {
		buf_done(rq->whole);
		*rq->whole = c->text;
		c->text = (struct buf){ 0 };
	}
	s3_task_end(c->task, &c->answer);
}

static void head_done(struct s3_call *c)
{
	struct put *put = c->task->state;
	struct s3_answer a = put->refused;
	if (s3_nonce_is_in(&put->nonce, &c->answer))
		a = c->answer;
	s3_task_end(c->task, &a);
}

static void put_done(struct s3_call *c)
{
	struct put *put = c->task->state;
	struct s3_call *head = NULL;
	if (put && c->unsure && (c->answer.err == -EEXIST || c->answer.err == -ESTALE))
		head = s3_call_new(c->task, "HEAD", c->task->rq->key, NULL);
	if (!head) {
		s3_task_end(c->task, &c->answer);
		return;
	}
	put->refused = c->answer;
	head->urgent = true;
	head->done = head_done;
	s3_call_start(head);
}

static bool fill_put(struct s3_task *t, struct s3_call *c)
{
	struct s3_request *rq = t->rq;
	c->body = rq->source;
	c->done = put_done;
	if (!s3_object_headers(c, rq) || !s3_object_conditions(c, rq))
		return false;
	if (!rq->if_none_match && !rq->if_match)
		return true;
	struct put *put = t->state = calloc(1, sizeof *put);
	return put && s3_nonce_make(&put->nonce) == 0 && s3_nonce_add(&put->nonce, c);
}

static bool fill(struct s3_task *t, struct s3_call *c)
{
	struct s3_request *rq = t->rq;
	c->done = plain_done;
	c->urgent = rq->op == S3_GET || rq->op == S3_READ || rq->op == S3_HEAD;
	c->absent_is_fine = rq->op == S3_DELETE;
	if (rq->op == S3_PUT)
		return fill_put(t, c);
	if (rq->op == S3_GET) {
		c->into = rq->into;
		c->at = rq->at;
		c->len = rq->len;
		c->may_be_short = rq->may_be_short;
	}
	if (rq->op == S3_READ)
		c->limit = rq->len;
	return s3_object_conditions(c, rq);
}

int s3_object_start(struct s3_task *t)
{
	static const char *const methods[] = { [S3_GET] = "GET",
					       [S3_READ] = "GET",
					       [S3_HEAD] = "HEAD",
					       [S3_PUT] = "PUT",
					       [S3_DELETE] = "DELETE" };
	struct s3_call *c = s3_call_new(t, methods[t->rq->op], t->rq->key, NULL);
	if (!c || !fill(t, c)) {
		s3_call_free(c);
		return -ENOMEM;
	}
	s3_call_start(c);
	return 0;
}
