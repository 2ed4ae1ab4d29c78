// SPDX-License-Identifier: MIT
/* wal_frame: making and recognising the log's frames. */
#ifndef FOLDFS_WAL_FRAME_H
#define FOLDFS_WAL_FRAME_H
#include "bytes.h"
#include "wal_format.h"

/* Identity of a log; with a segment's number it seeds every checksum in that segment. */
struct wal_identity {
	uint8_t pool_uuid[16];
	uint8_t wal_id[16];
};

enum wal_frame_kind { WAL_BATCH, WAL_END, WAL_NOTE };

struct wal_frame {
	enum wal_frame_kind kind;
	uint64_t lsn, durable_lsn;
	size_t size; /* whole frame, padded */
	size_t raw_len;
	struct slice stored; /* payload as it is in the file */
	bool zstd;
};

static inline size_t wal_frame_size(size_t payload_len)
{
	return (sizeof(struct wal_frame_header) + payload_len + WAL_ALIGN - 1) &
	       ~(size_t)(WAL_ALIGN - 1);
}
uint64_t wal_segment_seed(const struct wal_identity *id, uint64_t seq);
static inline uint32_t wal_frame_mark(uint64_t seed)
{
	return (uint32_t)(seed >> 32) | 1;
}

/* Completes the header in front of a payload that lies in place. */
void wal_frame_seal(uint8_t *frame, const struct wal_frame *f, uint64_t seed);
/* True, and *ret_frame, if a valid frame starts at `at`; `left` bytes may be looked at. */
bool wal_frame_parse(const uint8_t *at, size_t left, uint64_t seed, struct wal_frame *ret_frame);
/* An end or a note (of WAL_END_SIZE or WAL_NOTE_SIZE bytes) for the place after batch durable_lsn, all
 * up to which is durable. next_seq: of an end. */
void wal_frame_mark_place(uint8_t *frame, enum wal_frame_kind kind, uint64_t durable_lsn,
			  uint64_t next_seq, uint64_t seed);
uint64_t wal_frame_next_seq(const struct wal_frame *end);
/* The payload decompressed: points into *scratch or at the frame. -EUCLEAN, -ENOMEM. */
int wal_frame_payload(const struct wal_frame *f, struct buf *scratch, struct slice *ret_payload);
#endif
