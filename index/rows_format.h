// SPDX-License-Identifier: MIT
/* rows_format: the bytes of every table's rows, save those that the engine keeps itself (kv_format.h).
 *
 * u8, le64: little-endian numbers of that width. be64, be16: big-endian, in keys, so that memcmp
 * order is numeric order. v: LEB128 varint. z: zigzag varint. [x]: present under a condition. A row
 * is valid if and only if it can be read as told here, each field is in its range, and nothing
 * follows the last field. Checksums are the engine's business.
 *
 * piece (in inode and segment rows). `expected` is a reader's variable: 1 + the last chunk id that
 * is not zero, initially as told by the row.
 *
 *     v head            length << 3 | flags; 0 is a run of zeros, followed by its length only
 *     [v length]        with head 0: bytes of zeros
 *     [z id]            with PIECE_JUMP: chunk id - expected; without it the id is `expected`
 *     [v offset]        with PIECE_OFFSET: of the slice in the chunk; otherwise 0
 *     [v repeat]        with PIECE_REPEAT: >= 2; otherwise 1
 *
 * KV_INODE   key be64 ino
 *     u8 present        enum inode_present, and the number of pieces << INODE_PIECES_SHIFT
 *     v flags           enum inode_flags (inode_row.h)
 *     v mode, v uid, v gid, v size
 *     [v nlink]         without INODE_HAS_NLINK: 1
 *     [v rdev] [v parent] [v staging_gen]
 *     le64 btime        nanoseconds since 1970, two's complement like all times
 *     z ctime - btime, z mtime - ctime, z atime - btime
 *     [v mapped_bytes]  with INODE_MAPPED; otherwise it follows from the pieces
 *     piece...          the inline recipe; expected starts at 0
 *
 * KV_INLINE  key be64 ino; value: the content itself
 * KV_DIRENT  key be64 parent, be64 cookie;  u8 type, v ino, name to the end
 * KV_XATTR   key be64 ino, name;  value: the attribute's value itself
 *
 * KV_EXTENT  key be64 ino, be64 file offset;  v segment, v offset in the segment's bytes, v length,
 *     v how many of these bytes are zeros
 *
 * KV_SEGMENT key be64 segment id
 *     v n               pieces, 1..SEGMENT_PIECES
 *     v base            what `expected` is at the start of each group
 *     (v size, v bytes, v zeros)   for each group but the last: its encoded size, the file bytes
 *                       it describes, how many of them are zeros
 *     piece...          groups of SEGMENT_GROUP pieces, the last one shorter
 *   or, in pools with SUPER_STRANDS, the same after a v 0, with pieces in strands:
 *
 *     v head            length << 3 | code; of a length of 0 with STRAND_ZEROS alone
 *     [v length]        with STRAND_ZEROS: bytes of zeros
 *     [z id, v offset, v repeat]   with STRAND_AT: chunk id - expected; repeat >= 1
 *
 *   Codes 0 to 4: the piece goes on in a chunk where the last piece of that chunk ended. 0 is the chunk that was
 *   used last, 1 the one used last before that, and so on. STRAND_NEXT: all from the begin of the chunk
 *   `expected`. A reader remembers five chunks; one that STRAND_NEXT or STRAND_AT bring takes the place of itself, or of
 *   the one not used for longest, and makes `expected` 1 + itself. Groups begin without any.
 *
 * KV_SEGREF  key be64 segment id;  v count >= 2
 *
 * KV_CHUNK   key be64 first chunk id, be16 part
 *     v pack, v offset, v stored_len, u8 codec, v n (1..FRAME_CHUNKS_MAX)
 *     n times: v length << 1 | jump, [v ids skipped]   the first id is the key's, without a jump
 *
 * KV_PACK    key be64 pack id;  u8 state, u8 tier, v bytes, v first_chunk, z created,
 *     z verified - created
 *
 * KV_META    "ids." and the name of a sequence: le64, ids from here on were never handed out
 *            "dirent_seed": le64, of the hash that makes cookies from names
 *            "dirent_collided": empty; there once two names have had the same hash
 *            "tier." and a u8 number, 1..15: u8 1, 16 bytes of uuid, u8 length of the name, name, place,
 *            and of a bucket a newline, endpoint, a newline, region
 *            "access." and a be64 n: 256 times le32, when packs 256 n and after were last read, in
 *            seconds since 1970; 0: never
 *            "lost." and a be64 chunk id: empty; fsck found that this chunk is gone. What refers to it
 *            cannot be read, and that is known
 */
#ifndef FOLDFS_ROWS_FORMAT_H
#define FOLDFS_ROWS_FORMAT_H

enum piece_flags { PIECE_JUMP = 1, PIECE_OFFSET = 2, PIECE_REPEAT = 4, PIECE_FLAG_BITS = 3 };

#define STRANDS_MAX 5u
enum strand_code { STRAND_NEXT = 5, STRAND_AT = 6, STRAND_ZEROS = 7, STRAND_BITS = 3 };

enum inode_present {
	INODE_HAS_NLINK = 1,
	INODE_HAS_RDEV = 2,
	INODE_HAS_PARENT = 4,
	INODE_HAS_STAGING = 8,
	INODE_PIECES_SHIFT = 4,
	INODE_PRESENT_MAX = 0x7f
};

#define SEGMENT_GROUP 128u

#define META_IDS_PREFIX "ids."
#define META_DIRENT_SEED "dirent_seed"
#define META_DIRENT_COLLIDED "dirent_collided"
#define META_LOG_LOST "log_lost"
#define META_LOST_CHUNK "lost."
#define META_LOST_CHUNK_SIZE (sizeof META_LOST_CHUNK - 1 + 8)
#endif
