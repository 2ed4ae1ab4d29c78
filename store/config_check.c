// SPDX-License-Identifier: MIT
/* What is wrong of options that are right each for itself. */
#include "config.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int check_replica(const struct config *c, struct config_error *err)
{
	bool follows = *c->follow;
	const char *to = follows ? c->follow : c->replicate_to;
	bool place = (*to == '/' && to[1]) || (!strncmp(to, "s3://", 5) && to[5]);
	if (*to && !place)
		snprintf(err->text, sizeof err->text,
			 "option %s=%.200s: an absolute path or s3://bucket/prefix is wanted",
			 follows ? "follow" : "replicate_to", to);
	else if (follows && c->replicate_ms)
		snprintf(err->text, sizeof err->text,
			 "options follow and replicate: what follows a replica has none");
	else if (c->replicate_ms && !*to)
		snprintf(err->text, sizeof err->text, "option replicate needs replicate_to");
	else
		return 0;
	return -EINVAL;
}

int config_check(const struct config *c, struct config_error *err)
{
	uint64_t age = 0;
	if (check_replica(c, err) < 0)
		return -EINVAL;
	if (c->low_watermark >= c->high_watermark) {
		snprintf(err->text, sizeof err->text,
			 "low_watermark=%u%%, high_watermark=%u%%: the first must be smaller",
			 c->low_watermark, c->high_watermark);
		return -EINVAL;
	}
	for (unsigned i = 0; i < c->n_tiers; i++) {
		const struct config_tier *t = &c->tiers[i];
		if (!*t->place) {
			snprintf(err->text, sizeof err->text, "[tier %s] lacks its place", t->name);
			return -EINVAL;
		}
		if (t->age_ms && t->age_ms < age) {
			snprintf(err->text, sizeof err->text,
				 "[tier %s] has a smaller age than a tier before it: the hottest "
				 "stands "
				 "first",
				 t->name);
			return -EINVAL;
		}
		age = t->age_ms ? t->age_ms : age;
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(c->tiers[j].place, t->place)) {
				snprintf(err->text, sizeof err->text,
					 "[tier %s] and [tier %s] have the same place",
					 c->tiers[j].name, t->name);
				return -EINVAL;
			}
	}
	return 0;
}
