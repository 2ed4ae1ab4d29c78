// SPDX-License-Identifier: MIT
/* Opening goes through the tiers that have rows, looks for their places, and then through those that
 * foldfs.conf declares beyond them:
 *
 *   the place's label is     and the tier of that number      the tier declared
 *   of another pool          any                              is refused
 *   of this pool             has this uuid                    is that one, with a new name
 *                            has another uuid                 is refused
 *                            has no row (a crash, a dump)     takes number and uuid from the label
 *   not there, place empty                                    takes a fresh uuid, and a number
 *                                                             that no tier and no pack has
 *   not there, place not empty                                is refused
 *
 * The label is written before the row: what a crash leaves is in the table. A place that was found stays
 * open; the lock is a leaf, for what tiers_look() changes, and never held while a place is asked.
 */
#include "tiers.h"
#include "cleanup.h"
#include "clock.h"
#include "io.h"
#include "log.h"
#include "pack.h"
#include "replica_format.h"
#include <pthread.h>
#include <stdatomic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

struct tier {
	bool known; /* has a row */
	uint8_t id[16];
	struct tier_info info;
	struct place *_Atomic place; /* NULL: absent */
	_Atomic uint64_t said_ms;
};

struct tiers {
	struct tiers_options opt;
	pthread_mutex_t lock;
	struct tier v[TIERS_MAX];
	unsigned order[TIERS_MAX], n; /* hot to cold */
	atomic_ullong returns;
};

struct sentence {
	char *text;
	size_t size;
};

static int refuse(struct sentence *why, int err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why->text, why->size, fmt, ap);
	va_end(ap);
	return err;
}

/* ---- rows ---- */

static bool is_bucket(const char *where)
{
	return !strncmp(where, "s3://", 5);
}

int tiers_put_row(struct kv *kv, const uint8_t id[16], const struct tier_info *info)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t key[sizeof TIER_KEY] = TIER_KEY;
	struct kv_batch *batch = kv_batch_new();
	uint64_t lsn;
	if (!batch)
		return -ENOMEM;
	key[sizeof TIER_KEY - 1] = (uint8_t)info->number;
	buf_put_u8(&val, 1);
	buf_put(&val, id, 16);
	buf_put_u8(&val, (uint8_t)strlen(info->name));
	buf_put(&val, info->name, strlen(info->name));
	buf_put(&val, info->where, strlen(info->where));
	if (is_bucket(info->where)) {
		buf_put_u8(&val, '\n');
		buf_put(&val, info->endpoint, strlen(info->endpoint));
		buf_put_u8(&val, '\n');
		buf_put(&val, info->region, strlen(info->region));
	}
	if (val.failed) {
		kv_batch_free(batch);
		return -ENOMEM;
	}
	kv_batch_put(batch, KV_META, key, sizeof key, val.data, val.len);
	int r = kv_commit(kv, batch, &lsn);
	return r < 0 ? r : kv_sync(kv, lsn);
}

static int put_row(struct tiers *t, const struct tier *tier)
{
	return tiers_put_row(t->opt.kv, tier->id, &tier->info);
}

/* Up to a newline or the end. */
static bool take_line(struct slice *s, char *out, size_t size)
{
	const uint8_t *end = s->len ? memchr(s->at, '\n', s->len) : NULL;
	size_t len = end ? (size_t)(end - s->at) : s->len;
	if (len >= size)
		return false;
	if (len)
		memcpy(out, s->at, len);
	out[len] = 0;
	take_bytes(s, len + (end != NULL));
	return true;
}

static bool decode_row(struct slice val, struct tier *tier)
{
	struct slice s = val;
	uint8_t version = take_u8(&s);
	const uint8_t *id = take_bytes(&s, sizeof tier->id);
	size_t len = take_u8(&s);
	const uint8_t *name = take_bytes(&s, len);
	if (s.bad || version != 1 || !len || len >= sizeof tier->info.name)
		return false;
	memcpy(tier->id, id, sizeof tier->id);
	memcpy(tier->info.name, name, len);
	return take_line(&s, tier->info.where, sizeof tier->info.where) &&
	       take_line(&s, tier->info.endpoint, sizeof tier->info.endpoint) &&
	       take_line(&s, tier->info.region, sizeof tier->info.region);
}

/* A damaged row is the same as none: the place's label brings it back. */
static int read_rows(struct tiers *t)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t key[sizeof TIER_KEY] = TIER_KEY;
	for (unsigned i = TIER_HOT + 1; i < TIERS_MAX; i++) {
		key[sizeof TIER_KEY - 1] = (uint8_t)i;
		buf_reset(&val);
		int r = kv_get(t->opt.kv, KV_META, key, sizeof key, &val);
		if (r == -ENOENT || r == -EUCLEAN)
			continue;
		if (r < 0)
			return r;
		t->v[i].known = decode_row(slice_of(val.data, val.len), &t->v[i]);
	}
	return 0;
}

/* ---- places ---- */

static bool is_ours(const struct tiers *t, const struct place_label *label)
{
	return !memcmp(label->pool, t->opt.pool_uuid, sizeof label->pool);
}

static bool is_of(const struct tiers *t, const struct tier *tier, const struct place_label *label)
{
	return is_ours(t, label) && label->number == tier->info.number &&
	       !memcmp(label->tier, tier->id, sizeof tier->id);
}

static int open_place(const struct tier_info *info, struct place **ret_pl, char *why, size_t size)
{
	struct place_options opt = { .where = info->where,
				     .endpoint = info->endpoint,
				     .region = info->region,
				     .storage_class = info->storage_class,
				     .timeout_ms = info->timeout_ms };
	return place_open(&opt, ret_pl, why, size);
}

/* Others may be reading there, and the lease says who writes: what is of no use goes when the replicator says so. */
static bool is_replica(const struct tier *tier)
{
	return tier->info.number == REPLICA_TIER && !strcmp(tier->info.name, REPLICA_TIER_NAME);
}

/* The place of a tier that has a row, if it is that; else what is said in `why`. Asks the network: no lock. */
static struct place *find_place(const struct tiers *t, const struct tier *tier,
				const struct tier_info *info, char *why, size_t size)
{
	struct place *pl = NULL;
	struct place_label label;
	int r = open_place(info, &pl, why, size);
	if (r < 0)
		return NULL;
	*why = 0;
	r = pl->ops->read_label(pl, &label);
	if (r == -ENOENT || r == -ENOTEMPTY)
		snprintf(why, size, "%s is not its place: it has no label%s%s", info->where,
			 is_bucket(info->where) ? "" : " (is its disk mounted?)",
			 r == -ENOENT ? "" : "; if that is lost, fsck.foldfs -y writes it anew");
	else if (r == -ESTALE)
		snprintf(why, size,
			 "%s: its label " PLACE_LABEL_NAME " is damaged; fsck.foldfs -y writes it "
			 "anew, if the packs there are this pool's",
			 info->where);
	else if (r < 0)
		snprintf(why, size, "%s: its label cannot be read: %s", info->where, strerror(-r));
	else if (!is_of(t, tier, &label))
		snprintf(why, size, "%s belongs to %s", info->where,
			 is_ours(t, &label) ? "another tier" : "another pool");
	else if (!is_replica(tier) && pl->ops->lock && pl->ops->lock(pl) < 0)
		snprintf(why, size,
			 "%s is in use by another process, perhaps with a copy of the pool",
			 info->where);
	if (*why) {
		place_close(pl);
		return NULL;
	}
	pl->keeps = is_replica(tier);
	return pl;
}

/* True: it is there. By one thread at a time. */
static bool look_for(struct tiers *t, struct tier *tier)
{
	struct tier_info info;
	char why[sizeof info.why] = "";
	if (!tiers_get(t, tier->info.number, &info))
		return false;
	struct place *pl = find_place(t, tier, &info, why, sizeof why);
	SCOPED_LOCK(&t->lock);
	tier->info.absent = !pl;
	memcpy(tier->info.why, why, sizeof why);
	atomic_store(&tier->place, pl);
	return pl;
}

void tiers_look(struct tiers *t)
{
	for (unsigned i = TIER_HOT + 1; i < TIERS_MAX; i++) {
		struct tier *tier = &t->v[i];
		if (!tier->known || atomic_load(&tier->place) || !look_for(t, tier))
			continue;
		atomic_fetch_add(&t->returns, 1);
		log_info("tier %s is there again: %s", tier->info.name, tier->info.where);
	}
}

uint64_t tiers_returns(const struct tiers *t)
{
	return t ? atomic_load(&t->returns) : 0;
}

/* ---- what foldfs.conf declares ---- */

static struct tier *tier_named(struct tiers *t, const char *name)
{
	for (unsigned i = TIER_HOT + 1; i < TIERS_MAX; i++)
		if (t->v[i].known && !strcmp(t->v[i].info.name, name))
			return &t->v[i];
	return NULL;
}

static bool is_declared(const struct config *c, const char *name)
{
	for (unsigned i = 0; i < c->n_tiers; i++)
		if (!strcmp(c->tiers[i].name, name))
			return true;
	return false;
}

/* A tier whose row was lost may not be declared today: packs name its number still. */
static int free_tier(struct tiers *t, struct tier **ret_tier)
{
	bool named[TIERS_MAX] = { 0 };
	struct slice key, val;
	struct pack_row row;
	int r;
	struct kv_iter *it = kv_iter_new(t->opt.kv, KV_PACK, NULL, 0, false);
	if (!it)
		return -ENOMEM;
	while ((r = kv_iter_next(it, &key, &val)) > 0 || (r == -EUCLEAN && key.len))
		if (r > 0 && pack_decode_row(key, val, &row) == 0 && row.tier < TIERS_MAX)
			named[row.tier] = true;
	kv_iter_free(it);
	*ret_tier = NULL;
	for (unsigned i = TIERS_MAX - 1; r == 0 && i > TIER_HOT; i--)
		if (!t->v[i].known && !named[i])
			*ret_tier = &t->v[i];
	return r;
}

/* Which tier the place has been, or becomes, by its label. */
static int choose_tier(struct tiers *t, const struct config_tier *conf, struct place *pl,
		       struct tier **ret_tier, struct sentence *why)
{
	struct place_label label;
	int r = pl->ops->read_label(pl, &label);
	if (r == -ENOENT) {
		r = free_tier(t, ret_tier);
		if (r < 0)
			return refuse(why, r, "[tier %s]: the index cannot be read: %s", conf->name,
				      strerror(-r));
		if (!*ret_tier)
			return refuse(why, -ENOSPC, "[tier %s]: this pool has had %u tiers already",
				      conf->name, CONFIG_TIERS_MAX);
		label.number = (*ret_tier)->info.number;
		memcpy(label.pool, t->opt.pool_uuid, sizeof label.pool);
		r = getrandom(label.tier, sizeof label.tier, 0) == sizeof label.tier
			    ? pl->ops->claim(pl, &label)
			    : -EIO;
		if (r < 0)
			return refuse(why, r, "[tier %s]: %s cannot be written to: %s", conf->name,
				      conf->place, strerror(-r));
		memcpy((*ret_tier)->id, label.tier, sizeof label.tier);
		return 0;
	}
	if (r == -ENOTEMPTY)
		return refuse(why, r,
			      "[tier %s]: %s has other files in it; give an empty directory, for "
			      "this tier alone",
			      conf->name, conf->place);
	if (r < 0)
		return refuse(why, r, "[tier %s]: the label of %s %s%s", conf->name, conf->place,
			      r == -ESTALE ? "is damaged" : "cannot be read: ",
			      r == -ESTALE ? "" : strerror(-r));
	bool ours = is_ours(t, &label) && label.number > TIER_HOT && label.number < TIERS_MAX;
	struct tier *tier = ours ? &t->v[label.number] : NULL;
	if (!ours || (tier->known &&
		      (!is_of(t, tier, &label) || is_declared(t->opt.config, tier->info.name))))
		return refuse(why, -EEXIST, "[tier %s]: %s belongs to another %s", conf->name,
			      conf->place, ours ? "tier of this pool" : "pool");
	memcpy(tier->id, label.tier, sizeof label.tier);
	*ret_tier = tier;
	return 0;
}

static void take_options(const struct config_tier *conf, struct tier_info *info)
{
	memcpy(info->where, conf->place, sizeof info->where);
	memcpy(info->endpoint, conf->endpoint, sizeof info->endpoint);
	memcpy(info->region, conf->region, sizeof info->region);
	memcpy(info->storage_class, conf->storage_class, sizeof info->storage_class);
	info->timeout_ms = (unsigned)conf->timeout_ms;
}

static int add_tier(struct tiers *t, const struct config_tier *conf, struct tier **ret_tier,
		    struct sentence *why)
{
	struct place *pl = NULL;
	struct tier *tier = NULL;
	struct tier_info info = { 0 };
	char reason[sizeof info.why] = "";
	take_options(conf, &info);
	if (!is_bucket(info.where) && io_lies_within(info.where, t->opt.pool_dirfd))
		return refuse(why, -EINVAL, "[tier %s]: %s is a part of the pool itself",
			      conf->name, info.where);
	int r = open_place(&info, &pl, reason, sizeof reason);
	if (r < 0)
		return refuse(why, r, "[tier %s]: %s", conf->name, reason);
	r = choose_tier(t, conf, pl, &tier, why);
	place_close(pl);
	if (r < 0)
		return r;
	memcpy(tier->info.name, conf->name, sizeof tier->info.name);
	take_options(conf, &tier->info);
	r = put_row(t, tier);
	if (r < 0)
		return refuse(why, r, "[tier %s] could not be noted: %s", conf->name, strerror(-r));
	tier->known = true;
	*ret_tier = tier;
	return 0;
}

/* The path in foldfs.conf counts. */
static int follow_path(struct tiers *t, const struct config_tier *conf, struct tier *tier)
{
	bool same = !strcmp(conf->place, tier->info.where) &&
		    !strcmp(conf->endpoint, tier->info.endpoint) &&
		    !strcmp(conf->region, tier->info.region);
	take_options(conf, &tier->info);
	return same || t->opt.read_only ? 0 : put_row(t, tier);
}

static int take_config(struct tiers *t, struct sentence *why)
{
	const struct config *c = t->opt.config;
	for (unsigned i = 0; i < c->n_tiers; i++) {
		const struct config_tier *conf = &c->tiers[i];
		struct tier *tier = tier_named(t, conf->name);
		if (tier && is_replica(tier))
			return refuse(why, -EINVAL,
				      "[tier %s]: that is what lies in the pool's replica; give "
				      "this tier another name",
				      conf->name);
		int r = tier ? follow_path(t, conf, tier) : 0;
		if (!tier && (!t->opt.claim || t->opt.read_only))
			continue;
		if (!tier)
			r = add_tier(t, conf, &tier, why);
		if (r < 0)
			return r;
		tier->info.declared = true;
		tier->info.age_ms = conf->age_ms;
		tier->info.level = conf->level;
		t->order[t->n++] = tier->info.number;
	}
	return 0;
}

static int open_all(struct tiers *t, struct sentence *why)
{
	struct place *hot = NULL;
	for (unsigned i = 0; i < TIERS_MAX; i++)
		t->v[i].info.number = i;
	t->v[TIER_HOT].info =
		(struct tier_info){ .name = "hot", .where = "packs", .declared = true };
	t->order[t->n++] = TIER_HOT;
	int r = place_dir_at(t->opt.hot_dirfd, &hot);
	atomic_store(&t->v[TIER_HOT].place, hot);
	if (r == 0)
		r = read_rows(t);
	if (r < 0)
		return refuse(why, r, "its tiers cannot be read: %s", strerror(-r));
	r = take_config(t, why);
	for (unsigned i = TIER_HOT + 1; i < TIERS_MAX && r == 0; i++) {
		struct tier *tier = &t->v[i];
		if (!tier->known)
			continue;
		if (!tier->info.declared)
			t->order[t->n++] = i;
		if (!look_for(t, tier))
			log_warn("tier %s is absent: %s; files with data there cannot be read "
				 "until it is back",
				 tier->info.name, tier->info.why);
	}
	return r;
}

int tiers_open(const struct tiers_options *opt, struct tiers **ret_t, char *why, size_t size)
{
	struct sentence sentence = { why, size };
	struct tiers *t = calloc(1, sizeof *t);
	if (!t)
		return refuse(&sentence, -ENOMEM, "there is not enough memory");
	t->opt = *opt;
	pthread_mutex_init(&t->lock, NULL);
	int r = open_all(t, &sentence);
	t->opt.config = NULL; /* it need not outlive this */
	if (r < 0) {
		tiers_close(t);
		return r;
	}
	*ret_t = t;
	return 0;
}

void tiers_quit(struct tiers *t)
{
	for (unsigned i = 0; t && i < TIERS_MAX; i++) {
		struct place *pl = atomic_load(&t->v[i].place);
		if (pl && pl->ops->quit)
			pl->ops->quit(pl);
	}
}

void tiers_close(struct tiers *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < TIERS_MAX; i++)
		place_close(atomic_load(&t->v[i].place));
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- asking ---- */

bool tiers_any(const struct tiers *t)
{
	for (unsigned i = TIER_HOT + 1; t && i < TIERS_MAX; i++)
		if (t->v[i].known)
			return true;
	return false;
}

bool tiers_any_far(const struct tiers *t)
{
	for (unsigned i = TIER_HOT + 1; t && i < TIERS_MAX; i++)
		if (t->v[i].known && is_bucket(t->v[i].info.where))
			return true;
	return false;
}

struct place *tiers_place(const struct tiers *t, unsigned number)
{
	return t && number < TIERS_MAX ? atomic_load(&t->v[number].place) : NULL;
}

int tiers_open_pack(const struct tiers *t, unsigned number, uint64_t pack)
{
	struct place *pl = tiers_place(t, number);
	if (!pl)
		return -ENOMEDIUM;
	return pl->ops->open_pack ? pl->ops->open_pack(pl, pack) : -EREMOTE;
}

int tiers_dirfd(const struct tiers *t, unsigned number)
{
	struct place *pl = tiers_place(t, number);
	if (!pl)
		return -ENOMEDIUM;
	return pl->ops->dirfd ? pl->ops->dirfd(pl) : -EREMOTE;
}

bool tiers_writable(const struct tiers *t, unsigned number)
{
	int fd = tiers_dirfd(t, number);
	return fd >= 0 && faccessat(fd, ".", W_OK, AT_EACCESS) == 0;
}

void tiers_called(const struct tiers *t, unsigned number, char out[TIER_CALLED_MAX])
{
	struct tier_info info;
	if (!number)
		snprintf(out, TIER_CALLED_MAX, "packs/");
	else if (tiers_get(t, number, &info))
		snprintf(out, TIER_CALLED_MAX, "tier %s", info.name);
	else
		snprintf(out, TIER_CALLED_MAX, "tier %u", number);
}

bool tiers_get(const struct tiers *t, unsigned number, struct tier_info *ret_info)
{
	struct tiers *own = (struct tiers *)(uintptr_t)t;
	if (!t || number >= TIERS_MAX || (number && !t->v[number].known))
		return false;
	SCOPED_LOCK(&own->lock);
	*ret_info = t->v[number].info;
	return true;
}

int tiers_open_place(const struct tiers *t, unsigned number, struct place **ret_pl)
{
	struct tier_info info;
	char why[sizeof info.why];
	if (!tiers_get(t, number, &info))
		return -ENOENT;
	return open_place(&info, ret_pl, why, sizeof why);
}

void tiers_label(const struct tiers *t, unsigned number, struct place_label *ret_label)
{
	*ret_label = (struct place_label){ .number = number };
	memcpy(ret_label->pool, t->opt.pool_uuid, sizeof ret_label->pool);
	memcpy(ret_label->tier, t->v[number].id, sizeof ret_label->tier);
}

const uint8_t *tiers_uuid(const struct tiers *t)
{
	return t->opt.pool_uuid;
}

struct kv *tiers_kv(const struct tiers *t)
{
	return t->opt.kv;
}

bool tiers_nth(const struct tiers *t, unsigned i, struct tier_info *ret_info)
{
	return i < t->n && tiers_get(t, t->order[i], ret_info);
}

bool tiers_find(const struct tiers *t, const char *name, struct tier_info *ret_info)
{
	for (unsigned i = 0; tiers_nth(t, i, ret_info); i++)
		if (!strcmp(ret_info->name, name))
			return true;
	return false;
}

void tiers_say_absent(struct tiers *t, unsigned number, uint64_t pack)
{
	struct tier_info info;
	bool known = tiers_get(t, number, &info) && number;
	uint64_t now = clock_mono_ms();
	if (known && now - atomic_load(&t->v[number].said_ms) < 1000)
		return;
	if (known)
		atomic_store(&t->v[number].said_ms, now);
	if (known)
		log_error("pack %016lx lies in tier %s, which is absent: %s", pack, info.name,
			  info.absent ? info.why : "its place does not answer");
	else
		log_error("pack %016lx lies in tier %u, of which nothing is known", pack, number);
}
