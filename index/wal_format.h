// SPDX-License-Identifier: MIT
/* wal_format: bytes of the write-ahead log. wal.c says what they mean and when they are valid. */
#ifndef FOLDFS_WAL_FORMAT_H
#define FOLDFS_WAL_FORMAT_H
#include <assert.h>
#include <stdint.h>

#define WAL_SEGMENT_MAGIC 0x0031474f4c444c46u /* "FLDLOG1" */
#define WAL_VERSION 2			      /* that is written */
#define WAL_VERSION_ENDLESS 1		      /* read, too: no `blocks`, no notes, no ends */

#define WAL_BLOCK 4096u		    /* segment files are multiples of it */
#define WAL_FRAMES_AT 4096u	    /* the header has its block to itself */
#define WAL_ALIGN 8u		    /* frames start at multiples of this */
#define WAL_PAYLOAD_MAX (64u << 20) /* of one frame, decompressed */
#define WAL_SEGMENT_MAX (72u << 20) /* no segment file is longer: recovery reads it whole */
/* Flags. An end and a note are no batches: their lsn is that of the batch that comes next. */
#define WAL_FRAME_ZSTD 1u /* payload is one zstd frame */
#define WAL_FRAME_END 2u  /* the segment's last; payload: le64, seq of the next one, 0: none */
#define WAL_FRAME_NOTE 4u /* no payload: written for its durable_lsn */
#define WAL_NOTE_SIZE 40u
#define WAL_END_SIZE 48u /* kept free in each segment */

struct wal_segment_header {
	uint64_t magic;
	uint32_t version;
	uint32_t blocks; /* of 4096 bytes: the file's length until it is ended */
	uint8_t pool_uuid[16];
	uint8_t wal_id[16];
	uint64_t seq;	   /* the number in the file's name */
	uint64_t prev_seq; /* the segment that ends with first_lsn - 1; 0: none */
	uint64_t
		first_lsn; /* of the first frame; every lower one was durable before this was written */
	uint64_t checksum; /* XXH3-64 of the bytes before */
};
static_assert(sizeof(struct wal_segment_header) == 80, "on disk");

struct wal_frame_header {
	uint32_t mark;	     /* wal_frame_mark() of the segment: where a frame may start */
	uint32_t stored_len; /* of the payload that follows */
	uint32_t raw_len;    /* of the payload decompressed */
	uint32_t flags;
	uint64_t lsn;
	uint64_t durable_lsn; /* every frame up to here was durable when this one was written */
	uint64_t checksum;    /* XXH3-64 of the fields before and the payload, seeded */
};
static_assert(sizeof(struct wal_frame_header) == 40, "on disk");

/* The payload is a run of operations, in the batch's order:
 *   u8 table, plus 0x80 for a delete; varint key length; a put: varint value length; key; value. */
#define WAL_OP_DELETE 0x80u
#endif
