// SPDX-License-Identifier: MIT
/* Locks. Between the slots of one playground flock and open-file-description locks meet; in the shared
 * playground they and the locks of POSIX meet between processes. Nothing ever waits. */
#include "playground.h"
#include "model.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static bool draw_flock(struct rng *rng, struct playground *playground, struct call *call)
{
	static const int how[] = { LOCK_SH, LOCK_EX, LOCK_UN };
	call->slot = playground_draw_slot(rng, playground, 1u << SLOT_FILE | 1u << SLOT_DIR);
	call->flags = rng_pick(rng, how) | LOCK_NB;
	return call->slot >= 0;
}

static void run_flock(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, flock(side->fd[call->slot], call->flags));
}

static bool draw_range(struct rng *rng, struct playground *playground, struct call *call)
{
	static const int types[] = { F_RDLCK, F_WRLCK, F_UNLCK };
	call->slot = playground_draw_slot(rng, playground, 1u << SLOT_FILE);
	call->whence = rng_pick(rng, types);
	call->off = (int64_t)rng_below(rng, 64);
	call->len = rng_below(rng, 20);
	return call->slot >= 0;
}

static bool draw_setlk(struct rng *rng, struct playground *playground, struct call *call)
{
	call->flags = rng_chance(rng, 60) ? F_OFD_SETLK : F_SETLK;
	return draw_range(rng, playground, call);
}

static bool draw_getlk(struct rng *rng, struct playground *playground, struct call *call)
{
	call->flags = rng_chance(rng, 60) ? F_OFD_GETLK : F_GETLK;
	return draw_range(rng, playground, call) && call->whence != F_UNLCK;
}

static void run_lk(struct side *side, const struct call *call, struct outcome *out)
{
	struct flock lock = { .l_type = (short)call->whence,
			      .l_whence = SEEK_SET,
			      .l_start = call->off,
			      .l_len = (off_t)call->len };
	outcome_set(out, fcntl(side->fd[call->slot], call->flags, &lock));
	if (out->ret == 0 && (call->flags == F_OFD_GETLK || call->flags == F_GETLK)) {
		int64_t found[] = { lock.l_type, lock.l_start, lock.l_len, lock.l_pid };
		memcpy(side->data, found, sizeof found);
		out->data_len = lock.l_type == F_UNLCK ? sizeof *found : sizeof found;
	}
}

#define RANGE (USES_SLOT | USES_FLAGS | USES_WHENCE | USES_OFF | USES_LEN)

const struct call_kind lock_calls[] = {
	{ "flock", 2, USES_SLOT | USES_FLAGS, draw_flock, run_flock, NULL, NULL },
	{ "setlk", 2, RANGE, draw_setlk, run_lk, NULL, NULL },
	{ "getlk", 1, RANGE, draw_getlk, run_lk, NULL, NULL },
	{ .name = NULL },
};
