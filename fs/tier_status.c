// SPDX-License-Identifier: MIT
#include "tier_status.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct count {
	uint64_t packs[TIERS_MAX], bytes[TIERS_MAX];
};

static int count_pack(void *arg, const struct pack_row *row)
{
	struct count *c = arg;
	if (row->state == PACK_DOOMED || row->tier >= TIERS_MAX)
		return 0;
	c->packs[row->tier]++;
	c->bytes[row->tier] += row->bytes;
	return 0;
}

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *one_tier(struct pool *pool, const struct tier_info *info, const struct count *c)
{
	struct place *pl = tiers_place(pool->tiers, info->number);
	uint64_t total, avail;
	bool room = pl && pl->ops->room(pl, &total, &avail) == 0 && total != PLACE_NO_LIMIT;
	json_t *o = json_object();
	json_object_set_new(o, "name", json_string(info->name));
	json_object_set_new(o, "number", number(info->number));
	json_object_set_new(o, "place", json_string(info->where));
	json_object_set_new(o, "declared", json_boolean(info->declared));
	json_object_set_new(o, "absent", info->absent ? json_string(info->why) : json_false());
	json_object_set_new(o, "age_s", info->age_ms ? number(info->age_ms / 1000) : json_null());
	json_object_set_new(o, "level", info->level ? json_integer(info->level) : json_null());
	json_object_set_new(o, "packs", number(c->packs[info->number]));
	json_object_set_new(o, "bytes", number(c->bytes[info->number]));
	json_object_set_new(o, "total", room ? number(total) : json_null());
	json_object_set_new(o, "available", room ? number(avail) : json_null());
	return o;
}

static json_t *mover_part(struct mover *m)
{
	struct mover_status s;
	char pack[17];
	json_t *o = json_object();
	mover_get_status(m, &s);
	snprintf(pack, sizeof pack, "%016lx", s.pack);
	json_object_set_new(o, "moving", s.moving ? json_string(pack) : json_null());
	json_object_set_new(o, "packs_moved", number(s.packs_moved));
	json_object_set_new(o, "bytes_moved", number(s.bytes_moved));
	json_object_set_new(o, "bytes_waiting", number(s.bytes_waiting));
	json_object_set_new(o, "passes", number(s.passes));
	json_object_set_new(o, "error", *s.last_error ? json_string(s.last_error) : json_null());
	return o;
}

int tier_status(struct pool *pool, json_t **ret_status)
{
	struct count c = { 0 };
	struct tier_info info;
	int r = packs_each(pool->packs, count_pack, &c);
	if (r < 0 && r != -EUCLEAN)
		return r;
	json_t *o = json_object(), *list = json_array();
	for (unsigned i = 0; tiers_nth(pool->tiers, i, &info); i++)
		json_array_append_new(list, one_tier(pool, &info, &c));
	json_object_set_new(o, "tiers", list);
	json_object_set_new(o, "mover", pool->mover ? mover_part(pool->mover) : json_null());
	*ret_status = o;
	return 0;
}

json_t *tier_status_moved(const struct mover_result *r)
{
	json_t *o = json_object();
	json_object_set_new(o, "packs", number(r->packs));
	json_object_set_new(o, "bytes", number(r->bytes));
	json_object_set_new(o, "packs_moved", number(r->packs_moved));
	json_object_set_new(o, "bytes_moved", number(r->bytes_moved));
	json_object_set_new(o, "packs_shared", number(r->packs_shared));
	json_object_set_new(o, "bytes_shared", number(r->bytes_shared));
	json_object_set_new(o, "packs_failed", number(r->packs_failed));
	json_object_set_new(o, "error",
			    r->packs_failed ? json_string(mover_reason(r->error)) : json_null());
	return o;
}
