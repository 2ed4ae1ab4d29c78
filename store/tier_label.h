// SPDX-License-Identifier: MIT
/* tier_label: the label of a tier's place is damaged or gone: do its packs prove whose place it is?
 *
 * An absent disk must never be taken for its mount point, nor another pool's place for ours, so nothing is
 * taken for granted: what counts is the headers of packs, which carry the pool's uuid, and the rows of the
 * index, which say in which tier these packs lie.
 */
#ifndef FOLDFS_TIER_LABEL_H
#define FOLDFS_TIER_LABEL_H
#include "tiers.h"

enum tier_label {
	TIER_LABEL_FINE, /* or its place is not there at all: nothing to be said */
	TIER_LABEL_OURS, /* damaged or gone, and the packs are this tier's: it may be written anew */
	TIER_LABEL_FOREIGN, /* damaged or gone, and there are packs of another pool */
	TIER_LABEL_OTHER,   /* damaged or gone, and the packs are another tier's */
	TIER_LABEL_UNKNOWN, /* damaged or gone, and nothing there proves anything */
};

/* Of a tier that is absent. `where` gets the label's path or name. */
enum tier_label tier_label_judge(const struct tiers *t, unsigned number, char *where, size_t size);
/* Only after it was judged OURS. Durable on return; the tier is there then. */
int tier_label_renew(struct tiers *t, unsigned number);
#endif
