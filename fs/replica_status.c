// SPDX-License-Identifier: MIT
#include "replica_status.h"
#include "clock.h"
#include "follow.h"
#include "replicator.h"

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

/* Seconds since then; null for never. */
static json_t *age_of(int64_t time)
{
	int64_t age = clock_wall_ns() / 1000000000 - time;
	return !time ? json_null() : age < 0 ? number(0) : number((uint64_t)age);
}

static json_t *following(struct follow *f)
{
	struct follower_status s;
	follow_get_status(f, &s);
	json_t *o = json_object();
	json_object_set_new(o, "follows", json_string(s.place));
	json_object_set_new(o, "epoch", number(s.epoch));
	json_object_set_new(o, "root", number(s.root));
	json_object_set_new(o, "lsn", number(s.lsn));
	json_object_set_new(o, "age_s", age_of(s.time));
	json_object_set_new(o, "looked_s", age_of(s.looked_time));
	json_object_set_new(o, "states", number(s.states));
	json_object_set_new(o, "bytes", number(s.bytes));
	json_object_set_new(o, "error", *s.error ? json_string(s.error) : json_null());
	return o;
}

json_t *replica_status(struct fs *fs)
{
	struct replicator_status s;
	struct pool *pool = fs->pool;
	if (fs->follow)
		return following(fs->follow);
	if (!fs->replicator)
		return json_null();
	replicator_get_status(fs->replicator, &s);
	json_t *o = json_object();
	json_object_set_new(o, "place", json_string(s.place));
	json_object_set_new(o, "interval_s", json_real((double)pool->config.replicate_ms / 1000));
	json_object_set_new(o, "epoch", s.epoch ? number(s.epoch) : json_null());
	json_object_set_new(o, "root", s.root ? number(s.root) : json_null());
	json_object_set_new(o, "shipped_lsn", number(s.shipped_lsn));
	json_object_set_new(o, "last_lsn", number(kv_last_lsn(pool->kv)));
	json_object_set_new(o, "age_s", age_of(s.shipped_time));
	json_object_set_new(o, "ships", number(s.ships));
	json_object_set_new(o, "packs", number(s.packs));
	json_object_set_new(o, "bytes", number(s.bytes));
	json_object_set_new(o, "lost", json_boolean(s.lost));
	json_object_set_new(o, "error", *s.error ? json_string(s.error) : json_null());
	return o;
}
