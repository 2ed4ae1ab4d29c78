// SPDX-License-Identifier: MIT
/* One try of a call, as curl runs it: the options, and what to do with the bytes of both directions.
 *
 * Signed by curl (CURLOPT_AWS_SIGV4) in a form that servers and curl's versions agree on: the payload's
 * SHA-256 always said, the query sorted and encoded with a `=` each, keys of plain characters only,
 * and no empty header, which would be signed and not sent. An answer that is not the one wanted is
 * broken off as soon as it shows, so that nobody downloads 8 GB in place of 8 KB.
 */
#include "s3_call.h"
#include <errno.h>
#include <stdio.h>

#define ERROR_BODY_MAX ((size_t)64 << 10)
#define BUFFER_SIZE (256L << 10)
#define CONNECTION_IDLE_S 60L

static size_t flaw(struct s3_call *c, int err, bool is_final, const char *text)
{
	c->flaw = text;
	c->flaw_err = err;
	c->flaw_is_final = is_final;
	return 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct s3_call *c = arg;
	s3_headers_line(&c->head, line, size * n);
	return size * n;
}

static bool takes_error(const struct s3_call *c)
{
	return c->head.status < 200 || c->head.status > 299;
}

/* Is it the range asked for, and nothing else? */
static bool range_fits(struct s3_call *c)
{
	const struct s3_headers *h = &c->head;
	if (h->status != 206)
		return flaw(c, EPROTO, true,
			    "the server sent the whole object in place of a range of it");
	if (!h->has_range)
		return flaw(c, EPROTO, true, "the server did not say which range it sent");
	uint64_t end = c->at + c->len;
	if (h->first == c->at && h->of < end && h->last == h->of - 1) {
		if (!c->may_be_short)
			return flaw(c, EPROTO, true,
				    "the object is shorter than the range asked for");
		end = h->of;
	}
	if (h->first != c->at || h->last != end - 1)
		return flaw(c, EPROTO, true,
			    "the server sent another range than the one asked for");
	if (h->has_length && h->length != end - c->at)
		return flaw(c, EPROTO, true, "the range that the server sent has the wrong length");
	c->wanted = end - c->at;
	return true;
}

static size_t take_range(struct s3_call *c, const char *data, size_t len)
{
	if (!c->got && !range_fits(c))
		return 0;
	if (len > c->wanted - c->got)
		return flaw(c, EPROTO, false, "the server sent more bytes than the range has");
	memcpy((uint8_t *)c->into + c->got, data, len);
	c->got += len;
	return len;
}

static size_t take_text(struct s3_call *c, const char *data, size_t len)
{
	if (takes_error(c)) { /* its beginning says enough */
		size_t room = c->text.len < ERROR_BODY_MAX ? ERROR_BODY_MAX - c->text.len : 0;
		buf_put(&c->text, data, len < room ? len : room);
		c->got += len;
		return c->got > 16 * ERROR_BODY_MAX ? 0 : len;
	}
	if (len > c->limit - c->text.len)
		return flaw(c, EFBIG, true, "the answer is longer than what is taken here");
	buf_put(&c->text, data, len);
	if (c->text.failed)
		return flaw(c, ENOMEM, true, "there is no memory left for the answer");
	c->got += len;
	return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct s3_call *c = arg;
	size_t len = size * n;
	return c->into && !takes_error(c) ? take_range(c, data, len) : take_text(c, data, len);
}

static size_t on_send(char *to, size_t size, size_t n, void *arg)
{
	struct s3_call *c = arg;
	uint64_t left = c->body.len - c->sent;
	size_t len = size * n < left ? size * n : (size_t)left;
	if (len && s3_source_read(&c->body, to, len, c->sent) < 0) {
		flaw(c, EIO, true, "what is being uploaded can't be read any more");
		return CURL_READFUNC_ABORT;
	}
	c->sent += len;
	return len;
}

/* curl goes back when a connection that it used again turns out to be closed. */
static int on_seek(void *arg, curl_off_t at, int origin)
{
	struct s3_call *c = arg;
	if (origin != SEEK_SET || at < 0 || (uint64_t)at > c->body.len)
		return CURL_SEEKFUNC_FAIL;
	c->sent = (uint64_t)at;
	return CURL_SEEKFUNC_OK;
}

static void set_limits(CURL *e, const struct s3_call *c, uint64_t now_ms)
{
	const struct s3_options *o = &c->s3->opt;
	uint64_t left_ms = c->end_ms > now_ms ? c->end_ms - now_ms : 1;
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, left_ms > INT32_MAX ? INT32_MAX : (long)left_ms);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)(o->stall_ms + 999) / 1000);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_SIZE);
	/* not the second that curl would wait before it sends a body to a server that says nothing */
	curl_easy_setopt(e, CURLOPT_EXPECT_100_TIMEOUT_MS, 1L);
}

static void set_connection(CURL *e, const struct s3_call *c)
{
	bool tls = !strncmp(c->s3->place.base, "https:", 6);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(e, CURLOPT_PIPEWAIT, tls ? 1L : 0L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, CONNECTION_IDLE_S);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
	if (c->s3->ca) {
		curl_easy_setopt(e, CURLOPT_CAINFO, c->s3->ca);
		curl_easy_setopt(e, CURLOPT_CAPATH, NULL); /* these, and no others */
	}
}

static void set_method(CURL *e, struct s3_call *c)
{
	if (!strcmp(c->method, "PUT") || !strcmp(c->method, "POST")) {
		curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method);
		curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)c->body.len);
		curl_easy_setopt(e, CURLOPT_READFUNCTION, on_send);
		curl_easy_setopt(e, CURLOPT_READDATA, c);
		curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(e, CURLOPT_SEEKDATA, c);
	} else if (!strcmp(c->method, "HEAD")) {
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	} else if (strcmp(c->method, "GET") != 0) {
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method);
	}
}

static void set_sinks(CURL *e, struct s3_call *c)
{
	char range[64];
	if (c->into) {
		snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)c->at,
			 (unsigned long long)(c->at + c->len - 1));
		curl_easy_setopt(e, CURLOPT_RANGE, range);
	}
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->curl_text);
	curl_easy_setopt(e, CURLOPT_PRIVATE, c);
}

/* The token comes last, and is left away again for the next try: it may be another by then. */
static int set_signature(CURL *e, struct s3_call *c)
{
	const struct s3_creds *creds = &c->s3->creds;
	c->creds_seen = c->s3->creds_version;
	curl_slist_free_all(c->signed_headers);
	c->signed_headers = NULL;
	for (struct curl_slist *h = c->headers; h; h = h->next)
		if (!s3_call_add(&c->signed_headers, h->data))
			return -ENOMEM;
	char line[sizeof creds->token + 32];
	snprintf(line, sizeof line, "x-amz-content-sha256: %s", c->sha256);
	if (!s3_call_add(&c->signed_headers, line))
		return -ENOMEM;
	snprintf(line, sizeof line, "x-amz-security-token: %s", creds->token);
	bool added = !*creds->token || s3_call_add(&c->signed_headers, line);
	explicit_bzero(line, sizeof line);
	if (!added || curl_easy_setopt(e, CURLOPT_URL, c->url) ||
	    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L) ||
	    curl_easy_setopt(e, CURLOPT_AWS_SIGV4, c->s3->provider) ||
	    curl_easy_setopt(e, CURLOPT_USERNAME, creds->key_id) ||
	    curl_easy_setopt(e, CURLOPT_PASSWORD, creds->secret) ||
	    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->signed_headers))
		return -ENOMEM;
	return 0;
}

int s3_exchange_begin(struct s3_call *c, uint64_t now_ms)
{
	memset(&c->head, 0, sizeof c->head);
	buf_reset(&c->text);
	c->flaw = NULL;
	c->curl_text[0] = 0;
	c->got = c->sent = 0;
	c->wanted = c->len;
	curl_easy_reset(c->easy);
	set_limits(c->easy, c, now_ms);
	set_connection(c->easy, c);
	set_method(c->easy, c);
	set_sinks(c->easy, c);
	return set_signature(c->easy, c);
}
