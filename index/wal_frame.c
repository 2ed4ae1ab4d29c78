// SPDX-License-Identifier: MIT
/* The mark that frames start with is derived from the segment's seed, which nobody knows who only
 * writes files into the filesystem: a search for frames in a damaged log cannot be led to hash
 * each of a million look-alikes.
 */
#include "wal_frame.h"
#include "digest.h"
#include "expand.h"
#include <errno.h>

uint64_t wal_segment_seed(const struct wal_identity *id, uint64_t seq)
{
	return checksum64_seeded(id, sizeof *id, seq);
}

/* The header without its checksum, then the stored payload, chained through the seed. */
static uint64_t frame_checksum(const uint8_t *frame, size_t stored_len, uint64_t seed)
{
	uint64_t h = checksum64_seeded(frame, offsetof(struct wal_frame_header, checksum), seed);
	return checksum64_seeded(frame + sizeof(struct wal_frame_header), stored_len, h);
}

void wal_frame_seal(uint8_t *frame, const struct wal_frame *f, uint64_t seed)
{
	struct wal_frame_header h = { 0 };
	put_le32(&h.mark, wal_frame_mark(seed));
	put_le32(&h.stored_len, (uint32_t)f->stored.len);
	put_le32(&h.raw_len, (uint32_t)f->raw_len);
	put_le32(&h.flags, f->kind == WAL_END	 ? WAL_FRAME_END
			   : f->kind == WAL_NOTE ? WAL_FRAME_NOTE
			   : f->zstd		 ? WAL_FRAME_ZSTD
						 : 0);
	put_le64(&h.lsn, f->lsn);
	put_le64(&h.durable_lsn, f->durable_lsn);
	memcpy(frame, &h, sizeof h);
	put_le64(frame + offsetof(struct wal_frame_header, checksum),
		 frame_checksum(frame, f->stored.len, seed));
}

void wal_frame_mark_place(uint8_t *frame, enum wal_frame_kind kind, uint64_t durable_lsn,
			  uint64_t next_seq, uint64_t seed)
{
	struct wal_frame f = { .kind = kind, .lsn = durable_lsn + 1, .durable_lsn = durable_lsn };
	f.stored = slice_of(frame + sizeof(struct wal_frame_header), kind == WAL_END ? 8 : 0);
	f.raw_len = f.stored.len;
	if (kind == WAL_END)
		put_le64(frame + sizeof(struct wal_frame_header), next_seq);
	wal_frame_seal(frame, &f, seed);
}

uint64_t wal_frame_next_seq(const struct wal_frame *end)
{
	return get_le64(end->stored.at);
}

/* False for flags that do not go together. */
static bool kind_of(uint32_t flags, size_t stored, size_t raw, struct wal_frame *f)
{
	f->zstd = flags == WAL_FRAME_ZSTD;
	f->kind = flags == WAL_FRAME_END ? WAL_END : flags == WAL_FRAME_NOTE ? WAL_NOTE : WAL_BATCH;
	if (f->kind == WAL_END)
		return stored == 8 && raw == 8;
	if (f->kind == WAL_NOTE)
		return stored == 0 && raw == 0;
	return f->zstd || (!flags && raw == stored);
}

bool wal_frame_parse(const uint8_t *at, size_t left, uint64_t seed, struct wal_frame *ret_frame)
{
	struct wal_frame_header h;
	if (left < sizeof h || get_le32(at) != wal_frame_mark(seed))
		return false;
	memcpy(&h, at, sizeof h);
	size_t stored = get_le32(&h.stored_len), raw = get_le32(&h.raw_len);
	struct wal_frame f = { .size = wal_frame_size(stored), .raw_len = raw };
	if (stored > WAL_PAYLOAD_MAX || raw > WAL_PAYLOAD_MAX || f.size > left ||
	    !kind_of(get_le32(&h.flags), stored, raw, &f))
		return false;
	if (get_le64(&h.checksum) != frame_checksum(at, stored, seed))
		return false;
	f.lsn = get_le64(&h.lsn);
	f.durable_lsn = get_le64(&h.durable_lsn);
	f.stored = slice_of(at + sizeof h, stored);
	*ret_frame = f;
	return true;
}

int wal_frame_payload(const struct wal_frame *f, struct buf *scratch, struct slice *ret_payload)
{
	if (!f->zstd) {
		*ret_payload = f->stored;
		return 0;
	}
	buf_reset(scratch);
	void *raw = buf_extend(scratch, f->raw_len);
	if (!raw)
		return -ENOMEM;
	*ret_payload = slice_of(raw, f->raw_len);
	return expand_exact(raw, f->raw_len, f->stored);
}
