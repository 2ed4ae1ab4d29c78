// SPDX-License-Identifier: MIT
/* pack_proof: are the bytes of a pack that go by, from front to back, those that were once written? */
#ifndef FOLDFS_PACK_PROOF_H
#define FOLDFS_PACK_PROOF_H
#include "pack_source.h"

struct pack_proof;

/* `source` is borrowed, and where the bytes come from: what does not prove right is read there again. */
int pack_proof_new(struct pack_source *source, const uint8_t pool_uuid[16],
		   struct pack_proof **ret_proof);
/* The next bytes. 0; -EIO, with a line in the log: they are not those that lie there; -errno. */
int pack_proof_feed(struct pack_proof *proof, const void *data, size_t len);
void pack_proof_free(struct pack_proof *proof); /* NULL is fine */
#endif
