// SPDX-License-Identifier: MIT
/* pack_scan: which frames a pack file holds, found from the file alone. */
#ifndef FOLDFS_PACK_SCAN_H
#define FOLDFS_PACK_SCAN_H
#include "frame.h"

typedef int pack_scan_fn(void *arg, uint64_t offset, const struct frame_head *head);

/* As pack_scan() of pack.h, on an open file. */
int pack_scan_fd(int fd, uint64_t pack, uint64_t from, pack_scan_fn *fn, void *arg,
		 uint64_t *ret_end);

/* What a new footer is made of: the frames whose first chunk is at most `limit`, their end, and the chunks
 * in them. The caller frees v. */
struct pack_kept {
	struct footer_entry *v;
	size_t n, cap;
	uint64_t end, first_chunk, last_chunk, limit;
};
int pack_keep_frame(void *arg, uint64_t offset, const struct frame_head *head); /* a pack_scan_fn */

/* Is this the header of this pack in this pool? */
bool pack_header_is(const struct pack_header *h, uint64_t pack, const uint8_t pool_uuid[16]);
/* 0, -EUCLEAN when the file does not begin with the header of this pack in this pool. */
int pack_header_check(int fd, uint64_t pack, const uint8_t pool_uuid[16]);
/* The file begins with a sound header of another pool: its frames may be at the places of ours, and say
 * that they are ours, for they do not name the pool. */
bool pack_is_foreign(int fd, const uint8_t pool_uuid[16]);
int pack_header_write(int fd, uint64_t pack, const uint8_t pool_uuid[16], int64_t created);

/* Sorts the entries and writes them with a tail at `end`, which becomes the file's end but for
 * the footer: what a failed write left behind is cut off. *ret_bytes is the file's length. */
int pack_footer_write(int fd, uint64_t pack, uint64_t end, struct footer_entry *entries, size_t n,
		      uint64_t last_chunk, uint64_t *ret_bytes);
/* 0, -ENOENT when there is no valid footer, -errno. The caller frees *ret_entries. */
int pack_footer_read(int fd, uint64_t pack, struct footer_entry **ret_entries, size_t *ret_n,
		     uint64_t *ret_at);
/* A pack's bytes, wherever they lie; read() gives exactly these, or -errno. */
struct pack_bytes {
	int (*read)(void *arg, void *buf, size_t len, uint64_t at);
	void *arg;
	uint64_t size;
};
/* The same as pack_footer_read() of these. */
int pack_footer_find(const struct pack_bytes *from, uint64_t pack,
		     struct footer_entry **ret_entries, size_t *ret_n, uint64_t *ret_at);
#endif
