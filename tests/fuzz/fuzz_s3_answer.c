// SPDX-License-Identifier: MIT
/* Input: an answer of an object store: the lines of its head, an empty line, the body; which is read in every
 * way there is one to.
 */
#include "cleanup.h"
#include "fuzz.h"
#include "s3_headers.h"
#include "s3_page.h"
#include "s3_xml.h"
#include <ctype.h>
#include <errno.h>

static bool is_printable(const char *s)
{
	for (; *s; s++)
		if (!isprint((unsigned char)*s) && *s != '\t')
			return false;
	return true;
}

/* Returns what follows the head. */
static struct slice read_head(struct slice in, struct s3_headers *ret_head)
{
	struct s3_headers h = { 0 };
	for (const uint8_t *end; (end = in.len ? memchr(in.at, '\n', in.len) : NULL);) {
		size_t len = (size_t)(end - in.at) + 1;
		bool empty = len == 1 || (len == 2 && in.at[0] == '\r');
		s3_headers_line(&h, (const char *)in.at, len);
		in = slice_of(in.at + len, in.len - len);
		if (empty)
			break;
	}
	must(!h.status || (h.status >= 100 && h.status <= 999));
	must(!h.has_range || (h.first <= h.last && h.last < h.of));
	must(is_printable(h.etag) && is_printable(h.region) && h.n_meta <= S3_META_MAX);
	for (unsigned i = 0; i < h.n_meta; i++)
		must(is_printable(h.meta[i].name) && is_printable(h.meta[i].value));
	*ret_head = h;
	return in;
}

static bool read_page(struct slice doc)
{
	struct s3_page page;
	int r = s3_page_read(doc, &page);
	must(r == 0 || r == -EUCLEAN);
	for (size_t i = 0; i < page.n; i++)
		must(*page.entries[i].key && page.entries[i].size <= INT64_MAX);
	must(r < 0 || !page.truncated || page.token || page.key_marker);
	s3_page_done(&page);
	return r == 0;
}

bool fuzz_one(struct slice in)
{
	struct s3_headers head;
	struct s3_xml_error error;
	char text[64];
	struct slice body = read_head(in, &head);
	bool valid = s3_xml_error_read(body, &error);
	must(is_printable(error.code) && is_printable(error.message) && is_printable(error.region));
	int r = s3_xml_text(body, "InitiateMultipartUploadResult/UploadId", text, sizeof text);
	must(r == 0 || r == -ENOENT || r == -EUCLEAN || r == -EFBIG);
	must(r < 0 || strlen(text) < sizeof text);
	return head.status && (read_page(body) || valid || r == 0);
}

static void seed(const char *name, const char *text)
{
	fuzz_seed(name, text, strlen(text));
}

void fuzz_seeds(void)
{
	seed("list",
	     "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nDate: Sat, 21 Nov 2026 20:28:07 GMT\r\n\r\n"
	     "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/\">"
	     "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
	     "<NextContinuationToken>t</NextContinuationToken><Contents><Key>a%2Fb</Key>"
	     "<LastModified>2026-11-21T20:05:43.000Z</LastModified><Size>12</Size></Contents>"
	     "</ListBucketResult>");
	seed("uploads",
	     "HTTP/2 200\r\n\r\n<x:ListMultipartUploadsResult "
	     "xmlns:x='y'><x:Upload><x:Key>a</x:Key>"
	     "<x:UploadId>2~f</x:UploadId><x:Initiated>2026-11-21T20:05:43Z</x:Initiated></"
	     "x:Upload>"
	     "<x:NextKeyMarker>a</x:NextKeyMarker><x:IsTruncated>true</x:IsTruncated>"
	     "<x:NextUploadIdMarker>2~f</x:NextUploadIdMarker></x:ListMultipartUploadsResult>");
	seed("error",
	     "HTTP/1.1 503 Slow Down\r\nRetry-After: 7\r\nx-amz-bucket-region: eu-west-1\r\n\r\n"
	     "<Error><Code>SlowDown</Code><Message>a&amp;b</Message><Region>x</Region></Error>");
	seed("upload", "HTTP/1.1 100 Continue\r\n\r\n"
		       "<InitiateMultipartUploadResult><UploadId>u</UploadId></"
		       "InitiateMultipartUploadResult>");
	seed("range",
	     "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/100\r\nETag: \"x\"\r\n"
	     "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nLast-Modified: nonsense\r\n"
	     "x-amz-meta-Owner: me\r\nx-amz-meta-foldfs-put: 00\r\n\r\n<Error></Error>");
}
