// SPDX-License-Identifier: MIT
/* speed: what this machine can do of what a pool asks of it, measured in less than a minute. */
#ifndef FOLDFS_SPEED_H
#define FOLDFS_SPEED_H
#include "chunker.h"
#include "speed_budget.h"

/* Of one core, in bytes per second, but for `together`. */
struct speed_cpu {
	unsigned cores;
	double chunk, digest, compress, decompress;
	double ratio;	 /* bytes before to bytes after compressing */
	double together; /* chunk, digest and compress one after another, on all cores */
};

struct speed_files {
	double write; /* bytes per second of one large file, synced step by step */
	double read;  /* after its pages were dropped */
	double reread;
	double sync_ms,
		sync_late_ms; /* 4 KiB appended and synced: the median, and all but one of 100 */
	double creates, stats, unlinks; /* of files of 4 KiB, per second; 0: not measured */
	uint64_t bytes;			/* of the large file */
	unsigned cut; /* by 1 << enum speed_part: time was up before all was done */
};

/* What is in packs. */
struct speed_stored {
	double destage; /* bytes per second, until they are durable */
	double read,
		reread; /* of that, through the mount, as in struct speed_files; 0: destage was cut short */
	uint64_t bytes; /* of the file */
	unsigned cut;
};

/* All of them: -ECANCELED when bounds->stop says so. */

/* level: zstd's, 0 for none. -ENOMEM, -EINVAL. */
int speed_cpu(const struct chunker_params *params, int level, const struct speed_bounds *bounds,
	      struct speed_cpu *ret);

/* In files without a name below the directory, of `most` bytes at most, and a quarter of the free space. */
int speed_device(int dirfd, uint64_t most, const struct speed_bounds *bounds,
		 struct speed_files *ret);
/* In a directory made for it and removed again, with all that speed_device() measures and many small files. */
int speed_mount(int dirfd, uint64_t most, const struct speed_bounds *bounds,
		struct speed_files *ret);

/* The mount's daemon, for speed_stored(). */
struct speed_daemon {
	/* Before the file is closed: what has been destaged by now is none of it. */
	int (*begin)(void *arg);
	/* Has all that is closed destaged and made durable. 1: the file's `bytes` are, 0: not by until_ns.
	 * *ret_bytes: what was destaged during the call, of all files. */
	int (*destage)(void *arg, uint64_t bytes, uint64_t until_ns, uint64_t *ret_bytes);
	/* Drops the pages of what was destaged since from the page cache, as far as it may. */
	void (*drop)(void *arg);
	void *arg;
};
/* Of how many bytes, so that writing and destaging them take but a few seconds. */
uint64_t speed_stored_bytes(const struct speed_cpu *cpu, const struct speed_files *device,
			    const struct speed_files *mount);
/* In a directory of the mount as speed_mount(), of a file of `bytes`, or a quarter of the free space. */
int speed_stored(int dirfd, uint64_t bytes, const struct speed_daemon *daemon,
		 const struct speed_bounds *bounds, struct speed_stored *ret);

#define SPEED_ADVICE_MAX 8u
/* Sentences for people; mount NULL: not measured. Returns how many. */
size_t speed_advice(const struct speed_cpu *cpu, const struct speed_files *device,
		    const struct speed_files *mount, const char *ret_advice[SPEED_ADVICE_MAX]);
#endif
