// SPDX-License-Identifier: MIT
/* scrub: reads everything that is stored, from the device, and verifies it, online.
 *
 * Each frame's checksums and each chunk's digest; headers and footers of sealed packs; the dumps of the
 * index; the checksums of all rows of the index, small files' content among them. What is bad is logged with its pack,
 * frame and files, and noted as rotten (rotten.h). Packs without damage count as verified.
 *
 * A pass goes through the frames in the order of chunk ids. Where it is goes into KV_META every few
 * seconds, so it goes on after a stop, a remount or a crash.
 */
#ifndef FOLDFS_SCRUB_H
#define FOLDFS_SCRUB_H
#include "owners.h"
#include "packer.h"
#include "rotten.h"

#define SCRUB_KEY "scrub" /* KV_META: see foldfs-format(5) */

struct scrub;

struct scrub_options {
	struct kv *kv;
	struct packs *packs;
	struct packer *packer;
	struct rotten *rotten;
	uint8_t pool_uuid[16];
	int packs_dirfd;	   /* the owner's, for the dumps */
	uint64_t rate_bytes_per_s; /* of reading; 0 = unlimited */
};

enum scrub_state {
	SCRUB_NEVER,
	SCRUB_RUNNING,
	SCRUB_STOPPED,	   /* by the user: goes on when asked to */
	SCRUB_INTERRUPTED, /* by unmount or crash: goes on with the next mount */
	SCRUB_FINISHED,
};

struct scrub_status {
	enum scrub_state state;
	int64_t began, ended;		  /* seconds since 1970, 0: not yet */
	uint64_t bytes_done, bytes_total; /* of stored frames; the total as of the beginning */
	uint64_t frames, chunks;	  /* verified, or found bad */
	/* found by this pass: */
	uint64_t bad_frames, bad_chunks;
	uint64_t repaired; /* of these chunks: at once, as only what describes them was damaged */
	uint64_t bad_rows, bad_packs; /* rows of the index; packs whose header or footer is bad */
	uint64_t bad_dumps;	      /* of the index */
	uint64_t absent_bytes;	      /* left out, as they lie in tiers that are absent; not kept */
	/* now: chunks that cannot be read */
	uint64_t rotten;
};

int scrub_open(const struct scrub_options *opt, struct scrub **ret_s);
/* A running pass ends soon, with -ECANCELED; `by_user`: as STOPPED, otherwise as INTERRUPTED. Does not
 * wait. */
void scrub_stop(struct scrub *s, bool by_user);
/* Interrupts for good, and waits for it; NULL is fine. */
void scrub_close(struct scrub *s);
/* One pass, or the rest of one that was stopped. -EBUSY when one is running. `progress` (may be NULL)
 * is called about twice a second. 0 even if damage was found: see the status. */
int scrub_run(struct scrub *s, void (*progress)(void *arg, const struct scrub_status *so_far),
	      void *arg);
/* A reader could not read this chunk at this offset: looks at its frame as a pass would, and notes what
 * is rotten. Any thread; holds nothing that healing needs. For chunks_on_damage(). */
void scrub_suspect(void *scrub, uint64_t chunk, uint32_t offset);
void scrub_get_status(struct scrub *s, struct scrub_status *ret_status);
/* What cannot be read now: the chunks (ascending ids; the caller frees), and the files that show them
 * or whose rows the last pass found damaged (owners_free()). Reads whole tables. */
int scrub_damage(struct scrub *s, struct rotten_chunk **ret_chunks, size_t *ret_n_chunks,
		 struct owner **ret_files, size_t *ret_n_files);
#endif
