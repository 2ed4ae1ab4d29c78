// SPDX-License-Identifier: MIT
#include "pack_copies.h"
#include "cleanup.h"
#include "digest.h"
#include "log.h"
#include "pack_format.h"
#include <errno.h>

struct listing {
	struct pack_copies *c;
	uint8_t tier;
};

static int add(void *arg, uint64_t pack, uint64_t bytes)
{
	struct listing *l = arg;
	struct pack_copies *c = l->c;
	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 256;
		struct pack_copy *grown = realloc(c->v, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		c->v = grown;
		c->cap = cap;
	}
	c->v[c->n++] = (struct pack_copy){ pack, bytes, l->tier };
	return 0;
}

static int copy_order(const void *a, const void *b)
{
	const struct pack_copy *x = a, *y = b;
	if (x->pack != y->pack)
		return x->pack > y->pack ? 1 : -1;
	return (int)x->tier - (int)y->tier;
}

static int list_one(struct pack_copies *c, unsigned tier, bool tidy)
{
	struct place *pl = tiers_place(c->tiers, tier);
	struct listing l = { c, (uint8_t)tier };
	size_t before = c->n;
	if (!pl)
		return 0;
	int r = tidy ? pl->ops->tidy(pl) : 0;
	if (r == 0 && tier != TIER_HOT)
		r = pl->ops->list(pl, add, &l);
	if (r == -ENOMEM)
		return r;
	c->listed[tier] = r == 0;
	if (r < 0) {
		c->n = before;
		log_warn("the packs in tier %u cannot be listed: %s", tier, strerror(-r));
	}
	return 0;
}

int pack_copies_list(struct tiers *t, bool tidy, struct pack_copies *ret_c)
{
	struct pack_copies c = { .tiers = t };
	int r = 0;
	for (unsigned i = 0; t && i < TIERS_MAX && r == 0; i++)
		r = list_one(&c, i, tidy);
	if (r < 0) {
		pack_copies_done(&c);
		return r;
	}
	if (c.n)
		qsort(c.v, c.n, sizeof *c.v, copy_order);
	*ret_c = c;
	return 0;
}

void pack_copies_done(struct pack_copies *c)
{
	free(c->v);
	*c = (struct pack_copies){ 0 };
}

/* The first copy of the pack, or where it would be. */
static size_t place_of(const struct pack_copies *c, uint64_t pack)
{
	size_t lo = 0, hi = c->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (c->v[mid].pack < pack)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct pack_copy *pack_copies_find(const struct pack_copies *c, uint64_t pack, unsigned tier,
					 uint64_t bytes)
{
	for (size_t i = place_of(c, pack); i < c->n && c->v[i].pack == pack; i++)
		if ((tier == TIER_HOT || c->v[i].tier == tier) && c->v[i].bytes >= bytes)
			return &c->v[i];
	return NULL;
}

bool pack_copy_is_foreign(struct place *pl, uint64_t pack, const uint8_t pool_uuid[16])
{
	struct pack_header h;
	struct place_read rd = { .pack = pack, .len = sizeof h, .buf = &h };
	pl->ops->read(pl, &rd, 1);
	return rd.result == (ssize_t)sizeof h && h.magic == PACK_MAGIC &&
	       h.sum == checksum64(&h, offsetof(struct pack_header, sum)) &&
	       memcmp(h.pool_uuid, pool_uuid, sizeof h.pool_uuid) != 0;
}

int pack_copies_remove(const struct pack_copies *c, uint64_t pack, unsigned keep)
{
	int r = 0;
	for (size_t i = place_of(c, pack); i < c->n && c->v[i].pack == pack && r == 0; i++) {
		struct place *pl = tiers_place(c->tiers, c->v[i].tier);
		if (pl && c->v[i].tier != keep &&
		    !pack_copy_is_foreign(pl, pack, tiers_uuid(c->tiers)))
			r = pl->ops->remove(pl, pack);
	}
	return r;
}
