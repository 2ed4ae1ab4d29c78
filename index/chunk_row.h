// SPDX-License-Identifier: MIT
/* chunk_row: where chunks lie (KV_CHUNK) and what packs there are (KV_PACK).
 *
 * Chunk ids are handed out in write order and a frame holds ascending ids, so one row describes a
 * whole frame: key (first chunk id, part), value the frame's place and the ids and lengths in it.
 * The id ranges of two frames never overlap (gc keeps that true), so the row of a chunk is the last
 * one whose key is <= (id, part). A chunk longer than a frame is split into parts of FRAME_DECODED_MAX
 * bytes, one frame (and row) each.
 */
#ifndef FOLDFS_CHUNK_ROW_H
#define FOLDFS_CHUNK_ROW_H
#include "kv.h"

#define FRAME_DECODED_MAX (256u * 1024)
#define FRAME_CHUNKS_MAX 1024u
#define CHUNK_LENGTH_MAX (16u * 1024 * 1024)

struct frame_chunk {
	uint64_t id;
	uint32_t length; /* bytes in this frame */
};

struct frame_row {
	uint64_t pack;
	uint64_t offset;     /* of the frame header in the pack */
	uint32_t stored_len; /* header and payload */
	uint32_t decoded_len;
	uint16_t part; /* of the one chunk, when it is longer than a frame */
	uint8_t codec; /* enum codec of store/ */
	uint32_t n;
	struct frame_chunk *chunks; /* owned by the caller's array or by frame_row_done() */
};
void frame_row_done(struct frame_row *row);

/* Finds the frame that holds byte `offset` of the chunk; *ret_at is the position of that byte in
 * the decoded frame, *ret_left how many bytes of the chunk follow from there in this frame.
 * 0, -ENOENT (no such chunk), -EUCLEAN. */
int chunk_find(struct kv *kv, uint64_t id, uint32_t offset, struct frame_row *ret_row,
	       uint32_t *ret_at, uint32_t *ret_left);
/* The row with that key. 0, -ENOENT, -EUCLEAN. */
int chunk_get_frame(struct kv *kv, uint64_t first_id, uint16_t part, struct frame_row *ret_row);
void chunk_put_frame(struct kv_batch *b, const struct frame_row *row);
void chunk_delete_frame(struct kv_batch *b, uint64_t first_id, uint16_t part);
int frame_decode_row(struct slice key, struct slice val, struct frame_row *ret_row);
int chunk_last_id(struct kv *kv, uint64_t *ret_id); /* 0 when there is none */

enum pack_state { PACK_OPEN = 1, PACK_SEALED = 2, PACK_DOOMED = 3 };

struct pack_row {
	uint64_t id;
	uint8_t state; /* enum pack_state */
	uint8_t tier;
	uint64_t bytes; /* length of the file, as of the last update */
	uint64_t first_chunk;
	int64_t created, verified; /* seconds since 1970 */
};
int pack_get(struct kv *kv, uint64_t id, struct pack_row *ret_row);
void pack_put(struct kv_batch *b, const struct pack_row *row);
void pack_delete(struct kv_batch *b, uint64_t id);
void pack_encode_row(const struct pack_row *row, struct buf *val); /* appends */
int pack_decode_row(struct slice key, struct slice val, struct pack_row *ret_row);
#endif
