// SPDX-License-Identifier: MIT
/* kv_format: what the engine itself keeps in LMDB. */
#ifndef FOLDFS_KV_FORMAT_H
#define FOLDFS_KV_FORMAT_H
#include <assert.h>
#include <stdint.h>

#define BASE_STATE_VERSION 1
/* Flags. The upper 31 bits are the tag of a segment that the log must have: its number modulo 2^31 - 1,
 * plus 1; 0: not known. */
#define BASE_STATE_CLEAN 1u /* no log is needed */
#define BASE_STATE_TAG_SHIFT 1

/* Row "state" of the database "engine". */
struct base_state_disk {
	uint32_t version;	 /* le; BASE_STATE_VERSION */
	uint32_t flags;		 /* le */
	uint64_t checkpoint_lsn; /* le; every batch up to here is in LMDB */
	uint8_t pool_uuid[16];
	uint8_t wal_id[16]; /* random, new each time an empty log is begun */
	uint64_t checksum;  /* le; XXH3-64 of the bytes before */
};
static_assert(sizeof(struct base_state_disk) == 56, "on disk");

/* A row of a table's database is: key -> value, then this. */
#define BASE_CHECKSUM_BYTES 4 /* le32, low half of XXH3-64 over table number, key and value */
#endif
