// SPDX-License-Identifier: MIT
/* model: the same random calls against two directories, and every difference between them.
 *
 * A worker draws a call, runs it on the target, runs it on the reference, and compares: result,
 * errno, bytes. Drawing looks only at the random numbers and at the reference, so a seed gives the
 * same calls again, whatever the target does. Each worker has a playground of its own and all of them
 * take turns in a shared one, in an order that the seed fixes too.
 */
#ifndef FOLDFS_MODEL_H
#define FOLDFS_MODEL_H
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

enum { TARGET, REFERENCE, SIDES };

#define SLOTS 12   /* descriptors held open per playground */
#define MAPS 4	   /* mappings held per playground */
#define RECENT 24  /* paths that were there a moment ago */
#define HISTORY 24 /* calls shown with a difference */
#define PATH_SIZE 1100
#define IO_MAX (192 << 10) /* bytes per read or write */
#define DIRECT_ALIGN 4096

/* splitmix64: small, and good enough to pick calls. */
struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t z = (rng->state += 0x9e3779b97f4a7c15ull);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
	return rng_next(rng) % n;
}

static inline bool rng_chance(struct rng *rng, unsigned percent)
{
	return rng_below(rng, 100) < percent;
}

#define rng_pick(rng, array) ((array)[rng_below(rng, sizeof(array) / sizeof *(array))])

/* What a descriptor slot holds, as the reference sees it. */
enum slot_kind { SLOT_EMPTY, SLOT_FILE, SLOT_DIR, SLOT_OTHER };

struct side {
	const char *root;    /* the playground's directory on this side */
	int dirfd;	     /* the same, O_PATH */
	int fd[SLOTS];	     /* -1 when empty */
	char *map[MAPS];     /* NULL when empty */
	int map_fd[MAPS];    /* O_PATH: lets the mapped file be stat'ed and keeps nothing open */
	unsigned char *data; /* IO_MAX bytes, page aligned: read into, or written from */
};

struct map_info {
	uint64_t off, len;
	bool writable, shared;
};

struct playground {
	struct side side[SIDES];
	enum slot_kind kind[SLOTS];
	int flags[SLOTS]; /* of open(2) */
	struct map_info map[MAPS];
	char recent[RECENT][PATH_SIZE];
	unsigned recent_next;
};

struct call {
	const struct call_kind *kind;
	char path[PATH_SIZE], path2[PATH_SIZE];
	char name[300]; /* of an extended attribute */
	int slot, slot2, map;
	int flags, whence, uid, gid;
	unsigned mode, umask;
	int64_t off, off2;
	uint64_t len, seed; /* seed: of the bytes written */
	struct timespec times[2];
	int as; /* who calls: 0 or a uid */
};

/* Which members of a call mean something, for printing. */
enum {
	USES_PATH = 1 << 0,
	USES_PATH2 = 1 << 1,
	USES_NAME = 1 << 2,
	USES_SLOT = 1 << 3,
	USES_SLOT2 = 1 << 4,
	USES_MAP = 1 << 5,
	USES_FLAGS = 1 << 6,
	USES_WHENCE = 1 << 7,
	USES_OWNER = 1 << 8,
	USES_MODE = 1 << 9,
	USES_OFF = 1 << 10,
	USES_OFF2 = 1 << 11,
	USES_LEN = 1 << 12,
	USES_SEED = 1 << 13,
	USES_TIMES = 1 << 14,
	USES_UMASK = 1 << 15,
	IS_TIMELESS = 1 << 16, /* may take long, and stamps no time */
};

struct outcome {
	int64_t ret;
	int err;	 /* errno when ret is -1; SIGBUS_ERR for a mapping that raised it */
	size_t data_len; /* bytes of side->data that belong to the result */
	bool has_stat;
	struct stat st;
};

#define SIGBUS_ERR 1000

static inline void outcome_set(struct outcome *out, int64_t ret)
{
	out->ret = ret;
	out->err = ret < 0 ? errno : 0;
}

/* draw returns false when the call makes no sense now (no slot open, say). run does it on one side.
 * agree (NULL: outcomes_agree) says whether two outcomes are the same in meaning. after (may be
 * NULL) notes in the playground what a success changed. */
struct call_kind {
	const char *name;
	unsigned weight, uses;
	bool (*draw)(struct rng *rng, struct playground *playground, struct call *call);
	void (*run)(struct side *side, const struct call *call, struct outcome *ret_outcome);
	bool (*agree)(struct playground *playground, const struct call *call,
		      const struct outcome out[SIDES], char *why, size_t why_size);
	void (*after)(struct playground *playground, const struct call *call,
		      const struct outcome *out);
};

extern const struct call_kind name_calls[], file_calls[], space_calls[], meta_calls[], map_calls[],
	lock_calls[]; /* each ends with a kind without a name */

/* Shared between all processes of a run. */
struct board {
	atomic_ullong ticket; /* number of the next call in the shared playground */
	atomic_bool stop;     /* a difference was found */
	atomic_ullong steps;  /* calls done, of all workers */
	atomic_ullong
		longest_pair; /* ns from a call's start on the target to its end on the reference */
	atomic_ullong
		loose[1 << 14]; /* reference inodes stored to through mappings: times unsure */
	struct timespec started;
};

extern struct board *board;

struct options {
	const char *target, *reference, *remount, *between, *only, *without, *sabotage;
	uint64_t seed, steps, phases, check_every;
	unsigned procs;
	bool trace, no_shared, as_root, loose_times;
};

extern struct options options;
#endif
