// SPDX-License-Identifier: MIT
/* frame: builds and takes apart the unit of compression, checksum and caching (pack_format.h).
 *
 * A builder gathers chunks up to FRAME_DECODED_MAX decoded bytes; frame_seal() compresses and
 * lays out the stored bytes; where they go in a pack is decided afterwards, and frame_place()
 * then fills in what depends on it.
 */
#ifndef FOLDFS_FRAME_H
#define FOLDFS_FRAME_H
#include "chunk_row.h"
#include "codec.h"
#include "pack_format.h"

struct frame_builder {
	uint8_t *data; /* FRAME_DECODED_MAX bytes */
	uint32_t len, n;
	uint16_t part;
	uint32_t chunk_len; /* of a chunk that spans frames */
	struct chunk_entry entries[FRAME_CHUNKS_MAX];
	struct buf stored; /* after frame_seal(): the bytes as they go into the pack */
	uint8_t codec;
};

int frame_builder_new(struct frame_builder **ret_fb);
void frame_builder_reset(struct frame_builder *fb);
void frame_builder_free(struct frame_builder *fb);
bool frame_fits(const struct frame_builder *fb, size_t len);
/* The caller checked that it fits, and gives ids in ascending order. */
void frame_add(struct frame_builder *fb, uint64_t id, const struct digest *digest, const void *data,
	       uint32_t len);
/* CPU work only; any thread. level 0 = store raw. */
int frame_seal(struct frame_builder *fb, int level);
/* Completes fb->stored for this place, and describes it as an index row (chunks borrowed from
 * `chunks`, an array of fb->n). */
void frame_place(struct frame_builder *fb, uint64_t pack, uint64_t offset,
		 struct frame_chunk *chunks, struct frame_row *ret_row);

/* Binds a whole frame's bytes, whose head was valid where it lay, to this place. */
void frame_rebind(void *bytes, uint32_t chunks, uint64_t pack, uint64_t offset);

/* A stored frame's head, checked: magic, lengths, head_sum for this pack and offset. */
struct frame_head {
	struct frame_header h;
	const struct chunk_entry *entries; /* in the caller's bytes */
	uint32_t payload_at;		   /* from the frame's start */
	uint32_t stored_len;		   /* with the padding */
};
/* `len` bytes, aligned to 8, are at hand from the frame's start: 0, -EUCLEAN, or -EAGAIN when more
 * are needed (then *ret_need says how many). */
int frame_parse_head(const void *bytes, size_t len, uint64_t pack, uint64_t offset,
		     struct frame_head *ret_head, size_t *ret_need);
/* Does the row name some of the frame's chunks, not all? Such a row is left where the others were healed
 * elsewhere (rotten.h), and nobody reads through it. */
bool frame_has_part(const struct frame_head *head, const struct frame_row *row);
/* Verifies and decodes a whole frame (bytes: stored_len of them) into out (decoded_len). */
int frame_decode(const struct frame_head *head, const void *bytes, void *out);
/* Verifies the stored bytes by their sums, and decodes nothing. 0 or -EUCLEAN. */
int frame_check_sums(const struct frame_head *head, const void *bytes);
/* What the blocks of a raw frame are bound to: the key of the frame's row. */
struct frame_name {
	uint64_t first_chunk;
	uint16_t part;
};
/* Which stored bytes, relative to the payload, hold decoded [at, at+len) of a raw frame. */
void frame_raw_range(uint32_t decoded_len, uint32_t at, uint32_t len, uint32_t *ret_from,
		     uint32_t *ret_len);
/* Verifies those bytes and copies decoded [at, at+len) out of them. 0 or -EUCLEAN. */
int frame_raw_copy(struct frame_name name, uint32_t decoded_len, const void *stored_range,
		   uint32_t at, uint32_t len, void *out);
#endif
