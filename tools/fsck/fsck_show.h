// SPDX-License-Identifier: MIT
/* fsck_show: what fsck.foldfs prints: sentences, a line of progress, the end result; or JSON. */
#ifndef FOLDFS_FSCK_SHOW_H
#define FOLDFS_FSCK_SHOW_H
#include "repair_run.h"

enum show_kind { SHOW_ERROR, SHOW_NOTE, SHOW_LOST, SHOW_DONE, SHOW_ABSENT };

struct show_options {
	const char *path;
	bool verbose, json, progress;
};

struct show;

struct show *show_new(const struct show_options *opt); /* NULL without memory */
void show_free(struct show *s);
void show_sentence(struct show *s, enum show_kind kind, const char *sentence);
/* A line on stderr that is written over; total 0: unknown. */
void show_progress(struct show *s, const char *what, uint64_t done, uint64_t total);
void show_clear(struct show *s); /* ends that line */
/* `preened`: -p, which leaves all it may not correct. */
void show_result(struct show *s, const struct repair_report *report, bool preened);
#endif
