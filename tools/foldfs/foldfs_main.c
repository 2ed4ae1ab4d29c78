// SPDX-License-Identifier: MIT
/* foldfs: asks the daemon that has the pool open, or opens a pool that nobody has, and shows the
 * answer. */
#include "bench.h"
#include "client.h"
#include "media.h"
#include "pool_path.h"
#include "progress.h"
#include "say.h"
#include "replica.h"
#include "show.h"
#include "status.h"
#include "tier.h"
#include "warm.h"
#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>

#define FAILED 1
#define USAGE 2
#define DAMAGED 3

struct call {
	const char *name; /* of the command */
	bool json, destage, media;
	const char *action; /* of scrub; NULL: begin and wait. Of tier and replica */
	const char *tier;
	char **paths;
	int n_paths;
	char pool[PATH_MAX];
};

/* tools/completion reads it, too: it takes a command's further words from here ("tier move TIER"), and the
 * options that belong to it alone. */
static const char help[] =
	"foldfs COMMAND [--json] PATH: PATH is a pool, or anything inside its mount\n"
	"\n"
	"  df       the room that files take: as they are, deduplicated, compressed, on disk\n"
	"  du       what each PATH (a file or a tree) takes, alone and shared with others;\n"
	"           --media: of films also container, codecs and groups of pictures\n"
	"  stats    what the filesystem is doing, and how\n"
	"  sync     makes everything durable; --destage: and deduplicates what waits for it\n"
	"  gc       gives back the space of deleted data now\n"
	"  scrub    reads and verifies everything stored, and names the files that are damaged;\n"
	"           scrub start PATH: in the background; scrub status, scrub stop\n"
	"  tier     tier status PATH: which tiers there are, and what lies in them\n"
	"           tier move TIER PATH...: moves what holds the data of files or trees to a tier\n"
	"           tier recall PATH...: back to the pool's own disk\n"
	"           tier pin PATH...: and keeps it there; tier unpin PATH...\n"
	"  replica  replica status PATH: what has been shipped to the replica; replica sync PATH: "
	"ships\n"
	"           what is there now, and waits for it\n"
	"  warm     reads files or trees, so that they lie in caches\n"
	"  bench    what this machine can do, and what the mount does, in less than a minute\n"
	"  version  the version of this program\n"
	"  help     this text\n"
	"\n"
	"  --json   machine-readable output\n"
	"  -h, --help, -V, --version\n";

static enum client_end ask(struct call *c, json_t *request, void (*progress)(const json_t *report),
			   json_t **ret_result)
{
	progress_begin(c->pool);
	enum client_end end =
		client_ask(c->pool, request, progress_wanted() ? progress : NULL, ret_result);
	progress_end();
	return end;
}

/* Opens a pool that no daemon has open. NULL after a complaint. */
static struct pool *open_pool(const struct call *c, bool read_only)
{
	struct pool_error err = { 0 };
	struct pool *pool = NULL;
	if (pool_open(c->pool, NULL, read_only, 0, &pool, &err) < 0)
		complain("%s", err.text);
	return pool;
}

static int close_pool(struct pool *pool)
{
	int r = pool_close(pool);
	if (r < 0)
		complain("the pool could not be closed properly: %s", strerror(-r));
	return r;
}

static int end(json_t *result, const struct call *c, void (*show)(const json_t *result))
{
	if (c->json)
		show_json(result);
	else
		show(result);
	json_decref(result);
	return end_output(0, FAILED);
}

static int run_stats(struct call *c)
{
	json_t *result = NULL;
	enum client_end e = ask(c, json_pack("{s:s}", "command", "stats"), NULL, &result);
	if (e == CLIENT_NOBODY) {
		struct pool *pool = open_pool(c, true);
		result = pool ? status_stats(pool, NULL) : NULL;
		if (pool)
			close_pool(pool);
	}
	return result ? end(result, c, show_stats) : FAILED;
}

static int run_df(struct call *c)
{
	json_t *result = NULL;
	enum client_end e = ask(c, json_pack("{s:s}", "command", "df"), NULL, &result);
	if (e == CLIENT_NOBODY) {
		struct pool *pool = open_pool(c, true);
		int r = pool ? status_df(pool, NULL, &result) : 0;
		if (r < 0)
			complain("%s: its rows could not be counted: %s", c->pool, strerror(-r));
		if (pool)
			close_pool(pool);
	}
	return result ? end(result, c, show_df) : FAILED;
}

static int run_sync(struct call *c)
{
	json_t *result = NULL;
	json_t *request = json_pack("{s:s, s:b}", "command", "sync", "destage", c->destage);
	enum client_end e = ask(c, request, c->destage ? progress_sync : NULL, &result);
	if (e == CLIENT_NOBODY && c->destage) {
		complain("%s is not mounted: what is staged there is destaged by the next mount",
			 c->pool);
		return FAILED;
	}
	if (e == CLIENT_NOBODY) /* perhaps because it has just died, with what was to be synced */
		complain("%s has no daemon that could sync it: mount it", c->pool);
	if (e != CLIENT_OK)
		return FAILED;
	if (c->json)
		show_json(result ? result : json_object());
	json_decref(result);
	return end_output(0, FAILED);
}

static json_t *collect_unmounted(const struct call *c)
{
	struct gc_result result;
	struct pool *pool = open_pool(c, false);
	if (!pool)
		return NULL;
	pool_reserve_lend(pool, UINT64_MAX);
	int r = gc_run(pool->gc, NULL, NULL, &result);
	if (r < 0)
		complain("%s: collecting garbage failed: %s", c->pool, strerror(-r));
	if (close_pool(pool) < 0)
		r = -EIO;
	return r < 0 ? NULL : status_gc(&result);
}

static int run_gc(struct call *c)
{
	json_t *result = NULL;
	json_t *request = json_pack("{s:s, s:b}", "command", "gc", "progress", progress_wanted());
	enum client_end e = ask(c, request, progress_gc, &result);
	if (e == CLIENT_NOBODY)
		result = collect_unmounted(c);
	return result ? end(result, c, show_gc) : FAILED;
}

static void scrub_progress(void *arg, const struct scrub_status *so_far)
{
	json_t *report = status_scrub(so_far);
	(void)arg;
	progress_scrub(report);
	json_decref(report);
}

static json_t *scrub_unmounted(const struct call *c)
{
	json_t *result = NULL;
	if (c->action && strcmp(c->action, "status")) {
		complain("%s is not mounted: nobody is there to %s a scrub", c->pool, c->action);
		return NULL;
	}
	struct pool *pool = open_pool(c, false);
	if (!pool)
		return NULL;
	progress_begin(c->pool);
	int r = c->action ? 0
			  : scrub_run(pool->scrub, progress_wanted() ? scrub_progress : NULL, NULL);
	progress_end();
	if (r == 0)
		r = status_scrub_damage(pool, &result);
	if (r < 0)
		complain("%s: the scrub failed: %s", c->pool, strerror(-r));
	if (close_pool(pool) == 0 && r == 0)
		return result;
	json_decref(result);
	return NULL;
}

static int run_scrub(struct call *c)
{
	json_t *result = NULL;
	json_t *request = json_pack("{s:s, s:s*, s:b}", "command", "scrub", "action", c->action,
				    "progress", progress_wanted());
	enum client_end e = ask(c, request, progress_scrub, &result);
	if (e == CLIENT_NOBODY)
		result = scrub_unmounted(c);
	if (!result)
		return FAILED;
	bool damaged = show_is_damaged(result);
	int r = end(result, c, show_scrub);
	return r ? r : damaged ? DAMAGED : 0;
}

/* All paths must lie in the same mount; the daemon is told their inode numbers. */
static json_t *inodes_of(struct call *c)
{
	char pool[PATH_MAX], path[PATH_MAX];
	struct stat st;
	json_t *list = json_array();
	for (int i = 0; i < c->n_paths; i++) {
		bool same = pool_path_find(c->paths[i], pool);
		if (same && strcmp(pool, c->pool)) {
			complain("%s lies in another pool than %s", c->paths[i], c->paths[0]);
			same = false;
		}
		if (same && lstat(c->paths[i], &st)) {
			complain("%s: %s", c->paths[i], strerror(errno));
			same = false;
		}
		if (!same) {
			json_decref(list);
			return NULL;
		}
		/* the pool itself stands for the root of what is in it */
		if (resolve_path(c->paths[i], path) == 0 && !strcmp(path, pool))
			st.st_ino = 1;
		json_array_append_new(list, json_integer((json_int_t)st.st_ino));
	}
	return list;
}

/* For what touches the files themselves: those in the pool's directory are others. */
static bool in_mounts(struct call *c)
{
	char pool[PATH_MAX], path[PATH_MAX];
	for (int i = 0; i < c->n_paths; i++) {
		if (!pool_path_find(c->paths[i], pool))
			return false;
		if (resolve_path(c->paths[i], path) == 0 && !strcmp(path, pool)) {
			complain("%s is a pool: %s wants paths inside its mount", c->paths[i],
				 c->name);
			return false;
		}
	}
	return true;
}

static int run_du(struct call *c)
{
	json_t *result = NULL, *media = NULL;
	if (c->media && !(media = media_of(c->paths, c->n_paths)))
		return FAILED;
	json_t *inodes = inodes_of(c);
	if (!inodes) {
		json_decref(media);
		return FAILED;
	}
	enum client_end e =
		ask(c, json_pack("{s:s, s:o}", "command", "du", "inodes", inodes), NULL, &result);
	if (e == CLIENT_NOBODY)
		complain("%s is not mounted: du wants paths inside the mount", c->pool);
	if (e != CLIENT_OK) {
		json_decref(media);
		return FAILED;
	}
	for (int i = 0; i < c->n_paths; i++) {
		json_t *entry = json_array_get(result, (size_t)i);
		json_object_set_new(entry, "path", json_string(c->paths[i]));
		if (media)
			json_object_set(entry, "media", json_array_get(media, (size_t)i));
	}
	json_decref(media);
	return end(result, c, c->media ? show_du_media : show_du);
}

static int run_tier(struct call *c)
{
	json_t *result = NULL;
	if (!strcmp(c->action, "status"))
		return tier_show_status(c->pool, c->json) ? FAILED : end_output(0, FAILED);
	bool unpin = !strcmp(c->action, "unpin"), pin = !strcmp(c->action, "pin");
	if ((pin || unpin) && !in_mounts(c))
		return FAILED;
	if (unpin)
		return tier_unpin(c->paths, c->n_paths) ? FAILED : 0;
	json_t *inodes = inodes_of(c);
	if (!inodes)
		return FAILED;
	if (pin && tier_pin(c->paths, c->n_paths)) {
		json_decref(inodes);
		return FAILED;
	}
	json_t *request = json_pack("{s:s, s:s, s:s, s:o, s:b}", "command", "tier", "action",
				    "move", "tier", c->tier ? c->tier : "hot", "inodes", inodes,
				    "progress", progress_wanted());
	enum client_end e = ask(c, request, progress_tier, &result);
	if (e == CLIENT_NOBODY)
		complain("%s is not mounted: mount it to move what is in it", c->pool);
	if (!result)
		return FAILED;
	bool failed = tier_complain(result, c->pool);
	int r = end(result, c, tier_show_moved);
	return failed ? FAILED : r;
}

static int run_replica(struct call *c)
{
	json_t *result = NULL;
	json_t *request = json_pack("{s:s, s:s}", "command", "replica", "action", c->action);
	if (ask(c, request, NULL, &result) == CLIENT_NOBODY)
		complain("%s is not mounted: only its daemon knows what has been shipped", c->pool);
	return result ? end(result, c, replica_show) : FAILED;
}

static int run_warm(struct call *c)
{
	if (!in_mounts(c))
		return FAILED;
	json_t *result = warm_paths(c->paths, c->n_paths);
	bool failed = show_number(result, "files_failed");
	int r = end(result, c, warm_show);
	return failed ? FAILED : r;
}

static int run_bench(struct call *c)
{
	json_t *result = bench_pool(c->pool, c->paths[0]);
	return result ? end(result, c, show_bench) : FAILED;
}

static const struct command {
	const char *name;
	int (*run)(struct call *c);
	bool many;
} commands[] = {
	{ "bench", run_bench, false },
	{ "df", run_df, false },
	{ "du", run_du, true },
	{ "gc", run_gc, false },
	{ "replica", run_replica, false },
	{ "scrub", run_scrub, false },
	{ "stats", run_stats, false },
	{ "sync", run_sync, false },
	{ "tier", run_tier, true },
	{ "warm", run_warm, true },
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* The word before the path. A path of that name is ./start. */
static void take_action(struct call *c)
{
	static const char *const actions[] = { "start", "status", "stop" };
	for (size_t i = 0; c->n_paths && i < sizeof actions / sizeof *actions; i++)
		if (!strcmp(c->paths[0], actions[i])) {
			c->action = actions[i];
			c->paths++;
			c->n_paths--;
			return;
		}
}

static bool take_replica(struct call *c)
{
	bool status = c->n_paths && !strcmp(c->paths[0], "status");
	if (!status && !(c->n_paths && !strcmp(c->paths[0], "sync")))
		return false;
	c->action = c->paths[0];
	c->paths++;
	c->n_paths--;
	return true;
}

/* The words before the paths. */
static bool take_tier(struct call *c)
{
	static const char *const actions[] = { "status", "move", "recall", "pin", "unpin" };
	size_t i = 0, n = sizeof actions / sizeof *actions;
	while (c->n_paths && i < n && strcmp(c->paths[0], actions[i]))
		i++;
	if (!c->n_paths || i == n)
		return false;
	c->action = actions[i];
	c->paths++;
	c->n_paths--;
	if (strcmp(c->action, "move") || !c->n_paths)
		return true;
	c->tier = c->paths[0];
	c->paths++;
	c->n_paths--;
	return true;
}

/* 0: go on; else the exit status plus one. */
static int parse(struct call *c, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },    { "destage", no_argument, NULL, 'd' },
		{ "media", no_argument, NULL, 'm' },   { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' }, { 0 }
	};
	int o;
	while ((o = getopt_long(argc, argv, ":hV", longs, NULL)) != -1) {
		if (o == 'j')
			c->json = true;
		else if (o == 'd')
			c->destage = true;
		else if (o == 'm')
			c->media = true;
		else if (o == 'h')
			return fputs(help, stdout), end_output(0, FAILED) + 1;
		else if (o == 'V')
			return puts("foldfs " FOLDFS_VERSION), end_output(0, FAILED) + 1;
		else
			return complain_usage(USAGE + 1, "%s is no option", argv[optind - 1]);
	}
	if (optind == argc)
		return complain_usage(USAGE + 1, "a command is wanted: df, du, stats, sync, gc, "
						 "scrub, tier, replica, warm or bench");
	c->name = argv[optind];
	c->paths = argv + optind + 1;
	c->n_paths = argc - optind - 1;
	return 0;
}

int main(int argc, char **argv)
{
	static struct call c;
	int r = parse(&c, argc, argv);
	if (r)
		return r - 1;
	if (!strcmp(c.name, "help"))
		return fputs(help, stdout), end_output(0, FAILED);
	if (!strcmp(c.name, "version"))
		return puts("foldfs " FOLDFS_VERSION), end_output(0, FAILED);
	const struct command *command = find_command(c.name);
	if (!command)
		return complain_usage(USAGE, "there is no command %s", c.name);
	if (command->run == run_scrub)
		take_action(&c);
	if (command->run == run_tier && !take_tier(&c))
		return complain_usage(USAGE,
				      "foldfs tier wants one of status, move TIER, recall, pin "
				      "and unpin, and then paths");
	if (command->run == run_replica && !take_replica(&c))
		return complain_usage(USAGE,
				      "foldfs replica wants status or sync, and then a path");
	if (c.n_paths < 1 || (c.n_paths > 1 && !command->many))
		return complain_usage(USAGE, "foldfs %s wants %s, a pool or a path in a mount",
				      c.name, command->many ? "paths" : "one path");
	if (c.destage && command->run != run_sync)
		return complain_usage(USAGE, "--destage belongs to foldfs sync");
	if (c.media && command->run != run_du)
		return complain_usage(USAGE, "--media belongs to foldfs du");
	if (!pool_path_find(c.paths[0], c.pool))
		return FAILED;
	return command->run(&c);
}
