// SPDX-License-Identifier: MIT
/* pack_copies: what lies in the places of tiers when the set of packs is opened. */
#ifndef FOLDFS_PACK_COPIES_H
#define FOLDFS_PACK_COPIES_H
#include "pack.h"
#include "tiers.h"

struct pack_copy {
	uint64_t pack, bytes;
	uint8_t tier;
};

struct pack_copies {
	struct tiers *tiers;
	struct pack_copy *v; /* by pack */
	size_t n, cap;
	bool listed[TIERS_MAX]; /* what is not in v is not there */
};

/* Lists all places that are there; one that cannot be listed counts as absent. With `tidy`, what puts that
 * were interrupted have left is removed, from the pool itself, too. */
int pack_copies_list(struct tiers *t, bool tidy, struct pack_copies *ret_c);
void pack_copies_done(struct pack_copies *c);
/* A copy in this tier, or (TIER_HOT) in any; at least so long. NULL: there is none. */
const struct pack_copy *pack_copies_find(const struct pack_copies *c, uint64_t pack, unsigned tier,
					 uint64_t bytes);
/* What lies under the pack's name in this place is another pool's: by a sound header that says so. */
bool pack_copy_is_foreign(struct place *pl, uint64_t pack, const uint8_t pool_uuid[16]);
/* Removes all copies but the one in this tier (TIER_HOT: all), and those of other pools. */
int pack_copies_remove(const struct pack_copies *c, uint64_t pack, unsigned keep);
#endif
