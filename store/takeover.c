// SPDX-License-Identifier: MIT
/* The order of things:
 *
 *   1  the newest epoch is looked at, and waited for until it is not renewed any more
 *   2  its newest root, or that which it was to go on from, is read, and it is looked whether all packs are there
 *   3  the next epoch is begun: from now on nothing that the other machine does changes what counts
 *   4  a pool is made: index from dump and log; packs that were being filled, staging files; rows of all other packs
 *      now name the replica's tier
 *   5  the epoch is ended: the first mount of the new pool begins its own
 *
 * A pool that follows is made by steps 2 and 4 alone: nobody is waited for, and nothing is written to the place.
 *
 * The root is read before the epoch is begun, and named in it: a root that comes later counts for nobody. Pack numbers
 * go on PACKS_LEFT_OUT later, since the other machine may have put packs that no root names, or may still do so.
 */
#include "takeover.h"
#include "chunk_row.h"
#include "cleanup.h"
#include "clock.h"
#include "dump_impl.h"
#include "follower.h"
#include "inode_row.h"
#include "io.h"
#include "kv_batch.h"
#include "lease.h"
#include "pack_fds.h"
#include "pool_impl.h"
#include "rebuild.h"
#include "replica_fetch.h"
#include "replicator.h"
#include "rows_format.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#define ASK_MS 30000u
#define PACKS_LEFT_OUT 65536u
#define ROWS_AT_ONCE 1000u

struct takeover {
	const struct takeover_options *opt;
	struct takeover_result res;
	struct pool_error *err;
	struct config config;
	struct place_options where;
	struct depot *depot;
	struct place *tier;
	struct place_label label;
	struct lease_seen seen;
	struct lease_record record;
	struct replica_root root;
	struct replica_fetch fetch;
	struct super super;
	struct rebuild *rebuild;
	uint64_t beat_ms, beats, done, total;
	uint64_t *there; /* packs in the place: number, bytes */
	size_t n_there, cap_there;
};

/* The epoch that was begun is renewed while all that is read. */
static int tick(struct takeover *t)
{
	uint64_t now = clock_mono_ms();
	if (!t->res.epoch || now - t->beat_ms < t->record.lease_ms / 6)
		return 0;
	t->beat_ms = now;
	int r = lease_is_lost(t->depot, t->res.epoch, NULL);
	if (r > 0)
		pool_say(t->err, "%s: yet another machine has taken the pool over meanwhile",
			 t->opt->from);
	return r > 0 ? -ESTALE : r < 0 ? r : lease_beat(t->depot, t->res.epoch, ++t->beats, false);
}

/* ---- 1, 2: what is there ---- */

static int settle_config(struct takeover *t, const char *shipped)
{
	struct config_error cerr;
	struct config *c = &t->config;
	config_defaults(c);
	int r = shipped ? config_parse(c, shipped, "foldfs.conf of the replica", &cerr) : 0;
	c->n_tiers = 0; /* all packs are in the replica */
	c->wal_dir[0] = c->log_file[0] = 0;
	if (r == 0 && t->opt->options)
		r = config_apply(c, t->opt->options, CONFIG_POOL, &cerr);
	if (t->opt->follow) {
		config_forget(c, "replicate");
		config_forget(c, "replicate_to");
	}
	if (r == 0)
		r = config_apply_one(c, t->opt->follow ? "follow" : "replicate_to", t->opt->from,
				     CONFIG_POOL, &cerr);
	if (r == 0 && !t->opt->follow && !c->replicate_ms)
		r = config_apply_one(c, "replicate", "1m", CONFIG_POOL, &cerr);
	if (r == 0)
		r = config_check(c, &cerr);
	if (r < 0)
		pool_say(t->err, "%s", cerr.text);
	return r;
}

static int open_place(struct takeover *t)
{
	char why[400] = "";
	t->where = (struct place_options){ .where = t->opt->from,
					   .endpoint = t->config.replicate_endpoint,
					   .region = t->config.replicate_region,
					   .timeout_ms = ASK_MS };
	int r = depot_open(&t->where, &t->depot, why, sizeof why);
	if (r == 0)
		r = replica_open_tier(&t->where, false, &t->tier, why, sizeof why);
	if (r < 0)
		pool_say(t->err, "%s", why);
	t->fetch.depot = t->depot;
	return r;
}

static int still_waiting(void *arg, uint64_t left_ms)
{
	struct takeover *t = arg;
	return t->opt->waiting ? t->opt->waiting(t->opt->arg, t->seen.record.host, left_ms) : 0;
}

static int look_at_lease(struct takeover *t)
{
	const char *from = t->opt->from;
	int r = lease_look(t->depot, &t->seen);
	if (r == -ENOENT)
		pool_say(t->err, "%s is no replica of a foldfs pool: it has no epochs", from);
	else if (r < 0)
		pool_say(t->err, "%s: its epochs cannot be read: %s", from,
			 r == -EUCLEAN ? "the newest is damaged" : strerror(-r));
	if (r < 0)
		return r;
	snprintf(t->res.host, sizeof t->res.host, "%s", t->seen.record.host);
	if (t->opt->follow)
		return 0;
	r = lease_wait(t->depot, &t->seen, still_waiting, t);
	if (r == -EBUSY)
		pool_say(t->err,
			 "%s: the pool is in use by %s, which is alive; unmount it there first",
			 from, t->seen.record.host);
	else if (r == -ESTALE)
		pool_say(t->err, "%s: another machine has just taken the pool over", from);
	else if (r < 0)
		pool_say(t->err, "%s cannot be asked: %s", from, strerror(-r));
	return r;
}

static int read_root(struct takeover *t)
{
	uint64_t epoch = t->seen.epoch, seq;
	int r = replica_root_newest(t->depot, epoch, &seq);
	if (r == -ENOENT && t->seen.record.base_seq) {
		epoch = t->seen.record.base_epoch;
		seq = t->seen.record.base_seq;
		r = 0;
	}
	if (r == -ENOENT) {
		pool_say(t->err, "%s: nothing has been shipped to it yet", t->opt->from);
		return r;
	}
	if (r == 0)
		r = replica_root_read(t->depot, epoch, seq, &t->root);
	if (r == 0 && memcmp(t->root.pool_uuid, t->seen.record.pool, sizeof t->root.pool_uuid))
		r = -EUCLEAN;
	char name[DEPOT_NAME_MAX];
	replica_root_name(epoch, seq, name);
	if (r == -EUCLEAN)
		pool_say(t->err,
			 "%s: root %" PRIu64 " of epoch %" PRIu64 " cannot be read: it is damaged; "
			 "the state before it is taken if %s is removed",
			 t->opt->from, seq, epoch, name);
	else if (r < 0)
		pool_say(t->err, "%s: root %" PRIu64 " of epoch %" PRIu64 " cannot be read: %s",
			 t->opt->from, seq, epoch, r == -ENOENT ? "it is gone" : strerror(-r));
	return r;
}

static int went_on(void *arg, uint64_t bytes)
{
	struct takeover *t = arg;
	t->done += bytes;
	if (t->opt->progress)
		t->opt->progress(t->opt->arg, t->done, t->total);
	return tick(t);
}

static int note_pack(void *arg, uint64_t pack, uint64_t bytes)
{
	struct takeover *t = arg;
	if (t->n_there == t->cap_there) {
		size_t more = t->cap_there ? t->cap_there * 2 : 256;
		uint64_t *v = realloc(t->there, more * 2 * sizeof *v);
		if (!v)
			return -ENOMEM;
		t->there = v;
		t->cap_there = more;
	}
	t->there[2 * t->n_there] = pack;
	t->there[2 * t->n_there++ + 1] = bytes;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static int check_packs(struct takeover *t)
{
	uint64_t missing = 0, first = 0;
	int r = t->tier->ops->read_label(t->tier, &t->label);
	if (r == 0 && (memcmp(t->label.pool, t->root.pool_uuid, sizeof t->label.pool) ||
		       t->label.number != REPLICA_TIER))
		r = -ESTALE;
	if (r == 0)
		r = t->tier->ops->list(t->tier, note_pack, t);
	if (r < 0) {
		pool_say(t->err, "%s: its packs cannot be listed: %s", t->opt->from,
			 r == -ENOENT || r == -ENOTEMPTY || r == -ESTALE
				 ? "the label in tier is missing, damaged or another pool's"
				 : strerror(-r));
		return r == -ENOENT || r == -ENOTEMPTY || r == -ESTALE ? -EUCLEAN : r;
	}
	if (t->n_there)
		qsort(t->there, t->n_there, 2 * sizeof *t->there, by_number);
	for (size_t i = 0; i < t->root.n_items; i++) {
		const struct replica_item *it = &t->root.items[i];
		uint64_t *at = it->kind == REPLICA_PACK && t->n_there
				       ? bsearch(&it->a, t->there, t->n_there, 2 * sizeof *t->there,
						 by_number)
				       : NULL;
		if (it->kind != REPLICA_PACK)
			continue;
		t->res.packs++;
		t->res.pack_bytes += it->size;
		if ((!at || at[1] < it->size) && !missing++)
			first = it->a;
	}
	if (!missing)
		return 0;
	pool_say(t->err,
		 "%s: %" PRIu64 " of %" PRIu64 " packs are missing in it or too short, the first "
		 "is %016" PRIx64,
		 t->opt->from, missing, t->res.packs, first);
	return -EUCLEAN;
}

static int read_super(struct takeover *t)
{
	CLEANUP_BUF struct buf bytes = { 0 };
	int r = replica_fetch_text(&t->fetch, REPLICA_SUPER, &bytes);
	if (r == 0)
		r = super_parse(slice_of(bytes.data, bytes.len), &t->super);
	if (r == 0 && memcmp(t->super.uuid, t->root.pool_uuid, sizeof t->super.uuid))
		r = -EUCLEAN;
	if (r < 0 && !*t->err->text)
		pool_say(t->err, "%s: the superblock in it %s", t->opt->from,
			 r == -EPROTONOSUPPORT ? "was written by a newer foldfs" : "is damaged");
	t->super.incompat |= SUPER_TIERS | (t->opt->follow ? SUPER_FOLLOWER : 0);
	return r;
}

static int read_config(struct takeover *t)
{
	CLEANUP_BUF struct buf text = { 0 };
	int r = replica_fetch_text(&t->fetch, REPLICA_CONF, &text);
	buf_put_u8(&text, 0);
	if (r == 0 && text.failed)
		r = -ENOMEM;
	return r < 0 ? r : settle_config(t, (const char *)text.data);
}

/* ---- 3 ---- */

static int begin_epoch(struct takeover *t)
{
	t->record = (struct lease_record){ .lease_ms = t->config.replicate_lease_ms,
					   .base_epoch = t->root.epoch,
					   .base_seq = t->root.seq };
	memcpy(t->record.pool, t->root.pool_uuid, sizeof t->record.pool);
	replica_host(t->record.host, sizeof t->record.host);
	if (getrandom(t->record.owner, sizeof t->record.owner, 0) != sizeof t->record.owner)
		return -EIO;
	int r = lease_begin(t->depot, t->seen.epoch + 1, &t->record);
	if (r == -EEXIST)
		pool_say(t->err, "%s: another machine has just taken the pool over", t->opt->from);
	else if (r < 0)
		pool_say(t->err, "%s: no epoch could be begun: %s", t->opt->from, strerror(-r));
	if (r == 0)
		t->res.epoch = t->seen.epoch + 1;
	t->beat_ms = clock_mono_ms();
	return r;
}

/* ---- 4: the pool ---- */

static int take_row(void *arg, enum kv_table table, struct slice key, struct slice val)
{
	struct takeover *t = arg;
	int r = tick(t);
	return r < 0 ? r : rebuild_put(t->rebuild, table, key, val);
}

static int apply_batch(void *arg, uint64_t lsn, struct slice payload)
{
	struct takeover *t = arg;
	struct kv_op op;
	int r;
	(void)lsn;
	while ((r = kv_op_take(&payload, &op)) > 0) {
		if (op.table == KV_DIGEST)
			continue;
		r = op.is_delete ? rebuild_delete(t->rebuild, op.table, op.key)
				 : rebuild_put(t->rebuild, op.table, op.key, op.val);
		if (r < 0)
			break;
	}
	return r;
}

static int take_digests(struct takeover *t, const struct replica_item *it)
{
	CLEANUP_BUF struct buf rows = { 0 };
	int r = 0;
	for (size_t i = 0; r == 0 && i < it->n; i++) {
		buf_reset(&rows);
		r = replica_fetch_block(&t->fetch, &t->root.blocks[it->first + i], &rows);
		struct slice s = slice_of(rows.data, rows.len);
		while (r == 0 && s.len) {
			unsigned table = take_u8(&s);
			uint64_t klen = take_varint(&s), vlen = take_varint(&s);
			const uint8_t *key = take_bytes(&s, klen), *val = take_bytes(&s, vlen);
			if (s.bad || (table != KV_DIGEST && table != KV_META))
				return -EUCLEAN;
			r = rebuild_put(t->rebuild, (enum kv_table)table, slice_of(key, klen),
					slice_of(val, vlen));
		}
	}
	return r;
}

static const struct replica_item *dump_of(const struct takeover *t)
{
	size_t i = 0;
	while (t->root.items[i].kind != REPLICA_DUMP) /* there is one, or it was no root */
		i++;
	return &t->root.items[i];
}

static int rebuild_index(struct takeover *t, struct pool *pool)
{
	const struct replica_item *dump = dump_of(t);
	struct base_state state = { .checkpoint_lsn = t->root.lsn, .clean = true };
	struct dump_place place = pool_dump_place(pool);
	char name[DUMP_NAME_SIZE];
	dump_name(dump->a, name);
	int r = replica_fetch_file(&t->fetch, dump, pool->packs_fd, name, NULL);
	if (r == 0)
		r = rebuild_begin(pool->index_fd, pool->index_path, false, &t->rebuild);
	if (r == 0)
		r = dump_read(&place, dump->a, take_row, t);
	for (size_t i = 0; r == 0 && i < t->root.n_items; i++)
		if (t->root.items[i].kind == REPLICA_LOG)
			r = replica_fetch_log(&t->fetch, &t->root.items[i], apply_batch, t);
		else if (t->root.items[i].kind == REPLICA_DIGESTS)
			r = take_digests(t, &t->root.items[i]);
	memcpy(state.pool_uuid, t->root.pool_uuid, sizeof state.pool_uuid);
	if (r == 0)
		r = rebuild_finish(TAKE_PTR(t->rebuild), &state);
	rebuild_abort(TAKE_PTR(t->rebuild));
	if (r == 0 && unlinkat(pool->packs_fd, name, 0)) /* the log since is not this pool's */
		r = -errno;
	return r;
}

static int fetch_files(struct takeover *t, const struct pool *pool)
{
	CLEANUP_CLOSE int staging =
		openat(pool->dirfd, "staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = staging < 0 ? -errno : 0;
	for (size_t i = 0; r == 0 && i < t->root.n_items; i++) {
		const struct replica_item *it = &t->root.items[i];
		char name[STAGING_NAME_MAX];
		if (it->kind == REPLICA_OPEN) {
			pack_name(it->a, name);
			r = replica_fetch_file(&t->fetch, it, pool->packs_fd, name, NULL);
		} else if (it->kind == REPLICA_STAGED) {
			staging_name(it->a, it->b, name);
			r = replica_fetch_file(&t->fetch, it, staging, name, NULL);
			t->res.staged++;
		}
	}
	if (r == 0)
		r = io_fsync_dir(staging);
	return r < 0 ? r : io_fsync_dir(pool->packs_fd);
}

/* Sealed packs lie in the replica now; of doomed ones nothing is left. */
static int move_packs(struct pool *pool)
{
	struct slice key, val;
	struct pack_row row;
	unsigned n = 0;
	struct kv_batch *batch = kv_batch_new();
	struct kv_iter *it = kv_iter_new(pool->kv, KV_PACK, NULL, 0, false);
	int r = batch && it ? 1 : -ENOMEM;
	while (r > 0 && (r = kv_iter_next(it, &key, &val)) > 0) {
		if (pack_decode_row(key, val, &row) < 0) {
			r = -EUCLEAN;
		} else if (row.state == PACK_DOOMED) {
			pack_delete(batch, row.id);
		} else {
			row.tier = row.state == PACK_SEALED ? REPLICA_TIER : TIER_HOT;
			pack_put(batch, &row);
		}
		if (r > 0 && ++n % ROWS_AT_ONCE == 0) {
			r = kv_commit(pool->kv, TAKE_PTR(batch), NULL);
			batch = r == 0 ? kv_batch_new() : NULL;
			r = r < 0 ? r : batch ? 1 : -ENOMEM;
		}
	}
	kv_iter_free(it);
	if (r == 0)
		return kv_commit(pool->kv, batch, NULL);
	kv_batch_free(batch);
	return r;
}

/* Tiers of the other machine are of no use here; numbers of packs go on later. */
static int settle_meta(struct takeover *t, struct pool *pool)
{
	static const char ids[] = META_IDS_PREFIX "pack";
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t key[sizeof TIER_KEY] = TIER_KEY, next[8];
	struct tier_info info = { .number = REPLICA_TIER, .name = REPLICA_TIER_NAME };
	struct kv_batch *batch = kv_batch_new();
	int r = batch ? kv_get(pool->kv, KV_META, ids, sizeof ids - 1, &val) : -ENOMEM;
	uint64_t first = r == 0 && val.len == 8 ? get_le64(val.data) : 1;
	if (r < 0 && r != -ENOENT) {
		kv_batch_free(batch);
		return r;
	}
	put_le64(next, first + PACKS_LEFT_OUT);
	kv_batch_put(batch, KV_META, ids, sizeof ids - 1, next, sizeof next);
	for (unsigned i = 1; i < TIERS_MAX; i++) {
		key[sizeof TIER_KEY - 1] = (uint8_t)i;
		kv_batch_delete(batch, KV_META, key, sizeof key);
	}
	r = kv_commit(pool->kv, batch, NULL);
	int n = snprintf(info.where, sizeof info.where, "%s/tier", t->opt->from);
	if (r == 0 && n >= (int)sizeof info.where)
		r = -ENAMETOOLONG;
	memcpy(info.endpoint, t->config.replicate_endpoint, sizeof info.endpoint);
	memcpy(info.region, t->config.replicate_region, sizeof info.region);
	return r < 0 ? r : tiers_put_row(pool->kv, t->label.tier, &info);
}

static int settle_rows(struct takeover *t, struct pool *pool)
{
	struct dump_place place = pool_dump_place(pool);
	struct dump_info dump;
	int r = pool_open_kv(pool, false);
	if (r == 0)
		r = settle_meta(t, pool);
	if (r == 0)
		r = move_packs(pool);
	place.dirfd = pool->packs_fd;
	if (r == 0 && t->opt->follow)
		r = follower_note_state(pool, &t->root);
	else if (r == 0)
		r = dump_write(pool->kv, &place, NULL, &dump);
	if (r == 0 && !t->opt->follow)
		kv_keep_log(pool->kv, dump.start_lsn, dump.start_lsn);
	int closed = pool_close_kv(pool);
	return r < 0 ? r : closed;
}

static int fill(struct pool *pool, void *arg, struct pool_error *err)
{
	struct takeover *t = arg;
	t->done = t->total = 0;
	for (size_t i = 0; i < t->root.n_blocks; i++)
		t->total += t->root.blocks[i].len;
	int r = pool_open_dirs(pool);
	if (r == 0)
		r = rebuild_index(t, pool);
	if (r == -EUCLEAN && !*err->text)
		pool_say(err, "%s: the dump or the log in it is damaged", t->opt->from);
	if (r == 0)
		r = fetch_files(t, pool);
	pool_close_kv(pool); /* only descriptors so far */
	if (r == 0)
		r = settle_rows(t, pool);
	if (r == 0 && !t->opt->follow)
		r = replica_owner_write(pool->dirfd, t->record.owner);
	return r;
}

int takeover_run(const char *path, const struct takeover_options *opt,
		 struct takeover_result *ret_result, struct pool_error *err)
{
	struct takeover *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->opt = opt;
	t->err = err;
	t->fetch = (struct replica_fetch){
		.place = opt->from, .root = &t->root, .err = err, .went_on = went_on, .arg = t
	};
	*err->text = 0;
	int r = settle_config(t, NULL);
	if (r == 0)
		r = open_place(t);
	if (r == 0)
		r = look_at_lease(t);
	if (r == 0)
		r = read_root(t);
	if (r == 0)
		r = read_super(t);
	if (r == 0)
		r = read_config(t);
	if (r == 0)
		r = check_packs(t);
	if (r == 0 && !opt->follow)
		r = begin_epoch(t);
	struct pool_making how = { .fill = fill, .arg = t, .super = &t->super };
	if (r == 0)
		r = pool_make(path, &t->config, &how, err);
	if (t->res.epoch)
		lease_beat(t->depot, t->res.epoch, UINT32_MAX, true);
	if (r < 0 && !*err->text)
		pool_say(err, "%s cannot be %s: %s", opt->from,
			 opt->follow ? "followed" : "taken over", strerror(-r));
	t->res.lsn = t->root.lsn;
	t->res.time = t->root.time;
	if (r == 0)
		*ret_result = t->res;
	replica_root_done(&t->root);
	place_close(t->tier);
	depot_close(t->depot);
	free(t->there);
	free(t);
	return r;
}
