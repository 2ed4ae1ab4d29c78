// SPDX-License-Identifier: MIT
#include "tier_label.h"
#include "cleanup.h"
#include "digest.h"
#include "pack.h"
#include "pack_format.h"
#include <errno.h>
#include <stdio.h>

#define JUDGED_MAX 1000u /* packs: each takes a request, where these are objects */

struct judging {
	const struct tiers *t;
	struct place *pl;
	unsigned number;
	uint64_t packs;
	uint64_t here,
		elsewhere; /* packs of ours that rows say to lie in this tier, in another one */
	uint64_t foreign;
};

static void close_place(struct place **pl)
{
	place_close(*pl);
}

static int judge_pack(void *arg, uint64_t pack, uint64_t bytes)
{
	struct judging *j = arg;
	struct pack_header h;
	struct pack_row row;
	struct place_read rd = { .pack = pack, .len = sizeof h, .buf = &h };
	if (++j->packs > JUDGED_MAX || bytes < sizeof h)
		return 0;
	j->pl->ops->read(j->pl, &rd, 1);
	if (rd.result != (ssize_t)sizeof h || h.magic != PACK_MAGIC ||
	    h.sum != checksum64(&h, offsetof(struct pack_header, sum)))
		return 0;
	if (memcmp(h.pool_uuid, tiers_uuid(j->t), sizeof h.pool_uuid))
		j->foreign++;
	else if (pack_get(tiers_kv(j->t), h.pack, &row) == 0)
		*(row.tier == j->number ? &j->here : &j->elsewhere) += row.tier != TIER_HOT;
	return 0;
}

/* Is there a pack that should lie in this tier? */
static bool is_needed(const struct tiers *t, unsigned number)
{
	struct slice key, val;
	struct pack_row row;
	int r;
	bool needed = false;
	struct kv_iter *it = kv_iter_new(tiers_kv(t), KV_PACK, NULL, 0, false);
	if (!it)
		return true;
	while (!needed && (r = kv_iter_next(it, &key, &val)) != 0)
		needed = r < 0 || pack_decode_row(key, val, &row) < 0 || row.tier == number;
	kv_iter_free(it);
	return needed;
}

enum tier_label tier_label_judge(const struct tiers *t, unsigned number, char *where, size_t size)
{
	struct place_label label;
	__attribute__((cleanup(close_place))) struct place *pl = NULL;
	struct judging j = { .t = t, .number = number };
	struct tier_info info;
	if (!number || tiers_place(t, number) || !tiers_get(t, number, &info) ||
	    tiers_open_place(t, number, &pl) < 0)
		return TIER_LABEL_FINE;
	snprintf(where, size, "%s/" PLACE_LABEL_NAME, info.where);
	int r = pl->ops->read_label(pl, &label);
	if (r != -ESTALE && r != -ENOTEMPTY)
		return TIER_LABEL_FINE;
	j.pl = pl;
	if (pl->ops->list(pl, judge_pack, &j) < 0)
		return TIER_LABEL_UNKNOWN;
	if (j.foreign)
		return TIER_LABEL_FOREIGN;
	if (j.here > j.elsewhere)
		return TIER_LABEL_OURS;
	if (j.elsewhere)
		return TIER_LABEL_OTHER;
	/* a place in which nothing has to be */
	return r == -ESTALE && !j.packs && !is_needed(t, number) ? TIER_LABEL_OURS
								 : TIER_LABEL_UNKNOWN;
}

int tier_label_renew(struct tiers *t, unsigned number)
{
	struct place_label label;
	__attribute__((cleanup(close_place))) struct place *pl = NULL;
	int r = tiers_open_place(t, number, &pl);
	if (r < 0)
		return r;
	tiers_label(t, number, &label);
	r = pl->ops->relabel(pl, &label);
	if (r == 0)
		tiers_look(t);
	return r;
}
