// SPDX-License-Identifier: MIT
/* pack: the append-only files that hold frames, and the set of them in POOL/packs.
 *
 * One pack at a time is open for appending in each stream (new data; gc). A place is reserved under
 * a short lock and written outside it, side by side. Appended bytes are durable after pack_sync();
 * whoever commits a row that refers to them gives its batch pack_barrier(). At PACK_TARGET bytes
 * a pack is sealed with a footer and the next begun. Descriptors for reading are a bounded cache.
 */
#ifndef FOLDFS_PACK_H
#define FOLDFS_PACK_H
#include "chunk_row.h"
#include "extents.h"
#include "frame.h"
#include "ids.h"
#include "io.h"

#define PACK_TARGET_DEFAULT (128u << 20)

enum pack_stream { PACK_STREAM_NEW = 0, PACK_STREAM_GC = 1, PACK_STREAMS = 2 };

struct packs;

struct packs_options {
	int dirfd; /* POOL/packs; the set dups it */
	struct kv *kv;
	uint8_t pool_uuid[16];
	uint64_t target_bytes; /* 0 = PACK_TARGET_DEFAULT */
	unsigned max_open;     /* descriptors for reading; 0 = 256 */
	struct tiers *tiers;   /* where packs may lie besides; NULL: nowhere */
	struct access *access; /* told of what is read; may be NULL */
	bool read_only;
};

/* Reads KV_PACK. Packs that were open at the end are never appended to again: they are sealed (with
 * a footer made by scanning) or, when they hold no frame with a chunk id at or below
 * chunk_last_id(), removed. Files without a row likewise. -EUCLEAN: a pack is missing or too short
 * (logged; reading only, it is passed over). */
int packs_open(const struct packs_options *opt, struct packs **ret_p);
/* Seals the open packs (sync, footer, rows). */
int packs_close(struct packs *p);

/* Appends a sealed frame: reserves a place, writes. Not durable. `batch` (may be NULL), which will
 * have the frame's row, is given pack_barrier(). The KV_PACK row is the set's own business.
 * *ret_row as frame_place(). -ENOSPC: nothing was appended. */
int pack_append(struct packs *p, enum pack_stream stream, struct frame_builder *fb,
		struct kv_batch *batch, struct frame_chunk *chunks, struct frame_row *ret_row);
/* Makes everything appended so far durable: data, length, the file's name. Several callers share.
 * Once it failed it fails for ever, and so does pack_append(). */
int pack_sync(struct packs *p);
/* A barrier for kv_batch_barrier() that does pack_sync() for what has been appended by now. NULL: no
 * memory. */
struct kv_barrier *pack_barrier(struct packs *p);

/* An open descriptor for reading; release with pack_fd_put(). -ENOENT: the pack is gone. -ENOMEDIUM: it
 * lies in a tier that is absent. -EREMOTE: see pack_read_far(). */
int pack_fd_get(struct packs *p, uint64_t pack);
int pack_fd_try_get(struct packs *p,
		    uint64_t pack); /* waits for no device; -EAGAIN: none is open */
void pack_fd_put(struct packs *p, uint64_t pack, int fd);
/* Its file or its row is another one now: nothing is read through descriptors from before. */
void pack_replaced(struct packs *p, uint64_t pack);
/* Says so in the log, for who got -ENOMEDIUM. */
void pack_say_absent(struct packs *p, uint64_t pack);
/* Does it lie where there are no descriptors (pack_fd_get() gives -EREMOTE)? Then ranges are read, all at
 * once; results as place.h tells. */
bool pack_is_far(struct packs *p, uint64_t pack);
struct place_read;
void pack_read_far(struct packs *p, struct place_read *v, size_t n);
/* A reader wanted bytes of it. */
void pack_note_read(struct packs *p, uint64_t pack, uint32_t bytes);
/* Can its bytes be had: does it lie in a tier whose place is there? */
bool pack_reachable(struct packs *p, const struct pack_row *row);

/* Calls fn for every valid frame from `from` (0: the first) on, in order; fn returns 0 to go on.
 * *ret_end is where the last valid frame ended. Reads headers only. What a footer lists and is not
 * valid is passed over and reported at the end: -EUCLEAN, -EIO. */
int pack_scan(struct packs *p, uint64_t pack, uint64_t from,
	      int (*fn)(void *arg, uint64_t offset, const struct frame_head *head), void *arg,
	      uint64_t *ret_end);
/* Marks doomed in the batch; the file goes when that batch is durable, then the row. -EBUSY: still
 * being filled, or doomed already. -ENOENT: no such pack. */
int pack_doom(struct packs *p, struct kv_batch *batch, uint64_t pack);
/* Returns when the files of packs whose doom is durable are gone (or could not be removed). */
void packs_settle(struct packs *p);
/* Ends the packs that are being filled: each is sealed as soon as nobody writes to it. First error. */
int packs_retire(struct packs *p);
/* Calls fn for every pack, as rows. Damaged rows are passed over and reported at the end: -EUCLEAN. */
int packs_each(struct packs *p, int (*fn)(void *arg, const struct pack_row *row), void *arg);
/* What the packs in the pool itself take of its disk, and how many they are. */
void packs_bytes(struct packs *p, uint64_t *ret_bytes, uint64_t *ret_packs);

/* Where a frame lies in its pack. */
struct pack_place {
	uint64_t offset;
	uint32_t len;
};
/* Gives back what lies outside these places (ascending by offset) of a sealed pack: whole blocks become
 * holes, the file keeps its length. No durable row may lead there; who looked a row up before finds
 * zeros. Needs no room. *ret_bytes: given back, on failure too. -EUCLEAN: header or footer is bad.
 * Does nothing to packs of other tiers. */
int pack_trim(struct packs *p, uint64_t pack, const struct pack_place *keep, size_t n,
	      uint64_t *ret_bytes);
int pack_allocated(struct packs *p, uint64_t pack, uint64_t *ret_bytes);  /* what its file takes */
int packs_disk(struct packs *p, uint64_t *ret_total, uint64_t *ret_used); /* the disk below */
int packs_avail(struct packs *p, uint64_t *ret_bytes); /* what the disk below has left */
#endif
