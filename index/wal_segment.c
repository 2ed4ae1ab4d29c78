// SPDX-License-Identifier: MIT
/* A segment is created with all blocks allocated and without a header, so that the commits it is
 * meant for cannot run out of space; it joins the log when its header is written. Where fallocate
 * is not supported, zeros are written.
 */
#include "wal_segment.h"
#include "cleanup.h"
#include "digest.h"
#include "fault.h"
#include "io.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

void wal_segment_name(uint64_t seq, char ret_name[WAL_NAME_SIZE])
{
	snprintf(ret_name, WAL_NAME_SIZE, "wal-%016" PRIx64, seq);
}

bool wal_segment_parse_name(const char *name, uint64_t *ret_seq)
{
	char again[WAL_NAME_SIZE];
	uint64_t seq;
	if (sscanf(name, "wal-%16" SCNx64, &seq) != 1)
		return false;
	wal_segment_name(seq, again);
	if (strcmp(name, again))
		return false;
	*ret_seq = seq;
	return true;
}

static int fill_with_zeros(int fd, size_t size)
{
	size_t piece = (size_t)1 << 20;
	CLEANUP_FREE void *zeros = calloc(1, piece);
	if (!zeros)
		return -ENOMEM;
	int r = 0;
	for (size_t at = 0; at < size && r == 0; at += piece)
		r = io_write(fd, zeros, size - at < piece ? size - at : piece, (off_t)at);
	return r;
}

static int allocate(int fd, size_t size)
{
	int r = fault_hit("wal_allocate");
	if (r < 0)
		return r;
	while (fallocate(fd, 0, 0, (off_t)size)) {
		if (errno == EOPNOTSUPP)
			return fill_with_zeros(fd, size);
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int wal_segment_create(int dirfd, uint64_t seq, size_t size, struct wal_segment **ret_segment)
{
	char name[WAL_NAME_SIZE];
	CLEANUP_FREE struct wal_segment *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	wal_segment_name(seq, name);
	CLEANUP_CLOSE int fd = io_create(dirfd, name, O_RDWR | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	int r = allocate(fd, size);
	if (r == 0)
		r = io_fsync(fd);
	if (r == 0)
		r = io_fsync_dir(dirfd);
	if (r < 0) {
		unlinkat(dirfd, name, 0);
		return r;
	}
	*s = (struct wal_segment){
		.seq = seq,
		.size = size,
		.reserved = WAL_FRAMES_AT,
		.written = WAL_FRAMES_AT,
		.fd = take_fd(&fd),
	};
	*ret_segment = TAKE_PTR(s);
	return 0;
}

int wal_segment_begin(struct wal_segment *s, const struct wal_identity *id)
{
	struct wal_segment_header h = { 0 };
	put_le64(&h.magic, WAL_SEGMENT_MAGIC);
	put_le32(&h.version, WAL_VERSION);
	put_le32(&h.blocks, (uint32_t)(s->size / WAL_BLOCK));
	memcpy(h.pool_uuid, id->pool_uuid, sizeof h.pool_uuid);
	memcpy(h.wal_id, id->wal_id, sizeof h.wal_id);
	put_le64(&h.seq, s->seq);
	put_le64(&h.prev_seq, s->prev_seq);
	put_le64(&h.first_lsn, s->first_lsn);
	put_le64(&h.checksum, checksum64(&h, offsetof(struct wal_segment_header, checksum)));
	int r = io_write(s->fd, &h, sizeof h, 0);
	if (r == 0)
		r = io_fdatasync(s->fd);
	if (r == 0)
		s->header_there = true;
	return r;
}

int wal_segment_end(struct wal_segment *s, const struct wal_identity *id, uint64_t durable_lsn,
		    uint64_t next_seq)
{
	uint8_t frame[WAL_END_SIZE];
	wal_frame_mark_place(frame, WAL_END, durable_lsn, next_seq, wal_segment_seed(id, s->seq));
	int r = io_write(s->fd, frame, sizeof frame, (off_t)s->written);
	if (r == 0)
		s->written += sizeof frame;
	return r;
}

void wal_segment_note(struct wal_segment *s, const struct wal_identity *id, uint64_t durable_lsn)
{
	uint8_t frame[WAL_NOTE_SIZE];
	wal_frame_mark_place(frame, WAL_NOTE, durable_lsn, 0, wal_segment_seed(id, s->seq));
	ssize_t n = pwrite(s->fd, frame, sizeof frame, (off_t)s->written);
	if (n == (ssize_t)sizeof frame)
		s->written += sizeof frame;
	else
		log_warn("wal-%016" PRIx64 ": no note that what is there is durable: %s", s->seq,
			 n < 0 ? strerror(errno) : "the write was cut short");
}

void wal_segment_free(struct wal_segment *s)
{
	if (s && s->fd >= 0)
		close(s->fd);
	free(s);
}

int wal_segment_remove(int dirfd, struct wal_segment *s)
{
	char name[WAL_NAME_SIZE];
	wal_segment_name(s->seq, name);
	int r = unlinkat(dirfd, name, 0) ? -errno : 0;
	wal_segment_free(s);
	return r == -ENOENT ? 0 : r;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

enum wal_header_kind wal_header_parse(const void *data, size_t len, uint64_t seq,
				      struct wal_segment_header *ret_header)
{
	struct wal_segment_header h;
	if (all_zero(data, len < sizeof h ? len : sizeof h))
		return WAL_HEADER_BLANK;
	if (len < sizeof h)
		return WAL_HEADER_INVALID;
	memcpy(&h, data, sizeof h);
	uint32_t version = get_le32(&h.version);
	if (get_le64(&h.magic) != WAL_SEGMENT_MAGIC || !version ||
	    get_le64(&h.checksum) != checksum64(&h, offsetof(struct wal_segment_header, checksum)))
		return WAL_HEADER_INVALID;
	*ret_header = h;
	ret_header->version = version;
	ret_header->blocks = version > WAL_VERSION_ENDLESS ? get_le32(&h.blocks) : 0;
	ret_header->seq = get_le64(&h.seq);
	ret_header->prev_seq = get_le64(&h.prev_seq);
	ret_header->first_lsn = get_le64(&h.first_lsn);
	if (ret_header->seq != seq)
		return WAL_HEADER_INVALID;
	return version > WAL_VERSION ? WAL_HEADER_NEWER : WAL_HEADER_VALID;
}
