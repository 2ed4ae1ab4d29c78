// SPDX-License-Identifier: MIT
/* inspect: one stored frame, read from the device and verified, for scrub. One thread. */
#ifndef FOLDFS_INSPECT_H
#define FOLDFS_INSPECT_H
#include "rotten.h"

struct inspect;

struct inspect_options {
	struct kv *kv;
	struct packs *packs;
	struct rotten *rotten;
	uint8_t pool_uuid[16];
	/* Told of each chunk that is noted as rotten and has not got its bytes at once. */
	void (*found)(void *arg, uint64_t chunk);
	void *arg;
};

/* What an inspection found. */
struct findings {
	uint32_t bad_chunks, repaired; /* of the bad */
};

int inspect_new(const struct inspect_options *opt, struct inspect **ret_in);
void inspect_free(struct inspect *in); /* NULL is fine */
/* Reads what the row says, verifies it, and notes chunks that cannot be read as rotten and those that
 * can no longer so. A row that is out of date is replaced by those that hold its chunks now. 0, also when
 * the frame is bad, or -errno: this could not be done; -ENOMEDIUM: it lies in a tier that is absent. */
int inspect_row(struct inspect *in, const struct frame_row *row, struct findings *ret_f);
/* Header and footer of a sealed pack. 0, -EUCLEAN, -ENOENT: it is gone, -errno. */
int inspect_pack(struct inspect *in, uint64_t pack);
#endif
