// SPDX-License-Identifier: MIT
#include "bench.h"
#include "cleanup.h"
#include "config.h"
#include "mountinfo.h"
#include "progress.h"
#include "say.h"
#include "show.h"
#include "speed.h"
#include "super.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define LARGE ((uint64_t)1 << 30)

struct bench {
	struct super super;
	struct config config;
	struct speed_cpu cpu;
	struct speed_files device, mount;
	bool mounted;
};

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
	r = speed_cpu(&b->super.chunker, b->config.zstd_level, &b->cpu);
	if (r < 0)
		return complain("the processor could not be measured: %s", strerror(-r)), false;
	r = speed_device(dirfd, LARGE, &b->device);
	if (r < 0)
		return complain("%s: the disk could not be measured: %s", pool, strerror(-r)),
		       false;
	CLEANUP_CLOSE int mount = open_mount(pool, path);
	b->mounted = mount != -ENOENT;
	r = !b->mounted ? 0 : mount < 0 ? mount : speed_mount(mount, LARGE, &b->mount);
	if (r < 0)
		complain("%s: the mount could not be measured: %s", path, strerror(-r));
	return r == 0;
}

static json_t *files_json(const struct speed_files *f)
{
	return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "write", f->write, "read",
			 f->read, "reread", f->reread, "sync_ms", f->sync_ms, "sync_late_ms",
			 f->sync_late_ms, "creates", f->creates, "stats", f->stats, "unlinks",
			 f->unlinks, "bytes", (json_int_t)f->bytes);
}

json_t *bench_pool(const char *pool, const char *path)
{
	struct bench b = { 0 };
	const char *advice[SPEED_ADVICE_MAX];
	progress_begin(pool);
	bool done = measure(&b, pool, path);
	progress_end();
	if (!done)
		return NULL;
	json_t *list = json_array();
	size_t n = speed_advice(&b.cpu, &b.device, b.mounted ? &b.mount : NULL, advice);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(advice[i]));
	return json_pack("{s:s, s:i, s:{s:i, s:f, s:f, s:f, s:f, s:f, s:f}, s:o, s:o, s:o}", "pool",
			 pool, "zstd_level", b.config.zstd_level, "cpu", "cores", (int)b.cpu.cores,
			 "chunk", b.cpu.chunk, "digest", b.cpu.digest, "compress", b.cpu.compress,
			 "ratio", b.cpu.ratio, "decompress", b.cpu.decompress, "together",
			 b.cpu.together, "device", files_json(&b.device), "mount",
			 b.mounted ? files_json(&b.mount) : json_null(), "advice", list);
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

static void show_files(const json_t *f)
{
	char size[SHOW_SIZE], note[64];
	snprintf(note, sizeof note, "%s, synced at its end",
		 show_size(show_number(f, "bytes"), size));
	speed_line("write a large file", number(f, "write"), note);
	speed_line("read it", number(f, "read"), "its pages dropped before, where that works");
	speed_line("read it again", number(f, "reread"), "");
	printf("  %-26s %10.2f ms  99 of 100 within %.2f ms\n", "append 4 KiB and sync",
	       number(f, "sync_ms"), number(f, "sync_late_ms"));
	if (number(f, "creates") > 0)
		printf("  %-26s %10.0f/s   stat %.0f/s, remove %.0f/s\n", "create 4 KiB files",
		       number(f, "creates"), number(f, "stats"), number(f, "unlinks"));
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
	show_files(json_object_get(bench, "device"));
	if (json_is_object(mount)) {
		printf("\nThe mount\n");
		show_files(mount);
	} else {
		printf("\nThe pool is not mounted: its mount was not measured.\n");
	}
	putchar('\n');
	json_array_foreach(advice, i, sentence) printf("%s\n", json_string_value(sentence));
}
