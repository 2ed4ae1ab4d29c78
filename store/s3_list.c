// SPDX-License-Identifier: MIT
/* A list comes in pages of up to 1000 keys; each is read as a whole before the first key of it is told,
 * so that a page that has to be asked for again tells nothing twice.
 */
#include "s3_call.h"
#include "cleanup.h"
#include "s3_page.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGES_MAX 1000000u /* a server that never comes to an end */

struct listing {
	unsigned pages;
	char *token;			    /* of the page at hand */
	char text[S3_KEY_MAX + S3_KEY_MAX]; /* the whole prefix */
};

static void page_done(struct s3_call *c);

static int ask_page(struct s3_task *t, const char *token)
{
	struct listing *l = t->state;
	struct buf query = { 0 };
	if (token)
		s3_query_add(&query, "continuation-token", token);
	s3_query_add(&query, "encoding-type", "url");
	s3_query_add(&query, "list-type", "2");
	s3_query_add(&query, "prefix", l->text);
	struct s3_call *c = query.failed ? NULL : s3_call_new(t, "GET", NULL, &query);
	buf_done(&query);
	if (!c)
		return -ENOMEM;
	snprintf(c->what, sizeof c->what, "LIST");
	c->limit = S3_PAGE_BYTES_MAX;
	c->done = page_done;
	s3_call_start(c);
	return 0;
}

/* 0, -EUCLEAN: keys that were not asked for, or what the caller said. */
static int tell(struct s3_task *t, const struct s3_page *page)
{
	struct listing *l = t->state;
	size_t len = strlen(l->text), skip = strlen(t->s3->place.prefix);
	for (size_t i = 0; i < page->n; i++) {
		const struct s3_page_entry *e = &page->entries[i];
		if (strncmp(e->key, l->text, len) != 0)
			return -EUCLEAN;
		struct s3_entry entry = { e->key + skip, e->size, e->mtime_s };
		int r = t->rq->each ? t->rq->each(t->rq, &entry) : 0;
		if (r)
			return r;
		t->rq->answer.count++;
	}
	return 0;
}

static void page_done(struct s3_call *c)
{
	struct s3_task *t = c->task;
	struct listing *l = t->state;
	struct s3_page page = { 0 };
	if (c->answer.err) {
		free(l->token);
		s3_task_end(t, &c->answer);
		return;
	}
	int r = s3_page_read(slice_of(c->text.data ? (void *)c->text.data : "", c->text.len),
			     &page);
	bool foreign = r == -EUCLEAN;
	if (r == 0) {
		r = tell(t, &page);
		foreign = r == -EUCLEAN;
	}
	bool more = r == 0 && page.truncated;
	bool again = more && page.token && l->token && !strcmp(page.token, l->token);
	if (more && (!page.token || again || ++l->pages == PAGES_MAX))
		foreign = true;
	else if (more)
		r = ask_page(t, page.token);
	free(l->token);
	l->token = more && !foreign && r == 0 ? TAKE_PTR(page.token) : NULL;
	s3_page_done(&page);
	if (foreign)
		s3_judge_fail(c, -EPROTO,
			      "the server's list makes no sense; see what stands at that endpoint");
	else if (r)
		s3_judge_fail(c, r, "ended: %s", strerror(abs(r)));
	else if (more)
		return;
	s3_task_end(t, &c->answer);
}

int s3_list_start(struct s3_task *t)
{
	struct listing *l = t->state = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	snprintf(l->text, sizeof l->text, "%s%s", t->s3->place.prefix, t->rq->key);
	return ask_page(t, NULL);
}
