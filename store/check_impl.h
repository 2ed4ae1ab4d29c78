// SPDX-License-Identifier: MIT
/* check_impl: what the parts of check.c share; no interface. */
#ifndef FOLDFS_CHECK_IMPL_H
#define FOLDFS_CHECK_IMPL_H
#include "check.h"
#include "chunk_row.h"
#include "inode_row.h"

enum check_mark {
	CHECK_ORPHAN = 1,
	CHECK_HAS_INLINE = 2, /* a row in KV_INLINE */
	CHECK_HAS_XATTR = 4,
	CHECK_HAS_EXTENT = 8,
	CHECK_REACHED = 16, /* a directory that the root leads to */
	CHECK_WALKING = 32,
};

struct check_inode {
	uint64_t ino, size;
	uint32_t nlink, names, subdirs, entries; /* names and entries: counted */
	uint32_t parent;			 /* a directory's: index + 1 of who names it */
	uint8_t type, flags, marks;		 /* DT_*, enum inode_flags, enum check_mark */
};

struct check_segment {
	uint64_t id, bytes; /* bytes 0: it cannot be read */
	uint64_t counted;   /* rows that refer to it */
	uint64_t stored;    /* what KV_SEGREF says */
	bool lost;	    /* some of its chunks are gone */
};

struct check_lost {
	uint64_t ino, at, len;
};

struct check_staged {
	uint64_t ino, gen;
	int err;
};

struct check {
	struct pool *pool;
	const struct check_options *opt;
	struct check_result res;
	bool rows_only;		    /* packs are not looked into */
	struct check_inode *inodes; /* ascending */
	size_t n_inodes, cap_inodes;
	struct check_segment *segments; /* ascending */
	size_t n_segments, cap_segments;
	uint32_t *chunk_len; /* by id, below chunk_end; 0: there is no such chunk */
	uint64_t chunk_end;
	uint64_t max_ino, max_gen, max_pack;
	uint64_t max_chunk; /* that anything refers to */
	unsigned area;	    /* enum check_area: of the part at work */
	struct check_lost *lost;
	size_t n_lost, cap_lost;
	struct check_staged *unstaged; /* staging files that cannot be opened */
	size_t n_unstaged, cap_unstaged;

	/* the pack whose frames are being looked at */
	struct {
		uint64_t id, size;
		int fd, error;
		bool found; /* elsewhere: the descriptor is our own */
	} pack;
	uint32_t absent;     /* tiers of which that has been told, a bit each */
	uint64_t last_chunk; /* of the rows so far */
	uint16_t last_part;
	/* the inode whose map is passing by */
	struct {
		uint64_t ino, end, mapped;
	} map;
};

void check_error(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* About a file beside the index: its rows are as they should be. */
void check_error_beside(struct check *k, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* What can be made right from other rows alone, without anything getting lost. */
void check_error_safe(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_note(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_absent(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_progress(struct check *k, const char *what, uint64_t done, uint64_t total);

/* About the file of a pack in this tier: said, but no error, where it cannot be written to. */
void check_file_error(struct check *k, unsigned tier, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The pack's file in a directory of another tier: its descriptor, the caller's; or -ENOENT. */
int check_find_copy(struct check *k, uint64_t pack, unsigned not_tier, unsigned *ret_tier);
void check_say_moved(struct check *k, const struct pack_row *row, unsigned tier);
/* Is another copy of the pack sounder than the one that its row names? */
void check_compare_copies(struct check *k, const struct pack_row *row);

/* Calls fn for each row of a table; reports rows that cannot be read, and those for which fn says
 * -EUCLEAN. Any other failure ends it. */
typedef int check_row_fn(struct check *k, struct slice key, struct slice val);
int check_each(struct check *k, enum kv_table t, const char *what, check_row_fn *fn);
/* Frees what the parts gathered; the check may begin again. */
void check_done(struct check *k);
/* NULL: there is no such. */
struct check_inode *check_find_inode(struct check *k, uint64_t ino);
struct check_segment *check_find_segment(struct check *k, uint64_t id);

/* The parts, in this order. */
int check_chunks(struct check *k);
void check_forget_lengths(struct check *k); /* packs, frames, digests: fills chunk_len */
int check_segments(struct check *k);	    /* fills segments */
int check_inodes(struct check *k);	    /* fills inodes; orphans, inline content, attributes */
int check_names(struct check *k);
int check_maps(struct check *k); /* extents, reference counts */
int check_staging(struct check *k);
int check_ids(struct check *k);

enum piece_state { PIECE_SOUND, PIECE_BEYOND, PIECE_MISSING, PIECE_LOST };
/* Does it refer to a chunk that is there, and long enough? LOST: that its bytes cannot be read is known,
 * or has been said of the chunk. */
enum piece_state check_piece_state(struct check *k, const struct piece *p);
/* Says so if not (unless it is known), beginning with `whose`. True: its bytes cannot be read. */
bool check_piece(struct check *k, const struct piece *p, const char *whose, uint64_t id);

/* Files with bytes that cannot be read: remembered while their maps pass by, told at the end. */
bool check_chunk_is_lost(struct check *k, uint64_t chunk);
void check_remember_lost(struct check *k, uint64_t ino, uint64_t at, uint64_t len);
int check_tell_lost(struct check *k);
#endif
