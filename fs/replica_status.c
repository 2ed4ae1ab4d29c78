// SPDX-License-Identifier: MIT
#include "replica_status.h"
#include "clock.h"

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

json_t *replica_status(struct pool *pool, struct replicator *r)
{
	struct replicator_status s;
	if (!r)
		return json_null();
	replicator_get_status(r, &s);
	int64_t age = clock_wall_ns() / 1000000000 - s.shipped_time;
	json_t *o = json_object();
	json_object_set_new(o, "place", json_string(s.place));
	json_object_set_new(o, "interval_s", json_real((double)pool->config.replicate_ms / 1000));
	json_object_set_new(o, "epoch", s.epoch ? number(s.epoch) : json_null());
	json_object_set_new(o, "root", s.root ? number(s.root) : json_null());
	json_object_set_new(o, "shipped_lsn", number(s.shipped_lsn));
	json_object_set_new(o, "last_lsn", number(kv_last_lsn(pool->kv)));
	json_object_set_new(o, "age_s",
			    !s.shipped_time ? json_null()
			    : age < 0	    ? number(0)
					    : number((uint64_t)age));
	json_object_set_new(o, "ships", number(s.ships));
	json_object_set_new(o, "packs", number(s.packs));
	json_object_set_new(o, "bytes", number(s.bytes));
	json_object_set_new(o, "lost", json_boolean(s.lost));
	json_object_set_new(o, "error", *s.error ? json_string(s.error) : json_null());
	return o;
}
