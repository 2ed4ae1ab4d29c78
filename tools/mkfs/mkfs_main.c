// SPDX-License-Identifier: MIT
/* mkfs.foldfs: arguments and output; pool_create() does the work. Options of the pool that are
 * given here end up in its foldfs.conf. */
#include "cleanup.h"
#include "pool.h"
#include "say.h"
#include "takeover.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FAILED 1

static const char help[] =
	"mkfs.foldfs [-o OPTION[=VALUE],...] [-L LABEL] [-q] POOL: makes a foldfs pool\n"
	"\n"
	"POOL is an empty directory, or one that will be made, on ext4, xfs, btrfs or tmpfs.\n"
	"  -o OPTION,...      options of the pool, see below\n"
	"  -L, --label LABEL  the same as -o label=LABEL\n"
	"  --from PLACE       takes a pool over from its replica; -o then changes its options\n"
	"  --follow PLACE     makes a read-only pool that follows a replica, while its machine "
	"goes on\n"
	"  -q, --quiet        no output unless something is wrong\n"
	"  -h, --help, -V, --version\n"
	"\n";

static void print_options(bool changeable)
{
	const struct config_option *o;
	for (size_t i = 0; (o = config_option(i)); i++)
		if (changeable ? o->scopes & CONFIG_POOL : o->scopes == CONFIG_MKFS)
			say_option(o);
}

static int print_help(void)
{
	fputs(help, stdout);
	puts("Options that stay as they are for the pool's life:");
	print_options(false);
	puts("Options that foldfs.conf(5) and mount.foldfs(8) can change later:");
	print_options(true);
	return end_output(0, FAILED);
}

static void print_result(const char *path, const struct config *c)
{
	printf("%s: a foldfs pool%s%s, chunks of %lu..%lu..%lu KiB\n", path,
	       *c->label ? " labelled " : "", c->label, c->chunk_min >> 10, c->chunk_avg >> 10,
	       c->chunk_max >> 10);
}

struct waiting {
	bool quiet, told;
};

static int tell_waiting(void *arg, const char *host, uint64_t left_ms)
{
	struct waiting *w = arg;
	if (!w->quiet && !w->told)
		fprintf(stderr, "waiting up to %" PRIu64 " s for a sign of life of %s\n",
			(left_ms + 999) / 1000, host);
	w->told = true;
	return 0;
}

static int take_over(const char *path, const char *from, bool follow, const char *options,
		     bool quiet)
{
	struct waiting w = { .quiet = quiet };
	struct takeover_options opt = {
		.options = options, .follow = follow, .waiting = tell_waiting, .arg = &w
	};
	struct takeover_result res;
	struct pool_error err = { 0 };
	char when[64] = "", *real = NULL;
	if (strncmp(from, "s3://", 5))
		real = realpath(from, NULL);
	opt.from = real ? real : from;
	int r = takeover_run(path, &opt, &res, &err);
	free(real);
	if (r < 0) {
		complain("%s", err.text);
		return FAILED;
	}
	time_t t = (time_t)res.time;
	struct tm tm;
	if (gmtime_r(&t, &tm))
		strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
	if (!quiet && follow)
		printf("%s: follows the pool of %s, from its state of %s on; mount it to go on\n",
		       path, res.host, when);
	else if (!quiet)
		printf("%s: the pool of %s as it was shipped at %s; %" PRIu64
		       " packs stay in the replica\n",
		       path, res.host, when, res.packs);
	return end_output(0, FAILED);
}

/* To those given before. */
static char *join_options(char *had, const char *more)
{
	char *all = NULL;
	if (asprintf(&all, "%s%s%s", had ? had : "", had ? "," : "", more) < 0)
		all = NULL;
	free(had);
	return all;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'V' },
					       { "label", required_argument, NULL, 'L' },
					       { "from", required_argument, NULL, 'F' },
					       { "quiet", no_argument, NULL, 'q' },
					       { "follow", required_argument, NULL, 'f' },
					       { 0 } };
	struct config config;
	struct config_error cerr = { 0 };
	struct pool_error perr = { 0 };
	const char *label = NULL, *from = NULL, *follow = NULL;
	CLEANUP_FREE char *options = NULL;
	bool quiet = false;
	int c, r = 0;
	config_defaults(&config);
	while ((c = getopt_long(argc, argv, ":o:L:qhV", longs, NULL)) != -1) {
		switch (c) {
		case 'o':
			r = config_apply(&config, optarg, CONFIG_MKFS | CONFIG_POOL, &cerr);
			options = join_options(options, optarg);
			if (!options) {
				complain("there is not enough memory");
				return FAILED;
			}
			break;
		case 'F':
			from = optarg;
			break;
		case 'f':
			follow = optarg;
			break;
		case 'L':
			label = optarg;
			break;
		case 'q':
			quiet = true;
			break;
		case 'h':
			return print_help();
		case 'V':
			puts("mkfs.foldfs " FOLDFS_VERSION);
			return end_output(0, FAILED);
		default:
			return complain_usage(FAILED, "%s %s", argv[optind - 1],
					      c == ':' ? "lacks its argument" : "is no option");
		}
		if (r < 0)
			break;
	}
	if (r == 0 && label)
		r = config_apply_one(&config, "label", label, CONFIG_MKFS, &cerr);
	if (r < 0)
		return complain_usage(FAILED, "%s", cerr.text);
	if (argc - optind != 1)
		return complain_usage(FAILED, "one directory is wanted, where the pool shall be");
	if (from && follow)
		return complain_usage(FAILED, "--from and --follow: only one of them makes sense");
	if ((from || follow) && label)
		return complain_usage(FAILED,
				      "a pool that is taken over, or followed, keeps its label");
	if (from || follow)
		return take_over(argv[optind], from ? from : follow, follow, options, quiet);
	r = pool_create(argv[optind], &config, &perr);
	if (r < 0) {
		complain("%s", perr.text);
		return FAILED;
	}
	if (!quiet)
		print_result(argv[optind], &config);
	return end_output(0, FAILED);
}
