// SPDX-License-Identifier: MIT
#include "repair_labels.h"
#include "pool_impl.h"
#include "tier_label.h"
#include <stdio.h>

#define WHERE_MAX 300u

static const char *const refusals[] = {
	[TIER_LABEL_FOREIGN] = "but packs of another pool lie there, so it is left alone",
	[TIER_LABEL_OTHER] = "but packs of another tier of this pool lie there: give each tier its "
			     "own place in foldfs.conf",
	[TIER_LABEL_UNKNOWN] = "and no pack there proves that it is this tier's place, so it is "
			       "left alone",
};

unsigned repair_labels_look(struct pool *pool, void (*error)(void *arg, const char *sentence),
			    void (*refused)(void *arg, const char *sentence), void *arg)
{
	char where[WHERE_MAX], sentence[768], called[TIER_CALLED_MAX];
	unsigned n = 0;
	for (unsigned i = TIER_HOT + 1; i < TIERS_MAX; i++) {
		enum tier_label fate = tier_label_judge(pool->tiers, i, where, sizeof where);
		if (fate == TIER_LABEL_FINE)
			continue;
		bool ours = fate == TIER_LABEL_OURS;
		tiers_called(pool->tiers, i, called);
		snprintf(sentence, sizeof sentence, "the label of %s, %s, is damaged or gone, %s",
			 called, where,
			 ours ? "and what lies there is this pool's" : refusals[fate]);
		(ours ? error : refused)(arg, sentence);
		n += ours;
	}
	return n;
}

unsigned repair_labels(struct pool *pool, void (*done)(void *arg, const char *sentence), void *arg)
{
	char where[WHERE_MAX], sentence[768], called[TIER_CALLED_MAX];
	unsigned n = 0;
	for (unsigned i = TIER_HOT + 1; i < TIERS_MAX; i++) {
		if (tier_label_judge(pool->tiers, i, where, sizeof where) != TIER_LABEL_OURS ||
		    tier_label_renew(pool->tiers, i) < 0)
			continue;
		tiers_called(pool->tiers, i, called);
		snprintf(sentence, sizeof sentence, "the label of %s, %s, is written anew", called,
			 where);
		done(arg, sentence);
		n++;
	}
	return n;
}
