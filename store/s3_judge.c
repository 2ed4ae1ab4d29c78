// SPDX-License-Identifier: MIT
/* What a try came to, and what to tell the caller: a table of curl's errors and one of the server's.
 *
 * Tried again is what may pass by itself: connections, stalls, 429, 500, 502, 503, 504, bytes damaged on
 * the way. Not what the server has decided: 403, 404, 412. The sentence names the object, the
 * operation, the cause, what the server called it, and what somebody can do about it.
 */
#include "s3_call.h"
#include "clock.h"
#include "s3_xml.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct cause {
	int err;
	bool again;
	const char *what, *advice;
};

static const char *const advice_server = "see that the server is up and can be reached";
static const char *const advice_busy = "it may pass";
static const char *const advice_rights = "see that these credentials may do that in this bucket";

static const struct {
	CURLcode code;
	struct cause cause;
} of_curl[] = {
	{ CURLE_COULDNT_RESOLVE_HOST,
	  { EHOSTUNREACH, true, "there is no such host", "see that the endpoint is right" } },
	{ CURLE_COULDNT_RESOLVE_PROXY,
	  { EHOSTUNREACH, true, "there is no such proxy", "see that https_proxy is right" } },
	{ CURLE_COULDNT_CONNECT, { ECONNREFUSED, true, "no connection could be made", NULL } },
	{ CURLE_OPERATION_TIMEDOUT, { ETIMEDOUT, true, "time is up", NULL } },
	{ CURLE_PARTIAL_FILE, { EPROTO, true, "the answer was cut off", NULL } },
	{ CURLE_OUT_OF_MEMORY, { ENOMEM, false, "there is no memory left", "free some" } },
	{ CURLE_PEER_FAILED_VERIFICATION,
	  { EPROTO, false, "the server's certificate is not to be trusted",
	    "name the authority's certificate with ca=, or the host as the certificate does" } },
	{ CURLE_SSL_CACERT_BADFILE,
	  { EPROTO, false, "the file of trusted certificates can't be used", "mend ca=" } },
	{ CURLE_SSL_CONNECT_ERROR,
	  { EPROTO, true, "no TLS connection could be made", "see that it is an https endpoint" } },
	{ CURLE_UNSUPPORTED_PROTOCOL,
	  { EPROTO, false, "the server speaks no HTTP", "see that the endpoint is right" } },
	{ CURLE_WEIRD_SERVER_REPLY,
	  { EPROTO, true, "the server speaks no HTTP", "see that the endpoint is right" } },
};

static const struct cause of_broken = { ECONNRESET, true, "the connection broke", NULL };

/* By the server's <Code> where there is one that is listed, else by HTTP's status. */
static const struct {
	unsigned status;
	const char *code;
	struct cause cause;
} of_server[] = {
	{ 0,
	  "RequestTimeTooSkewed",
	  { EACCES, false, "the clocks of this machine and of the server differ too much",
	    "set this machine's clock" } },
	{ 0,
	  "NoSuchBucket",
	  { ENXIO, false, "there is no such bucket", "make it, or mend the place's name" } },
	{ 0, "NoSuchUpload", { ENOENT, false, "there is no such upload", "start it again" } },
	{ 0,
	  "InvalidAccessKeyId",
	  { EACCES, false, "the server does not know this access key", "mend AWS_ACCESS_KEY_ID" } },
	{ 0,
	  "SignatureDoesNotMatch",
	  { EACCES, false, "the server finds the signature wrong",
	    "mend AWS_SECRET_ACCESS_KEY, or the region" } },
	{ 0,
	  "AuthorizationHeaderMalformed",
	  { EACCES, false, "the server finds the signature wrong", "mend the region" } },
	{ 0,
	  "PermanentRedirect",
	  { EACCES, false, "the bucket is elsewhere", "mend the region or the endpoint" } },
	{ 0, "ExpiredToken", { EKEYEXPIRED, false, "the credentials have expired", "renew them" } },
	{ 0,
	  "TokenRefreshRequired",
	  { EKEYEXPIRED, false, "the credentials have expired", "renew them" } },
	{ 0,
	  "InvalidToken",
	  { EACCES, false, "the server does not know the session token", "renew it" } },
	{ 0, "QuotaExceeded", { ENOSPC, false, "a quota is full", "make room, or raise it" } },
	{ 0,
	  "EntityTooLarge",
	  { EFBIG, false, "the server takes no object that long", "choose a smaller pack_size" } },
	{ 0,
	  "InvalidStorageClass",
	  { EINVAL, false, "the server has no such storage class", "choose another" } },
	{ 0,
	  "InvalidArgument", /* Ceph's word for a storage class that it has not */
	  { EINVAL, false, "the server does not take what it was told",
	    "if a storage class is given, see that it has that" } },
	{ 0,
	  "InvalidObjectState",
	  { EREMOTEIO, false, "the object is archived", "have the server restore it first" } },
	{ 0,
	  "XAmzContentSHA256Mismatch",
	  { EIO, true, "bytes changed on their way",
	    "see to the network and this machine's memory" } },
	{ 0,
	  "BadDigest",
	  { EIO, true, "bytes changed on their way",
	    "see to the network and this machine's memory" } },
	{ 0, "IncompleteBody", { ECONNRESET, true, "the upload was cut off", NULL } },
	{ 0, "RequestTimeout", { ETIMEDOUT, true, "the upload came too slowly", NULL } },
	{ 0,
	  "ConditionalRequestConflict",
	  { EAGAIN, true, "somebody else writes the same object", advice_busy } },
	{ 0,
	  "OperationAborted",
	  { EAGAIN, true, "somebody else writes the same object", advice_busy } },
	{ 0, "SlowDown", { EAGAIN, true, "the server is too busy", advice_busy } },
	{ 0, "InternalError", { EIO, true, "the server failed", advice_busy } },
	{ 401, NULL, { EACCES, false, "the server wants other credentials", advice_rights } },
	{ 403, NULL, { EACCES, false, "the server denies it", advice_rights } },
	{ 404,
	  NULL,
	  { ENOENT, false, "there is no such object", "see whether something removed it" } },
	{ 412,
	  NULL,
	  { ESTALE, false, "it is not the version expected", "somebody has changed it" } },
	{ 416,
	  NULL,
	  { EPROTO, false, "the object is shorter than the range asked for",
	    "see whether something changed it" } },
	{ 429, NULL, { EAGAIN, true, "the server is too busy", advice_busy } },
	{ 500, NULL, { EIO, true, "the server failed", advice_busy } },
	{ 501, NULL, { EOPNOTSUPP, false, "the server does not know such a request", NULL } },
	{ 502, NULL, { EIO, true, "the server behind a proxy failed", advice_busy } },
	{ 503, NULL, { EAGAIN, true, "the server is too busy", advice_busy } },
	{ 504, NULL, { EIO, true, "the server behind a proxy did not answer", advice_busy } },
	{ 507, NULL, { ENOSPC, false, "the server's disks are full", "make room there" } },
};

static const struct cause of_existing = { EEXIST, false, "there is such an object already",
					  "it is left as it is" };
static const struct cause of_other_status = { EIO, false, "the server refuses it",
					      "see what it says of that in its log" };
static const struct cause of_redirect = { EACCES, false, "the bucket is elsewhere",
					  "mend the region or the endpoint" };

static const struct cause *cause_of_curl(CURLcode code)
{
	for (size_t i = 0; i < sizeof of_curl / sizeof *of_curl; i++)
		if (of_curl[i].code == code)
			return &of_curl[i].cause;
	return &of_broken;
}

static const struct cause *cause_of_answer(const struct s3_call *c, unsigned status,
					   const char *code)
{
	if (status == 412 && c->if_none_match)
		return &of_existing;
	for (size_t i = 0; i < sizeof of_server / sizeof *of_server; i++)
		if (of_server[i].code ? !strcmp(of_server[i].code, code)
				      : of_server[i].status == status)
			return &of_server[i].cause;
	return status >= 300 && status < 400 ? &of_redirect : &of_other_status;
}

static void say(struct s3_answer *a, const struct s3_call *c, const char *cause, const char *advice)
{
	snprintf(a->text, sizeof a->text, "%.900s: %s: %.500s; %s.", c->object, c->what, cause,
		 advice ? advice : advice_server);
}

void s3_judge_fail(struct s3_call *c, int err, const char *fmt, ...)
{
	char cause[256];
	va_list args;
	va_start(args, fmt);
	vsnprintf(cause, sizeof cause, fmt, args);
	va_end(args);
	c->answer.err = err;
	snprintf(c->answer.text, sizeof c->answer.text, "%.900s: %s: %s.", c->object, c->what,
		 cause);
}

/* "the server denies it (403 AccessDenied: ...)" */
static void say_answer(struct s3_call *c, const struct cause *cause, const struct s3_xml_error *e)
{
	char text[512], skew[64] = "";
	int64_t ahead_s = (int64_t)time(NULL) - c->head.date_s;
	const char *region = *e->region ? e->region : c->head.region;
	if (!strcmp(e->code, "RequestTimeTooSkewed") && c->head.date_s)
		snprintf(skew, sizeof skew, ", this one is %lld s %s",
			 (long long)(ahead_s < 0 ? -ahead_s : ahead_s),
			 ahead_s < 0 ? "behind" : "ahead");
	bool elsewhere = cause == &of_redirect || (*region && strcmp(region, c->s3->region) != 0);
	snprintf(text, sizeof text, "%s%s (%u%s%s%s%s%s%s)", cause->what, skew, c->answer.status,
		 *e->code ? " " : "", e->code, *e->message ? ": " : "", e->message,
		 elsewhere && *region ? ", it names the region " : "", elsewhere ? region : "");
	say(&c->answer, c, text, cause->advice);
}

static bool judge_curl(struct s3_call *c, CURLcode code)
{
	const struct cause *cause = cause_of_curl(code);
	char text[CURL_ERROR_SIZE + 128];
	snprintf(text, sizeof text, "%s (%s)", cause->what,
		 *c->curl_text ? c->curl_text : curl_easy_strerror(code));
	c->answer.err = -cause->err;
	say(&c->answer, c, text, cause->advice);
	return cause->again;
}

static bool judge_flaw(struct s3_call *c)
{
	c->answer.err = -c->flaw_err;
	say(&c->answer, c, c->flaw,
	    c->flaw_err == EPROTO ? "see what stands at that endpoint" : "see to that first");
	return !c->flaw_is_final;
}

static bool judge_answer(struct s3_call *c, const struct s3_xml_error *e)
{
	const struct cause *cause = cause_of_answer(c, c->answer.status, e->code);
	c->answer.err = -cause->err;
	strcpy(c->answer.code, e->code);
	say_answer(c, cause, e);
	return cause->again;
}

static void set_flaw(struct s3_call *c, const char *text, bool is_final)
{
	c->flaw = text;
	c->flaw_err = EPROTO;
	c->flaw_is_final = is_final;
}

/* What curl finds in order: is it what was asked for? */
static void inspect(struct s3_call *c)
{
	if (!c->into && c->answer.status == 206)
		set_flaw(c, "the server sent a range in place of the whole object", true);
	else if (c->into && c->answer.status != 206)
		set_flaw(c, "the server sent the whole object in place of a range of it", true);
	else if (c->into && c->got < c->wanted)
		set_flaw(c, "the answer was cut off", false);
	else if (!c->into && c->head.has_length && c->got != c->head.length &&
		 strcmp(c->method, "HEAD") != 0 && c->answer.status != 204)
		set_flaw(c, "the answer was cut off", false);
	else if (!strcmp(c->method, "HEAD") && !c->head.has_length)
		set_flaw(c, "the server did not say how long the object is", true);
}

static void fill_answer(struct s3_call *c)
{
	struct s3_answer *a = &c->answer;
	const struct s3_headers *h = &c->head;
	a->err = 0;
	a->size = c->into ? h->of : !strcmp(c->method, "HEAD") ? h->length : c->got;
	a->count = c->into ? c->got : 0;
	a->mtime_s = h->mtime_s;
	strcpy(a->etag, h->etag);
	memcpy(a->meta, h->meta, sizeof a->meta);
	a->n_meta = h->n_meta;
	a->code[0] = a->text[0] = 0;
}

bool s3_judge(struct s3_call *c, CURLcode code, uint64_t *ret_wait_ms)
{
	struct s3_xml_error e = { 0 };
	struct slice body = slice_of(c->text.data ? (const void *)c->text.data : "", c->text.len);
	unsigned status = c->head.status < 200 ? 0 : c->head.status; /* 100 is no answer yet */
	*ret_wait_ms = 0;
	c->answer.status = status;
	c->answer.code[0] = 0;
	if (status >= 300) { /* even if the connection broke over it */
		s3_xml_error_read(body, &e);
		*ret_wait_ms = (uint64_t)c->head.retry_after_s * 1000;
		if (status == 416 && c->may_be_short) { /* it ends before the range begins */
			c->got = 0;
			fill_answer(c);
			return false;
		}
		if (status == 404 && c->absent_is_fine && strcmp(e.code, "NoSuchBucket") != 0) {
			fill_answer(c);
			return false;
		}
		return judge_answer(c, &e);
	}
	if (code == CURLE_OK && !c->flaw)
		inspect(c);
	if (c->flaw)
		return judge_flaw(c);
	if (code != CURLE_OK || !status)
		return judge_curl(c, code ? code : CURLE_WEIRD_SERVER_REPLY);
	if (c->may_fail_late && s3_xml_error_read(body, &e))
		return judge_answer(c, &e);
	fill_answer(c);
	return false;
}
