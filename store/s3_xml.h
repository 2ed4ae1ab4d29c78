// SPDX-License-Identifier: MIT
/* s3_xml: reads the XML documents of an object store, which are a stranger's bytes.
 *
 * Elements are told by their path from the root, "ListBucketResult/Contents/Key", as they end; prefixes
 * of namespaces are left out. Documents with a DOCTYPE, with more than S3_XML_DEPTH levels, or with names or
 * texts that are too long are invalid.
 */
#ifndef FOLDFS_S3_XML_H
#define FOLDFS_S3_XML_H
#include "bytes.h"

#define S3_XML_DEPTH 8
#define S3_XML_PATH_MAX 256
#define S3_XML_TEXT_MAX 4096

/* `text`: what stands between the element's tags itself. Not 0 ends the reading with that. */
struct s3_xml_reader {
	int (*end)(void *arg, const char *path, const char *text);
	void *arg;
};

/* 0, -EUCLEAN: no such document, -ENOMEM, or what the reader said. */
int s3_xml_read(struct slice doc, const struct s3_xml_reader *reader);

/* <Error>, empty where it says nothing. Printable characters only. */
struct s3_xml_error {
	char code[64], message[256], region[64];
};
/* Is it a document that says so? Else all is empty. */
bool s3_xml_error_read(struct slice doc, struct s3_xml_error *ret_error);
/* The text of one element, by its path. -ENOENT: there is none; -EFBIG: it does not fit. */
int s3_xml_text(struct slice doc, const char *path, char *ret_text, size_t size);
#endif
