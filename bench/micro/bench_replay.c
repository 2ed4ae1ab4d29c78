// SPDX-License-Identifier: MIT
/* bench_replay DIR [MIB]: how long opening the kv engine takes after a crash that left MIB of log.
 *
 * A child fills the log in the empty directory DIR as small files do (an inode row, a name, 4 KiB of
 * content that compresses little, in one batch each) with memory enough that no checkpoint
 * happens, syncs it, and dies. Then the engine is opened with the daemon's own settings. Prints one
 * line of JSON.
 */
#include "clock.h"
#include "kv.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(const char *what, int r)
{
	if (r >= 0)
		return;
	fprintf(stderr, "bench_replay: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void put_file(struct kv_batch *b, uint64_t ino)
{
	uint8_t key[16], row[48] = { 1, 2, 3 }, content[4096];
	uint64_t state = ino * 0x9e3779b97f4a7c15u | 1;
	for (size_t i = 0; i < sizeof content; i += 8) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(content + i, &state, 8);
	}
	put_be64(key, ino);
	kv_batch_put(b, KV_INODE, key, 8, row, sizeof row);
	kv_batch_put(b, KV_INLINE, key, 8, content, sizeof content);
	put_be64(key, ino / 1000);
	put_be64(key + 8, ino);
	kv_batch_put(b, KV_DIRENT, key, sizeof key, row, 24);
}

static void fill(struct kv_options opt, uint64_t bytes)
{
	struct kv_stats stats = { 0 };
	struct kv *kv;
	opt.memtable_bytes = bytes * 4;
	opt.checkpoint_interval_s = 86400;
	check("open", kv_open(&opt, &kv, NULL));
	for (uint64_t ino = 2; stats.wal_bytes_written < bytes; ino++) {
		struct kv_batch *b = kv_batch_new();
		put_file(b, ino);
		check("commit", kv_commit(kv, b, NULL));
		if (ino % 1000)
			continue;
		check("sync", kv_sync(kv, UINT64_MAX));
		kv_get_stats(kv, &stats);
	}
	_exit(0); /* as a crash: nothing is closed */
}

static void make_dirs(const char *dir, struct kv_options *opt, char *index_path, size_t size)
{
	char wal[512];
	snprintf(index_path, size, "%.500s/index", dir);
	snprintf(wal, sizeof wal, "%.500s/wal", dir);
	if (mkdir(index_path, 0700) || mkdir(wal, 0700))
		check(dir, -errno);
	opt->index_path = index_path;
	opt->index_dirfd = open(index_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	opt->wal_dirfd = open(wal, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int main(int argc, char **argv)
{
	char index_path[512];
	struct kv_options opt = { .sync_interval_ms = 1000 };
	struct kv_recovery recovery;
	struct kv *kv;
	int status;
	if (argc < 2) {
		fprintf(stderr, "usage: bench_replay DIR [MIB]\n");
		return 2;
	}
	make_dirs(argv[1], &opt, index_path, sizeof index_path);
	if (fork() == 0)
		fill(opt, (argc > 2 ? strtoull(argv[2], NULL, 10) : 1024) << 20);
	if (wait(&status) < 0 || status)
		return 1;
	sync();
	uint64_t start = clock_mono_ns();
	check("open after the crash", kv_open(&opt, &kv, &recovery));
	double seconds = (double)(clock_mono_ns() - start) / 1e9;
	printf("{\"bytes\": %" PRIu64 ", \"frames\": %" PRIu64 ", \"seconds\": %.2f}\n",
	       recovery.bytes_replayed, recovery.frames_replayed, seconds);
	check("close", kv_close(kv));
	return 0;
}
