// SPDX-License-Identifier: MIT
/* wal_segment: the log's files. */
#ifndef FOLDFS_WAL_SEGMENT_H
#define FOLDFS_WAL_SEGMENT_H
#include "wal_frame.h"
#include <sys/types.h>

struct wal_segment {
	uint64_t seq;
	uint64_t prev_seq;
	uint64_t first_lsn; /* 0: not in use yet, only preallocated */
	size_t size;
	size_t reserved;   /* bytes that accepted frames may take; the committers' */
	size_t written;	   /* bytes in the file; the log writer's */
	bool header_there; /* written; the log writer's */
	int fd;
	struct wal_segment *next;
};

#define WAL_NAME_SIZE 32
void wal_segment_name(uint64_t seq, char ret_name[WAL_NAME_SIZE]);
bool wal_segment_parse_name(const char *name, uint64_t *ret_seq);

/* Creates DIR/name(seq), all its blocks allocated; durable with its name on return. */
int wal_segment_create(int dirfd, uint64_t seq, size_t size, struct wal_segment **ret_segment);
/* Writes the header. Durable on return. */
int wal_segment_begin(struct wal_segment *s, const struct wal_identity *id);
/* Writes an end behind the frames, all of which, up to durable_lsn, are durable. Durable with the next
 * fdatasync. */
int wal_segment_end(struct wal_segment *s, const struct wal_identity *id, uint64_t durable_lsn,
		    uint64_t next_seq);
/* Writes a note, for which there is room, if it can. Nothing depends on it. */
void wal_segment_note(struct wal_segment *s, const struct wal_identity *id, uint64_t durable_lsn);
int wal_segment_remove(int dirfd, struct wal_segment *s); /* unlinks and frees */
void wal_segment_free(struct wal_segment *s);		  /* closes; the file stays; NULL is fine */

static inline size_t wal_segment_room(const struct wal_segment *s) /* for further frames */
{
	return s->size - s->reserved - WAL_END_SIZE;
}

/* NEWER: whole, but of a version that this build does not know. */
enum wal_header_kind { WAL_HEADER_VALID, WAL_HEADER_BLANK, WAL_HEADER_INVALID, WAL_HEADER_NEWER };
/* Judges the first bytes of the file named after seq. *ret_header is in host byte order. */
enum wal_header_kind wal_header_parse(const void *data, size_t len, uint64_t seq,
				      struct wal_segment_header *ret_header);
#endif
