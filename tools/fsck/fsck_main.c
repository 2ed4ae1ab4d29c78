// SPDX-License-Identifier: MIT
/* fsck.foldfs: opens the pool read-only, has it checked, and says what was found; exit codes as in
 * fsck(8). Nothing is repaired yet. */
#include "check.h"
#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "say.h"
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

#define STATUS_ERRORS 4
#define STATUS_FAILED 8
#define STATUS_USAGE 16
#define LINES_MAX 100u /* without -v */
#define PROGRESS_MS 200u

struct call {
	const char *path;
	bool full, verbose, json, terminal, line_shown;
	uint64_t lines, shown_ms;
	json_t *found;
};

static const char help[] =
	"fsck.foldfs [-n] [-f] [-v] [--json] POOL: checks a pool that is not mounted\n"
	"\n"
	"  -n      changes nothing; the only way for now\n"
	"  -f      everything: all digests, and each name looked up\n"
	"  -v      every error, and what is unusual but harmless\n"
	"  --json  machine-readable output\n"
	"  -h, --help, -V, --version\n"
	"\n"
	"Exit status: 0 clean, 4 errors found, 8 could not be checked, 16 usage.\n";

static void clear_line(struct call *c)
{
	if (c->line_shown)
		fputs("\r\033[K", stderr);
	c->line_shown = false;
}

static void show(struct call *c, const char *kind, const char *sentence)
{
	if (c->json) {
		json_array_append_new(c->found,
				      json_pack("{s:s, s:s}", "kind", kind, "text", sentence));
		return;
	}
	c->lines++;
	if (c->lines > LINES_MAX && !c->verbose)
		return;
	clear_line(c);
	printf("%s: %s%s\n", c->path, !strcmp(kind, "note") ? "note: " : "", sentence);
}

static void on_error(void *arg, const char *sentence)
{
	show(arg, "error", sentence);
}

static void on_note(void *arg, const char *sentence)
{
	show(arg, "note", sentence);
}

static void on_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
	struct call *c = arg;
	uint64_t now = clock_mono_ms();
	if (now < c->shown_ms + PROGRESS_MS)
		return;
	c->shown_ms = now;
	c->line_shown = true;
	if (total >= done)
		fprintf(stderr, "\r\033[Kchecking %s: %lu%%", what,
			done * 100 / (total ? total : 1));
	else
		fprintf(stderr, "\r\033[Kchecking %s: %lu", what, done);
}

static int print_json(const struct call *c, const struct check_result *res)
{
	json_t *o = json_pack(
		"{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "pool",
		c->path, "clean", res->errors == 0, "errors", (json_int_t)res->errors, "files",
		(json_int_t)res->files, "directories", (json_int_t)res->directories, "others",
		(json_int_t)res->others, "names", (json_int_t)res->names, "orphans",
		(json_int_t)res->orphans, "extents", (json_int_t)res->extents, "segments",
		(json_int_t)res->segments, "chunks", (json_int_t)res->chunks, "frames",
		(json_int_t)res->frames, "packs", (json_int_t)res->packs, "found", c->found);
	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
	return end_output(res->errors ? STATUS_ERRORS : 0, STATUS_FAILED);
}

static int print_result(struct call *c, const struct check_result *res)
{
	clear_line(c);
	if (c->json)
		return print_json(c, res);
	if (c->lines > LINES_MAX && !c->verbose)
		printf("%s: and %lu more; -v shows all\n", c->path, c->lines - LINES_MAX);
	if (res->errors)
		printf("%s: %lu error%s found, nothing was changed; ", c->path, res->errors,
		       res->errors == 1 ? " was" : "s were");
	else
		printf("%s: clean; ", c->path);
	printf("%lu files, %lu directories, %lu chunks in %lu packs\n", res->files,
	       res->directories, res->chunks, res->packs);
	return end_output(res->errors ? STATUS_ERRORS : 0, STATUS_FAILED);
}

static int check(struct call *c)
{
	struct pool_error err = { 0 };
	struct pool *pool = NULL;
	struct check_result res = { 0 };
	struct check_options opt = { .full = c->full,
				     .error = on_error,
				     .note = c->verbose ? on_note : NULL,
				     .progress = c->terminal ? on_progress : NULL,
				     .arg = c };
	int r = pool_open(c->path, NULL, true, 0, &pool, &err);
	if (r < 0) {
		complain("%s", err.text);
		return r == -EUCLEAN ? STATUS_ERRORS : STATUS_FAILED;
	}
	r = check_pool(pool, &opt, &res);
	int closed = pool_close(pool);
	if (r < 0 || closed < 0) {
		clear_line(c);
		complain("%s could not be checked: %s", c->path, strerror(r < 0 ? -r : -closed));
		return STATUS_FAILED;
	}
	return print_result(c, &res);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'V' },
					       { "json", no_argument, NULL, 'j' },
					       { 0 } };
	static struct call c;
	int o;
	while ((o = getopt_long(argc, argv, ":nfvpyaC:hV", longs, NULL)) != -1) {
		if (o == 'f')
			c.full = true;
		else if (o == 'v')
			c.verbose = true;
		else if (o == 'j')
			c.json = true;
		else if (o == 'p' || o == 'y' || o == 'a')
			return complain_usage(STATUS_USAGE,
					      "-%c: this fsck.foldfs cannot repair "
					      "yet, only check",
					      o);
		else if (o == 'h')
			return fputs(help, stdout), end_output(0, STATUS_FAILED);
		else if (o == 'V')
			return puts("fsck.foldfs " FOLDFS_VERSION), end_output(0, STATUS_FAILED);
		else if (o == '?' || o == ':')
			return complain_usage(STATUS_USAGE, "%s %s", argv[optind - 1],
					      o == ':' ? "lacks its argument" : "is no option");
	}
	if (argc - optind != 1)
		return complain_usage(STATUS_USAGE, "one argument is wanted, the pool");
	c.path = argv[optind];
	c.terminal = isatty(STDERR_FILENO) == 1;
	c.found = json_array();
	log_set_level(LOG_LEVEL_ERROR);
	int status = check(&c);
	json_decref(c.found);
	return status;
}
