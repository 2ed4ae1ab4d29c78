// SPDX-License-Identifier: MIT
/* super_format: POOL/super, two copies of 4096 bytes at 0 and 4096. Little-endian; unused bytes are 0.
 * A copy is valid if magic and checksum are right; the first valid copy counts.
 */
#ifndef FOLDFS_SUPER_FORMAT_H
#define FOLDFS_SUPER_FORMAT_H
#include <assert.h>
#include <stdint.h>

#define SUPER_DIGEST_BLAKE3 1u

struct super_disk {
	uint64_t magic;
	uint32_t version;
	uint32_t digest; /* SUPER_DIGEST_* of chunks */
	uint8_t uuid[16];
	uint64_t compat, ro_compat, incompat; /* feature bits: unknown ones may be ignored / allow
						 reading only / forbid opening */
	int64_t created;		      /* seconds since 1970 */
	uint32_t chunker;		      /* 1 fastcdc, 2 mincdc; others forbid opening */
	uint32_t chunk_min, chunk_avg, chunk_max; /* bytes */
	uint64_t dirent_seed;			  /* of the hash that makes readdir cookies */
	char label[64];
	uint8_t reserved[4096 - 152 - 8];
	uint64_t sum; /* XXH3-64 of everything before it */
};
static_assert(sizeof(struct super_disk) == 4096, "superblock");
#endif
