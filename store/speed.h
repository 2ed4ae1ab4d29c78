// SPDX-License-Identifier: MIT
/* speed: what this machine can do of what a pool asks of it, measured in well under a minute. */
#ifndef FOLDFS_SPEED_H
#define FOLDFS_SPEED_H
#include "chunker.h"

/* Of one core, in bytes per second, but for `together`. */
struct speed_cpu {
	unsigned cores;
	double chunk, digest, compress, decompress;
	double ratio;	 /* bytes before to bytes after compressing */
	double together; /* chunk, digest and compress one after another, on all cores */
};

struct speed_files {
	double write, read,
		reread; /* bytes per second of one large file, a sync at its end included */
	double sync_ms,
		sync_late_ms; /* 4 KiB appended and synced: the median, and all but one of 100 */
	double creates, stats, unlinks; /* of files of 4 KiB, per second; 0: not measured */
	uint64_t bytes;			/* of the large file */
};

/* level: zstd's, 0 for none. -ENOMEM, -EINVAL. */
int speed_cpu(const struct chunker_params *params, int level, struct speed_cpu *ret);

/* In files without a name below the directory, of `most` bytes at most, and a quarter of the free space. */
int speed_device(int dirfd, uint64_t most, struct speed_files *ret);
/* In a directory made for it and removed again, with all that speed_device() measures and many small files. */
int speed_mount(int dirfd, uint64_t most, struct speed_files *ret);

#define SPEED_ADVICE_MAX 8u
/* Sentences for people; mount NULL: not measured. Returns how many. */
size_t speed_advice(const struct speed_cpu *cpu, const struct speed_files *device,
		    const struct speed_files *mount, const char *ret_advice[SPEED_ADVICE_MAX]);
#endif
