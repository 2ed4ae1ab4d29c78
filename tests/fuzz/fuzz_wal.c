// SPDX-License-Identifier: MIT
/* Input: u8 flags, u8 checkpoint LSN, then up to four segments of the log's directory, each
 *   u8 seq, u8 seal, le16 length; the header; so many bytes of frames.
 * Replay must end, and once it has made the log ready, find the same again. */
#include "fuzz.h"
#include "digest.h"
#include "kv_batch.h"
#include "memtable.h"
#include "wal_salvage.h"
#include <errno.h>
#include <zstd.h>

enum { READ_ONLY = 1, DISCARD = 2 };
enum { SEAL_HEADER = 1, SEAL_FRAMES = 2, SEAL_MARKS = 4 };
#define SEGMENTS_MAX 4
#define FRAMES_MAX 8192u

static const struct wal_identity id = { "a uuid of a pool", "a log's identity" };

static void seal_frames(uint8_t *at, size_t left, uint64_t seed, bool marks)
{
	struct wal_frame_header h;
	while (left >= sizeof h) {
		memcpy(&h, at, sizeof h);
		size_t stored = get_le32(&h.stored_len);
		if (stored > WAL_PAYLOAD_MAX || wal_frame_size(stored) > left)
			return;
		if (marks)
			put_le32(at, wal_frame_mark(seed));
		uint64_t sum =
			checksum64_seeded(at, offsetof(struct wal_frame_header, checksum), seed);
		put_le64(at + offsetof(struct wal_frame_header, checksum),
			 checksum64_seeded(at + sizeof h, stored, sum));
		at += wal_frame_size(stored);
		left -= wal_frame_size(stored);
	}
}

static void put_segment(struct slice *in)
{
	static uint8_t file[WAL_FRAMES_AT + FRAMES_MAX];
	char name[WAL_NAME_SIZE];
	uint64_t seq = take_u8(in);
	uint8_t seal = take_u8(in);
	size_t len = take_u8(in);
	len |= (size_t)take_u8(in) << 8;
	struct slice header = take_up_to(in, sizeof(struct wal_segment_header));
	struct slice frames = take_up_to(in, len < FRAMES_MAX ? len : FRAMES_MAX);
	memset(file, 0, WAL_FRAMES_AT);
	if (header.len)
		memcpy(file, header.at, header.len);
	if (frames.len)
		memcpy(file + WAL_FRAMES_AT, frames.at, frames.len);
	if (seal & SEAL_HEADER)
		put_le64(file + offsetof(struct wal_segment_header, checksum),
			 checksum64(file, offsetof(struct wal_segment_header, checksum)));
	if (seal & SEAL_FRAMES)
		seal_frames(file + WAL_FRAMES_AT, frames.len, wal_segment_seed(&id, seq),
			    seal & SEAL_MARKS);
	wal_segment_name(seq, name);
	fuzz_put_file(fuzz_dirfd(), name, file,
		      frames.len ? WAL_FRAMES_AT + frames.len : header.len);
}

/* As kv.c does it. */
static int apply(void *arg, uint64_t lsn, struct slice payload)
{
	struct memtable *m = arg;
	struct kv_op op;
	int r;
	must(lsn);
	while ((r = kv_op_take(&payload, &op)) > 0) {
		if (!memtable_reserve(m, op.key.len + op.val.len + MEM_ROW_OVERHEAD))
			return -ENOMEM;
		memtable_put(m, op.table, op.key, op.val.at,
			     op.is_delete ? MEM_DELETED : (uint32_t)op.val.len);
	}
	return r;
}

static int replay(const struct wal_replay *in, struct wal_found *ret_found)
{
	struct wal_replay own = *in;
	own.arg = memtable_new(4096);
	must(own.arg);
	int r = wal_replay(&own, ret_found);
	memtable_free(own.arg);
	must(r <= 0 &&
	     (r == 0 || r == -ESTALE || r == -ENOENT || r == -EUCLEAN || r == -EPROTONOSUPPORT));
	wal_found_done(ret_found);
	return r;
}

/* It takes what replay takes, and more when that stopped. */
static void salvage(const struct wal_replay *in, const struct wal_found *whole)
{
	struct wal_replay own = *in;
	struct wal_salvaged s;
	own.arg = memtable_new(4096);
	must(own.arg);
	int r = wal_salvage(&own, &s);
	memtable_free(own.arg);
	must(r == 0 || r == -ESTALE || r == -EUCLEAN || r == -EPROTONOSUPPORT);
	must(s.last_lsn >= in->checkpoint_lsn && s.gap_lsn <= s.last_lsn);
	must(!whole || r < 0 || s.last_lsn >= whole->last_lsn);
}

bool fuzz_one(struct slice in)
{
	uint8_t flags = take_u8(&in);
	struct wal_found found, again;
	struct wal_replay w = {
		.dirfd = fuzz_dirfd(),
		.id = id,
		.checkpoint_lsn = take_u8(&in),
		.read_only = flags & READ_ONLY,
		.apply = apply,
	};
	fuzz_empty_dir(w.dirfd);
	for (unsigned i = 0; i < SEGMENTS_MAX && in.len; i++)
		put_segment(&in);
	if (flags & DISCARD) {
		int r = wal_discard(&w, &found);
		must(r == 0 || r == -ESTALE || r == -EUCLEAN || r == -EPROTONOSUPPORT);
		return r == 0;
	}
	if (replay(&w, &found) < 0) {
		salvage(&w, NULL);
		return false;
	}
	salvage(&w, &found);
	must(replay(&w, &again) == 0);
	must(again.last_lsn == found.last_lsn && again.frames == found.frames);
	must(w.read_only || !again.torn_tail);
	return true;
}

static void put_segment_head(struct buf *b, uint8_t seq, uint64_t first_lsn, size_t len)
{
	struct wal_segment_header h = { 0 };
	buf_put_u8(b, seq);
	buf_put_u8(b, SEAL_HEADER | SEAL_FRAMES | SEAL_MARKS);
	buf_put_u8(b, (uint8_t)len);
	buf_put_u8(b, (uint8_t)(len >> 8));
	put_le64(&h.magic, WAL_SEGMENT_MAGIC);
	put_le32(&h.version, WAL_VERSION);
	memcpy(h.pool_uuid, id.pool_uuid, sizeof h.pool_uuid);
	memcpy(h.wal_id, id.wal_id, sizeof h.wal_id);
	put_le64(&h.seq, seq);
	put_le64(&h.prev_seq, seq - 1);
	put_le64(&h.first_lsn, first_lsn);
	buf_put(b, &h, sizeof h);
}

static void put_frame(struct buf *b, uint64_t lsn, uint32_t flags, const void *payload, size_t len,
		      size_t raw_len)
{
	struct wal_frame_header h = { 0 };
	put_le32(&h.stored_len, (uint32_t)len);
	put_le32(&h.raw_len, (uint32_t)raw_len);
	put_le32(&h.flags, flags);
	put_le64(&h.lsn, lsn);
	put_le64(&h.durable_lsn, lsn - 1);
	buf_put(b, &h, sizeof h);
	buf_put(b, payload, len);
	buf_put(b, "\0\0\0\0\0\0\0", wal_frame_size(len) - sizeof h - len);
}

static void put_frames(struct buf *b, uint64_t lsn)
{
	struct kv_batch *batch = kv_batch_new();
	static const char text[] =
		"a value that is long enough to be worth a compressor's while, while, while";
	uint8_t packed[256];
	kv_batch_put(batch, KV_INODE, "12345678", 8, text, sizeof text);
	kv_batch_delete(batch, KV_DIRENT, "1234567812345678", 16);
	put_frame(b, lsn, 0, batch->ops.data, batch->ops.len, batch->ops.len);
	size_t n = ZSTD_compress(packed, sizeof packed, batch->ops.data, batch->ops.len, 3);
	put_frame(b, lsn + 1, WAL_FRAME_ZSTD, packed, n, batch->ops.len);
	kv_batch_free(batch);
}

static void put_end(struct buf *b, uint64_t lsn, uint64_t next_seq)
{
	uint8_t payload[8];
	put_le64(payload, next_seq);
	put_frame(b, lsn, WAL_FRAME_NOTE, NULL, 0, 0);
	put_frame(b, lsn, WAL_FRAME_END, payload, sizeof payload, sizeof payload);
}

static void put_log(struct buf *b, uint8_t flags, uint8_t checkpoint, unsigned segments)
{
	buf_put_u8(b, flags);
	buf_put_u8(b, checkpoint);
	for (unsigned i = 0; i < segments; i++) {
		struct buf frames = { 0 };
		put_frames(&frames, 1 + 2 * i);
		put_end(&frames, 3 + 2 * i, i + 1 < segments ? i + 2 : 0);
		put_segment_head(b, (uint8_t)(i + 1), 1 + 2 * i, frames.len);
		buf_put(b, frames.data, frames.len);
		buf_done(&frames);
	}
}

void fuzz_seeds(void)
{
	struct buf one = { 0 }, three = { 0 }, behind = { 0 }, torn = { 0 }, old = { 0 };
	put_log(&one, 0, 0, 1);
	fuzz_seed_buf("one", &one);
	put_log(&three, READ_ONLY, 0, 3);
	fuzz_seed_buf("three", &three);
	put_log(&behind, 0, 3, 3);
	buf_put(&behind, "\x04\0\0\0", 4); /* an empty file, made ahead */
	fuzz_seed_buf("checkpointed", &behind);
	put_log(&torn, 0, 0, 2);
	torn.data[torn.len - 1] ^= 1;
	torn.len -= 40;
	fuzz_seed_buf("torn", &torn);
	put_log(&old, DISCARD, 6, 3);
	fuzz_seed_buf("discarded", &old);
}
