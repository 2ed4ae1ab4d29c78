// SPDX-License-Identifier: MIT
/* replica_format: every byte of a replica that is not a pack. Little-endian.
 *
 *   PLACE/epochs/N           who owns epoch N (lease.c); 16 hex digits
 *   PLACE/eN/beat            that its owner is alive
 *   PLACE/eN/o.DIGEST        some bytes, named by their BLAKE3, 64 hex digits; never changed
 *   PLACE/eN/root.SEQ        a state of the pool; 16 hex digits; never changed
 *   PLACE/tier               packs, as in the place of any tier (foldfs-tiers(7)); the tier's number is REPLICA_TIER
 *
 *   root := replica_header item* sum        sum: BLAKE3 of all before it
 *   item := u8 kind, varint a, b, size, svarint mtime, varint blocks, block*
 *   block := varint at, varint len, 32 bytes of BLAKE3      (an object of that name in the root's own epoch)
 *
 *   kind              a            b           size      blocks
 *   REPLICA_SUPER     0            0           bytes     POOL/super
 *   REPLICA_CONF      0            0           bytes     POOL/foldfs.conf
 *   REPLICA_DUMP      generation   start LSN   bytes     the file of the dump
 *   REPLICA_LOG       first LSN    last LSN    bytes     one: entries, below; size: decompressed
 *   REPLICA_PACK      pack         0           bytes     none: it lies in PLACE/tier
 *   REPLICA_OPEN      pack         0           bytes     the file of a pack that was being filled
 *   REPLICA_STAGED    inode        generation  bytes     a staging file, where it has data; mtime: its time in ns
 *
 *   REPLICA_DIGESTS   0            0           bytes     rows of KV_DIGEST, and before them the digests' row of KV_META
 *
 * A file has zeros (a staging file: holes) where no block lies. Entries are one zstd frame; decompressed, for each batch
 *   le64 lsn, le32 length, payload (wal_format.h)
 * Rows of digests are not compressed: u8 table, varint length of key and of value, key, value; a block has whole rows.
 * Logs follow each other without gaps, from the first LSN after the dump's start to the root's.
 */
#ifndef FOLDFS_REPLICA_FORMAT_H
#define FOLDFS_REPLICA_FORMAT_H
#include <assert.h>
#include <stdint.h>

#define REPLICA_MAGIC 0x6c706572646c6f66ull /* "foldrepl" */
#define REPLICA_VERSION 1u
#define REPLICA_TIER 15u
#define REPLICA_TIER_NAME "replica"
#define REPLICA_BLOCK (4u << 20)	/* of files; no longer one is written */
#define REPLICA_OBJECT_MAX (80u << 20)	/* a longer one is not read */
#define REPLICA_ENTRIES_MAX (80u << 20) /* decompressed, of one object */
#define REPLICA_ROOT_MAX (1u << 30)

enum replica_kind {
	REPLICA_SUPER = 1,
	REPLICA_CONF,
	REPLICA_DUMP,
	REPLICA_LOG,
	REPLICA_PACK,
	REPLICA_OPEN,
	REPLICA_STAGED,
	REPLICA_DIGESTS,
	REPLICA_KINDS
};

struct replica_header {
	uint64_t magic;
	uint32_t version;
	uint32_t zero;
	uint8_t pool_uuid[16];
	uint64_t epoch, seq; /* as in the name */
	uint64_t lsn;	     /* the state is that after this batch */
	int64_t time;	     /* when it was published, seconds since 1970 */
	uint64_t items;
};
static_assert(sizeof(struct replica_header) == 72, "replica root");
#endif
