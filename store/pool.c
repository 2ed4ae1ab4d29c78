// SPDX-License-Identifier: MIT
/* Opening: lock, superblock, configuration, index (with replay), extents, digests, packs, cache,
 * chunks, rotten chunks, packer, staging, destage, gc, scrub, dumper. Each part is closed in the reverse
 * order, and a half-opened pool is closed by the same function. The lock goes last.
 *
 * After a crash the digests that memory held are read again from the frames of chunks at and above
 * the digests' watermark.
 */
#include "pool.h"
#include "chunk_row.h"
#include "cleanup.h"
#include "clock.h"
#include "io.h"
#include "log.h"
#include "pack_version.h"
#include "pool_impl.h"
#include "wal_home.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define OPEN_ROOM (POOL_ROOM_FULL + (2u << 20)) /* the log's first piece, and the index */

const char *const pool_directories[] = { "index", "wal", "staging", "packs", "cache", NULL };

void pool_say(struct pool_error *err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
}

static int open_dir(struct pool *pool, const char *name)
{
	int fd = openat(pool->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

uint64_t pool_short_of_room(const struct pool *pool)
{
	return pool->config.reserve_size + 2 * (uint64_t)POOL_ROOM_FULL;
}

int pool_reserve_release(struct pool *pool)
{
	return unlinkat(pool->dirfd, "reserve", 0) && errno != ENOENT ? -errno : 0;
}

int pool_reserve_make(struct pool *pool)
{
	uint64_t size = pool->config.reserve_size;
	struct stat st;
	if (!size)
		return pool_reserve_release(pool);
	CLEANUP_CLOSE int fd = io_create(pool->dirfd, "reserve", O_WRONLY, 0600);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) || (st.st_size > (off_t)size && ftruncate(fd, (off_t)size)))
		return -errno;
	int r = posix_fallocate(fd, 0, (off_t)size);
	if (r && (!st.st_size || ftruncate(fd, st.st_size))) /* part of it is better than nothing */
		unlinkat(pool->dirfd, "reserve", 0);
	return -r;
}

bool pool_reserve_held(const struct pool *pool)
{
	struct stat st;
	return fstatat(pool->dirfd, "reserve", &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void pool_reserve_lend(struct pool *pool, uint64_t bytes)
{
	struct statvfs vfs;
	struct stat st;
	if (pool->read_only || pool->failed || fstatvfs(pool->dirfd, &vfs) ||
	    (uint64_t)vfs.f_bavail * vfs.f_frsize >= POOL_ROOM_FULL)
		return;
	CLEANUP_CLOSE int fd = openat(pool->dirfd, "reserve", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st))
		return;
	pool->reserve_lent = (uint64_t)st.st_size > bytes
				     ? ftruncate(fd, st.st_size - (off_t)bytes) == 0
				     : pool_reserve_release(pool) == 0;
}

static void kv_failed(void *arg, int err, const char *what)
{
	struct pool *pool = arg;
	pool->failed = err;
	if (pool->on_failure)
		pool->on_failure(pool->on_failure_arg, err, what);
	else
		log_error("%s failed: %s", what, strerror(-err));
}

static int open_wal_dir(struct pool *pool)
{
	const char *where = pool->config.wal_dir;
	if (!*where)
		return open_dir(pool, "wal");
	int fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

struct dump_place pool_dump_place(const struct pool *pool)
{
	struct dump_place place = { .dirfd = pool->packs_fd };
	memcpy(place.pool_uuid, pool->super.uuid, sizeof place.pool_uuid);
	return place;
}

/* The log is kept since the older dump; while there is none, from now on; all of it when nobody knows. */
static void keep_log(struct pool *pool, struct kv_options *opt)
{
	struct dump_info dumps[DUMPS_KEPT];
	struct dump_place place = pool_dump_place(pool);
	int unread, n = dump_list(&place, dumps, DUMPS_KEPT, &unread);
	opt->keep_log = true;
	if (n >= 0 && !unread)
		dumps_keep(dumps, (size_t)n, &opt->keep_after, &opt->keep_least);
}

static int lock_wal(struct pool *pool)
{
	pool->wal_lockfd = wal_home_lock(pool->wal_fd);
	return pool->wal_lockfd < 0 ? pool->wal_lockfd : 0;
}

int pool_open_dirs(struct pool *pool)
{
	if (asprintf(&pool->index_path, "%s/index", pool->path) < 0) {
		pool->index_path = NULL;
		return -ENOMEM;
	}
	pool->index_fd = open_dir(pool, "index");
	pool->wal_fd = open_wal_dir(pool);
	pool->packs_fd = open_dir(pool, "packs");
	if (pool->index_fd < 0 || pool->wal_fd < 0)
		return pool->index_fd < 0 ? pool->index_fd : pool->wal_fd;
	if (wal_home_check(pool->wal_fd, pool->super.uuid) == 0 && lock_wal(pool) < 0)
		return pool->wal_lockfd;
	return pool->packs_fd < 0 ? pool->packs_fd : 0;
}

int pool_open_kv(struct pool *pool, bool read_only)
{
	int r = pool_open_dirs(pool);
	if (r < 0)
		return r;
	if (!read_only)
		pool_reserve_lend(pool, OPEN_ROOM);
	struct kv_options opt = {
		.index_dirfd = pool->index_fd,
		.wal_dirfd = pool->wal_fd,
		.index_path = pool->index_path,
		.wal_backend = pool->config.wal_backend ? KV_WAL_IO_URING : KV_WAL_STANDARD,
		.sync_interval_ms = (unsigned)pool->config.wal_sync_interval_ms,
		.read_only = read_only,
		.on_failure = kv_failed,
		.on_failure_arg = pool,
	};
	memcpy(opt.pool_uuid, pool->super.uuid, sizeof opt.pool_uuid);
	if (!(pool->super.incompat & SUPER_FOLLOWER)) /* where there are no dumps */
		keep_log(pool, &opt);
	int home = wal_home_check(pool->wal_fd, pool->super.uuid);
	r = home < 0 && home != -ENOENT ? home : kv_open(&opt, &pool->kv, &pool->recovery);
	if (r == 0 && home < 0 && !read_only)
		r = wal_home_claim(pool->wal_fd, pool->super.uuid);
	if (r == 0 && pool->wal_lockfd < 0 && !read_only)
		r = lock_wal(pool);
	return r == -ENOSPC && pool->kv ? 0 : r; /* there will be room at another time */
}

int pool_close_kv(struct pool *pool)
{
	int r = pool->kv ? kv_close(pool->kv) : 0;
	pool->kv = NULL;
	if (pool->index_fd >= 0)
		close(take_fd(&pool->index_fd));
	if (pool->wal_fd >= 0)
		close(take_fd(&pool->wal_fd));
	if (pool->wal_lockfd >= 0)
		close(take_fd(&pool->wal_lockfd));
	if (pool->packs_fd >= 0)
		close(take_fd(&pool->packs_fd));
	free(TAKE_PTR(pool->index_path));
	return r;
}

bool pool_say_log(const struct pool *pool, int r, struct pool_error *err)
{
	const char *wal_dir = pool->config.wal_dir;
	bool ours = r != -ESTALE || wal_home_check(pool->wal_fd, pool->super.uuid) != -ESTALE;
	if (!ours && *wal_dir)
		pool_say(err,
			 "%s: the write-ahead log in %.300s belongs to another pool; give the "
			 "right wal_dir",
			 pool->path, wal_dir);
	else if (!ours)
		pool_say(err,
			 "%s: wal/owner names another pool; put this pool's own log back, or if "
			 "only "
			 "that file is damaged, remove it",
			 pool->path);
	else if (r == -EBUSY)
		pool_say(err,
			 "%s: its log directory %.300s is in use by another pool, perhaps a copy "
			 "of this one; unmount that, and give each its own wal_dir",
			 pool->path, *wal_dir ? wal_dir : "wal");
	else if (r == -EPROTONOSUPPORT)
		pool_say(err,
			 "%s: its write-ahead log was written by a newer foldfs; use that version "
			 "or a later one",
			 pool->path);
	else if (r == -ENOTEMPTY)
		pool_say(err,
			 "%s: its log directory %.300s (wal_dir) has other files in it; give an "
			 "empty directory, for this pool alone",
			 pool->path, *wal_dir ? wal_dir : "wal");
	else
		return false;
	return true;
}

void pool_say_foreign(const struct pool *pool, struct pool_error *err)
{
	pool_say(err,
		 "%s: super, index/data.mdb and the log are not of the same pool; put back what "
		 "belongs to this one",
		 pool->path);
}

static int open_kv(struct pool *pool, bool read_only, struct pool_error *err)
{
	int r = pool_open_kv(pool, read_only);
	if (pool->index_fd < 0 || pool->wal_fd < 0) {
		pool_say(err, "%s: its index or log directory is missing: %s", pool->path,
			 strerror(-r));
		return r;
	}
	if (r == 0 || pool_say_log(pool, r, err))
		return r;
	if (r == -ESTALE)
		pool_say_foreign(pool, err);
	else if (r == -ENOENT)
		pool_say(err,
			 "%s: write-ahead log segments that the index needs are missing or not "
			 "whole; put them back, or give the right wal_dir",
			 pool->path);
	else if (r == -EUCLEAN)
		pool_say(err, "%s: its %s damaged; run fsck.foldfs", pool->path,
			 pool->recovery.damaged ? "write-ahead log is" : "index or its log is");
	else
		pool_say(err, "%s: the index cannot be opened: %s", pool->path, strerror(-r));
	return r;
}

/* Once there is a tier, a foldfs that knows nothing of them must not take its packs for lost. */
static int mark_super(struct pool *pool)
{
	if (!tiers_any(pool->tiers) || (pool->super.incompat & SUPER_TIERS))
		return 0;
	pool->super.incompat |= SUPER_TIERS;
	return super_write(pool->dirfd, &pool->super);
}

/* Who only looks or repairs declares no tiers. */
static int open_tiers(struct pool *pool, bool ro, bool declare, struct pool_error *err)
{
	char why[sizeof err->text / 2] = "";
	struct tiers_options opt = { .kv = pool->kv,
				     .config = &pool->config,
				     .pool_dirfd = pool->dirfd,
				     .hot_dirfd = pool->packs_fd,
				     .claim = declare,
				     .read_only = ro };
	memcpy(opt.pool_uuid, pool->super.uuid, sizeof opt.pool_uuid);
	int r = tiers_open(&opt, &pool->tiers, why, sizeof why);
	if (r < 0)
		pool_say(err, "%s: %s", pool->path, why);
	if (r == 0 && !ro && (r = mark_super(pool)) < 0)
		pool_say(err, "%s: the superblock cannot be written: %s", pool->path, strerror(-r));
	if (r == 0 && !ro && declare && tiers_any(pool->tiers) &&
	    (r = access_open(pool->kv, &pool->access)) < 0)
		pool_say(err, "%s cannot be opened: %s", pool->path, strerror(-r));
	return r;
}

static int open_packs(struct pool *pool, bool ro)
{
	CLEANUP_CLOSE int fd = open_dir(pool, "packs");
	if (fd < 0)
		return fd;
	struct packs_options packs = {
		.dirfd = fd,
		.kv = pool->kv,
		.target_bytes = pool->config.pack_size,
		.tiers = pool->tiers,
		.access = pool->access,
		.read_only = ro,
	};
	memcpy(packs.pool_uuid, pool->super.uuid, 16);
	return packs_open(&packs, &pool->packs);
}

static int open_digests(struct pool *pool, bool ro)
{
	struct digests_options digests = { .read_only = ro, .index_dirfd = pool->index_fd };
	return digests_open(pool->kv, &digests, &pool->digests);
}

static int open_data(struct pool *pool, bool ro)
{
	const struct config *conf = &pool->config;
	CLEANUP_CLOSE int cache_fd = open_dir(pool, "cache");
	if (cache_fd < 0)
		return cache_fd;
	struct cache_options cache = { .dirfd = cache_fd,
				       .region_bytes = conf->cache_size,
				       .huge_pages = conf->cache_huge_pages,
				       .interleave = conf->cache_numa == NUMA_INTERLEAVE,
				       .read_only = ro && !pool->follows };
	memcpy(cache.pool_uuid, pool->super.uuid, 16);
	int r = extents_open(pool->kv, &pool->extents);
	if (r == 0 && pool->super.incompat & SUPER_STRANDS)
		extents_use_strands(pool->extents);
	if (r == 0)
		r = open_digests(pool, ro);
	if (r == 0)
		r = open_packs(pool, ro);
	if (r == 0)
		r = cache_open(&cache, &pool->cache);
	if (r == 0)
		r = chunks_open(pool->kv, pool->packs, pool->cache, &pool->chunks);
	return r;
}

static int open_recoder(struct pool *pool)
{
	const struct config *conf = &pool->config;
	struct recoder_options opt = { .kv = pool->kv,
				       .packs = pool->packs,
				       .tiers = pool->tiers,
				       .rotten = pool->rotten,
				       .cache = pool->cache,
				       .mover = pool->mover,
				       .level = conf->idle_level,
				       .age_s = conf->idle_age_s,
				       .load_percent = conf->idle_load,
				       .short_bytes = pool_short_of_room(pool) };
	return recoder_open(&opt, &pool->recoder);
}

static int open_writing(struct pool *pool, bool ro)
{
	const struct config *conf = &pool->config;
	CLEANUP_CLOSE int staging_fd = open_dir(pool, "staging");
	if (staging_fd < 0)
		return staging_fd;
	int r = staging_open(staging_fd, pool->kv, &pool->staging);
	if (r < 0 || ro)
		return r;
	struct rotten_options rotten = { .kv = pool->kv,
					 .packs = pool->packs,
					 .chunks = pool->chunks,
					 .level = conf->zstd_level };
	r = rotten_open(&rotten, &pool->rotten);
	struct packer_options packer = { .extents = pool->extents,
					 .packs = pool->packs,
					 .chunks = pool->chunks,
					 .digests = pool->digests,
					 .rotten = pool->rotten,
					 .level = conf->zstd_level,
					 .verify_age_s = (unsigned)conf->verify_age_s,
					 .stream = PACK_STREAM_NEW };
	if (r == 0)
		r = packer_open(&packer, &pool->packer);
	struct destage_options destage = { .packer = pool->packer,
					   .chunker = pool->super.chunker,
					   .workers = conf->workers };
	if (r == 0)
		r = destage_open(&destage, &pool->destage);
	struct gc_options gc = { .extents = pool->extents,
				 .packs = pool->packs,
				 .chunks = pool->chunks,
				 .digests = pool->digests,
				 .packer = pool->packer,
				 .destage = pool->destage,
				 .cache = pool->cache,
				 .rotten = pool->rotten,
				 .level = conf->zstd_level,
				 .min_live_percent = conf->gc_min_live,
				 .short_bytes = pool_short_of_room(pool),
				 .recall_percent = conf->low_watermark,
				 .rate_bytes_per_s = conf->gc_rate };
	if (r == 0)
		r = gc_open(&gc, &pool->gc);
	struct scrub_options scrub = { .kv = pool->kv,
				       .packs = pool->packs,
				       .packer = pool->packer,
				       .rotten = pool->rotten,
				       .packs_dirfd = pool->packs_fd,
				       .rate_bytes_per_s = conf->scrub_rate };
	memcpy(scrub.pool_uuid, pool->super.uuid, sizeof scrub.pool_uuid);
	if (r == 0)
		r = scrub_open(&scrub, &pool->scrub);
	if (r == 0)
		chunks_on_damage(pool->chunks, scrub_suspect, pool->scrub);
	struct mover_options mover = { .kv = pool->kv,
				       .packs = pool->packs,
				       .tiers = pool->tiers,
				       .access = pool->access,
				       .rotten = pool->rotten,
				       .cache = pool->cache,
				       .high_watermark = conf->high_watermark,
				       .low_watermark = conf->low_watermark,
				       .rate_bytes_per_s = conf->tier_rate,
				       .interval_s = conf->tier_interval_s,
				       .short_bytes = pool_short_of_room(pool) };
	if (r == 0 && tiers_any(pool->tiers))
		r = mover_open(&mover, &pool->mover);
	if (r == 0 && conf->idle_level)
		r = open_recoder(pool);
	if (r == 0)
		r = ids_open(pool->kv, "next_inode", INO_FIRST, &pool->inode_ids);
	if (r == 0)
		r = staging_sweep(pool->staging);
	return r;
}

static int take_lock(struct pool *pool, bool read_only, unsigned wait_ms, struct pool_error *err)
{
	int flags = read_only ? O_RDONLY : O_RDWR;
	pool->lockfd = openat(pool->dirfd, "lock", flags | O_CLOEXEC);
	int r = pool->lockfd < 0 ? -errno : 0;
	struct stat st;
	if (r == 0 && (fstat(pool->lockfd, &st) || !S_ISREG(st.st_mode)))
		r = -EISDIR;
	if (r == -ENOENT || r == -EISDIR)
		pool_say(err,
			 "%s/lock %s; if nobody has the pool open, make an empty file of that name",
			 pool->path, r == -ENOENT ? "is missing" : "is no file");
	else if (r < 0)
		pool_say(err, "%s/lock cannot be opened: %s", pool->path, strerror(-r));
	if (r < 0)
		return r;
	uint64_t until = clock_mono_ms() + wait_ms;
	while (flock(pool->lockfd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			r = -errno;
			pool_say(err, "%s/lock cannot be locked: %s", pool->path, strerror(-r));
			return r;
		}
		if (clock_mono_ms() >= until) {
			pool_say(err,
				 "%s is in use: another process has the pool mounted or open; "
				 "unmount it there first",
				 pool->path);
			return -EBUSY;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	return 0;
}

static int read_super(struct pool *pool, bool read_only, bool *ret_damaged, struct pool_error *err)
{
	int r = super_read(pool->dirfd, &pool->super, ret_damaged);
	if (r == -ENOENT)
		pool_say(err,
			 "%s is not a foldfs pool (it has no superblock); mkfs.foldfs makes one",
			 pool->path);
	else if (r == -EUCLEAN)
		pool_say(err,
			 "%s: both copies of the superblock are damaged; put back the file super "
			 "from "
			 "a backup (the pool was left as it is)",
			 pool->path);
	else if (r == -EPROTONOSUPPORT)
		pool_say(err, "%s was made by a newer foldfs; use that version or a later one",
			 pool->path);
	else if (r < 0)
		pool_say(err, "%s: the superblock cannot be read: %s", pool->path, strerror(-r));
	else if (!read_only && pool->super.ro_compat) {
		r = -EPROTONOSUPPORT;
		pool_say(err,
			 "%s uses features that this foldfs can only read: mount it with -o ro",
			 pool->path);
	}
	return r;
}

/* Who holds the lock and may write makes the damaged copy good again. */
static void mend_super(struct pool *pool, bool read_only)
{
	int r = read_only ? 0 : super_write(pool->dirfd, &pool->super);
	log_warn("%s: one of two copies of the superblock was damaged%s%s", pool->path,
		 read_only ? ""
		 : r < 0   ? " and cannot be written: "
			   : " and has been written anew",
		 r < 0 ? strerror(-r) : "");
}

static int configure(struct pool *pool, const char *options, struct pool_error *err)
{
	struct config_error cerr = { 0 };
	config_defaults(&pool->config);
	int r = config_load(&pool->config, pool->dirfd, "foldfs.conf", &cerr);
	if (r < 0) {
		pool_say(err, "%s: %s", pool->path, cerr.text);
		return r;
	}
	r = options ? config_apply(&pool->config, options, CONFIG_MOUNT, &cerr) : 0;
	if (r == 0)
		r = config_check(&pool->config, &cerr);
	if (r < 0)
		pool_say(err, "%s", cerr.text);
	return r;
}

/* mkfs.foldfs has made it, so an index without it has lost everything: no new one is begun here. */
static int check_index(struct pool *pool, struct pool_error *err)
{
	struct stat st;
	if (!fstatat(pool->dirfd, "index/data.mdb", &st, 0) && S_ISREG(st.st_mode) && st.st_size)
		return 0;
	pool_say(err,
		 "%s: index/data.mdb, which names every file, is missing or empty; run fsck.foldfs",
		 pool->path);
	return -EUCLEAN;
}

/* A part that is missing is never made again: it may be on a disk that is not there today. */
static int check_directories(struct pool *pool, struct pool_error *err)
{
	const char *wal_dir = pool->config.wal_dir;
	struct stat st;
	for (size_t i = 0; pool_directories[i]; i++) {
		const char *name = pool_directories[i];
		if (*wal_dir && !strcmp(name, "wal"))
			continue;
		if (!fstatat(pool->dirfd, name, &st, 0) && S_ISDIR(st.st_mode))
			continue;
		pool_say(
			err,
			"%s: its directory %s is missing; put it back (the pool was left as it is)",
			pool->path, name);
		return -ENOENT;
	}
	if (*wal_dir && (stat(wal_dir, &st) || !S_ISDIR(st.st_mode))) {
		pool_say(err, "%s: its log directory %.300s (wal_dir) is missing", pool->path,
			 wal_dir);
		return -ENOENT;
	}
	return 0;
}

void pool_say_newer(const char *path, const char *pack, struct pool_error *err)
{
	pool_say(err, "%s: packs/%s was written by a newer foldfs; use that version or a later one",
		 path, pack);
}

static int check_packs(struct pool *pool, struct pool_error *err)
{
	char name[PACK_NAME_MAX];
	CLEANUP_CLOSE int fd = open_dir(pool, "packs");
	int r = fd < 0 ? fd : pack_version_check(fd, false, name);
	if (r == -EPROTONOSUPPORT)
		pool_say_newer(pool->path, name, err);
	else if (r < 0)
		pool_say(err, "%s: its packs cannot be listed: %s", pool->path, strerror(-r));
	return r;
}

static int open_bare(struct pool *pool, const char *options, bool ro, unsigned wait_ms,
		     struct pool_error *err)
{
	bool damaged = false;
	int r = read_super(pool, ro, &damaged, err);
	if (r == 0 && !ro && pool->super.incompat & SUPER_FOLLOWER) {
		r = -EROFS;
		pool_say(err,
			 "%s follows a replica, and nothing can be changed or repaired in it; make "
			 "it "
			 "anew with mkfs.foldfs --follow",
			 pool->path);
	}
	if (r == 0)
		r = configure(pool, options, err);
	if (r == 0 && *pool->config.follow && !(pool->super.incompat & SUPER_FOLLOWER)) {
		r = -EINVAL;
		pool_say(err,
			 "%s follows no replica: only mkfs.foldfs --follow makes a pool that does",
			 pool->path);
	}
	if (r == 0)
		r = check_directories(pool, err);
	if (r == 0)
		r = take_lock(pool, ro, wait_ms, err);
	if (r == 0 && damaged)
		mend_super(pool, ro);
	return r;
}

static int open_parts(struct pool *pool, bool ro, struct pool_error *err)
{
	int r = check_packs(pool, err);
	if (r == 0)
		r = check_index(pool, err);
	if (r == 0)
		r = open_kv(pool, ro && !pool->follows, err);
	if (r == 0)
		r = open_tiers(pool, ro, true, err);
	if (r < 0)
		return r;
	r = open_data(pool, ro);
	if (r == 0)
		r = open_writing(pool, ro);
	struct dumper_options dumper = { .kv = pool->kv,
					 .place = pool_dump_place(pool),
					 .interval_s = pool->config.dump_interval_s };
	if (r == 0 && !ro)
		r = dumper_start(&dumper, &pool->dumper);
	if (r == -EUCLEAN)
		pool_say(err, "%s: packs or index rows are damaged; run fsck.foldfs", pool->path);
	else if (r == -EPROTONOSUPPORT)
		pool_say(err,
			 "%s: a pack of it was written by a newer foldfs; use that version or a "
			 "later one",
			 pool->path);
	else if (r < 0)
		pool_say(err, "%s cannot be opened: %s", pool->path, strerror(-r));
	int reserved = r == 0 && !ro ? pool_reserve_make(pool) : 0;
	pool->reserve_lent = pool->reserve_lent && reserved < 0;
	if (reserved < 0)
		log_warn("%s: its reserve could not be made, so deleting may fail on a full disk: "
			 "%s",
			 pool->path, strerror(-reserved));
	return r;
}

int pool_open_parts(const char *path, const char *options, bool read_only, unsigned wait_ms,
		    struct pool **ret_pool, struct pool_error *err)
{
	struct pool *pool = calloc(1, sizeof *pool);
	if (!pool)
		return -ENOMEM;
	pool->dirfd = pool->lockfd = pool->index_fd = pool->wal_fd = -1;
	pool->packs_fd = pool->wal_lockfd = -1;
	pool->read_only = read_only;
	pool->path = realpath(path, NULL);
	if (pool->path)
		pool->dirfd = open(pool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = pool->dirfd < 0 ? -errno : 0;
	if (r == -ENOTDIR)
		pool_say(err, "%s is not a directory, so it is not a foldfs pool", path);
	else if (r < 0)
		pool_say(err, "%s cannot be opened as a pool: %s", path, strerror(-r));
	if (r == 0)
		r = open_bare(pool, options, read_only, wait_ms, err);
	if (r < 0) {
		pool_close(pool);
		return r;
	}
	*ret_pool = pool;
	return 0;
}

static int open_pool(const char *path, const char *options, bool read_only, bool follow,
		     unsigned wait_ms, struct pool **ret_pool, struct pool_error *err)
{
	struct pool *pool;
	int r = pool_open_parts(path, options, read_only, wait_ms, &pool, err);
	if (r < 0)
		return r;
	pool->follows = follow;
	if (follow && !*pool->config.follow) {
		r = -EINVAL;
		pool_say(err,
			 "%s follows a replica, and its foldfs.conf does not say which: give "
			 "option follow",
			 pool->path);
	}
	if (r == 0)
		r = open_parts(pool, read_only, err);
	if (r < 0) {
		pool->failed = pool->failed ? pool->failed : r; /* touch nothing on the way out */
		pool_close(pool);
		return r;
	}
	*ret_pool = pool;
	return 0;
}

int pool_open(const char *path, const char *options, bool read_only, unsigned wait_ms,
	      struct pool **ret_pool, struct pool_error *err)
{
	return open_pool(path, options, read_only, false, wait_ms, ret_pool, err);
}

int pool_open_follower(const char *path, const char *options, unsigned wait_ms,
		       struct pool **ret_pool, struct pool_error *err)
{
	return open_pool(path, options, true, true, wait_ms, ret_pool, err);
}

bool pool_is_follower(const char *path)
{
	struct super super;
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && super_read(fd, &super, NULL) == 0 && super.incompat & SUPER_FOLLOWER;
}

int pool_open_bare(const char *path, bool read_only, struct pool **ret_pool, struct pool_error *err)
{
	struct pool *pool;
	int r = pool_open_parts(path, NULL, read_only, 0, &pool, err);
	if (r < 0)
		return r;
	r = open_kv(pool, read_only, err);
	if (r == 0)
		r = open_tiers(pool, read_only, false, err);
	if (r == 0 && (r = open_digests(pool, true)) == 0)
		r = open_packs(pool, true);
	if (r < 0) {
		if (pool->tiers)
			pool_say(err, "%s cannot be looked into: %s", pool->path, strerror(-r));
		pool->failed = pool->failed ? pool->failed : r;
		pool_close(pool);
		return r;
	}
	*ret_pool = pool;
	return 0;
}

static void keep_first(int *first, int r)
{
	if (*first == 0 && r < 0)
		*first = r;
}

int pool_close(struct pool *pool)
{
	int r = 0;
	if (!pool)
		return 0;
	if (pool->kv)
		pool_reserve_lend(pool, UINT64_MAX);
	recoder_close(pool->recoder);
	mover_close(pool->mover);
	if (pool->scrub)
		scrub_stop(pool->scrub, false);
	if (pool->gc)
		gc_close(pool->gc);
	if (pool->destage)
		destage_close(pool->destage); /* the last reader */
	if (pool->chunks)
		chunks_on_damage(pool->chunks, NULL, NULL);
	scrub_close(pool->scrub);
	if (pool->packer)
		keep_first(&r, packer_close(pool->packer));
	rotten_close(pool->rotten);
	if (pool->inode_ids)
		ids_close(pool->inode_ids);
	if (pool->chunks)
		chunks_close(pool->chunks);
	if (pool->cache)
		cache_close(pool->cache);
	if (pool->packs)
		keep_first(&r, packs_close(pool->packs));
	access_close(pool->access);
	tiers_close(pool->tiers);
	if (pool->digests)
		keep_first(&r, digests_close(pool->digests));
	if (pool->kv && !pool->failed)
		keep_first(&r,
			   kv_sync(pool->kv, UINT64_MAX)); /* lets removals that wait for it run */
	staging_close(pool->staging);
	if (pool->extents)
		extents_close(pool->extents);
	dumper_stop(pool->dumper, pool->failed);
	keep_first(&r, pool_close_kv(pool));
	if (pool->reserve_lent)
		(void)pool_reserve_make(pool); /* else the next mount does, or says so */
	if (pool->lockfd >= 0)
		close(pool->lockfd);
	if (pool->dirfd >= 0)
		close(pool->dirfd);
	free(pool->path);
	free(pool);
	return r;
}
