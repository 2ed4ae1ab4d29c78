// SPDX-License-Identifier: MIT
#include "s3_headers.h"
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define LINE_MAX_LEN 1024u
#define RETRY_AFTER_MAX 86400u

/* Digits only: no sign, no blank, no overflow. Where the number ended, or NULL. */
static const char *take_number(const char *s, uint64_t *ret_number)
{
	uint64_t n = 0;
	const char *start = s;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			return NULL;
	if (s == start)
		return NULL;
	*ret_number = n;
	return s;
}

static bool whole_number(const char *s, uint64_t *ret_number)
{
	uint64_t n;
	const char *end = take_number(s, &n);
	if (!end || *end)
		return false;
	*ret_number = n;
	return true;
}

static void take_status(struct s3_headers *h, const char *line)
{
	uint64_t status;
	const char *at = strchr(line, ' ');
	memset(h, 0, sizeof *h);
	if (!at)
		return;
	const char *end = take_number(at + 1, &status);
	if (end == at + 4 && status >= 100 && (*end == ' ' || !*end))
		h->status = (unsigned)status;
}

static void take_range(struct s3_headers *h, const char *value)
{
	uint64_t first, last, of;
	if (strncasecmp(value, "bytes ", 6))
		return;
	const char *at = take_number(value + 6, &first);
	if (!at || *at++ != '-' || !(at = take_number(at, &last)) || *at++ != '/')
		return;
	if (!whole_number(at, &of) || first > last || last >= of)
		return;
	h->has_range = true;
	h->first = first;
	h->last = last;
	h->of = of;
}

static void take_retry_after(struct s3_headers *h, const char *value)
{
	uint64_t s;
	if (!whole_number(value, &s)) {
		time_t when = curl_getdate(value, NULL), now = time(NULL);
		s = when > now ? (uint64_t)(when - now) : 0;
	}
	h->retry_after_s = s > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (unsigned)s;
}

static int64_t date_of(const char *value)
{
	time_t t = curl_getdate(value, NULL);
	return t > 0 ? (int64_t)t : 0;
}

static void copy_if_fits(char *to, size_t size, const char *from)
{
	if (strlen(from) < size)
		strcpy(to, from);
}

static void take_meta(struct s3_headers *h, const char *name, const char *value)
{
	struct s3_meta *m = &h->meta[h->n_meta];
	if (h->n_meta == S3_META_MAX || strlen(name) >= sizeof m->name ||
	    strlen(value) >= sizeof m->value)
		return;
	strcpy(m->name, name);
	strcpy(m->value, value);
	for (char *c = m->name; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
	h->n_meta++;
}

static void take_field(struct s3_headers *h, const char *name, const char *value)
{
	if (!strcasecmp(name, "content-length"))
		h->has_length = whole_number(value, &h->length);
	else if (!strcasecmp(name, "content-range"))
		take_range(h, value);
	else if (!strcasecmp(name, "etag"))
		copy_if_fits(h->etag, sizeof h->etag, value);
	else if (!strcasecmp(name, "retry-after"))
		take_retry_after(h, value);
	else if (!strcasecmp(name, "date"))
		h->date_s = date_of(value);
	else if (!strcasecmp(name, "last-modified"))
		h->mtime_s = date_of(value);
	else if (!strcasecmp(name, "x-amz-bucket-region"))
		copy_if_fits(h->region, sizeof h->region, value);
	else if (!strncasecmp(name, "x-amz-meta-", 11))
		take_meta(h, name + 11, value);
}

/* They end up in messages and in headers of later requests: printable ASCII, or not at all. */
static bool is_clean(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((s[i] < ' ' || s[i] > '~') && s[i] != '\t')
			return false;
	return true;
}

void s3_headers_line(struct s3_headers *h, const char *line, size_t len)
{
	char copy[LINE_MAX_LEN];
	while (len && (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' ' ||
		       line[len - 1] == '\t'))
		len--;
	if (len >= sizeof copy || !is_clean(line, len))
		return;
	if (len)
		memcpy(copy, line, len);
	copy[len] = 0;
	if (!strncmp(copy, "HTTP/", 5)) {
		take_status(h, copy);
		return;
	}
	char *colon = strchr(copy, ':');
	if (!colon)
		return;
	*colon = 0;
	take_field(h, copy, colon + 1 + strspn(colon + 1, " \t"));
}
