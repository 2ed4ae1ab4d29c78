// SPDX-License-Identifier: MIT
/* Keys are of characters that are the same in a path, in a query and in a signature, so the question
 * how often they are to be encoded, on which servers and clients disagree, never comes up.
 */
#include "s3_url.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BUCKET_MIN 3u
#define BUCKET_MAX 63u

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_plain(char c)
{
	return is_alnum(c) || c == '.' || c == '_' || c == '~' || c == '-';
}

static bool part_valid(const char *part, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_plain(part[i]))
			return false;
	return len && !(part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.')));
}

bool s3_key_valid(const char *key)
{
	for (const char *slash; (slash = strchr(key, '/')); key = slash + 1)
		if (!part_valid(key, (size_t)(slash - key)))
			return false;
	return part_valid(key, strlen(key));
}

static bool bucket_valid(const char *name, size_t len)
{
	return len >= BUCKET_MIN && len <= BUCKET_MAX && part_valid(name, len) &&
	       is_alnum(name[0]) && !memchr(name, '~', len);
}

int s3_place_parse(const char *text, char error[S3_TEXT_MAX], struct s3_place *ret_place)
{
	struct s3_place p = { 0 };
	const char *bucket = strncmp(text, "s3://", 5) ? "" : text + 5;
	size_t len = strcspn(bucket, "/");
	const char *prefix = bucket + len;
	prefix += strspn(prefix, "/");
	size_t prefix_len = strlen(prefix);
	while (prefix_len && prefix[prefix_len - 1] == '/')
		prefix_len--;
	if (!bucket_valid(bucket, len)) {
		snprintf(error, S3_TEXT_MAX,
			 "'%.200s' is no place in an object store: it must be "
			 "s3://BUCKET or s3://BUCKET/PREFIX.",
			 text);
		return -EINVAL;
	}
	if (prefix_len > S3_KEY_MAX / 2 ||
	    (prefix_len && (snprintf(p.prefix, sizeof p.prefix, "%.*s", (int)prefix_len, prefix),
			    !s3_key_valid(p.prefix)))) {
		snprintf(error, S3_TEXT_MAX,
			 "'%.200s' has a prefix that can't be used: take at most %d of the "
			 "characters A-Z a-z 0-9 . _ ~ - and single slashes.",
			 text, S3_KEY_MAX / 2);
		return -EINVAL;
	}
	snprintf(p.bucket, sizeof p.bucket, "%.*s", (int)len, bucket);
	snprintf(p.text, sizeof p.text, "s3://%s%s%s", p.bucket, prefix_len ? "/" : "", p.prefix);
	if (prefix_len)
		strcat(p.prefix, "/");
	*ret_place = p;
	return 0;
}

/* Takes what may be in an address of a server, and nothing else may be in there. */
static bool endpoint_parts(const char *endpoint, char **ret_scheme, char **ret_host,
			   char **ret_port)
{
	char *path = NULL, *other = NULL;
	CURLU *u = curl_url();
	bool good = u && !curl_url_set(u, CURLUPART_URL, endpoint, CURLU_NON_SUPPORT_SCHEME) &&
		    !curl_url_get(u, CURLUPART_SCHEME, ret_scheme, 0) &&
		    !curl_url_get(u, CURLUPART_HOST, ret_host, 0) &&
		    !curl_url_get(u, CURLUPART_PATH, &path, 0) && !strcmp(path, "/") &&
		    (!strcmp(*ret_scheme, "http") || !strcmp(*ret_scheme, "https"));
	if (good)
		curl_url_get(u, CURLUPART_PORT, ret_port, 0);
	const CURLUPart never[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY,
				    CURLUPART_FRAGMENT };
	for (size_t i = 0; good && i < sizeof never / sizeof *never; i++) {
		good = curl_url_get(u, never[i], &other, 0) != CURLUE_OK;
		curl_free(other);
		other = NULL;
	}
	curl_free(path);
	curl_url_cleanup(u);
	return good;
}

int s3_place_set_base(struct s3_place *p, const char *endpoint, const char *region,
		      enum s3_style style, char error[S3_TEXT_MAX])
{
	char amazon[160], *scheme = NULL, *host = NULL, *port = NULL;
	int n = -1;
	snprintf(amazon, sizeof amazon, "https://s3.%.64s.amazonaws.com%s", region,
		 strncmp(region, "cn-", 3) ? "" : ".cn");
	if (style == S3_STYLE_AUTO)
		style = endpoint || strchr(p->bucket, '.') ? S3_STYLE_PATH : S3_STYLE_HOST;
	if (endpoint_parts(endpoint ? endpoint : amazon, &scheme, &host, &port))
		n = snprintf(p->base, sizeof p->base, "%s://%s%s%s%s%s%s%s", scheme,
			     style == S3_STYLE_HOST ? p->bucket : "",
			     style == S3_STYLE_HOST ? "." : "", host, port ? ":" : "",
			     port ? port : "", style == S3_STYLE_PATH ? "/" : "",
			     style == S3_STYLE_PATH ? p->bucket : "");
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	if (n >= 0 && (size_t)n < sizeof p->base)
		return 0;
	snprintf(error, S3_TEXT_MAX,
		 "'%.200s' can't be the endpoint of %.120s: it must be "
		 "http://HOST[:PORT] or https://HOST[:PORT].",
		 endpoint ? endpoint : amazon, p->text);
	return -EINVAL;
}

static void put_encoded(struct buf *b, const char *text)
{
	for (; *text; text++) {
		char hex[4];
		if (is_plain(*text)) {
			buf_put(b, text, 1);
			continue;
		}
		snprintf(hex, sizeof hex, "%%%02X", (unsigned char)*text);
		buf_put(b, hex, 3);
	}
}

void s3_query_add(struct buf *query, const char *name, const char *value)
{
	if (query->len)
		buf_put(query, "&", 1);
	put_encoded(query, name);
	buf_put(query, "=", 1);
	put_encoded(query, value);
}

char *s3_url_make(const struct s3_place *p, const char *key, const struct buf *query)
{
	struct buf url = { 0 };
	buf_put(&url, p->base, strlen(p->base));
	buf_put(&url, "/", 1);
	if (key) {
		buf_put(&url, p->prefix, strlen(p->prefix));
		buf_put(&url, key, strlen(key));
	}
	if (query && query->len) {
		buf_put(&url, "?", 1);
		buf_put(&url, query->data, query->len);
	}
	buf_put(&url, "", 1);
	if (!url.failed && (!query || !query->failed))
		return (char *)url.data;
	buf_done(&url);
	return NULL;
}
