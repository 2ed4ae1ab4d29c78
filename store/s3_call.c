// SPDX-License-Identifier: MIT
#include "s3_call.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SHA256_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static char *object_name(const struct s3_place *p, const char *key)
{
	char *name = NULL;
	if (asprintf(&name, "%s%s%s", p->text, key ? "/" : "", key ? key : "") < 0)
		return NULL;
	return name;
}

struct s3_call *s3_call_new(struct s3_task *t, const char *method, const char *key,
			    const struct buf *query)
{
	struct s3_call *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->task = t;
	c->s3 = t->s3;
	c->method = method;
	c->timeout_ms = t->rq->timeout_ms ? t->rq->timeout_ms : t->s3->opt.timeout_ms;
	c->limit = (uint64_t)64 << 10;
	snprintf(c->what, sizeof c->what, "%s", method);
	strcpy(c->sha256, SHA256_OF_NOTHING);
	c->url = s3_url_make(&t->s3->place, key, query);
	c->object = object_name(&t->s3->place, key);
	if (c->url && c->object)
		return c;
	s3_call_free(c);
	return NULL;
}

void s3_call_free(struct s3_call *c)
{
	if (!c)
		return;
	curl_slist_free_all(c->headers);
	curl_slist_free_all(c->signed_headers);
	buf_done(&c->own_body);
	buf_done(&c->text);
	free(c->url);
	free(c->object);
	free(c);
}

bool s3_call_add(struct curl_slist **headers, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*headers, line);
	if (longer)
		*headers = longer;
	return longer;
}

bool s3_call_header(struct s3_call *c, const char *name, const char *value)
{
	char *line = NULL;
	bool added = asprintf(&line, "%s: %s", name, value) >= 0 && s3_call_add(&c->headers, line);
	free(line);
	return added;
}

static void hash_body(struct job *job)
{
	struct s3_call *c = (struct s3_call *)job;
	bool moot = atomic_load(&c->task->cancelled) || atomic_load(&c->s3->quitting);
	int r = moot ? -ECANCELED : s3_hash_source(&c->body, &c->own_body, c->sha256);
	if (r == -ENODATA)
		s3_judge_fail(c, r, "the file to be uploaded is shorter than it should be");
	else if (r == -ECANCELED)
		s3_judge_fail(c, r, "cancelled");
	else if (r < 0)
		s3_judge_fail(c, r, "the bytes to be uploaded can't be read (%s)", strerror(-r));
	s3_loop_take(c);
}

void s3_call_start(struct s3_call *c)
{
	if (c->own_body.len)
		c->body = (struct s3_source){ .data = c->own_body.data, .len = c->own_body.len };
	c->hashing.run = hash_body;
	if (c->body.len)
		workers_queue(c->s3->hashers, &c->hashing);
	else
		s3_loop_take(c);
}
