// SPDX-License-Identifier: MIT
/* Uploads in parts that nobody finished: their parts take room, and no list of objects shows them. They
 * are told by the server with the time they were begun, which is compared with the server's own clock.
 * One page at a time, and one upload after the other: nobody waits for that.
 */
#include "s3_call.h"
#include "s3_page.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAGES_MAX 1000000u /* a server that never comes to an end */

struct sweep {
	struct s3_page page;
	size_t next;
	unsigned pages;
	int64_t begun_before_s;
	char text[S3_KEY_MAX + S3_KEY_MAX];
};

static void page_done(struct s3_call *c);
static void abort_done(struct s3_call *c);

static void end(struct s3_task *t, struct s3_call *c)
{
	struct sweep *s = t->state;
	s3_page_done(&s->page);
	s3_task_end(t, &c->answer);
}

static int ask_page(struct s3_task *t)
{
	struct sweep *s = t->state;
	struct buf query = { 0 };
	s3_query_add(&query, "encoding-type", "url");
	if (s->page.truncated)
		s3_query_add(&query, "key-marker", s->page.key_marker);
	s3_query_add(&query, "prefix", s->text);
	if (s->page.truncated && s->page.upload_marker)
		s3_query_add(&query, "upload-id-marker", s->page.upload_marker);
	s3_query_add(&query, "uploads", "");
	struct s3_call *c = query.failed ? NULL : s3_call_new(t, "GET", NULL, &query);
	buf_done(&query);
	if (!c)
		return -ENOMEM;
	snprintf(c->what, sizeof c->what, "LIST of uploads");
	c->limit = S3_PAGE_BYTES_MAX;
	c->done = page_done;
	s3_call_start(c);
	return 0;
}

static int ask_abort(struct s3_task *t, const struct s3_page_entry *e)
{
	struct buf query = { 0 };
	s3_query_add(&query, "uploadId", e->upload_id);
	struct s3_call *c =
		query.failed
			? NULL
			: s3_call_new(t, "DELETE", e->key + strlen(t->s3->place.prefix), &query);
	buf_done(&query);
	if (!c)
		return -ENOMEM;
	snprintf(c->what, sizeof c->what, "abort of an upload");
	c->absent_is_fine = true;
	c->done = abort_done;
	s3_call_start(c);
	return 0;
}

/* Ours, and old? Others may use the bucket, too, and keys that we never would. */
static bool is_orphan(const struct s3_task *t, const struct s3_page_entry *e)
{
	const struct sweep *s = t->state;
	return !strncmp(e->key, s->text, strlen(s->text)) && s3_key_valid(e->key) && e->mtime_s &&
	       e->mtime_s < s->begun_before_s;
}

/* 1: a call is under way. 0: this was all. */
static int go_on(struct s3_task *t)
{
	struct sweep *s = t->state;
	for (; s->next < s->page.n; s->next++)
		if (is_orphan(t, &s->page.entries[s->next]))
			return ask_abort(t, &s->page.entries[s->next]) < 0 ? -ENOMEM : 1;
	if (!s->page.truncated)
		return 0;
	return ask_page(t) < 0 ? -ENOMEM : 1;
}

static void go_on_or_end(struct s3_call *c)
{
	int r = c->answer.err ? 0 : go_on(c->task);
	if (r == 1)
		return;
	if (r < 0)
		s3_judge_fail(c, r, "there is no memory left");
	end(c->task, c);
}

static bool same_text(const char *a, const char *b)
{
	return !strcmp(a ? a : "", b ? b : "");
}

static void page_done(struct s3_call *c)
{
	struct sweep *s = c->task->state;
	if (!c->answer.err) {
		struct s3_page before = s->page;
		s->page = (struct s3_page){ 0 };
		s->next = 0;
		int64_t now_s = c->head.date_s ? c->head.date_s : (int64_t)time(NULL);
		s->begun_before_s = now_s - (int64_t)c->task->rq->age_s;
		int r = s3_page_read(
			slice_of(c->text.data ? (void *)c->text.data : "", c->text.len), &s->page);
		if (r == 0 && s->page.truncated &&
		    (!s->page.key_marker || ++s->pages == PAGES_MAX ||
		     (before.truncated && same_text(before.key_marker, s->page.key_marker) &&
		      same_text(before.upload_marker, s->page.upload_marker))))
			r = -EUCLEAN;
		s3_page_done(&before);
		if (r < 0)
			s3_judge_fail(c, r == -EUCLEAN ? -EPROTO : r,
				      "the server's list makes no sense");
	}
	go_on_or_end(c);
}

static void abort_done(struct s3_call *c)
{
	struct s3_task *t = c->task;
	struct sweep *s = t->state;
	const struct s3_page_entry *e = &s->page.entries[s->next];
	if (!c->answer.err) {
		struct s3_entry entry = { e->key + strlen(t->s3->place.prefix), 0, e->mtime_s };
		t->rq->answer.count++;
		int r = t->rq->each ? t->rq->each(t->rq, &entry) : 0;
		if (r)
			s3_judge_fail(c, r, "ended: %s", strerror(abs(r)));
	}
	s->next++;
	go_on_or_end(c);
}

int s3_orphans_start(struct s3_task *t)
{
	struct sweep *s = t->state = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	snprintf(s->text, sizeof s->text, "%s%s", t->s3->place.prefix, t->rq->key);
	return ask_page(t);
}
