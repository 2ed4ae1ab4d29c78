// SPDX-License-Identifier: MIT
/* Calls about a file's size and its holes. Where the holes lie is a filesystem's own affair; that a
 * hole holds nothing but zeros is not, so SEEK_DATA and SEEK_HOLE are compared by what the reference
 * holds at the places that the target names. */
#include "playground.h"
#include "model.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t draw_size(struct rng *rng, const struct playground *playground, int slot)
{
	return rng_chance(rng, 25) ? 0 : playground_draw_offset(rng, playground, slot);
}

static bool draw_truncate(struct rng *rng, struct playground *playground, struct call *call)
{
	playground_draw_path(rng, playground, call->path);
	call->off = draw_size(rng, playground, -1);
	return true;
}

/* A writeback cache leaves the times alone when the size stays as it was. */
static void run_truncate(struct side *side, const struct call *call, struct outcome *out)
{
	char path[2 * PATH_SIZE];
	snprintf(path, sizeof path, "%s/%s", side->root, call->path);
	outcome_set(out, truncate(path, call->off));
	if (out->ret == 0 && options.loose_times)
		utimensat(side->dirfd, call->path, NULL, 0);
}

static bool draw_ftruncate(struct rng *rng, struct playground *playground, struct call *call)
{
	call->slot = playground_draw_slot(rng, playground, 1u << SLOT_FILE | 1u << SLOT_OTHER);
	if (call->slot < 0)
		return false;
	call->off = draw_size(rng, playground, call->slot);
	return true;
}

static void run_ftruncate(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, ftruncate(side->fd[call->slot], call->off));
}

static bool draw_fallocate(struct rng *rng, struct playground *playground, struct call *call)
{
	static const int modes[] = {
		0,
		FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE,
	};
	call->slot =
		playground_draw_slot(rng, playground, rng_chance(rng, 95) ? 1u << SLOT_FILE : ~1u);
	if (call->slot < 0)
		return false;
	call->flags = rng_pick(rng, modes);
	call->off = playground_draw_offset(rng, playground, call->slot);
	call->len = rng_chance(rng, 15) ? 1 << 20 : draw_length(rng);
	return true;
}

static void run_fallocate(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, fallocate(side->fd[call->slot], call->flags, call->off, (off_t)call->len));
}

/* ---- SEEK_DATA and SEEK_HOLE */

static bool draw_hole(struct rng *rng, struct playground *playground, struct call *call)
{
	call->slot = playground_draw_slot(rng, playground, 1u << SLOT_FILE);
	if (call->slot < 0)
		return false;
	call->off = playground_draw_offset(rng, playground, call->slot);
	call->whence = rng_chance(rng, 50) ? SEEK_DATA : SEEK_HOLE;
	return true;
}

/* The position is put back: where SEEK_DATA leaves it may differ. */
static void run_hole(struct side *side, const struct call *call, struct outcome *out)
{
	int fd = side->fd[call->slot];
	off_t was = lseek(fd, 0, SEEK_CUR);
	outcome_set(out, lseek(fd, call->off, call->whence));
	lseek(fd, was, SEEK_SET);
}

/* First byte that is not zero in [from, to) of the file, or -1. Reads only what is data there. */
static int64_t first_nonzero(int fd, int64_t from, int64_t to)
{
	static unsigned char block[1 << 16];
	while (from < to) {
		int64_t data = lseek(fd, from, SEEK_DATA);
		if (data < 0 || data >= to)
			return -1;
		from = data;
		size_t want =
			to - from < (int64_t)sizeof block ? (size_t)(to - from) : sizeof block;
		ssize_t got = pread(fd, block, want, from);
		if (got <= 0)
			return -1;
		for (ssize_t i = 0; i < got; i++)
			if (block[i])
				return from + i;
		from += got;
	}
	return -1;
}

static bool hole_is_true(int fd, int64_t from, int64_t to, char *why, size_t size)
{
	int64_t at = first_nonzero(fd, from, to);
	if (at >= 0)
		snprintf(why, size, "the target calls %lld-%lld a hole, and there is data at %lld",
			 (long long)from, (long long)to, (long long)at);
	return at < 0;
}

/* Reopened for reading, since the slot's own descriptor may be write-only. That is done on both sides:
 * closing a descriptor drops the locks of POSIX. */
static int reopen(const struct side *side, int slot)
{
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", side->fd[slot]);
	return open(link, O_RDONLY | O_CLOEXEC);
}

static bool holes_agree(struct playground *playground, const struct call *call,
			const struct outcome out[SIDES], char *why, size_t size)
{
	int fd = reopen(&playground->side[REFERENCE], call->slot);
	int also = reopen(&playground->side[TARGET], call->slot);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		abort();
	const struct outcome *t = &out[TARGET];
	int64_t to = t->ret < 0 ? st.st_size : t->ret;
	bool agree;
	snprintf(why, size, "size is %lld", (long long)st.st_size);
	if (call->off >= st.st_size)
		agree = t->ret < 0 && t->err == ENXIO;
	else if (call->whence == SEEK_DATA)
		agree = (t->ret < 0 ? t->err == ENXIO : to >= call->off && to < st.st_size) &&
			hole_is_true(fd, call->off, to, why, size);
	else
		agree = t->ret >= call->off && to <= st.st_size &&
			(to == st.st_size || hole_is_true(fd, to, to + 1, why, size));
	close(fd);
	if (also >= 0)
		close(also);
	return agree;
}

const struct call_kind space_calls[] = {
	{ "truncate", 3, USES_PATH | USES_OFF, draw_truncate, run_truncate, NULL, NULL },
	{ "ftruncate", 4, USES_SLOT | USES_OFF, draw_ftruncate, run_ftruncate, NULL, NULL },
	{ "fallocate", 6, USES_SLOT | USES_FLAGS | USES_OFF | USES_LEN, draw_fallocate,
	  run_fallocate, NULL, NULL },
	{ "hole", 4, USES_SLOT | USES_OFF | USES_WHENCE, draw_hole, run_hole, holes_agree, NULL },
	{ .name = NULL },
};
