// SPDX-License-Identifier: MIT
/* Many objects are removed by requests that name up to 1000 of them each. A server answers 200 with a
 * list of those that it did not remove. Content-MD5 is what S3 demands of these requests.
 */
#include "s3_call.h"
#include "s3_xml.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define KEYS_PER_CALL 1000u
#define ANSWER_MAX ((uint64_t)1 << 20)
#define MD5_LEN 16

struct deleting {
	size_t asked; /* how many of the keys */
};

struct refusal {
	bool ended; /* the document has come to its end as it should */
	char key[S3_XML_TEXT_MAX], code[64], message[160];
	char first_key[S3_KEY_MAX + 1], first_code[64], first_message[160];
};

static void delete_done(struct s3_call *c);

static void put_text(struct buf *b, const char *text)
{
	buf_put(b, text, strlen(text));
}

static void write_body(const struct s3_task *t, size_t first, size_t n, struct buf *b)
{
	put_text(b,
		 "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
	for (size_t i = first; i < first + n; i++) {
		put_text(b, "<Object><Key>"); /* of keys nothing has to be escaped */
		put_text(b, t->s3->place.prefix);
		put_text(b, t->rq->keys[i]);
		put_text(b, "</Key></Object>");
	}
	put_text(b, "</Delete>");
}

static bool add_md5(struct s3_call *c)
{
	uint8_t md5[EVP_MAX_MD_SIZE];
	char base64[2 * MD5_LEN];
	unsigned len = 0;
	if (!EVP_Digest(c->own_body.data, c->own_body.len, md5, &len, EVP_md5(), NULL))
		return false;
	EVP_EncodeBlock((unsigned char *)base64, md5, (int)len);
	return s3_call_header(c, "Content-MD5", base64);
}

static int ask_next(struct s3_task *t)
{
	struct deleting *d = t->state;
	size_t left = t->rq->n_keys - d->asked, n = left < KEYS_PER_CALL ? left : KEYS_PER_CALL;
	struct buf query = { 0 };
	s3_query_add(&query, "delete", "");
	struct s3_call *c = query.failed ? NULL : s3_call_new(t, "POST", NULL, &query);
	buf_done(&query);
	if (!c)
		return -ENOMEM;
	snprintf(c->what, sizeof c->what, "DELETE of %zu objects", n);
	write_body(t, d->asked, n, &c->own_body);
	if (c->own_body.failed || !add_md5(c)) {
		s3_call_free(c);
		return -ENOMEM;
	}
	d->asked += n;
	c->limit = ANSWER_MAX;
	c->may_fail_late = true;
	c->done = delete_done;
	s3_call_start(c);
	return 0;
}

static void copy_printable(char *to, size_t size, const char *from)
{
	size_t n = 0;
	for (; *from && n + 1 < size; from++)
		to[n++] = *from >= ' ' && *from <= '~' ? *from : '?';
	to[n] = 0;
}

static int result_end(void *arg, const char *path, const char *text)
{
	struct refusal *r = arg;
	if (!strcmp(path, "DeleteResult"))
		r->ended = true;
	else if (!strcmp(path, "DeleteResult/Error/Key"))
		copy_printable(r->key, sizeof r->key, text);
	else if (!strcmp(path, "DeleteResult/Error/Code"))
		copy_printable(r->code, sizeof r->code, text);
	else if (!strcmp(path, "DeleteResult/Error/Message"))
		copy_printable(r->message, sizeof r->message, text);
	if (strcmp(path, "DeleteResult/Error") != 0)
		return 0;
	if (!*r->first_code && strcmp(r->code, "NoSuchKey") != 0) {
		snprintf(r->first_key, sizeof r->first_key, "%.*s", S3_KEY_MAX, r->key);
		snprintf(r->first_code, sizeof r->first_code, "%s", *r->code ? r->code : "Error");
		snprintf(r->first_message, sizeof r->first_message, "%s", r->message);
	}
	r->key[0] = r->code[0] = r->message[0] = 0;
	return 0;
}

/* Were all of them removed? Else the call's answer says which one was not. */
static void judge_result(struct s3_call *c)
{
	struct refusal *r = calloc(1, sizeof *r);
	struct s3_xml_reader reader = { result_end, r };
	struct slice doc = slice_of(c->text.data ? (void *)c->text.data : "", c->text.len);
	int err = r ? s3_xml_read(doc, &reader) : -ENOMEM;
	if (err == -ENOMEM) {
		s3_judge_fail(c, err, "there is no memory left");
	} else if (err < 0 || !r->ended) {
		s3_judge_fail(c, -EPROTO, "the server's answer makes no sense");
	} else if (*r->first_code) {
		s3_judge_fail(c, strcmp(r->first_code, "AccessDenied") ? -EIO : -EACCES,
			      "the server did not remove %.80s (%s%s%s)", r->first_key,
			      r->first_code, *r->first_message ? ": " : "", r->first_message);
		strcpy(c->answer.code, r->first_code);
	}
	free(r);
}

static void delete_done(struct s3_call *c)
{
	struct s3_task *t = c->task;
	struct deleting *d = t->state;
	if (!c->answer.err)
		judge_result(c);
	if (!c->answer.err && d->asked < t->rq->n_keys) {
		int r = ask_next(t);
		if (r == 0)
			return;
		s3_judge_fail(c, r, "there is no memory left");
	}
	s3_task_end(t, &c->answer);
}

int s3_delete_start(struct s3_task *t)
{
	if (!t->rq->n_keys)
		return -EINVAL;
	t->state = calloc(1, sizeof(struct deleting));
	return t->state ? ask_next(t) : -ENOMEM;
}
