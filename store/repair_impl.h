// SPDX-License-Identifier: MIT
/* repair_impl: what the parts of repair.c share; no interface. */
#ifndef FOLDFS_REPAIR_IMPL_H
#define FOLDFS_REPAIR_IMPL_H
#include "check_impl.h"
#include "repair.h"

struct repair {
	struct pool *pool;
	const struct repair_options *opt;
	struct repair_result res;
	struct check_options look; /* of k: silent */
	struct check k;		   /* what the rows say: filled by repair_look() */
	struct kv_batch *batch;	   /* never NULL between steps */
	unsigned ops;
	uint64_t next_ino, next_segment; /* given out by this repair; 0: not asked yet */
	struct traces *traces;		 /* repair_lost_inodes.c's own */
	struct packs_repair *packs;	 /* repair_packs.c's own */
	uid_t uid;			 /* whose the pool is, and so what is made in it */
	gid_t gid;
	uint64_t lost_chunk; /* stands for bytes of which nothing is known; 0: not yet */
};

/* Says what was done. */
void repair_say(struct repair *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Between two steps: commits when there is much to commit. 0, -EINTR, -errno. */
int repair_point(struct repair *r);
int repair_commit(struct repair *r); /* all of it, now */
void repair_put(struct repair *r, enum kv_table t, struct slice key, struct slice val);
void repair_delete(struct repair *r, enum kv_table t, struct slice key);
void repair_put_inode(struct repair *r, const struct inode_row *row);

/* Commits, and reads chunk rows, segments and inodes anew into r->k. */
int repair_look(struct repair *r);
/* Calls fn for each row of a table, damaged ones too (val.at NULL: its checksum is wrong). fn gives 0
 * to go on. */
typedef int repair_row_fn(struct repair *r, struct slice key, struct slice val);
int repair_each(struct repair *r, enum kv_table t, const char *what, repair_row_fn *fn);

int repair_new_ino(struct repair *r, uint64_t *ret_ino);
int repair_new_segment(struct repair *r, uint64_t *ret_id);
/* The chunk is gone, and that is known from now on. */
void repair_mark_lost(struct repair *r, uint64_t chunk);
#define LOST_PIECES_MAX 4
/* Pieces that read as an error, `len` bytes in all (the end of absurd lengths stays a hole). Returns
 * how many, or -errno. */
int repair_lost_pieces(struct repair *r, uint64_t len, struct piece v[LOST_PIECES_MAX]);
/* Such a piece takes the place of *p. */
int repair_lose_piece(struct repair *r, struct piece *p);

/* The parts, in this order. */
int repair_numbers(struct repair *r);	  /* numbers given out next, seeds; again at the end */
int repair_packs(struct repair *r);	  /* pack files and rows, frames */
int repair_inodes(struct repair *r);	  /* inodes, and what hangs on them */
int repair_lost_inodes(struct repair *r); /* a part of it: makes rows anew */
int repair_names(struct repair *r);
int repair_segments(struct repair *r);
int repair_maps(struct repair *r);
int repair_references(struct repair *r);
int repair_seal(struct repair *r); /* packs without a footer */
#endif
