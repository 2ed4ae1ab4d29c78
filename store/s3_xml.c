// SPDX-License-Identifier: MIT
#include "s3_xml.h"
#include "cleanup.h"
#include <errno.h>
#include <expat.h>
#include <stdio.h>

struct walk {
	const struct s3_xml_reader *reader;
	XML_Parser parser;
	int err;
	unsigned depth;
	size_t path_len[S3_XML_DEPTH + 1]; /* of the elements that are open */
	char path[S3_XML_PATH_MAX];
	size_t text_len;
	char text[S3_XML_TEXT_MAX];
};

static void give_up(struct walk *w, int err)
{
	if (!w->err)
		w->err = err;
	XML_StopParser(w->parser, XML_FALSE);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct walk *w = arg;
	(void)attributes;
	const char *colon = strrchr(name, ':');
	name = colon ? colon + 1 : name;
	size_t at = w->path_len[w->depth], len = strlen(name);
	if (w->depth == S3_XML_DEPTH || at + len + 2 > sizeof w->path) {
		give_up(w, -EUCLEAN);
		return;
	}
	if (at)
		w->path[at++] = '/';
	memcpy(w->path + at, name, len + 1);
	w->path_len[++w->depth] = at + len;
	w->text_len = 0;
}

static void on_end(void *arg, const XML_Char *name)
{
	struct walk *w = arg;
	(void)name;
	if (w->err) /* expat may end an element that was refused */
		return;
	w->text[w->text_len] = 0;
	int r = w->reader->end(w->reader->arg, w->path, w->text);
	if (r)
		give_up(w, r);
	w->path[w->path_len[--w->depth]] = 0;
	w->text_len = 0;
}

static void on_text(void *arg, const XML_Char *text, int len)
{
	struct walk *w = arg;
	if (w->text_len + (size_t)len >= sizeof w->text) {
		give_up(w, -EUCLEAN);
		return;
	}
	memcpy(w->text + w->text_len, text, (size_t)len);
	w->text_len += (size_t)len;
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *sysid,
		       const XML_Char *pubid, int has_internal_subset)
{
	(void)name;
	(void)sysid;
	(void)pubid;
	(void)has_internal_subset;
	give_up(arg, -EUCLEAN);
}

int s3_xml_read(struct slice doc, const struct s3_xml_reader *reader)
{
	CLEANUP_FREE struct walk *w = calloc(1, sizeof *w);
	XML_Parser parser = w ? XML_ParserCreate(NULL) : NULL;
	if (!parser)
		return -ENOMEM;
	w->reader = reader;
	w->parser = parser;
	XML_SetUserData(parser, w);
	XML_SetElementHandler(parser, on_start, on_end);
	XML_SetCharacterDataHandler(parser, on_text);
	XML_SetStartDoctypeDeclHandler(parser, on_doctype);
	enum XML_Status status = XML_STATUS_ERROR;
	while (doc.len && doc.at[0] && strchr(" \t\r\n", doc.at[0])) /* sent while a server works */
		take_bytes(&doc, 1);
	if (doc.len <= INT32_MAX)
		status = XML_Parse(parser, (const char *)doc.at, (int)doc.len, 1);
	if (status != XML_STATUS_OK && !w->err)
		w->err = XML_GetErrorCode(parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EUCLEAN;
	XML_ParserFree(parser);
	return w->err;
}

/* It ends up in messages. */
static void copy_printable(char *to, size_t size, const char *from)
{
	size_t n = 0;
	for (; *from && n + 1 < size; from++)
		to[n++] = *from >= ' ' && *from <= '~' ? *from : '?';
	to[n] = 0;
}

static int error_end(void *arg, const char *path, const char *text)
{
	struct s3_xml_error *e = arg;
	if (strncmp(path, "Error", 5) || (path[5] && path[5] != '/'))
		return -ENOENT;
	if (!strcmp(path, "Error/Code"))
		copy_printable(e->code, sizeof e->code, text);
	else if (!strcmp(path, "Error/Message"))
		copy_printable(e->message, sizeof e->message, text);
	else if (!strcmp(path, "Error/Region"))
		copy_printable(e->region, sizeof e->region, text);
	return 0;
}

bool s3_xml_error_read(struct slice doc, struct s3_xml_error *ret_error)
{
	struct s3_xml_error e = { 0 };
	struct s3_xml_reader reader = { error_end, &e };
	bool is_error = s3_xml_read(doc, &reader) == 0;
	*ret_error = is_error ? e : (struct s3_xml_error){ 0 };
	return is_error;
}

struct wanted {
	const char *path;
	char *text;
	size_t size;
	bool found;
};

static int wanted_end(void *arg, const char *path, const char *text)
{
	struct wanted *w = arg;
	if (w->found || strcmp(path, w->path))
		return 0;
	if (strlen(text) >= w->size)
		return -EFBIG;
	strcpy(w->text, text);
	w->found = true;
	return 0;
}

int s3_xml_text(struct slice doc, const char *path, char *ret_text, size_t size)
{
	CLEANUP_FREE char *text = malloc(size);
	struct wanted w = { path, text, size, false };
	struct s3_xml_reader reader = { wanted_end, &w };
	int r = text ? s3_xml_read(doc, &reader) : -ENOMEM;
	if (r < 0 || !w.found)
		return r < 0 ? r : -ENOENT;
	strcpy(ret_text, text);
	return 0;
}
