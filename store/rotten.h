// SPDX-License-Identifier: MIT
/* rotten: stored chunks known not to read back, until somebody brings their bytes again.
 *
 * A chunk noted here is no longer trusted as a duplicate. When bytes with its digest are written, they
 * take its place under its own id, so every file that refers to it, old ones too, reads right again.
 * Kept in KV_META over remounts and crashes. Any thread.
 *
 * Also the lock under which rows of frames and sealed packs are changed by who does not write new ones:
 * gc holds it while it empties a pack, healing and scrub while they change rows.
 */
#ifndef FOLDFS_ROTTEN_H
#define FOLDFS_ROTTEN_H
#include "chunks.h"

/* KV_META: this and be64 chunk id -> digest, le32 length, le64 pack, le64 offset. */
#define ROTTEN_KEY "rotten"

struct rotten;

struct rotten_options {
	struct kv *kv;
	struct packs *packs;
	struct chunks *chunks;
	int level; /* zstd */
};

struct rotten_chunk {
	uint64_t id;
	uint64_t pack, offset; /* of the frame, or the first of them, that is damaged */
	uint32_t length;       /* of the whole chunk */
	struct digest digest;  /* zeros: unknown, then nothing heals it */
	uint64_t noted;	       /* when, as rotten_moment() counts; not the caller's to set */
};

#define ROTTEN_EVER UINT64_MAX

int rotten_open(const struct rotten_options *opt, struct rotten **ret_r);
void rotten_close(struct rotten *r); /* NULL is fine */
/* Durable with the next group commit. A chunk noted before is noted anew. */
int rotten_add(struct rotten *r, const struct rotten_chunk *chunk);
/* A moment before now. */
uint64_t rotten_moment(struct rotten *r);
/* What was read at that moment was right, or (ROTTEN_EVER) the chunk is no longer there. What was noted
 * since stays. */
int rotten_forget(struct rotten *r, uint64_t id, uint64_t moment);
bool rotten_has(struct rotten *r, uint64_t id);
bool rotten_has_pack(struct rotten *r, uint64_t pack);
size_t rotten_count(struct rotten *r);
/* Ascending ids; the caller frees. */
int rotten_list(struct rotten *r, struct rotten_chunk **ret_chunks, size_t *ret_n);
/* Gives these bytes, which have this digest, to every rotten chunk that lacks them. How many; what
 * fails is logged. May take long: hold nothing. Durable with the next group commit. */
unsigned rotten_heal(struct rotten *r, const struct digest *digest, const void *data, uint32_t len);

/* Is what is stored of this frame wrong? 1: yes, it was read, or its file is not there. 0: it is not.
 * -errno: it could not be read now, which says nothing of the next time (no memory, a disk that is
 * unplugged). */
int rotten_frame_is_wrong(struct rotten *r, const struct frame_row *row);

void rotten_lock_rows(struct rotten *r);
void rotten_unlock_rows(struct rotten *r);
#endif
