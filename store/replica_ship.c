// SPDX-License-Identifier: MIT
/* What is published at last is the pool after batch X, and nothing else:
 *
 *   1  batches   up to X, the last durable one, are read from the log; state: the packs and staging files they name
 *   2  packs     sealed in that state, and not there yet, are put. That takes time; so again from 1, until it was none
 *   3  files     packs being filled, staging files. They are read after X, so they may be of a later moment; a pack has
 *                more at its end then, which nobody asks for. A staging file must not have lost what the map of a later
 *                batch has: the log since X is looked through, and where that has changed, again from 1
 *   4  the root  in which all of that is named
 *
 * A pack or staging file that is gone was given up by a later batch: again from 1. What is put, and was not named by a root
 * in the end, goes with what is of no use any more, after grace_ms. Everything is looked at before it is removed: is the
 * epoch still ours?
 */
#include "replica_ship.h"
#include "cleanup.h"
#include "clock.h"
#include "dump_impl.h"
#include "fault.h"
#include "kv_batch.h"
#include "lease.h"
#include "log.h"
#include "pack_fds.h"
#include "pack_proof.h"
#include "pack_source.h"
#include "pool_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <zstd.h>

#define ROUNDS 8u
#define PENDING_MAX (4u << 20)
#define LOGS_MAX 256u
#define LOG_BYTES_MAX (8u << 20)
#define LEVEL 1
#define CONF_MAX (1u << 20)
#define TIER_FOLDER "tier/"

static int stopped(const struct replica_ship *s)
{
	return atomic_load(s->stop) ? -ECANCELED : 0;
}

/* ---- the index ---- */

static int flush_pending(struct replica_ship *s)
{
	if (!s->pending.len)
		return 0;
	size_t room = ZSTD_compressBound(s->pending.len);
	CLEANUP_FREE uint8_t *packed = malloc(room);
	if (!packed || s->pending.failed)
		return -ENOMEM;
	size_t len = ZSTD_compress(packed, room, s->pending.data, s->pending.len, LEVEL);
	if (ZSTD_isError(len))
		return -ENOMEM;
	struct replica_item item = {
		.kind = REPLICA_LOG, .a = s->log_first, .b = s->lsn, .size = s->pending.len
	};
	size_t items = s->meta.n_items;
	int r = fault_hit("ship_log");
	if (r == 0)
		r = replica_root_add(&s->meta, &item);
	if (r == 0)
		r = replica_ship_object(s, slice_of(packed, len), 0, &s->meta);
	if (r < 0) {
		s->meta.n_items = items;
		return r;
	}
	s->log_bytes += len;
	s->log_first = s->lsn + 1;
	buf_reset(&s->pending);
	return 0;
}

static int take_batch(void *arg, uint64_t lsn, struct slice payload)
{
	struct replica_ship *s = arg;
	int r = s->pending.len > PENDING_MAX ? flush_pending(s) : 0;
	if (r == 0)
		r = replica_state_apply(&s->state, payload);
	if (r < 0)
		return r;
	buf_put_le64(&s->pending, lsn);
	buf_put_le32(&s->pending, (uint32_t)payload.len);
	buf_put(&s->pending, payload.at, payload.len);
	s->lsn = lsn;
	return s->pending.failed ? -ENOMEM : 0;
}

static int take_row(void *arg, enum kv_table t, struct slice key, struct slice val)
{
	struct replica_ship *s = arg;
	int r = stopped(s);
	return r < 0 ? r : replica_state_put(&s->state, t, key, val);
}

/* The dump's file may be removed, by newer ones, while it is read. */
static int adopt_dump(struct replica_ship *s, const struct dump_info *dump)
{
	struct dump_place place = pool_dump_place(s->pool);
	char name[DUMP_NAME_SIZE];
	struct replica_item item = { .kind = REPLICA_DUMP,
				     .a = dump->generation,
				     .b = dump->start_lsn,
				     .size = dump->bytes };
	s->has_base = false;
	dump_name(dump->generation, name);
	CLEANUP_CLOSE int fd = openat(place.dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	replica_state_reset(&s->state);
	replica_root_done(&s->meta);
	buf_reset(&s->pending);
	int r = fault_hit("ship_dump");
	if (r == 0)
		r = dump_read(&place, dump->generation, take_row, s);
	if (r == 0)
		r = replica_ship_file(s, &s->meta, fd, &item);
	if (r == 0)
		r = replica_ship_digests(s, &s->meta);
	if (r < 0)
		return r == -ENOENT ? -EAGAIN : r;
	s->log_bytes = 0;
	s->base_lsn = s->lsn = dump->start_lsn;
	s->log_first = s->lsn + 1;
	s->has_base = true;
	return 0;
}

static bool is_long(const struct replica_ship *s)
{
	return s->meta.n_items > LOGS_MAX || s->log_bytes > LOG_BYTES_MAX + s->meta.items[0].size;
}

/* The newest dump is taken when there is none yet (or `must`), or the log since ours has become long. */
static int choose_base(struct replica_ship *s, bool must)
{
	struct dump_place place = pool_dump_place(s->pool);
	struct dump_info dump;
	if (s->has_base && !must && !is_long(s))
		return 0;
	int n = dump_list(&place, &dump, 1, NULL);
	if (n < 0)
		return n;
	bool newer = n && (!s->has_base || dump.start_lsn > s->base_lsn);
	if (newer)
		return adopt_dump(s, &dump);
	return s->has_base && !must ? 0 : -EAGAIN; /* there will be one soon */
}

static int take_index(struct replica_ship *s)
{
	uint64_t last;
	int r = choose_base(s, false);
	if (r == 0)
		r = kv_tail(s->pool->kv, s->lsn, take_batch, s, &last);
	if (r == -ENODATA && (r = choose_base(s, true)) == 0)
		r = kv_tail(s->pool->kv, s->lsn, take_batch, s, &last);
	if (r == -ENODATA) /* not the newest dump's either: the dumper makes one */
		s->has_base = false;
	if (r == 0)
		r = flush_pending(s);
	return r == -ENODATA ? -EAGAIN : r;
}

/* ---- packs ---- */

static void held_pack_name(uint64_t pack, char name[DEPOT_NAME_MAX])
{
	snprintf(name, DEPOT_NAME_MAX, TIER_FOLDER "%016" PRIx64, pack);
}

struct pack_way {
	struct place_source source; /* first */
	struct replica_ship *s;
	struct pack_source from;
	struct pack_proof *proof;
};

static int way_read(struct place_source *source, void *buf, size_t len, uint64_t at)
{
	struct pack_way *w = (struct pack_way *)source;
	int r = stopped(w->s);
	if (r == 0)
		r = pack_source_read(&w->from, buf, len, at);
	if (r == 0)
		r = pack_proof_feed(w->proof, buf, len);
	if (r == 0 && w->s->pace)
		w->s->pace(w->s->arg, len);
	w->s->bytes += len;
	return r;
}

/* -EAGAIN: it is no longer what it was. */
static int ship_pack(struct replica_ship *s, const struct pack_row *row)
{
	struct pack_way w = { .source = { .read = way_read }, .s = s };
	struct pack_row now;
	uint64_t there = 0;
	char name[DEPOT_NAME_MAX];
	int r = pack_sync(s->pool->packs);
	if (r == 0)
		r = pack_get(s->pool->kv, row->id, &now);
	if (r == -ENOENT || (r == 0 && now.state != PACK_SEALED))
		return -EAGAIN;
	struct place *from = r == 0 ? tiers_place(s->pool->tiers, now.tier) : NULL;
	if (r == 0 && !from)
		r = -ENOMEDIUM;
	if (r == 0)
		r = fault_hit("ship_pack");
	if (r == 0)
		r = pack_source_open(&w.from, from, row->id);
	if (r == -ENOENT)
		return -EAGAIN;
	w.source.bytes = w.from.bytes;
	if (r == 0)
		r = pack_proof_new(&w.from, s->pool->super.uuid, &w.proof);
	if (r == 0)
		r = s->tier->ops->put(s->tier, row->id, &w.source);
	if (r == 0)
		r = s->tier->ops->size(s->tier, row->id, &there);
	if (r == 0 && there != w.source.bytes)
		r = -EIO;
	pack_proof_free(w.proof);
	pack_source_close(&w.from);
	if (r < 0)
		return r;
	s->packs++;
	held_pack_name(row->id, name);
	return replica_held_add(&s->held, name, there);
}

/* Rows that name our own tier: what lies there was put by us, or those before us. */
static int need_pack(const struct pack_row *row)
{
	log_error("pack %016" PRIx64 " is missing in the replica, which is the one place where it "
		  "lay",
		  row->id);
	return -EIO;
}

static int ship_packs(struct replica_ship *s, bool *ret_any)
{
	*ret_any = false;
	for (size_t i = 0; i < s->state.n_packs; i++) {
		const struct pack_row *row = &s->state.packs[i];
		char name[DEPOT_NAME_MAX];
		uint64_t bytes;
		held_pack_name(row->id, name);
		if (row->state != PACK_SEALED ||
		    (replica_held_has(&s->held, name, &bytes) && bytes >= row->bytes))
			continue;
		*ret_any = true;
		int r = row->tier == REPLICA_TIER ? need_pack(row) : ship_pack(s, row);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- files ---- */

static int open_in(const struct replica_ship *s, const char *folder, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	int fd = openat(s->pool->dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 ? fd : errno == ENOENT ? -EAGAIN : -errno;
}

static int ship_open_pack(struct replica_ship *s, const struct pack_row *row,
			  struct replica_root *root)
{
	struct replica_item item = { .kind = REPLICA_OPEN, .a = row->id };
	char name[PACK_NAME_MAX];
	pack_name(row->id, name);
	CLEANUP_CLOSE int fd = open_in(s, "packs", name);
	return fd < 0 ? fd : replica_ship_changing(s, root, fd, &item);
}

static int ship_staged(struct replica_ship *s, const struct inode_row *row,
		       struct replica_root *root)
{
	struct replica_item item = { .kind = REPLICA_STAGED, .a = row->ino, .b = row->staging_gen };
	char name[STAGING_NAME_MAX];
	staging_name(row->ino, row->staging_gen, name);
	CLEANUP_CLOSE int fd = open_in(s, "staging", name);
	int r = fd < 0 ? fd : io_fdatasync(fd);
	return r < 0 ? r : replica_ship_changing(s, root, fd, &item);
}

static int ship_small(struct replica_ship *s, const char *name, enum replica_kind kind,
		      struct replica_root *root)
{
	CLEANUP_FREE void *data = NULL;
	size_t len;
	int r = io_slurp(s->pool->dirfd, name, CONF_MAX, &data, &len);
	struct replica_item item = { .kind = kind, .size = len };
	if (r == -ENOENT && kind == REPLICA_CONF)
		return 0;
	if (r == 0)
		r = replica_root_add(root, &item);
	return r == 0 && len ? replica_ship_object(s, slice_of(data, len), 0, root) : r;
}

static int ship_files(struct replica_ship *s, struct replica_root *root)
{
	int r = fault_hit("ship_files");
	if (r == 0)
		r = ship_small(s, "super", REPLICA_SUPER, root);
	if (r == 0)
		r = ship_small(s, "foldfs.conf", REPLICA_CONF, root);
	for (size_t i = 0; r == 0 && i < s->meta.n_items; i++)
		r = replica_root_copy(root, &s->meta, i);
	for (size_t i = 0; r == 0 && i < s->state.n_packs; i++) {
		const struct pack_row *row = &s->state.packs[i];
		struct replica_item item = { .kind = REPLICA_PACK,
					     .a = row->id,
					     .size = row->bytes };
		if (row->state == PACK_SEALED)
			r = replica_root_add(root, &item);
		else if (row->state == PACK_OPEN)
			r = ship_open_pack(s, row, root);
	}
	for (size_t i = 0; r == 0 && i < s->state.n_staged; i++)
		r = ship_staged(s, &s->state.staged[i], root);
	return r;
}

/* ---- were the staging files read in time? ---- */

static int check_batch(void *arg, uint64_t lsn, struct slice payload)
{
	struct replica_ship *s = arg;
	struct kv_op op;
	int r;
	(void)lsn;
	while ((r = kv_op_take(&payload, &op)) > 0) {
		const struct inode_row *had;
		struct inode_row now;
		if (op.table != KV_INODE || op.is_delete || op.key.len != 8)
			continue;
		had = replica_state_staged(&s->state, get_be64(op.key.at));
		if (had && (inode_row_decode(had->ino, op.val, &now) < 0 ||
			    !replica_state_fits(had, &now)))
			return -EAGAIN;
	}
	return r;
}

static int check_staged(struct replica_ship *s)
{
	uint64_t last;
	int r = s->state.n_staged ? kv_tail(s->pool->kv, s->lsn, check_batch, s, &last) : 0;
	return r == -ENODATA ? -EAGAIN : r;
}

/* ---- the root ---- */

static int still_ours(struct replica_ship *s)
{
	int r = lease_is_lost(s->depot, s->epoch, NULL);
	return r > 0 ? -ESTALE : r;
}

static void need_all(struct replica_ship *s, const struct replica_root *root)
{
	char name[DEPOT_NAME_MAX];
	for (size_t i = 0; i < root->n_items; i++)
		if (root->items[i].kind == REPLICA_PACK) {
			held_pack_name(root->items[i].a, name);
			replica_held_need(&s->held, name, root->seq);
		}
	for (size_t i = 0; i < root->n_blocks; i++) {
		replica_object_name(s->epoch, &root->blocks[i].digest, name);
		replica_held_need(&s->held, name, root->seq);
	}
	replica_root_name(s->epoch, root->seq, name);
	replica_held_need(&s->held, name, root->seq);
}

static int publish(struct replica_ship *s, struct replica_root *root)
{
	CLEANUP_BUF struct buf bytes = { 0 };
	char name[DEPOT_NAME_MAX];
	memcpy(root->pool_uuid, s->pool->super.uuid, sizeof root->pool_uuid);
	root->epoch = s->epoch;
	root->seq = s->last.seq + 1;
	root->lsn = s->lsn;
	root->time = clock_wall_ns() / 1000000000;
	replica_root_print(root, &bytes);
	replica_root_name(s->epoch, root->seq, name);
	int r = bytes.failed ? -ENOMEM : fault_hit("ship_root");
	if (r == 0)
		r = still_ours(s);
	if (r == 0)
		r = s->depot->ops->create(s->depot, name, slice_of(bytes.data, bytes.len));
	if (r == 0)
		r = replica_held_add(&s->held, name, bytes.len);
	if (r < 0)
		return r == -EEXIST ? -ESTALE : r;
	need_all(s, root);
	replica_root_done(&s->last);
	s->last = *root;
	s->last_ns = s->reading_ns;
	*root = (struct replica_root){ 0 };
	return fault_hit("ship_published");
}

/* ---- what is of no use any more ---- */

static int remove_one(void *arg, const char *name)
{
	struct replica_ship *s = arg;
	uint64_t pack;
	int r = stopped(s);
	if (r == 0)
		r = still_ours(s);
	if (r < 0)
		return r;
	if (sscanf(name, TIER_FOLDER "%16" SCNx64, &pack) == 1)
		return s->tier->ops->remove(s->tier, pack);
	return s->depot->ops->remove(s->depot, name);
}

static int list_pack(void *arg, uint64_t pack, uint64_t bytes)
{
	struct replica_ship *s = arg;
	char name[DEPOT_NAME_MAX];
	held_pack_name(pack, name);
	return replica_held_add(&s->held, name, bytes);
}

static int list_object(void *arg, const char *name)
{
	struct replica_ship *s = arg;
	return replica_held_add(&s->held, name, 0);
}

/* Numbers that stay are those of epochs: nobody must ever take an old one for the newest. */
static int list_epoch(void *arg, const char *name)
{
	struct replica_ship *s = arg;
	char folder[DEPOT_NAME_MAX];
	uint64_t epoch;
	if (sscanf(name, "epochs/%16" SCNx64, &epoch) != 1 || epoch >= s->epoch)
		return 0;
	snprintf(folder, sizeof folder, "e%016" PRIx64 "/", epoch);
	return s->depot->ops->list(s->depot, folder, list_object, s);
}

static int list_all(struct replica_ship *s)
{
	int r = s->tier->ops->list(s->tier, list_pack, s);
	if (r == 0)
		r = s->depot->ops->list(s->depot, "epochs/", list_epoch, s);
	s->listed = r == 0;
	return r;
}

static int one_round(struct replica_ship *s, bool more, struct replica_root *root)
{
	bool any = false;
	int r = stopped(s);
	if (r == 0)
		r = take_index(s);
	if (r == 0)
		r = ship_packs(s, &any);
	if (r == 0 && any && more)
		return -EAGAIN;
	s->reading_ns = clock_wall_ns();
	if (r == 0)
		r = ship_files(s, root);
	return r < 0 ? r : check_staged(s);
}

/* What cannot be removed today can be later. */
static int sweep(struct replica_ship *s)
{
	int r = replica_held_sweep(&s->held, s->last.seq, clock_mono_ms(), s->grace_ms, remove_one,
				   s);
	if (r < 0 && r != -ESTALE && r != -ECANCELED)
		log_warn("the replica has objects of no use that cannot be removed: %s",
			 strerror(-r));
	return r == -ESTALE ? r : 0;
}

/* Nothing has changed, nor can what is written past the daemon. */
static bool is_published(const struct replica_ship *s)
{
	return s->last.seq && s->last.lsn == s->lsn && !s->state.n_staged;
}

int replica_ship_run(struct replica_ship *s)
{
	struct replica_root root = { 0 };
	int r = kv_sync(s->pool->kv, UINT64_MAX);
	if (r == 0 && !s->listed)
		r = list_all(s);
	for (unsigned i = 0; r == 0 && i < ROUNDS; i++) {
		replica_root_done(&root);
		r = one_round(s, i + 1 < ROUNDS, &root);
		if (r != -EAGAIN || i + 1 == ROUNDS || !s->has_base)
			break;
		r = 0;
	}
	if (r == 0 && !is_published(s))
		r = publish(s, &root);
	if (r == 0)
		r = sweep(s);
	replica_root_done(&root);
	return r;
}

void replica_ship_done(struct replica_ship *s)
{
	replica_root_done(&s->meta);
	replica_root_done(&s->last);
	replica_state_done(&s->state);
	replica_held_done(&s->held);
	buf_done(&s->pending);
}
