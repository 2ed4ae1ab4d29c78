// SPDX-License-Identifier: MIT
#include "s3_page.h"
#include "cleanup.h"
#include "s3_xml.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OBJECTS "ListBucketResult"
#define UPLOADS "ListMultipartUploadsResult"

struct reading {
	struct s3_page *page;
	struct s3_page_entry entry;
	bool encoded, rooted;
};

static void entry_done(struct s3_page_entry *e)
{
	free(e->key);
	free(e->upload_id);
	*e = (struct s3_page_entry){ 0 };
}

void s3_page_done(struct s3_page *page)
{
	for (size_t i = 0; i < page->n; i++)
		entry_done(&page->entries[i]);
	free(page->entries);
	free(page->token);
	free(page->key_marker);
	free(page->upload_marker);
	*page = (struct s3_page){ 0 };
}

static int set_text(char **field, const char *text)
{
	char *copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int set_size(uint64_t *ret_size, const char *text)
{
	char *end;
	if (*text < '0' || *text > '9')
		return -EUCLEAN;
	errno = 0;
	uint64_t size = strtoull(text, &end, 10);
	if (errno || *end || size > INT64_MAX)
		return -EUCLEAN;
	*ret_size = size;
	return 0;
}

/* 2026-11-21T20:05:43.000Z, the fraction of a second or without. */
static int set_time(int64_t *ret_s, const char *text)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!end || (*end != '.' && *end != 'Z' && *end != '+' && *end))
		return -EUCLEAN;
	*ret_s = timegm(&tm);
	return 0;
}

static int entry_field(struct reading *r, const char *name, const char *text)
{
	struct s3_page_entry *e = &r->entry;
	if (!strcmp(name, "Key"))
		return set_text(&e->key, text);
	if (!strcmp(name, "UploadId"))
		return set_text(&e->upload_id, text);
	if (!strcmp(name, "Size"))
		return set_size(&e->size, text);
	if (!strcmp(name, "LastModified") || !strcmp(name, "Initiated"))
		return set_time(&e->mtime_s, text);
	return 0;
}

static int entry_end(struct reading *r, bool upload)
{
	struct s3_page *p = r->page;
	if (!r->entry.key || !*r->entry.key || upload != !!r->entry.upload_id)
		return -EUCLEAN;
	if (p->n == S3_PAGE_ENTRIES_MAX)
		return -EUCLEAN;
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 64;
		struct s3_page_entry *more = realloc(p->entries, cap * sizeof *more);
		if (!more)
			return -ENOMEM;
		p->entries = more;
		p->cap = cap;
	}
	p->entries[p->n++] = r->entry;
	r->entry = (struct s3_page_entry){ 0 };
	return 0;
}

static int page_field(struct reading *r, const char *name, const char *text)
{
	struct s3_page *p = r->page;
	if (!strcmp(name, "IsTruncated"))
		p->truncated = !strcmp(text, "true");
	else if (!strcmp(name, "EncodingType"))
		r->encoded = !strcmp(text, "url");
	else if (!strcmp(name, "NextContinuationToken"))
		return set_text(&p->token, text);
	else if (!strcmp(name, "NextKeyMarker"))
		return set_text(&p->key_marker, text);
	else if (!strcmp(name, "NextUploadIdMarker"))
		return set_text(&p->upload_marker, text);
	return 0;
}

/* A part of an entry, an entry, a field of the page, or the page. */
static int page_end(void *arg, const char *path, const char *text)
{
	struct reading *r = arg;
	bool upload = !strncmp(path, UPLOADS, strlen(UPLOADS));
	const char *root = upload ? UPLOADS : OBJECTS, *item = upload ? "Upload" : "Contents";
	if (strncmp(path, root, strlen(root)) != 0)
		return -EUCLEAN;
	path += strlen(root);
	if (!*path) {
		r->rooted = true;
		return 0;
	}
	if (*path++ != '/')
		return -EUCLEAN;
	if (strncmp(path, item, strlen(item)) != 0)
		return page_field(r, path, text);
	path += strlen(item);
	return *path == '/' ? entry_field(r, path + 1, text) : *path ? 0 : entry_end(r, upload);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. A NUL, which no key has, is -EUCLEAN like half an escape. */
static int decode(char *s)
{
	char *to = s;
	for (; s && *s; s++) {
		if (*s != '%') {
			*to++ = *s == '+' ? ' ' : *s;
			continue;
		}
		int high = hex_digit(s[1]), low = high < 0 ? -1 : hex_digit(s[2]);
		if (low < 0 || !(high | low))
			return -EUCLEAN;
		*to++ = (char)(high << 4 | low);
		s += 2;
	}
	if (to)
		*to = 0;
	return 0;
}

static int decode_all(struct s3_page *page)
{
	int r = decode(page->key_marker);
	for (size_t i = 0; r == 0 && i < page->n; i++)
		r = decode(page->entries[i].key);
	return r;
}

int s3_page_read(struct slice doc, struct s3_page *page)
{
	struct reading r = { .page = page };
	struct s3_xml_reader reader = { page_end, &r };
	*page = (struct s3_page){ 0 };
	int err = s3_xml_read(doc, &reader);
	entry_done(&r.entry);
	if (err == 0 && !r.rooted)
		err = -EUCLEAN;
	if (err == 0 && r.encoded)
		err = decode_all(page);
	if (err == 0 && page->truncated && !page->token && !page->key_marker)
		err = -EUCLEAN;
	return err;
}
