// SPDX-License-Identifier: MIT
/* Mappings, which stay when their descriptor is long closed. What is touched lies below the file's
 * end as the reference knows it; if the target is shorter there, SIGBUS is the difference found. */
#include "playground.h"
#include "model.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static sigjmp_buf bus_return;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus_return, 1);
}

/* memcpy that may meet a page which cannot be had. */
static void guarded_copy(void *to, const void *from, size_t len, struct outcome *out)
{
	struct sigaction action = { .sa_handler = on_bus }, was;
	sigaction(SIGBUS, &action, &was);
	out->ret = 0;
	out->err = 0;
	if (sigsetjmp(bus_return, 1) == 0) {
		memcpy(to, from, len);
	} else {
		out->ret = -1;
		out->err = SIGBUS_ERR;
	}
	sigaction(SIGBUS, &was, NULL);
}

static bool draw_map(struct rng *rng, struct playground *playground, struct call *call)
{
	call->slot =
		playground_draw_slot(rng, playground, rng_chance(rng, 95) ? 1u << SLOT_FILE : ~1u);
	call->map = playground_draw_map(rng, playground, false);
	if (call->slot < 0 || call->map < 0)
		return false;
	call->off = 4096 * (int64_t)rng_below(rng, 8);
	call->len = 4096 * (1 + rng_below(rng, 64));
	call->mode = rng_chance(rng, 80) ? PROT_READ | PROT_WRITE : PROT_READ;
	call->flags = rng_chance(rng, 90) ? MAP_SHARED : MAP_PRIVATE;
	return true;
}

static void run_map(struct side *side, const struct call *call, struct outcome *out)
{
	int fd = side->fd[call->slot];
	char *map = mmap(NULL, call->len, (int)call->mode, call->flags, fd, call->off);
	outcome_set(out, map == MAP_FAILED ? -1 : 0);
	if (map == MAP_FAILED)
		return;
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	side->map[call->map] = map;
	side->map_fd[call->map] = open(link, O_PATH | O_CLOEXEC);
}

static void after_map(struct playground *playground, const struct call *call,
		      const struct outcome *out)
{
	if (out->ret == 0)
		playground->map[call->map] =
			(struct map_info){ (uint64_t)call->off, call->len, call->mode & PROT_WRITE,
					   call->flags == MAP_SHARED };
}

/* A piece of a mapping that lies inside the file. */
static bool draw_piece(struct rng *rng, struct playground *playground, struct call *call)
{
	struct stat st;
	call->map = playground_draw_map(rng, playground, true);
	if (call->map < 0 || fstat(playground->side[REFERENCE].map_fd[call->map], &st) < 0)
		return false;
	const struct map_info *map = &playground->map[call->map];
	if (st.st_size <= (int64_t)map->off)
		return false;
	uint64_t there = (uint64_t)st.st_size - map->off;
	there = there < map->len ? there : map->len;
	call->off = (int64_t)rng_below(rng, there);
	call->len = draw_length(rng);
	if (call->len > there - (uint64_t)call->off)
		call->len = there - (uint64_t)call->off;
	call->seed = rng_next(rng) >> 1;
	return true;
}

static bool draw_store(struct rng *rng, struct playground *playground, struct call *call)
{
	struct stat st;
	if (!draw_piece(rng, playground, call) || !playground->map[call->map].writable)
		return false;
	if (playground->map[call->map].shared &&
	    fstat(playground->side[REFERENCE].map_fd[call->map], &st) == 0)
		loose_add(st.st_ino);
	return true;
}

static void run_store(struct side *side, const struct call *call, struct outcome *out)
{
	fill_data(side->data, call->len, call->seed);
	guarded_copy(side->map[call->map] + call->off, side->data, call->len, out);
}

static void run_load(struct side *side, const struct call *call, struct outcome *out)
{
	guarded_copy(side->data, side->map[call->map] + call->off, call->len, out);
	out->data_len = out->ret == 0 ? call->len : 0;
}

static bool draw_used_map(struct rng *rng, struct playground *playground, struct call *call)
{
	call->map = playground_draw_map(rng, playground, true);
	if (call->map < 0)
		return false;
	call->len = playground->map[call->map].len;
	call->flags = rng_chance(rng, 50) ? MS_SYNC : MS_ASYNC;
	return true;
}

static void run_msync(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, msync(side->map[call->map], call->len, call->flags));
}

static void run_unmap(struct side *side, const struct call *call, struct outcome *out)
{
	side_unmap(side, call->map, call->len);
	outcome_set(out, 0);
}

#define PIECE (USES_MAP | USES_OFF | USES_LEN)

const struct call_kind map_calls[] = {
	{ "map", 3, USES_SLOT | PIECE | USES_MODE | USES_FLAGS, draw_map, run_map, NULL,
	  after_map },
	{ "store", 4, PIECE | USES_SEED, draw_store, run_store, NULL, NULL },
	{ "load", 4, PIECE, draw_piece, run_load, NULL, NULL },
	{ "msync", 1, USES_MAP | USES_LEN | USES_FLAGS | IS_TIMELESS, draw_used_map, run_msync,
	  NULL, NULL },
	{ "unmap", 2, USES_MAP | USES_LEN, draw_used_map, run_unmap, NULL, NULL },
	{ .name = NULL },
};
