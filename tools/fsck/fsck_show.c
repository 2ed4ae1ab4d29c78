// SPDX-License-Identifier: MIT
#include "fsck_show.h"
#include "clock.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define LINES_MAX 100u /* of each kind, without -v */
#define PROGRESS_MS 200u
#define ETA_AFTER_MS 2000u
#define KINDS 5u

static const char *const kind_names[KINDS] = { "error", "note", "lost", "corrected", "absent" };

struct show {
	struct show_options opt;
	uint64_t lines[KINDS];
	json_t *found;
	bool line_shown;
	const char *what; /* shown in the line, and since when */
	uint64_t began_ms, shown_ms;
};

struct show *show_new(const struct show_options *opt)
{
	struct show *s = calloc(1, sizeof *s);
	json_t *found = json_array();
	if (!s || !found) {
		json_decref(found);
		free(s);
		return NULL;
	}
	s->opt = *opt;
	s->found = found;
	return s;
}

void show_free(struct show *s)
{
	json_decref(s->found);
	free(s);
}

void show_clear(struct show *s)
{
	if (s->line_shown)
		fputs("\r\033[K", stderr);
	s->line_shown = false;
}

void show_sentence(struct show *s, enum show_kind kind, const char *sentence)
{
	static const char *const before[KINDS] = { "", "note: ", "lost: ", "corrected: ", "" };
	if (kind == SHOW_NOTE && !s->opt.verbose)
		return;
	if (s->opt.json) {
		json_array_append_new(s->found, json_pack("{s:s, s:s}", "kind", kind_names[kind],
							  "text", sentence));
		return;
	}
	if (++s->lines[kind] > LINES_MAX && !s->opt.verbose)
		return;
	show_clear(s);
	printf("%s: %s%s\n", s->opt.path, before[kind], sentence);
}

void show_progress(struct show *s, const char *what, uint64_t done, uint64_t total)
{
	uint64_t now = clock_mono_ms();
	if (!s->opt.progress || s->opt.json)
		return;
	if (s->what != what) {
		s->what = what;
		s->began_ms = now;
	}
	if (now < s->shown_ms + PROGRESS_MS)
		return;
	s->shown_ms = now;
	s->line_shown = true;
	if (total < done || !total) {
		fprintf(stderr, "\r\033[K%s: %lu", what, done);
		return;
	}
	fprintf(stderr, "\r\033[K%s: %lu%%", what, done * 100 / total);
	if (now > s->began_ms + ETA_AFTER_MS && done)
		fprintf(stderr, ", about %lu s left",
			(now - s->began_ms) * (total - done) / done / 1000);
}

static void print_json(const struct show *s, const struct repair_report *report)
{
	const struct check_result *res = &report->result;
	const struct {
		const char *name;
		uint64_t n;
	} numbers[] = {
		{ "errors", report->errors },	   { "left", report->left },
		{ "corrected", report->repaired }, { "lost", res->lost },
		{ "files", res->files },	   { "directories", res->directories },
		{ "others", res->others },	   { "names", res->names },
		{ "orphans", res->orphans },	   { "extents", res->extents },
		{ "segments", res->segments },	   { "chunks", res->chunks },
		{ "frames", res->frames },	   { "packs", res->packs },
	};
	json_t *o = json_pack("{s:s, s:b}", "pool", s->opt.path, "clean", report->left == 0);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		json_object_set_new(o, numbers[i].name, json_integer((json_int_t)numbers[i].n));
	json_object_set(o, "found", s->found);
	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void print_left_out(const struct show *s)
{
	static const char *const what[KINDS] = { "errors", "notes", "lost stretches", "corrections",
						 "absent tiers" };
	for (unsigned i = 0; i < KINDS; i++)
		if (s->lines[i] > LINES_MAX && !s->opt.verbose)
			printf("%s: and %lu more %s; -v shows all\n", s->opt.path,
			       s->lines[i] - LINES_MAX, what[i]);
}

void show_result(struct show *s, const struct repair_report *report, bool preened)
{
	const struct check_result *res = &report->result;
	show_clear(s);
	if (s->opt.json) {
		print_json(s, report);
		return;
	}
	print_left_out(s);
	printf("%s: ", s->opt.path);
	if (report->left && report->repaired)
		printf("%lu error%s left; ", report->left, report->left == 1 ? " is" : "s are");
	else if (report->left)
		printf("%lu error%s found, nothing was changed%s; ", report->left,
		       report->left == 1 ? " was" : "s were",
		       preened ? " (not all can be corrected safely: use -y)" : "");
	else if (report->repaired)
		printf("clean now; ");
	else
		printf("clean; ");
	if (res->lost)
		printf("%lu stretch%s of files cannot be read; ", res->lost,
		       res->lost == 1 ? "" : "es");
	if (report->unchecked)
		printf("the rows of the index were not looked at\n");
	else
		printf("%lu file%s, %lu directories, %lu chunks in %lu pack%s\n", res->files,
		       plural(res->files), res->directories, res->chunks, res->packs,
		       plural(res->packs));
}
