// SPDX-License-Identifier: MIT
/* dump_format: every byte of a dump of the index, POOL/packs/dump-<16 hex digits of generation>.
 * Little-endian.
 *
 *   dump  := header frame* footer          (without a valid footer it is no dump)
 *   frame := dump_frame payload padding    (zeros up to a multiple of 8)
 *
 * A payload is one zstd frame; decompressed, a run of rows of one table:
 *   varint key length, varint value length, key, value
 * Tables come in the order of their numbers, rows in key order, each key once; a frame has at least
 * one row. KV_DIGEST and the row "digests" of KV_META are not dumped: they are made from packs.
 *
 * The sum of a frame is XXH3-64 of its payload, seeded with that of dump_frame up to `sum`, seeded
 * with generation ^ offset of the frame: no frame is valid in another place or another dump.
 */
#ifndef FOLDFS_DUMP_FORMAT_H
#define FOLDFS_DUMP_FORMAT_H
#include <assert.h>
#include <stdint.h>

#define DUMP_MAGIC 0x706d75646c6f66ffull /* "\xfffoldump" */
#define DUMP_FOOTER_MAGIC 0x646e65646c6f66ffull
#define DUMP_FRAME_MAGIC 0x6d726664u /* "dfrm" */
#define DUMP_VERSION 1u
#define DUMP_TABLES 16u

struct dump_header { /* at 0 */
	uint64_t magic;
	uint32_t version;
	uint32_t flags; /* 0 */
	uint8_t pool_uuid[16];
	uint64_t generation; /* counts up from 1; the number in the name */
	uint64_t start_lsn;  /* every batch up to here is in the dump whole */
	uint64_t created;    /* seconds since 1970 */
	uint64_t sum;	     /* XXH3-64 of the bytes before it */
};
static_assert(sizeof(struct dump_header) == 64, "dump header");

struct dump_frame {
	uint32_t magic;
	uint32_t table; /* enum kv_table */
	uint32_t rows;
	uint32_t raw_len;    /* of the payload decompressed */
	uint32_t stored_len; /* of the payload */
	uint32_t zero;
	uint64_t sum;
};
static_assert(sizeof(struct dump_frame) == 32, "dump frame");

struct dump_footer { /* the last bytes of the file */
	uint64_t magic;
	uint64_t generation;
	uint64_t frames;
	uint64_t rows[DUMP_TABLES]; /* of each table */
	uint64_t start_lsn;	    /* as in the header */
	uint64_t end_lsn;	    /* no batch above it has left a trace in the dump */
	uint64_t
		content; /* XXH3-64 of the frames' sums, each seeded with the one before, 0 first */
	uint64_t sum;	 /* XXH3-64 of the bytes before it */
};
static_assert(sizeof(struct dump_footer) == 184, "dump footer");
#endif
