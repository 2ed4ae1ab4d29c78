// SPDX-License-Identifier: MIT
/* fsck.foldfs: has the pool checked, repaired where that was asked for, and checked again; says what
 * was found and done; exit codes as in fsck(8). */
#include "check.h"
#include "fault.h"
#include "fsck_show.h"
#include "log.h"
#include "repair_run.h"
#include "say.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define STATUS_CORRECTED 1
#define STATUS_ERRORS 4
#define STATUS_FAILED 8
#define STATUS_USAGE 16
#define STATUS_CANCELLED 32

enum mode { MODE_ASK, MODE_LOOK, MODE_SAFE, MODE_ALL };

static const char help[] =
	"fsck.foldfs [-n | -p | -y] [-f] [-v] [--json] POOL: checks a pool that is not mounted\n"
	"\n"
	"  -n      changes nothing\n"
	"  -p, -a  corrects without a question what can be corrected without losing anything\n"
	"  -y      corrects everything that can be\n"
	"  -f      checks everything: all digests, and each name looked up; with -y looks for "
	"lost\n"
	"          chunks in all packs, too\n"
	"  -v      every error, and what is unusual but harmless\n"
	"  --json  machine-readable output\n"
	"  -C FD   shows progress also where standard error is no terminal\n"
	"  -h, --help, -V, --version\n"
	"\n"
	"Without -n, -p or -y it asks on a terminal before anything is corrected.\n"
	"Exit status: 0 clean, 1 errors corrected, 4 errors left, 8 could not be checked, 16 "
	"usage,\n"
	"32 cancelled.\n";

static volatile sig_atomic_t cancelled;

static void cancel(int sig)
{
	(void)sig;
	cancelled = 1;
}

static bool is_cancelled(void *arg)
{
	(void)arg;
	return cancelled;
}

static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = cancel, .sa_flags = (int)SA_RESETHAND };
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

struct fsck {
	const char *path;
	enum mode mode;
	bool full;
	struct show *show;
};

static void on_sentence(void *arg, enum repair_sentence kind, const char *sentence)
{
	static const enum show_kind kinds[] = { SHOW_ERROR, SHOW_NOTE, SHOW_LOST, SHOW_DONE,
						SHOW_ABSENT };
	show_sentence(((struct fsck *)arg)->show, kinds[kind], sentence);
}

static void on_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
	show_progress(((struct fsck *)arg)->show, what, done, total);
}

/* One question for everything: who wants to choose looks with -n first. */
static bool on_question(void *arg, const char *question)
{
	struct fsck *f = arg;
	char answer[16];
	if (f->mode == MODE_ALL)
		return true;
	if (f->mode != MODE_ASK)
		return false;
	show_clear(f->show);
	printf("%s: %s (y/N) ", f->path, question);
	fflush(stdout);
	return fgets(answer, sizeof answer, stdin) && (*answer == 'y' || *answer == 'Y');
}

static int status_of(const struct repair_report *report)
{
	if (report->left)
		return STATUS_ERRORS;
	return report->repaired ? STATUS_CORRECTED : 0;
}

static int run(struct fsck *f)
{
	struct pool_error err = { 0 };
	struct repair_report report = { 0 };
	struct repair_call call = {
		.full = f->full,
		.corrects = f->mode == MODE_SAFE || f->mode == MODE_ALL,
		.safe_only = f->mode == MODE_SAFE,
		.ask = on_question,
		.say = on_sentence,
		.progress = on_progress,
		.stopped = is_cancelled,
		.arg = f,
	};
	int r = repair_run(f->path, &call, &report, &err);
	show_clear(f->show);
	if (r == -EINTR) {
		complain("%s: cancelled; what was corrected is kept, and fsck.foldfs may be run "
			 "again",
			 f->path);
		return STATUS_CANCELLED;
	}
	if (r < 0) {
		complain("%s", err.text);
		return r == -EUCLEAN ? STATUS_ERRORS : STATUS_FAILED;
	}
	int status = status_of(&report);
	show_result(f->show, &report, f->mode == MODE_SAFE);
	return end_output(status, STATUS_FAILED);
}

static int take_mode(struct fsck *f, int o)
{
	enum mode mode = o == 'n' ? MODE_LOOK : o == 'y' ? MODE_ALL : MODE_SAFE;
	if (f->mode != MODE_ASK && f->mode != mode)
		return complain_usage(STATUS_USAGE, "only one of -n, -p and -y can be given");
	f->mode = mode;
	return 0;
}

static int parse(struct fsck *f, struct show_options *show, int argc, char **argv)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'V' },
					       { "json", no_argument, NULL, 'j' },
					       { 0 } };
	int o, r = 0;
	while (r == 0 && (o = getopt_long(argc, argv, ":nfvpyarC:hV", longs, NULL)) != -1) {
		if (o == 'n' || o == 'p' || o == 'a' || o == 'y')
			r = take_mode(f, o);
		else if (o == 'f')
			f->full = true;
		else if (o == 'v')
			show->verbose = true;
		else if (o == 'j')
			show->json = true;
		else if (o == 'C')
			show->progress = true;
		else if (o == 'h')
			exit((fputs(help, stdout), end_output(0, STATUS_FAILED)));
		else if (o == 'V')
			exit((puts("fsck.foldfs " FOLDFS_VERSION), end_output(0, STATUS_FAILED)));
		else if (o != 'r') /* that is asking, which is what happens anyway */
			r = complain_usage(STATUS_USAGE, "%s %s", argv[optind - 1],
					   o == ':' ? "lacks its argument" : "is no option");
	}
	if (r == 0 && argc - optind != 1)
		r = complain_usage(STATUS_USAGE, "one argument is wanted, the pool");
	if (r == 0 && f->mode == MODE_ASK && (!isatty(STDIN_FILENO) || show->json))
		r = complain_usage(STATUS_USAGE,
				   "there is no terminal to ask on: say -n to look, -p or -y to "
				   "correct");
	return r;
}

int main(int argc, char **argv)
{
	struct fsck f = { 0 };
	struct show_options show = { .progress = isatty(STDERR_FILENO) == 1 };
	int status = parse(&f, &show, argc, argv);
	if (status)
		return status;
	f.path = show.path = argv[optind];
	log_set_level(LOG_LEVEL_ERROR - 1); /* all that matters is said by the check */
	fault_arm(getenv("FOLDFS_FAULT"));
	catch_signals();
	f.show = show_new(&show);
	if (!f.show) {
		fprintf(stderr, "fsck.foldfs: out of memory: nothing was looked at\n");
		return STATUS_FAILED;
	}
	status = run(&f);
	show_free(f.show);
	return status;
}
