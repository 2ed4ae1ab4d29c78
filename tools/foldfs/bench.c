// SPDX-License-Identifier: MIT
#include "bench.h"
#include "bench_daemon.h"
#include "cleanup.h"
#include "clock.h"
#include "config.h"
#include "mountinfo.h"
#include "say.h"
#include "show.h"
#include "speed.h"
#include "super.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define LARGE ((uint64_t)1 << 30)
#define ALL_NS 55000000000ull

struct bench {
	struct speed_bounds bounds;
	struct super super;
	struct config config;
	struct speed_cpu cpu;
	struct speed_files device, mount;
	struct speed_stored stored;
	bool mounted;
};

/* ---- signals: what was made in the mount has to go first ---- */

static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
#define ENDS (sizeof ends / sizeof *ends)
static volatile sig_atomic_t stop;

static void note(int signal)
{
	stop = signal;
}

static void watch_signals(struct sigaction before[ENDS])
{
	for (size_t i = 0; i < ENDS; i++) {
		sigaction(ends[i], NULL, &before[i]);
		if (before[i].sa_handler != SIG_IGN)
			sigaction(ends[i],
				  &(struct sigaction){ .sa_handler = note, .sa_flags = SA_RESTART },
				  NULL);
	}
}

static void unwatch_signals(const struct sigaction before[ENDS])
{
	for (size_t i = 0; i < ENDS; i++)
		sigaction(ends[i], &before[i], NULL);
	if (stop)
		raise(stop);
}

/* ---- measuring ---- */

static int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Where in the mount: `path` itself if it is a directory there, else the top. -ENOENT: not mounted. */
static int open_mount(const char *pool, const char *path)
{
	struct mountinfo m;
	char resolved[PATH_MAX];
	if (!mountinfo_of_pool(pool, &m))
		return -ENOENT;
	int fd = -ENOTDIR;
	if (resolve_path(path, resolved) == 0 && path_is_in(resolved, m.dir))
		fd = open_dir(resolved);
	return fd == -ENOTDIR ? open_dir(m.dir) : fd;
}

/* Nobody is told of what they ended themselves, or have been told already. */
static bool well(int r, const char *where, const char *what)
{
	if (r < 0 && !stop && r != -EREMOTEIO)
		complain("%s: %s could not be measured: %s", where, what, strerror(-r));
	return r >= 0;
}

static bool measure_mount(struct bench *b, const char *pool, const char *path)
{
	struct bench_daemon d;
	struct speed_daemon daemon = bench_daemon(&d, pool, b->bounds.stop);
	CLEANUP_CLOSE int mount = open_mount(pool, path);
	b->mounted = mount != -ENOENT;
	if (!b->mounted)
		return true;
	int r = mount < 0 ? mount : speed_mount(mount, LARGE, &b->bounds, &b->mount);
	if (!well(r, path, "the mount"))
		return false;
	uint64_t bytes = speed_stored_bytes(&b->cpu, &b->device, &b->mount);
	r = speed_stored(mount, bytes, &daemon, &b->bounds, &b->stored);
	return well(r, path, "what is stored");
}

static bool measure(struct bench *b, const char *pool, const char *path)
{
	struct config_error why;
	CLEANUP_CLOSE int dirfd = open_dir(pool);
	int r = dirfd < 0 ? dirfd : super_read(dirfd, &b->super, NULL);
	if (r < 0)
		return complain("%s: the pool cannot be read: %s", pool, strerror(-r)), false;
	config_defaults(&b->config);
	if (config_load(&b->config, dirfd, "foldfs.conf", &why) < 0)
		return complain("%s", why.text), false;
	r = speed_cpu(&b->super.chunker, b->config.zstd_level, &b->bounds, &b->cpu);
	if (!well(r, pool, "the processor"))
		return false;
	r = speed_device(dirfd, LARGE, &b->bounds, &b->device);
	return well(r, pool, "the disk") && measure_mount(b, pool, path);
}

static json_t *cut_json(unsigned cut)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < SPEED_PARTS; i++)
		if (cut & 1u << i)
			json_array_append_new(list, json_string(speed_part_name(i)));
	return list;
}

static json_t *files_json(const struct speed_files *f)
{
	return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:o}", "write", f->write,
			 "read", f->read, "reread", f->reread, "sync_ms", f->sync_ms,
			 "sync_late_ms", f->sync_late_ms, "creates", f->creates, "stats", f->stats,
			 "unlinks", f->unlinks, "bytes", (json_int_t)f->bytes, "cut_short",
			 cut_json(f->cut));
}

static json_t *stored_json(const struct speed_stored *s)
{
	return json_pack("{s:f, s:f, s:f, s:I, s:o}", "destage", s->destage, "read", s->read,
			 "reread", s->reread, "bytes", (json_int_t)s->bytes, "cut_short",
			 cut_json(s->cut));
}

json_t *bench_pool(const char *pool, const char *path)
{
	struct bench b = { .bounds = { clock_mono_ns() + ALL_NS, &stop } };
	const char *advice[SPEED_ADVICE_MAX];
	struct sigaction before[ENDS];
	watch_signals(before);
	bool done = measure(&b, pool, path);
	unwatch_signals(before);
	if (!done)
		return NULL;
	json_t *list = json_array();
	size_t n = speed_advice(&b.cpu, &b.device, b.mounted ? &b.mount : NULL, advice);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(advice[i]));
	return json_pack("{s:s, s:i, s:{s:i, s:f, s:f, s:f, s:f, s:f, s:f}, s:o, s:o, s:o, s:o}",
			 "pool", pool, "zstd_level", b.config.zstd_level, "cpu", "cores",
			 (int)b.cpu.cores, "chunk", b.cpu.chunk, "digest", b.cpu.digest, "compress",
			 b.cpu.compress, "ratio", b.cpu.ratio, "decompress", b.cpu.decompress,
			 "together", b.cpu.together, "device", files_json(&b.device), "mount",
			 b.mounted ? files_json(&b.mount) : json_null(), "stored",
			 b.mounted ? stored_json(&b.stored) : json_null(), "advice", list);
}

/* ---- for people ---- */

static double number(const json_t *o, const char *name)
{
	return json_number_value(json_object_get(o, name));
}

static void speed_line(const char *what, double bytes_per_second, const char *note)
{
	char size[SHOW_SIZE];
	printf("  %-26s %10s/s%s%s\n", what, show_size((uint64_t)bytes_per_second, size),
	       *note ? "  " : "", note);
}

static bool is_cut(const json_t *o, const char *part)
{
	const json_t *list = json_object_get(o, "cut_short");
	bool cut = false;
	for (size_t i = 0; i < json_array_size(list) && !cut; i++)
		cut = !strcmp(json_string_value(json_array_get(list, i)), part);
	return cut;
}

/* "words", and whether its time was up. */
#define NOTE 128
static const char *cut_note(const json_t *o, const char *part, const char *words, char note[NOTE])
{
	bool cut = is_cut(o, part);
	snprintf(note, NOTE, "%s%s%s", words, *words && cut ? "; " : "", cut ? "cut short" : "");
	return note;
}

static void count_line(const json_t *f, const char *what, const char *part)
{
	char note[NOTE];
	cut_note(f, part, "", note);
	printf("  %-26s %10.0f/s%s%s\n", what, number(f, part), *note ? "  " : "", note);
}

static void show_files(const json_t *f, const char *how_read)
{
	char size[SHOW_SIZE], words[64], note[NOTE];
	snprintf(words, sizeof words, "%s, synced step by step",
		 show_size(show_number(f, "bytes"), size));
	speed_line("write a large file", number(f, "write"), cut_note(f, "write", words, note));
	speed_line("read it", number(f, "read"), cut_note(f, "read", how_read, note));
	speed_line("read it again", number(f, "reread"), cut_note(f, "reread", "", note));
	snprintf(words, sizeof words, "99 of 100 within %.2f ms", number(f, "sync_late_ms"));
	printf("  %-26s %10.2f ms  %s\n", "append 4 KiB and sync", number(f, "sync_ms"),
	       cut_note(f, "sync", words, note));
	if (number(f, "creates") <= 0)
		return;
	count_line(f, "create 4 KiB files", "creates");
	count_line(f, "stat them", "stats");
	count_line(f, "remove them", "unlinks");
}

static void show_stored(const json_t *s)
{
	char size[SHOW_SIZE], words[64], note[NOTE];
	printf("\nWhat is stored in it\n");
	snprintf(words, sizeof words, "%s, and synced", show_size(show_number(s, "bytes"), size));
	speed_line("destage a large file", number(s, "destage"),
		   cut_note(s, is_cut(s, "write") ? "write" : "destage", words, note));
	if (number(s, "read") <= 0) {
		printf("  Reading it was not measured: it was not all in packs in time.\n");
		return;
	}
	speed_line("read it", number(s, "read"),
		   cut_note(s, "read", "from packs, their pages dropped before", note));
	speed_line("read it again", number(s, "reread"), cut_note(s, "reread", "", note));
}

void show_bench(const json_t *bench)
{
	const json_t *cpu = json_object_get(bench, "cpu"),
		     *advice = json_object_get(bench, "advice");
	const json_t *mount = json_object_get(bench, "mount"), *sentence;
	char note[64];
	size_t i;
	printf("The processor, one of %.0f cores\n", number(cpu, "cores"));
	speed_line("chunk", number(cpu, "chunk"), "");
	speed_line("digest", number(cpu, "digest"), "");
	snprintf(note, sizeof note, "zstd_level %.0f, to 1/%.1f of such data",
		 number(bench, "zstd_level"), number(cpu, "ratio"));
	speed_line("compress", number(cpu, "compress"), note);
	speed_line("decompress", number(cpu, "decompress"), "");
	speed_line("all of it, on all cores", number(cpu, "together"),
		   "the most that destage can do");
	printf("\nThe filesystem below %s\n", json_string_value(json_object_get(bench, "pool")));
	show_files(json_object_get(bench, "device"), "its pages dropped before");
	if (json_is_object(mount)) {
		printf("\nThe mount\n");
		show_files(mount, "while it is staged: not cold where it is passed through");
		show_stored(json_object_get(bench, "stored"));
	} else {
		printf("\nThe pool is not mounted: its mount was not measured.\n");
	}
	putchar('\n');
	json_array_foreach(advice, i, sentence) printf("%s\n", json_string_value(sentence));
}
