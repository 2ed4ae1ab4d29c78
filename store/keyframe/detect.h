// SPDX-License-Identifier: MIT
/* detect: which parser a file is for, by its bytes and never by its name. */
#ifndef FOLDFS_DETECT_H
#define FOLDFS_DETECT_H
#include "film.h"
#include "film_source.h"

#define DETECT_HEAD 4096u /* bytes that a parser judges a file by; a shorter file gives fewer */

/* One container format. `looks` is cheap and sure to say no to most that is not its own. `parse`
 * fills an empty film; *f is whatever it has found so far on failure. -EBADMSG: the file is not what
 * it looked like, or contradicts itself in a way that leaves nothing to be trusted. A file that ends
 * early is no failure: what precedes is there. */
struct film_parser {
	bool (*looks)(const uint8_t *head, size_t len);
	int (*parse)(struct film_source *s, struct film *f);
};

extern const struct film_parser film_isobmff, film_matroska, film_avi, film_mpegts, film_mxf,
	film_annexb;

/* Tries the parsers in turn. 0 with f->container FILM_NONE when the file is for none of them. */
int film_find(struct film_source *s, struct film *f);
#endif
