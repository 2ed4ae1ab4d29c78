// SPDX-License-Identifier: MIT
/* digests_format: the row of KV_META and the file POOL/index/filter that belong to digests.
 *
 * Key range slice i holds the keys whose first six bits are i.
 *
 * The row "digests" is written in the transaction of every load. `loads` counts a slice's loads:
 * contents of a slice's part of KV_DIGEST and its count change together or not at all, so the
 * filter of a slice is valid if and only if table id and count in the file equal those of the row.
 * After a crash some slices' filters may still be, others not. Whoever replaces the contents of
 * KV_DIGEST by other means removes the row, or the file.
 *
 *   filter file := header, then for each slice in turn its blocks (none: the slice had no filter)
 */
#ifndef FOLDFS_DIGESTS_FORMAT_H
#define FOLDFS_DIGESTS_FORMAT_H
#include <assert.h>
#include <stdint.h>

#define DIGEST_SLICES 64u
#define DIGEST_SLICE_BITS 6u
#define DIGEST_KEY_BYTES 16u
/* A row's value in KV_DIGEST is the chunk id as a varint. */

#define DIGESTS_ROW "digests"

struct digests_row {	      /* all little-endian */
	uint8_t table_id[16]; /* random, made with the table */
	struct {
		uint64_t watermark; /* chunks below it are in LMDB, or were removed */
		uint64_t loads;
	} slice[DIGEST_SLICES];
};
static_assert(sizeof(struct digests_row) == 1040, "digests row");

#define FILTER_FILE "filter"
#define FILTER_FILE_MAGIC 0x72746c69666c6f66ull /* "folfiltr" */
#define FILTER_FILE_VERSION 1u

struct filter_file_slice {
	uint64_t loads;	 /* as in the row when the file was written */
	uint64_t blocks; /* of 64 bytes */
	uint64_t n;	 /* keys added */
	uint64_t room;	 /* keys it was made for */
	uint64_t sum;	 /* XXH3-64 of the blocks */
};
static_assert(sizeof(struct filter_file_slice) == 40, "filter file slice");

struct filter_file_header { /* at 0 */
	uint64_t magic;
	uint32_t version;
	uint32_t slices; /* DIGEST_SLICES */
	uint8_t table_id[16];
	struct filter_file_slice slice[DIGEST_SLICES];
	uint64_t sum; /* XXH3-64 of the bytes before it */
};
static_assert(sizeof(struct filter_file_header) == 2600, "filter file header");
#endif
