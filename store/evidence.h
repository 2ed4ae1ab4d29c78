// SPDX-License-Identifier: MIT
/* evidence: what index and packs say about a stored chunk, for the packer to decide by.
 *
 * All of it may read from the device; no lock is taken, and none should be held.
 */
#ifndef FOLDFS_EVIDENCE_H
#define FOLDFS_EVIDENCE_H
#include "chunks.h"
#include "digests.h"
#include "rotten.h"

struct evidence_source {
	struct kv *kv;
	struct chunks *chunks;
	struct digests *digests;
	struct rotten *rotten; /* NULL: none are known */
	unsigned verify_age_s;
};

/* A stored chunk with all chunks of its frame. */
struct evidence {
	uint64_t id;
	struct chunk_entry *entries; /* freed by evidence_done() */
	uint32_t n;
	int64_t trusted_until; /* seconds since 1970; 0 when one of the frame's chunks is rotten */
};
void evidence_done(struct evidence *e);

/* The chunk with this digest, all 32 bytes of it, unless that is `but_not`. 1, or 0 when there is
 * none or nobody can tell: then it is stored anew, which is never wrong. -EUCLEAN: the index leads to
 * ret_e->id by 16 bytes of the digest, and nothing else can be told, because that frame is damaged. */
int evidence_find(const struct evidence_source *src, const struct digest *digest, uint64_t but_not,
		  struct evidence *ret_e);
/* Whether all parts of a chunk of this length are there. *ret_until: as trustworthy as the least of
 * their packs. */
bool evidence_whole(const struct evidence_source *src, uint64_t id, uint32_t len,
		    int64_t *ret_until);
/* The frame that holds this id. 1, 0, or -EUCLEAN when it is damaged. */
int evidence_frame(const struct evidence_source *src, uint64_t id, struct evidence *ret_e);
/* Reads the chunk's frame from its pack and compares the chunk with these bytes. 0 and the frame,
 * all of which is verified now (n = 0: just the chunk is); -EAGAIN: other bytes; or -errno. */
int evidence_compare(const struct evidence_source *src, uint64_t id, const void *data, uint32_t len,
		     struct evidence *ret_e);
#endif
