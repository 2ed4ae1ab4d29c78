// SPDX-License-Identifier: MIT
#include "status.h"
#include "cleanup.h"
#include "clock.h"
#include "du.h"
#include "hot.h"
#include "kv.h"
#include "log.h"
#include "rings.h"
#include "settle.h"
#include "usage.h"
#include <stdio.h>

static void put(json_t *o, const char *name, uint64_t v)
{
	json_object_set_new(o, name, json_integer((json_int_t)v));
}

static void put_text(json_t *o, const char *name, const char *text)
{
	json_object_set_new(o, name, text ? json_string(text) : json_null());
}

static void put_ratio(json_t *o, const char *name, uint64_t above, uint64_t below)
{
	json_object_set_new(o, name,
			    below ? json_real((double)above / (double)below) : json_null());
}

static void put_pool(json_t *o, const struct pool *pool)
{
	const uint8_t *u = pool->super.uuid;
	char uuid[37];
	snprintf(uuid, sizeof uuid,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
		 u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
		 u[15]);
	put_text(o, "pool", pool->path);
	put_text(o, "uuid", uuid);
	put_text(o, "label", pool->super.label);
}

static json_t *kv_part(struct pool *pool)
{
	struct kv_stats s;
	json_t *o = json_object();
	kv_get_stats(pool->kv, &s);
	put(o, "last_lsn", s.last_lsn);
	put(o, "durable_lsn", s.durable_lsn);
	put(o, "checkpoint_lsn", s.checkpoint_lsn);
	put(o, "memtable_bytes", s.memtable_bytes);
	put(o, "checkpoints", s.checkpoints);
	put(o, "base_bytes_used", s.lmdb_bytes_used);
	put(o, "base_bytes_file", s.lmdb_bytes_file);
	put_text(o, "wal_backend", s.wal_backend);
	put(o, "wal_bytes_on_disk", s.wal_bytes_on_disk);
	put(o, "wal_bytes_written", s.wal_bytes_written);
	put(o, "wal_syncs", s.wal_syncs);
	put(o, "replayed_frames", pool->recovery.frames_replayed);
	put(o, "replayed_bytes", pool->recovery.bytes_replayed);
	return o;
}

static json_t *packer_part(struct pool *pool)
{
	struct packer_stats s = { 0 };
	json_t *o = json_object();
	packer_get_stats(pool->packer, &s);
	put(o, "chunks", s.chunks);
	put(o, "duplicates", s.duplicates);
	put(o, "bytes_in", s.bytes_in);
	put(o, "bytes_new", s.bytes_new);
	put(o, "bytes_stored", s.bytes_stored);
	put(o, "frames", s.frames);
	return o;
}

static json_t *digests_part(struct pool *pool)
{
	struct digests_stats s;
	json_t *o = json_object();
	digests_get_stats(pool->digests, &s);
	put(o, "in_memory", s.in_memory);
	put(o, "in_base", s.in_base);
	put(o, "memory_bytes", s.memory_bytes);
	put(o, "filter_bytes", s.filter_bytes);
	put(o, "lookups", s.lookups);
	put(o, "filter_negative", s.filter_negative);
	put(o, "false_positive", s.false_positive);
	put(o, "damaged", s.damaged);
	json_object_set_new(o, "filter_ready", json_boolean(s.filter_ready));
	return o;
}

static json_t *cache_part(struct pool *pool)
{
	struct cache_stats s;
	json_t *o = json_object();
	cache_get_stats(pool->cache, &s);
	put(o, "region_bytes", s.region_bytes);
	put(o, "used_bytes", s.used_bytes);
	put(o, "ring_bytes", s.ring_bytes);
	put(o, "frames", s.frames);
	put(o, "hits", s.hits);
	put(o, "misses", s.misses);
	put(o, "evicted", s.evicted);
	put(o, "kept_over_remount", s.kept_over_remount);
	return o;
}

static json_t *settle_part(struct fs *fs)
{
	struct settle_stats s;
	json_t *o = json_object();
	settle_get_stats(fs, &s);
	put(o, "waiting_files", s.waiting);
	put(o, "active_files", s.active);
	put(o, "failed_files", s.failed);
	if (fs->pool->destage) {
		put(o, "pending_bytes", destage_pending_bytes(fs->pool->destage));
		put(o, "gave_way", destage_gave_way(fs->pool->destage));
	}
	put(o, "files", fs->count.destaged_files);
	put(o, "bytes", fs->count.destaged_bytes);
	put(o, "cancelled", fs->count.destage_cancelled);
	return o;
}

static json_t *hot_part(struct fs *fs)
{
	struct hot_stats s;
	json_t *o = json_object();
	hot_get_stats(fs, &s);
	put(o, "limit_bytes", s.limit);
	put(o, "files", s.files);
	put(o, "bytes", s.bytes);
	put(o, "opens", s.opens);
	put(o, "waiting", s.waiting);
	put(o, "made", s.made);
	put(o, "made_bytes", s.made_bytes);
	put(o, "called_off", s.called_off);
	put(o, "failed", s.failed);
	put(o, "dropped", s.dropped);
	put(o, "taken_over", s.taken_over);
	return o;
}

static json_t *idle_part(struct recoder *d)
{
	struct recoder_status s;
	json_t *o = json_object();
	recoder_get_status(d, &s);
	json_object_set_new(o, "working", json_boolean(s.working));
	put(o, "packs_left", s.packs_left);
	put(o, "looks", s.looks);
	put(o, "passes", s.passes);
	put(o, "packs_tried", s.packs_tried);
	put(o, "packs_made", s.packs_made);
	put(o, "bytes_before", s.bytes_before);
	put(o, "bytes_after", s.bytes_after);
	return o;
}

static json_t *modes_part(const struct fs *fs)
{
	json_t *o = json_object();
	json_object_set_new(o, "native", json_boolean(!fs->native_why_not));
	put_text(o, "native_why_not", fs->native_why_not);
	put_text(o, "transport", rings_work(fs->rings) ? "io_uring" : "dev");
	json_object_set_new(o, "writeback", json_boolean(fs->writeback));
	put(o, "opens_native", fs->count.opens_native);
	put(o, "opens_cached", fs->count.opens_cached);
	put(o, "opens_direct", fs->count.opens_direct);
	return o;
}

static json_t *counters_part(const struct fs *fs)
{
	const struct fs_counters *c = &fs->count;
	json_t *o = json_object();
	put(o, "creates", c->creates);
	put(o, "lookups", c->lookups);
	put(o, "unlinks", c->unlinks);
	put(o, "renames", c->renames);
	put(o, "read_bytes", c->read_bytes);
	put(o, "written_bytes", c->written_bytes);
	put(o, "reads_waited", c->reads_waited);
	put(o, "fsyncs", c->fsyncs);
	put(o, "clones", c->clones);
	put(o, "clone_bytes", c->clone_bytes);
	return o;
}

static json_t *requests_part(const struct fs *fs)
{
	json_t *o = json_object();
#define REQUEST_PUT(kind) put(o, #kind, fs->requests.kind);
	REQUEST_KINDS(REQUEST_PUT)
#undef REQUEST_PUT
	return o;
}

json_t *status_stats(struct pool *pool, struct fs *fs)
{
	json_t *o = json_object();
	put_text(o, "version", FOLDFS_VERSION);
	put_pool(o, pool);
	json_object_set_new(o, "mounted", json_boolean(fs != NULL));
	put_text(o, "failed", pool->failed ? strerror(-pool->failed) : NULL);
	if (fs) {
		put_text(o, "mountpoint", fs->mountpoint);
		put(o, "uptime_s", (clock_mono_ms() - fs->started_ms) / 1000);
		json_object_set_new(o, "read_only", json_boolean(fs_may_write(fs) < 0));
		put_text(o, "mode", fs->native_why_not ? "mediated" : "native");
		json_object_set_new(o, "modes", modes_part(fs));
		json_object_set_new(o, "counters", counters_part(fs));
		json_object_set_new(o, "requests", requests_part(fs));
		json_object_set_new(o, "destage", settle_part(fs));
		json_object_set_new(o, "hot", hot_part(fs));
		if (fs->pool->recoder)
			json_object_set_new(o, "idle", idle_part(fs->pool->recoder));
		put(o, "memory_bytes", fs->memory_bytes);
	}
	put(o, "staging_bytes", pool->staging ? staging_bytes(pool->staging) : 0);
	if (pool->packer)
		json_object_set_new(o, "packer", packer_part(pool));
	json_object_set_new(o, "cache", cache_part(pool));
	json_object_set_new(o, "digests", digests_part(pool));
	json_object_set_new(o, "kv", kv_part(pool));
	return o;
}

static void put_space(json_t *o, const struct pool_space *s, uint64_t materialised)
{
	json_t *b = json_object();
	put(o, "index", s->index);
	put(o, "log", s->wal);
	put(o, "staging", s->staging);
	put(o, "materialised", materialised);
	put(o, "cache", s->cache);
	put(o, "reserve", s->reserve);
	put(o, "used",
	    s->packs + s->index + s->wal + s->staging + materialised + s->cache + s->reserve);
	put(b, "total", s->backing_total);
	put(b, "free", s->backing_free);
	put(b, "available", s->backing_avail);
	json_object_set_new(o, "backing", b);
}

int status_df(struct pool *pool, struct fs *fs, json_t **ret_df)
{
	struct pool_space space;
	struct usage u;
	int r = usage_count(pool, &u);
	if (r == 0)
		r = pool_space(pool, &space);
	if (r < 0)
		return r;
	uint64_t memory = fs ? (uint64_t)fs->memory_bytes : 0;
	json_t *o = json_object();
	put_pool(o, pool);
	put(o, "inodes", u.files + u.directories + u.others);
	put(o, "files", u.files);
	put(o, "directories", u.directories);
	put(o, "apparent", u.apparent);
	put(o, "logical", u.mapped + u.inlined + space.staging);
	put(o, "destaged", u.mapped);
	put(o, "inline", u.inlined);
	put(o, "memory", memory);
	put(o, "unique", u.unique);
	put(o, "compressed", u.compressed);
	put(o, "packs", u.pack_bytes);
	put(o, "pack_files", u.packs);
	put(o, "elsewhere", u.elsewhere);
	put(o, "chunks", u.chunks);
	put(o, "frames", u.frames);
	put_space(o, &space, fs ? hot_bytes(fs) : 0);
	put(o, "damaged_rows", u.damaged);
	json_t *ratios = json_object();
	put_ratio(ratios, "dedup", u.mapped, u.unique);
	put_ratio(ratios, "compression", u.unique, u.compressed);
	put_ratio(ratios, "total", u.mapped + u.inlined, u.pack_bytes + u.elsewhere + space.index);
	json_object_set_new(o, "ratios", ratios);
	*ret_df = o;
	return 0;
}

static json_t *du_part(const struct du_entry *e)
{
	json_t *o = json_object();
	put(o, "inode", e->ino);
	put(o, "files", e->files);
	put(o, "directories", e->directories);
	put(o, "apparent", e->apparent);
	put(o, "logical", e->mapped + e->inlined + e->staged);
	put(o, "staged", e->staged);
	put(o, "inline", e->inlined);
	put(o, "chunks", e->chunks);
	put(o, "stored", e->stored);
	put(o, "exclusive", e->exclusive);
	put(o, "shared", e->stored - e->exclusive);
	return o;
}

int status_du(struct pool *pool, const json_t *inodes, json_t **ret_du)
{
	size_t n = json_array_size(inodes);
	struct du_entry *entries = calloc(n ? n : 1, sizeof *entries);
	if (!entries)
		return -ENOMEM;
	int r = n ? 0 : -EINVAL;
	for (size_t i = 0; i < n; i++) {
		entries[i].ino = (uint64_t)json_integer_value(json_array_get(inodes, i));
		if (!entries[i].ino)
			r = -EINVAL;
	}
	if (r == 0)
		r = du_count(pool, entries, n);
	if (r == 0) {
		json_t *list = json_array();
		for (size_t i = 0; i < n; i++)
			json_array_append_new(list, du_part(&entries[i]));
		*ret_du = list;
	}
	free(entries);
	return r;
}

json_t *status_gc(const struct gc_result *result)
{
	json_t *o = json_object();
	put(o, "chunks_live", result->chunks_live);
	put(o, "chunks_dead", result->chunks_dead);
	put(o, "bytes_live", result->bytes_live);
	put(o, "bytes_dead", result->bytes_dead);
	put(o, "packs_dropped", result->packs_dropped);
	put(o, "packs_rewritten", result->packs_rewritten);
	put(o, "packs_trimmed", result->packs_trimmed);
	put(o, "bytes_freed", result->bytes_freed);
	put(o, "bytes_rewritten", result->bytes_rewritten);
	return o;
}

json_t *status_scrub(const struct scrub_status *s)
{
	static const char *const states[] = { "never", "running", "stopped", "interrupted",
					      "finished" };
	json_t *o = json_object();
	put_text(o, "state", states[s->state]);
	put(o, "began", (uint64_t)s->began);
	put(o, "ended", (uint64_t)s->ended);
	put(o, "bytes_done", s->bytes_done);
	put(o, "bytes_total", s->bytes_total);
	put(o, "frames", s->frames);
	put(o, "chunks", s->chunks);
	put(o, "bad_frames", s->bad_frames);
	put(o, "bad_chunks", s->bad_chunks);
	put(o, "repaired", s->repaired);
	put(o, "bad_rows", s->bad_rows);
	put(o, "bad_packs", s->bad_packs);
	put(o, "bad_dumps", s->bad_dumps);
	put(o, "absent_bytes", s->absent_bytes);
	put(o, "rotten", s->rotten);
	return o;
}

static json_t *damaged_frames(const struct rotten_chunk *chunks, size_t n)
{
	json_t *list = json_array(), *ids = NULL;
	for (size_t i = 0; i < n; i++) {
		const struct rotten_chunk *c = &chunks[i];
		if (!i || c->pack != c[-1].pack || c->offset != c[-1].offset) {
			char pack[17];
			snprintf(pack, sizeof pack, "%016lx", c->pack);
			ids = json_array();
			json_array_append_new(list,
					      json_pack("{s:s, s:I, s:o}", "pack", pack, "frame",
							(json_int_t)c->offset, "chunks", ids));
		}
		json_array_append_new(ids, json_integer((json_int_t)c->id));
	}
	return list;
}

/* Names may hold any bytes; JSON wants UTF-8: of others each byte beyond ASCII becomes \xNN. */
static json_t *path_text(const char *path)
{
	json_t *text = path ? json_string(path) : json_null();
	CLEANUP_BUF struct buf out = { 0 };
	if (text)
		return text;
	for (; *path; path++) {
		char hex[8];
		bool ascii = (unsigned char)*path < 0x80;
		int n = snprintf(hex, sizeof hex, ascii ? "%c" : "\\x%02x", (unsigned char)*path);
		buf_put(&out, hex, (size_t)n);
	}
	return json_stringn((const char *)out.data, out.len);
}

static json_t *damaged_files(const struct owner *files, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
				      json_pack("{s:I, s:o}", "inode", (json_int_t)files[i].ino,
						"path", path_text(files[i].path)));
	return list;
}

int status_scrub_damage(struct pool *pool, json_t **ret_scrub)
{
	struct scrub_status status;
	struct rotten_chunk *chunks;
	struct owner *files;
	size_t n_chunks, n_files;
	scrub_get_status(pool->scrub, &status);
	int r = scrub_damage(pool->scrub, &chunks, &n_chunks, &files, &n_files);
	if (r < 0)
		return r;
	status.rotten = n_chunks;
	json_t *o = status_scrub(&status);
	json_object_set_new(o, "damage", damaged_frames(chunks, n_chunks));
	json_object_set_new(o, "files", damaged_files(files, n_files));
	free(chunks);
	owners_free(files, n_files);
	*ret_scrub = o;
	return 0;
}
