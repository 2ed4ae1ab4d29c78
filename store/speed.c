// SPDX-License-Identifier: MIT
/* Each step goes on for a while, not for so many bytes: on a slow machine it takes no longer. The bytes are
 * different in every chunk and shrink to about a half, as zeros and repeats would say nothing.
 */
#include "speed.h"
#include "cleanup.h"
#include "clock.h"
#include "codec.h"
#include "digest.h"
#include "fuse_switch.h"
#include "io.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SAMPLE ((size_t)32 << 20)
#define FRAME ((size_t)256 << 10)
#define CHUNK ((size_t)64 << 10)
#define STEP_NS 1000000000ull
#define FILE_NS 6000000000ull
#define SMALL 4096u
#define SYNCS 200u
#define SMALL_FILES 4000u
#define THREADS_MAX 256u

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Half of the bytes are words of a small vocabulary. */
static void fill(uint8_t *data, size_t len, uint64_t seed)
{
	static const char words[16][9] = { "chunk   ", "pack    ", "frame   ", "extent  ",
					   "inode   ", "dirent  ", "segment ", "digest  ",
					   "staging ", "destage ", "scrub   ", "gc      ",
					   "log     ", "sync    ", "cache   ", "pool    " };
	uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t at = 0; at + 16 <= len; at += 16) {
		uint64_t r = next_random(&state);
		memcpy(data + at, words[r % 16], 8);
		memcpy(data + at + 8, &r, 8);
	}
}

static double per_second(uint64_t n, uint64_t since_ns)
{
	uint64_t ns = clock_mono_ns() - since_ns;
	return ns ? (double)n * 1e9 / (double)ns : 0;
}

/* ---- the processor ---- */

struct cpu_work {
	const struct chunker *chunker;
	int level;
	const uint8_t *data; /* SAMPLE bytes */
	uint8_t *out;	     /* FRAME bytes */
	uint64_t done;	     /* bytes */
	uint64_t stored;
	uint64_t until_ns;
	int err;
};

static size_t cut(const struct cpu_work *w, size_t at)
{
	return chunker_cut(w->chunker, w->data + at, SAMPLE - at, true);
}

static void encode(struct cpu_work *w, size_t at)
{
	enum codec codec;
	size_t n = FRAME;
	int r = codec_encode(w->level, w->data + at, FRAME, w->out, FRAME, &codec, &n);
	w->err = r < 0 ? r : w->err;
	w->stored += n;
}

/* Everything that destage does to bytes that are new. */
static void *store_all(void *arg)
{
	struct cpu_work *w = arg;
	struct digest digest;
	for (size_t at = 0; clock_mono_ns() < w->until_ns; at = (at + FRAME) % SAMPLE) {
		for (size_t in = 0; in < FRAME;) {
			size_t n = cut(w, at + in);
			n = n < FRAME - in ? n : FRAME - in;
			digest_of(w->data + at + in, n, &digest);
			in += n;
		}
		encode(w, at);
		w->done += FRAME;
	}
	return NULL;
}

static double measure_chunks(const struct cpu_work *w)
{
	uint64_t begin = clock_mono_ns(), done = 0;
	for (size_t at = 0; clock_mono_ns() < begin + STEP_NS; at = at < SAMPLE ? at : 0) {
		size_t n = cut(w, at);
		at += n;
		done += n;
	}
	return per_second(done, begin);
}

static double measure_digests(const struct cpu_work *w)
{
	uint64_t begin = clock_mono_ns(), done = 0;
	struct digest digest;
	for (size_t at = 0; clock_mono_ns() < begin + STEP_NS; at = (at + CHUNK) % SAMPLE) {
		digest_of(w->data + at, CHUNK, &digest);
		done += CHUNK;
	}
	return per_second(done, begin);
}

static int measure_codec(struct cpu_work *w, struct speed_cpu *ret)
{
	uint64_t begin = clock_mono_ns(), done = 0;
	enum codec codec;
	size_t len;
	CLEANUP_FREE uint8_t *back = malloc(FRAME);
	if (!back)
		return -ENOMEM;
	w->stored = 0;
	for (size_t at = 0; clock_mono_ns() < begin + STEP_NS; at = (at + FRAME) % SAMPLE) {
		encode(w, at);
		done += FRAME;
	}
	ret->compress = per_second(done, begin);
	ret->ratio = (double)done / (double)w->stored;
	int r = codec_encode(w->level, w->data, FRAME, w->out, FRAME, &codec, &len);
	begin = clock_mono_ns();
	done = 0;
	while (r == 0 && codec == CODEC_ZSTD && clock_mono_ns() < begin + STEP_NS / 2) {
		r = codec_decode(codec, w->out, len, back, FRAME);
		done += FRAME;
	}
	ret->decompress = per_second(done, begin);
	return r < 0 ? r : w->err;
}

static int measure_together(const struct cpu_work *like, struct speed_cpu *ret)
{
	pthread_t threads[THREADS_MAX];
	CLEANUP_FREE struct cpu_work *work = calloc(ret->cores, sizeof *work);
	unsigned started = 0;
	uint64_t done = 0, begin = clock_mono_ns();
	int r = work ? 0 : -ENOMEM;
	for (; r == 0 && started < ret->cores; started++) {
		work[started] = *like;
		work[started].done = 0;
		work[started].until_ns = begin + STEP_NS;
		work[started].out = malloc(FRAME);
		if (!work[started].out ||
		    pthread_create(&threads[started], NULL, store_all, &work[started])) {
			free(work[started].out);
			r = -ENOMEM;
			break;
		}
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
		free(work[i].out);
		done += work[i].done;
		r = r < 0 ? r : work[i].err;
	}
	ret->together = per_second(done, begin);
	return r;
}

int speed_cpu(const struct chunker_params *params, int level, struct speed_cpu *ret)
{
	struct chunker chunker;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	CLEANUP_FREE uint8_t *data = malloc(SAMPLE), *out = malloc(FRAME);
	*ret = (struct speed_cpu){ .cores = cores < 1			? 1
					    : cores > (long)THREADS_MAX ? THREADS_MAX
									: (unsigned)cores };
	int r = data && out ? chunker_init(&chunker, params) : -ENOMEM;
	if (r < 0)
		return r;
	fill(data, SAMPLE, 1);
	struct cpu_work w = { .chunker = &chunker, .level = level, .data = data, .out = out };
	ret->chunk = measure_chunks(&w);
	ret->digest = measure_digests(&w);
	r = measure_codec(&w, ret);
	return r < 0 ? r : measure_together(&w, ret);
}

/* ---- files ---- */

/* A while, or `most` bytes. */
static int write_large(int fd, uint64_t most, struct speed_files *ret)
{
	size_t piece = (size_t)1 << 20;
	CLEANUP_FREE uint8_t *data = malloc(piece);
	uint64_t at = 0, begin;
	int r = data ? 0 : -ENOMEM;
	/* other bytes than last time: in a mount these would be found, not stored */
	uint64_t seed = clock_mono_ns();
	begin = clock_mono_ns();
	while (r == 0 && at < most && clock_mono_ns() < begin + FILE_NS) {
		fill(data, piece, seed + at);
		r = io_write(fd, data, piece, (off_t)at);
		at += piece;
	}
	if (r == 0)
		r = io_fsync(fd);
	ret->write = per_second(at, begin);
	ret->bytes = at;
	return r;
}

static int read_large(int fd, uint64_t bytes, double *ret_speed)
{
	size_t piece = (size_t)1 << 20;
	CLEANUP_FREE uint8_t *data = malloc(piece);
	uint64_t at = 0, begin = clock_mono_ns();
	int r = data ? 0 : -ENOMEM;
	for (; r == 0 && at < bytes; at += piece)
		r = io_read_exact(fd, data, piece, (off_t)at);
	*ret_speed = per_second(at, begin);
	return r;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static int measure_syncs(int fd, struct speed_files *ret)
{
	double ms[SYNCS];
	uint8_t data[SMALL];
	unsigned n = 0;
	uint64_t begin = clock_mono_ns();
	int r = 0;
	for (; r == 0 && n < SYNCS && clock_mono_ns() < begin + 3 * STEP_NS; n++) {
		uint64_t from = clock_mono_ns();
		fill(data, sizeof data, from);
		r = io_write(fd, data, sizeof data, (off_t)n * SMALL);
		if (r == 0)
			r = io_fdatasync(fd);
		ms[n] = (double)(clock_mono_ns() - from) / 1e6;
	}
	qsort(ms, n, sizeof *ms, by_value);
	ret->sync_ms = n ? ms[n / 2] : 0;
	ret->sync_late_ms = n ? ms[n - 1 - n / 100] : 0;
	return r;
}

static int large_and_synced(int large, int small, uint64_t most, struct speed_files *ret)
{
	struct statvfs st;
	if (fstatvfs(large, &st))
		return -errno;
	uint64_t room = (uint64_t)st.f_bavail * st.f_frsize / 4;
	most = most < room ? most : room;
	if (most < 8u << 20)
		return -ENOSPC;
	int r = write_large(large, most, ret);
	(void)posix_fadvise(large, 0, 0, POSIX_FADV_DONTNEED);
	if (r == 0)
		r = read_large(large, ret->bytes, &ret->read);
	if (r == 0)
		r = read_large(large, ret->bytes, &ret->reread);
	return r < 0 ? r : measure_syncs(small, ret);
}

int speed_device(int dirfd, uint64_t most, struct speed_files *ret)
{
	*ret = (struct speed_files){ 0 };
	CLEANUP_CLOSE int large = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CLEANUP_CLOSE int small = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (large < 0 || small < 0)
		return -errno;
	return large_and_synced(large, small, most, ret);
}

static int create_one(int dirfd, unsigned number, const uint8_t *data)
{
	char name[32];
	snprintf(name, sizeof name, "f%u", number);
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	return io_write(fd, data, SMALL, 0);
}

static int measure_small(int dirfd, struct speed_files *ret)
{
	uint8_t data[SMALL];
	struct stat st;
	char name[32];
	unsigned n = 0, seen = 0;
	int r = 0;
	uint64_t begin = clock_mono_ns();
	for (; r == 0 && n < SMALL_FILES && clock_mono_ns() < begin + 3 * STEP_NS; n++) {
		fill(data, sizeof data, begin + n);
		r = create_one(dirfd, n, data);
	}
	ret->creates = per_second(n, begin);
	begin = clock_mono_ns();
	for (; r == 0 && seen < n; seen++) {
		snprintf(name, sizeof name, "f%u", seen);
		r = fstatat(dirfd, name, &st, 0) ? -errno : 0;
	}
	ret->stats = per_second(seen, begin);
	begin = clock_mono_ns();
	for (unsigned i = 0; i < n; i++) { /* also after a failure */
		snprintf(name, sizeof name, "f%u", i);
		if (unlinkat(dirfd, name, 0) && errno != ENOENT && r == 0)
			r = -errno;
	}
	ret->unlinks = per_second(n, begin);
	return r;
}

int speed_mount(int dirfd, uint64_t most, struct speed_files *ret)
{
	char name[64];
	*ret = (struct speed_files){ 0 };
	snprintf(name, sizeof name, ".foldfs-bench-%d", (int)getpid());
	if (mkdirat(dirfd, name, 0700))
		return -errno;
	CLEANUP_CLOSE int dir = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? -errno : 0;
	CLEANUP_CLOSE int large = r ? -1 : io_create(dir, "large", O_RDWR | O_EXCL, 0600);
	CLEANUP_CLOSE int small = r ? -1 : io_create(dir, "small", O_RDWR | O_EXCL, 0600);
	if (r == 0)
		r = large < 0 ? large : small < 0 ? small : 0;
	if (r == 0)
		r = large_and_synced(large, small, most, ret);
	if (r == 0)
		r = measure_small(dir, ret);
	if (dir >= 0) {
		(void)unlinkat(dir, "large", 0);
		(void)unlinkat(dir, "small", 0);
	}
	if (unlinkat(dirfd, name, AT_REMOVEDIR) && r == 0)
		r = -errno;
	return r;
}

/* ---- what it means ---- */

size_t speed_advice(const struct speed_cpu *cpu, const struct speed_files *device,
		    const struct speed_files *mount, const char *ret_advice[SPEED_ADVICE_MAX])
{
	size_t n = 0;
	if (device->sync_ms > 8)
		ret_advice[n++] = "A sync takes long on the pool's disk: programs that sync often, "
				  "as databases "
				  "do, gain from a log on a faster one (wal_dir).";
	if (cpu->together < 0.7 * device->write)
		ret_advice[n++] = "The disk takes more than the processor can store: a lower "
				  "zstd_level, or the "
				  "profile ingest, stores faster and packs less densely.";
	if (cpu->together > 3 * device->write && cpu->ratio > 1.2)
		ret_advice[n++] =
			"The processor has time to spare: a higher zstd_level (9, say) would save "
			"space and cost little speed.";
	if (mount && mount->write < 0.6 * device->write)
		ret_advice[n++] = "Large files are written clearly slower than the disk could: is "
				  "the mount made "
				  "by root, on Linux 6.9 or later, and not in mode=mediated? "
				  "foldfs stats shows "
				  "whether files are passed through.";
	if (mount && mount->sync_ms > 3 * device->sync_ms && mount->sync_ms > 2)
		ret_advice[n++] =
			"A sync takes several times what the disk needs: something else may be "
			"keeping it busy, destage perhaps (foldfs stats, files_waiting).";
	if (mount && fuse_switch() == FUSE_SWITCH_OFF)
		ret_advice[n++] =
			"Small files may be made and removed up to four times as fast over "
			"io_uring, which this kernel can and is told not to offer: see "
			"foldfs-tuning(7).";
	if (!n)
		ret_advice[n++] = "Nothing stands out: the options are right for this machine.";
	return n;
}
