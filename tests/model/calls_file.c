// SPDX-License-Identifier: MIT
/* Calls that move bytes through a descriptor. */
#include "playground.h"
#include "model.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_OR_DIR (1u << SLOT_FILE | 1u << SLOT_DIR)

static void result_read(struct outcome *out, int64_t ret)
{
	outcome_set(out, ret);
	out->data_len = ret > 0 ? (size_t)ret : 0;
}

static bool is_direct(const struct playground *playground, int slot)
{
	return playground->flags[slot] & O_DIRECT;
}

/* Descriptors of files mostly; a directory now and then, for the errors. Not fifos: what goes
 * through them is the kernel's, and it leaves the times of those on FUSE alone. */
static bool draw_any_slot(struct rng *rng, struct playground *playground, struct call *call)
{
	call->slot = playground_draw_slot(rng, playground,
					  rng_chance(rng, 93) ? 1u << SLOT_FILE : FILE_OR_DIR);
	return call->slot >= 0;
}

static bool draw_io(struct rng *rng, struct playground *playground, struct call *call)
{
	if (!draw_any_slot(rng, playground, call))
		return false;
	call->off = playground_draw_offset(rng, playground, call->slot);
	call->len = draw_length(rng);
	call->seed = rng_next(rng) >> 1;
	if (is_direct(playground, call->slot)) {
		call->off &= ~(int64_t)(DIRECT_ALIGN - 1);
		call->len = (call->len + DIRECT_ALIGN - 1) & ~(uint64_t)(DIRECT_ALIGN - 1);
	}
	return true;
}

/* read and write move the descriptor's own position, which O_DIRECT would need aligned. */
static bool draw_io_at_position(struct rng *rng, struct playground *playground, struct call *call)
{
	return draw_io(rng, playground, call) && !is_direct(playground, call->slot);
}

static void run_write(struct side *side, const struct call *call, struct outcome *out)
{
	fill_data(side->data, call->len, call->seed);
	outcome_set(out, write(side->fd[call->slot], side->data, call->len));
}

static void run_pwrite(struct side *side, const struct call *call, struct outcome *out)
{
	fill_data(side->data, call->len, call->seed);
	outcome_set(out, pwrite(side->fd[call->slot], side->data, call->len, call->off));
}

static void run_read(struct side *side, const struct call *call, struct outcome *out)
{
	result_read(out, read(side->fd[call->slot], side->data, call->len));
}

static void run_pread(struct side *side, const struct call *call, struct outcome *out)
{
	result_read(out, pread(side->fd[call->slot], side->data, call->len, call->off));
}

static void run_preadv(struct side *side, const struct call *call, struct outcome *out)
{
	size_t cut = call->seed % (call->len + 1);
	struct iovec parts[] = { { side->data, cut }, { side->data + cut, call->len - cut } };
	result_read(out, preadv(side->fd[call->slot], parts, 2, call->off));
}

static bool draw_vector(struct rng *rng, struct playground *playground, struct call *call)
{
	static const int flags[] = { 0, 0, 0, RWF_APPEND, RWF_DSYNC };
	if (!draw_io_at_position(rng, playground, call))
		return false;
	call->flags = rng_pick(rng, flags);
	if (call->flags == RWF_DSYNC && !rng_chance(rng, 20))
		call->flags = 0;
	return true;
}

static void run_pwritev(struct side *side, const struct call *call, struct outcome *out)
{
	size_t cut = call->seed % (call->len + 1);
	struct iovec parts[] = { { side->data, cut }, { side->data + cut, call->len - cut } };
	fill_data(side->data, call->len, call->seed);
	outcome_set(out, pwritev2(side->fd[call->slot], parts, 2, call->off, call->flags));
}

/* ---- from file to file */

static bool draw_copy(struct rng *rng, struct playground *playground, struct call *call)
{
	call->slot = playground_draw_slot(rng, playground, 1u << SLOT_FILE);
	call->slot2 = playground_draw_slot(rng, playground, 1u << SLOT_FILE);
	if (call->slot < 0 || is_direct(playground, call->slot) ||
	    is_direct(playground, call->slot2))
		return false;
	call->off = playground_draw_offset(rng, playground, call->slot);
	call->off2 = playground_draw_offset(rng, playground, call->slot2);
	call->len = rng_chance(rng, 20) ? 1 << 20 : draw_length(rng);
	return true;
}

/* A copy may be short for reasons of its own, so it goes on until the end; only the sum counts. The
 * end is where it was at first: a copy within one file would follow its own tail. */
static void run_copy_file_range(struct side *side, const struct call *call, struct outcome *out)
{
	off64_t in = call->off, to = call->off2;
	uint64_t left = call->len;
	struct stat st = { 0 };
	off64_t end = fstat(side->fd[call->slot], &st) < 0 ? 0 : st.st_size;
	ssize_t n = 0;
	while (left > 0) {
		n = copy_file_range(side->fd[call->slot], &in, side->fd[call->slot2], &to, left, 0);
		if (n <= 0)
			break;
		left -= (uint64_t)n;
		if (in >= end)
			break;
	}
	outcome_set(out, n < 0 ? -1 : (int64_t)(call->len - left));
}

static bool same_file(const struct side *side, const struct call *call)
{
	struct stat a, b;
	return fstat(side->fd[call->slot], &a) == 0 && fstat(side->fd[call->slot2], &b) == 0 &&
	       a.st_ino == b.st_ino;
}

/* Within one file pages on their way may be those being written: what comes out is up to chance. */
static void run_sendfile(struct side *side, const struct call *call, struct outcome *out)
{
	if (same_file(side, call))
		return;
	off_t in = call->off;
	uint64_t left = call->len;
	ssize_t n = 0;
	while (left > 0) {
		n = sendfile(side->fd[call->slot2], side->fd[call->slot], &in, left);
		if (n <= 0)
			break;
		left -= (uint64_t)n;
	}
	outcome_set(out, n < 0 ? -1 : (int64_t)(call->len - left));
}

/* ---- position, durability, advice */

static bool draw_seek(struct rng *rng, struct playground *playground, struct call *call)
{
	static const int whences[] = { SEEK_SET, SEEK_SET, SEEK_CUR, SEEK_END };
	call->slot = playground_draw_slot(rng, playground, 1u << SLOT_FILE);
	if (call->slot < 0)
		return false;
	call->whence = rng_pick(rng, whences);
	call->off = playground_draw_offset(rng, playground, call->slot);
	if (call->whence != SEEK_SET)
		call->off = (int64_t)rng_below(rng, 10000) - 5000;
	return true;
}

static void run_seek(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, lseek(side->fd[call->slot], call->off, call->whence));
}

static void run_fsync(struct side *side, const struct call *call, struct outcome *out)
{
	int fd = side->fd[call->slot];
	outcome_set(out, call->flags ? fdatasync(fd) : fsync(fd));
}

static bool draw_fsync(struct rng *rng, struct playground *playground, struct call *call)
{
	call->flags = (int)rng_below(rng, 2);
	return draw_any_slot(rng, playground, call);
}

static bool draw_fadvise(struct rng *rng, struct playground *playground, struct call *call)
{
	static const int advice[] = { POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED,
				      POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM };
	call->slot = playground_draw_slot(rng, playground, 1u << SLOT_FILE);
	call->flags = rng_pick(rng, advice);
	return call->slot >= 0;
}

static void run_fadvise(struct side *side, const struct call *call, struct outcome *out)
{
	int err = posix_fadvise(side->fd[call->slot], 0, 0, call->flags);
	out->ret = err ? -1 : 0;
	out->err = err;
}

#define READS (USES_SLOT | USES_LEN)
#define WRITES (READS | USES_SEED)
#define COPIES (READS | USES_SLOT2 | USES_OFF | USES_OFF2)

const struct call_kind file_calls[] = {
	{ "write", 8, WRITES, draw_io_at_position, run_write, NULL, NULL },
	{ "pwrite", 10, WRITES | USES_OFF, draw_io, run_pwrite, NULL, NULL },
	{ "pwritev", 2, WRITES | USES_OFF | USES_FLAGS, draw_vector, run_pwritev, NULL, NULL },
	{ "read", 5, READS, draw_io_at_position, run_read, NULL, NULL },
	{ "pread", 8, READS | USES_OFF, draw_io, run_pread, NULL, NULL },
	{ "preadv", 2, WRITES | USES_OFF, draw_io_at_position, run_preadv, NULL, NULL },
	{ "copy_file_range", 5, COPIES, draw_copy, run_copy_file_range, NULL, NULL },
	{ "sendfile", 1, COPIES & ~(unsigned)USES_OFF2, draw_copy, run_sendfile, NULL, NULL },
	{ "seek", 3, USES_SLOT | USES_OFF | USES_WHENCE, draw_seek, run_seek, NULL, NULL },
	{ "fsync", 1, USES_SLOT | USES_FLAGS | IS_TIMELESS, draw_fsync, run_fsync, NULL, NULL },
	{ "fadvise", 1, USES_SLOT | USES_FLAGS, draw_fadvise, run_fadvise, NULL, NULL },
	{ .name = NULL },
};
