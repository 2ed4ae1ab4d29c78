// SPDX-License-Identifier: MIT
/* chunk_fetch: a batch of pieces of chunks, gathered, then read together (see chunks.h). */
#ifndef FOLDFS_CHUNK_FETCH_H
#define FOLDFS_CHUNK_FETCH_H
#include "cache.h"
#include "loading.h"
#include "pack.h"

#define FETCH_FRAMES 32u
#define FETCH_FRAMES_AHEAD 4u /* a reader may be waiting for the first of them */
#define FETCH_PIECES 512u
#define FETCH_ROWS 8u /* that the slices of a film come from by turns */

enum fetch_mode {
	FETCH_READ,   /* waits for devices */
	FETCH_VERIFY, /* from packs, past the caches */
	FETCH_TRY,    /* -EAGAIN where it would have to */
	FETCH_AHEAD,  /* into the caches only: pieces have no destination */
};

/* Who is told (FETCH_READ) of a chunk whose frame at this offset of it does not read; fn may be NULL. */
struct fetch_damage {
	void (*fn)(void *arg, uint64_t chunk, uint32_t offset);
	void *arg;
};

struct fetch_frame {
	struct cache_key place; /* pack and offset */
	struct loading_frame loading;
	bool claimed, waits; /* we load it; somebody else does */
	bool cached;	     /* goes through our cache: not what is raw and near */
	struct frame_name name;
	uint32_t stored_len, decoded_len, payload_at, chunks;
	uint8_t codec;
	uint64_t id;	 /* one of its chunks that is wanted, */
	uint32_t id_at;	 /* which begins here in the decoded frame */
	uint32_t lo, hi; /* of the decoded frame, what is wanted and was not in the cache */
	uint32_t begin, end,
		n;     /* of it, what all its pieces together reach over; how many they are */
	uint64_t from; /* in the pack, what is read */
	uint32_t len;
	uint32_t op; /* which read has it */
};

struct fetch_piece {
	uint32_t frame, at, len; /* len 0: done */
	uint8_t *out;
};

/* A row found before, for its other chunks. */
struct fetch_row {
	struct frame_row row;
	uint32_t i, at; /* of its chunks, the last one found */
};

struct fetch {
	struct kv *kv;
	struct packs *packs;
	struct cache *cache;
	struct loading *loading;
	const struct fetch_damage *damage;
	enum fetch_mode mode;
	struct fetch_row rows[FETCH_ROWS];
	uint32_t row; /* the one that the last chunk was found in */
	uint32_t oldest_row;
	struct fetch_frame frames[FETCH_FRAMES];
	uint32_t n_frames;
	struct fetch_piece pieces[FETCH_PIECES];
	uint32_t n_pieces;
	struct io_read_op ops[FETCH_FRAMES];
	uint64_t op_packs[FETCH_FRAMES];
	uint32_t n_ops;
	uint64_t gone;	 /* the last pack that was not where its row says; 0: none */
	bool unverified; /* the cache has something that has to be verified first */
	uint8_t *stored; /* what is read, */
	size_t stored_cap;
	uint8_t *decoded;   /* and one frame of it */
	struct fetch *next; /* in the owner's list of idle ones */
};

struct fetch *fetch_new(struct kv *kv, struct packs *packs, struct cache *cache,
			struct loading *loading, const struct fetch_damage *damage);
void fetch_free(struct fetch *f);
void fetch_begin(struct fetch *f, enum fetch_mode mode);
void fetch_end(struct fetch *f); /* forgets what was gathered; gives back what it does not keep */

/* Adds [offset, offset + len) of the chunk; reads what was gathered when there is no room for more.
 * -ENOENT: no such chunk or it is shorter; otherwise as fetch_run(). */
int fetch_add(struct fetch *f, uint64_t id, uint32_t offset, uint32_t len, uint8_t *out);
/* Reads what was gathered. 0; -ESTALE when chunks lie elsewhere by now, or nowhere: begin anew;
 * -EAGAIN (FETCH_TRY); -EIO after logging which frame is damaged; -errno. */
int fetch_run(struct fetch *f);
/* Reads the head of the frame that holds the chunk into f->stored. */
int fetch_head(struct fetch *f, uint64_t id, struct frame_head *ret_head);
/* The frame that holds this byte, from the last row if it is there. As chunk_find(). */
int fetch_find(struct fetch *f, uint64_t id, uint32_t offset, uint32_t *ret_at, uint32_t *ret_left);
#endif
