// SPDX-License-Identifier: MIT
/* piece: arithmetic on slices of chunks, and lists of them that merge what continues.
 *
 * Internal to index/. A run of zeros (chunk 0) is how a list says "hole".
 */
#ifndef FOLDFS_PIECE_H
#define FOLDFS_PIECE_H
#include "inode_row.h"

#define MAP_END_MAX ((uint64_t)INT64_MAX) /* no file reaches beyond */

static inline uint64_t piece_bytes(const struct piece *p)
{
	return p->length * p->repeat;
}
static inline bool piece_is_zero(const struct piece *p)
{
	return p->chunk == 0;
}
static inline struct piece piece_zeros(uint64_t length)
{
	return (struct piece){ .length = length, .repeat = 1 };
}
bool piece_valid(const struct piece *p); /* then piece_bytes() is at most MAP_END_MAX */

/* Turns *last into last followed by p, if one piece can say that. Both are valid; the sum of their
 * bytes is at most MAP_END_MAX. */
bool piece_merge(struct piece *last, const struct piece *p);
/* Bytes [from, to) of the piece, from < to: up to three pieces. Returns how many. */
unsigned piece_slice(const struct piece *p, uint64_t from, uint64_t to, struct piece ret[3]);

/* The encoding of rows_format.h. Decoding gives a valid piece, or false. */
void piece_encode(struct buf *out, const struct piece *p, uint64_t *expected);
bool piece_decode(struct slice *s, struct piece *ret, uint64_t *expected);

/* A list without zero-length pieces in which no neighbours could be merged. */
struct piece_vec {
	struct piece *v;
	size_t n, cap;
};
int piece_vec_push(struct piece_vec *l, const struct piece *p); /* 0 or -ENOMEM */
int piece_vec_push_zeros(struct piece_vec *l, uint64_t length); /* length 0 adds nothing */
int piece_vec_push_slice(struct piece_vec *l, const struct piece *p, uint64_t from, uint64_t to);
void piece_vec_trim(struct piece_vec *l); /* drops zeros from its end */
void piece_vec_done(struct piece_vec *l);
#define CLEANUP_PIECES __attribute__((cleanup(piece_vec_done)))
#endif
