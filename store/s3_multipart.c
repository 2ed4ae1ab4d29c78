// SPDX-License-Identifier: MIT
/* A long object goes up in parts, some at once, and becomes visible as a whole when the upload is
 * completed. What fails removes its parts; what is killed leaves them to S3_ABORT_OLD.
 *
 *	[HEAD]  create  part part part ...  complete  [HEAD]
 *	                     `--- failed: abort
 *
 * With if_none_match the first HEAD saves an upload that would come to nothing; what decides is the
 * condition of `complete`, on servers that know it there (radosgw 16 does not). The last HEAD tells
 * whether a `complete` that got no answer has had its effect (s3_nonce.h).
 */
#include "s3_call.h"
#include "s3_nonce.h"
#include "s3_object.h"
#include "s3_xml.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTS_MAX 10000u
#define UPLOAD_ID_MAX 1024
#define MIB ((uint64_t)1 << 20)

struct upload {
	struct s3_nonce nonce;
	char id[UPLOAD_ID_MAX];
	uint64_t part_size;
	unsigned n_parts, next_part, active; /* parts: from 1 on */
	bool reading;		  /* a part, by the caller's `read`: one after the other */
	struct s3_answer failure; /* err: the upload is lost */
	char etags[][S3_ETAG_MAX];
};

static void begin_parts(struct s3_task *t);

/* A call about this upload; `number`: of a part, or 0. NULL: no memory. */
static struct s3_call *new_call(struct s3_task *t, const char *method, unsigned number)
{
	const struct upload *u = t->state;
	struct buf query = { 0 };
	char text[16];
	snprintf(text, sizeof text, "%u", number);
	if (number)
		s3_query_add(&query, "partNumber", text);
	if (*u->id)
		s3_query_add(&query, "uploadId", u->id);
	else
		s3_query_add(&query, "uploads", "");
	struct s3_call *c = query.failed ? NULL : s3_call_new(t, method, t->rq->key, &query);
	buf_done(&query);
	return c;
}

static void fail_memory(struct s3_task *t)
{
	struct upload *u = t->state;
	if (!u->failure.err)
		u->failure = (struct s3_answer){ .err = -ENOMEM,
						 .text = "There is no memory left for an upload." };
}

static void abort_done(struct s3_call *c)
{
	struct upload *u = c->task->state;
	struct s3_answer a = u->failure;
	s3_task_end(c->task, &a);
}

/* When the last call has ended: removes the parts, whatever the task's state, and ends it. */
static void give_up(struct s3_task *t)
{
	struct upload *u = t->state;
	struct s3_call *c = *u->id ? new_call(t, "DELETE", 0) : NULL;
	if (!c) {
		struct s3_answer a = u->failure;
		s3_task_end(t, &a);
		return;
	}
	snprintf(c->what, sizeof c->what, "abort of an upload");
	c->absent_is_fine = true;
	c->persistent = true;
	c->done = abort_done;
	s3_call_start(c);
}

static void check_done(struct s3_call *c)
{
	struct upload *u = c->task->state;
	if (s3_nonce_is_in(&u->nonce, &c->answer))
		s3_task_end(c->task, &c->answer);
	else
		give_up(c->task);
}

/* A status alone is no promise: it is sent before the server has done the work. */
static bool is_completed(struct slice doc)
{
	char text[S3_XML_TEXT_MAX];
	return s3_xml_text(doc, "CompleteMultipartUploadResult", text, sizeof text) == 0;
}

static void complete_done(struct s3_call *c)
{
	struct s3_task *t = c->task;
	struct upload *u = t->state;
	struct slice doc = slice_of(c->text.data ? (void *)c->text.data : "", c->text.len);
	if (!c->answer.err && is_completed(doc)) {
		c->answer.etag[0] = 0;
		s3_xml_text(doc, "CompleteMultipartUploadResult/ETag", c->answer.etag, S3_ETAG_MAX);
		s3_task_end(t, &c->answer);
		return;
	}
	if (!c->answer.err) {
		s3_judge_fail(c, -EPROTO, "the server's answer makes no sense");
		c->unsure = true;
	}
	u->failure = c->answer;
	int err = c->answer.err;
	struct s3_call *head = NULL;
	if (c->unsure && (err == -ENOENT || err == -EEXIST || err == -ESTALE || err == -EPROTO))
		head = s3_call_new(t, "HEAD", t->rq->key, NULL);
	if (!head) {
		give_up(t);
		return;
	}
	head->done = check_done;
	s3_call_start(head);
}

static void complete(struct s3_task *t)
{
	struct upload *u = t->state;
	struct s3_call *c = new_call(t, "POST", 0);
	char part[S3_ETAG_MAX + 96];
	if (!c || !s3_object_conditions(c, t->rq))
		goto fail;
	buf_put(&c->own_body, "<CompleteMultipartUpload>", 25);
	for (unsigned i = 1; i <= u->n_parts; i++) {
		int n = snprintf(part, sizeof part,
				 "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", i,
				 u->etags[i - 1]);
		buf_put(&c->own_body, part, (size_t)n);
	}
	buf_put(&c->own_body, "</CompleteMultipartUpload>", 26);
	if (c->own_body.failed)
		goto fail;
	snprintf(c->what, sizeof c->what, "completion of an upload");
	c->may_fail_late = true;
	c->done = complete_done;
	s3_call_start(c);
	return;
fail:
	s3_call_free(c);
	fail_memory(t);
	give_up(t);
}

/* ETags go into XML. */
static bool etag_valid(const char *etag)
{
	return *etag && !strpbrk(etag, "<>&");
}

static void part_done(struct s3_call *c)
{
	struct s3_task *t = c->task;
	struct upload *u = t->state;
	u->active--;
	if (!c->answer.err && !etag_valid(c->answer.etag))
		s3_judge_fail(c, -EPROTO, "the server gave a part no valid ETag");
	if (c->answer.err && !u->failure.err) {
		u->failure = c->answer;
		s3_task_cancel(t); /* of the other parts nothing is wanted any more */
	}
	if (!c->answer.err)
		strcpy(u->etags[c->number - 1], c->answer.etag);
	begin_parts(t);
}

static void part_hashed(struct s3_call *c)
{
	struct upload *u = c->task->state;
	u->reading = false;
	if (!c->answer.err)
		begin_parts(c->task); /* this one is active still: that ends nothing */
}

static bool begin_part(struct s3_task *t, unsigned number)
{
	struct upload *u = t->state;
	const struct s3_source *s = &t->rq->source;
	uint64_t from = (number - 1) * u->part_size, left = s->len - from;
	struct s3_call *c = new_call(t, "PUT", number);
	if (!c)
		return false;
	snprintf(c->what, sizeof c->what, "PUT of part %u of %u", number, u->n_parts);
	c->number = number;
	c->body = *s;
	c->body.at = s->at + from;
	c->body.len = left < u->part_size ? left : u->part_size;
	c->done = part_done;
	if (!s->data && s->read) {
		c->hashed = part_hashed;
		u->reading = true;
	}
	u->active++;
	s3_call_start(c);
	return true;
}

static void begin_parts(struct s3_task *t)
{
	struct upload *u = t->state;
	while (!u->failure.err && !u->reading && u->next_part <= u->n_parts &&
	       u->active < t->s3->opt.parts_active)
		if (!begin_part(t, u->next_part++))
			fail_memory(t);
	if (u->active)
		return;
	if (u->failure.err)
		give_up(t);
	else
		complete(t);
}

static void create_done(struct s3_call *c)
{
	struct s3_task *t = c->task;
	struct upload *u = t->state;
	struct slice doc = slice_of(c->text.data ? (void *)c->text.data : "", c->text.len);
	if (!c->answer.err &&
	    (s3_xml_text(doc, "InitiateMultipartUploadResult/UploadId", u->id, sizeof u->id) < 0 ||
	     !*u->id)) {
		u->id[0] = 0;
		s3_judge_fail(c, -EPROTO, "the server gave the upload no name");
	}
	if (c->answer.err)
		s3_task_end(t, &c->answer);
	else
		begin_parts(t);
}

static int create(struct s3_task *t)
{
	struct upload *u = t->state;
	struct s3_call *c = new_call(t, "POST", 0);
	if (!c || !s3_object_headers(c, t->rq) || !s3_nonce_add(&u->nonce, c)) {
		s3_call_free(c);
		return -ENOMEM;
	}
	snprintf(c->what, sizeof c->what, "start of an upload");
	c->done = create_done;
	s3_call_start(c);
	return 0;
}

static void exists_done(struct s3_call *c)
{
	if (c->answer.err == 0)
		s3_judge_fail(c, -EEXIST, "there is such an object already; it is left as it is");
	if (c->answer.err == -ENOENT) {
		if (create(c->task) == 0)
			return;
		s3_judge_fail(c, -ENOMEM, "there is no memory left");
	}
	s3_task_end(c->task, &c->answer);
}

int s3_multipart_start(struct s3_task *t)
{
	uint64_t size = t->s3->opt.part_size, len = t->rq->source.len;
	if (len / PARTS_MAX >= size)
		size = (len / PARTS_MAX + MIB) / MIB * MIB;
	unsigned n = (unsigned)((len + size - 1) / size);
	struct upload *u = t->state = calloc(1, sizeof *u + (size_t)n * S3_ETAG_MAX);
	if (!u || s3_nonce_make(&u->nonce) < 0)
		return -ENOMEM;
	u->part_size = size;
	u->n_parts = n;
	u->next_part = 1;
	if (!t->rq->if_none_match)
		return create(t);
	struct s3_call *c = s3_call_new(t, "HEAD", t->rq->key, NULL);
	if (!c)
		return -ENOMEM;
	c->done = exists_done;
	s3_call_start(c);
	return 0;
}
