// SPDX-License-Identifier: MIT
/* Entries are written with pwrite() and read through the mapping. Writing through the mapping would
 * first read a cold page from the device only to overwrite it, and would turn a full disk
 * or a bad block into a signal; pwrite() of whole pages does neither. For the same reasons the file
 * is allocated in full, and an entry that was kept over a remount is read with pread() and compared
 * with its sum before the mapping is used for it.
 *
 * Pages that the kernel dropped meanwhile are read again through the mapping, and a device error
 * then is a SIGBUS: the reader's guard turns it into a miss.
 *
 * Nothing is synced: an entry whose bytes did not reach the disk before the power went has
 * the wrong sum. The table alone is durable, both when it is written and when it is removed.
 */
#include "cache_region.h"
#include "cache_format.h"
#include "cleanup.h"
#include "digest.h"
#include "io.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <ucontext.h>

#define LEFT_FREE 10 /* such a part of the disk */
#define PAGE 4096u

static_assert(ARENA_ENTRY_GRANULES == 8, "the table's entries have room for 8 granules");

/* What the calling thread is copying from a mapping right now. */
static _Thread_local struct {
	volatile sig_atomic_t armed;
	const uint8_t *base;
	uint64_t bytes;
	sigjmp_buf out;
} guard;

static struct sigaction bus_before;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr, base = (uintptr_t)guard.base;
	if (guard.armed && at >= base && at - base < guard.bytes) {
		/* put back here and not by the jump, which would cost every read a system call */
		pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
		siglongjmp(guard.out, 1);
	}
	if (bus_before.sa_flags & SA_SIGINFO)
		bus_before.sa_sigaction(sig, info, context);
	else
		sigaction(SIGBUS, &bus_before,
			  NULL); /* it strikes again at once, and takes its course */
}

static void install_bus_handler(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct sigaction act = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO }, now;
	SCOPED_LOCK(&lock);
	sigemptyset(&act.sa_mask);
	if (sigaction(SIGBUS, NULL, &now) || now.sa_sigaction == on_bus)
		return;
	bus_before = now;
	sigaction(SIGBUS, &act, NULL);
}

/* Where copying on write is the rule an allocated block would not stay ours. Other filesystems
 * refuse the flag, which is fine. */
static void set_nocow(int fd)
{
	int flags = 0;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= FS_NOCOW_FL;
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
}

/* Makes it that long, all of it allocated, if others still find room on the disk then. */
static int allocate_so_long(int fd, uint64_t want)
{
	struct stat st;
	struct statvfs disk;
	if (fstat(fd, &st) || fstatvfs(fd, &disk))
		return -errno;
	uint64_t has = (uint64_t)st.st_blocks * 512, more = want > has ? want - has : 0;
	uint64_t avail = (uint64_t)disk.f_bavail * disk.f_frsize;
	uint64_t keep = (uint64_t)disk.f_blocks * disk.f_frsize / LEFT_FREE;
	if (more && (avail < more || avail - more < keep))
		return -ENOSPC;
	return ftruncate(fd, (off_t)want) || fallocate(fd, 0, 0, (off_t)want) ? -errno : 0;
}

static int allocate(int fd, uint64_t *bytes)
{
	struct stat st;
	if (fstat(fd, &st))
		return -errno;
	if (st.st_size == 0)
		set_nocow(fd);
	uint64_t want = *bytes / ARENA_GRANULE * ARENA_GRANULE;
	for (; want >= CACHE_REGION_MIN; want = want / 2 / ARENA_GRANULE * ARENA_GRANULE) {
		int r = allocate_so_long(fd, want);
		if (r == 0) {
			if (want < *bytes / ARENA_GRANULE * ARENA_GRANULE)
				log_warn("cache: no space for a region of %llu bytes, made it %llu",
					 (unsigned long long)*bytes, (unsigned long long)want);
			*bytes = want;
			return 0;
		}
		if (r != -ENOSPC && r != -EDQUOT && r != -EFBIG)
			return r;
	}
	return -ENOSPC;
}

static uint64_t table_sum(const struct cache_table_header *h, const void *entries, size_t len)
{
	return checksum64_seeded(entries, len,
				 checksum64(h, offsetof(struct cache_table_header, sum)));
}

static void restore(struct cache_region *r, const uint8_t pool_uuid[16], const uint8_t *table,
		    size_t len, uint64_t *ret_kept)
{
	struct cache_table_header h;
	if (len < sizeof h)
		return;
	memcpy(&h, table, sizeof h);
	size_t room = (len - sizeof h) / sizeof(struct cache_table_entry);
	if (h.magic != CACHE_TABLE_MAGIC || h.version != CACHE_TABLE_VERSION ||
	    h.granule != ARENA_GRANULE || h.region_bytes != r->bytes ||
	    h.shards != arena_shards(r->arena) || h.entries != room ||
	    memcmp(h.pool_uuid, pool_uuid, sizeof h.pool_uuid) ||
	    table_sum(&h, table + sizeof h, len - sizeof h) != h.sum)
		return;
	if (arena_restore_begin(r->arena) < 0)
		return;
	for (uint64_t i = 0; i < h.entries; i++) {
		struct cache_table_entry e;
		memcpy(&e, table + sizeof h + i * sizeof e, sizeof e);
		*ret_kept += arena_restore(r->arena, (struct cache_key){ e.pack, e.offset }, e.len,
					   e.sum, e.granules);
	}
	arena_restore_end(r->arena);
}

static int read_table(struct cache_region *r, int dirfd, const uint8_t pool_uuid[16],
		      uint64_t *ret_kept)
{
	CLEANUP_FREE void *table = NULL;
	size_t len, limit = sizeof(struct cache_table_header) +
			    r->bytes / ARENA_GRANULE * sizeof(struct cache_table_entry);
	int err = io_slurp(dirfd, "table", limit, &table, &len);
	if (err == -ENOENT)
		return 0;
	if (err == 0)
		restore(r, pool_uuid, table, len, ret_kept);
	if (unlinkat(dirfd, "table", 0))
		return -errno;
	return io_fsync_dir(dirfd);
}

static void region_free(struct cache_region *r)
{
	arena_free(r->arena);
	if (r->base)
		munmap(r->base, r->bytes);
	if (r->fd >= 0)
		close(r->fd);
	*r = (struct cache_region){ .fd = -1 };
}

int cache_region_open(struct cache_region *r, const struct cache_options *opt, uint64_t *ret_kept)
{
	install_bus_handler();
	*r = (struct cache_region){ .bytes = opt->region_bytes };
	r->fd = io_create(opt->dirfd, "region", O_RDWR, 0600);
	int err = r->fd < 0 ? r->fd : allocate(r->fd, &r->bytes);
	if (err == 0) {
		void *base = mmap(NULL, r->bytes, PROT_READ, MAP_SHARED, r->fd, 0);
		if (base == MAP_FAILED)
			err = -errno;
		else
			r->base = base;
	}
	if (err == 0)
		err = arena_new(r->base, r->bytes, NULL, NULL, &r->arena);
	if (err == 0) {
		/* hints only; where a page has to be read again, the one for huge pages comes first: 2 MiB */
		madvise(r->base, r->bytes, MADV_DONTDUMP);
		madvise(r->base, r->bytes, MADV_RANDOM);
		if (opt->huge_pages)
			madvise(r->base, r->bytes, MADV_HUGEPAGE);
		err = read_table(r, opt->dirfd, opt->pool_uuid, ret_kept);
	}
	if (err < 0)
		region_free(r);
	return err;
}

int cache_region_remove(int dirfd)
{
	static const char *const files[] = { "table", "region" };
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (unlinkat(dirfd, files[i], 0) && errno != ENOENT)
			return -errno;
	return 0;
}

static void put_entry(void *arg, const struct arena_entry *e)
{
	struct cache_table_entry t = {
		.pack = e->key.pack,
		.offset = e->key.offset,
		.sum = e->sum,
		.len = e->len,
	};
	memcpy(t.granules, e->granules,
	       (e->len + ARENA_GRANULE - 1) / ARENA_GRANULE * sizeof *t.granules);
	buf_put(arg, &t, sizeof t);
}

int cache_region_close(struct cache_region *r, int dirfd, const uint8_t pool_uuid[16])
{
	struct cache_table_header h = {
		.magic = CACHE_TABLE_MAGIC,
		.version = CACHE_TABLE_VERSION,
		.granule = ARENA_GRANULE,
		.region_bytes = r->bytes,
		.shards = arena_shards(r->arena),
	};
	CLEANUP_BUF struct buf table = { 0 };
	memcpy(h.pool_uuid, pool_uuid, sizeof h.pool_uuid);
	buf_put(&table, &h, sizeof h);
	arena_each(r->arena, put_entry, &table);
	region_free(r);
	if (table.failed)
		return -ENOMEM;
	h.entries = (table.len - sizeof h) / sizeof(struct cache_table_entry);
	h.sum = table_sum(&h, table.data + sizeof h, table.len - sizeof h);
	memcpy(table.data, &h, sizeof h);
	return io_replace_file(dirfd, "table", table.data, table.len, 0600);
}

/* Bytes of one granule, up to the page that the last one is in. */
static int write_granule(struct cache_region *r, uint32_t granule, const uint8_t *data,
			 uint32_t len)
{
	uint8_t last[PAGE] = { 0 };
	uint32_t whole = len / PAGE * PAGE;
	off_t at = (off_t)granule * ARENA_GRANULE;
	int err = whole ? io_write(r->fd, data, whole, at) : 0;
	if (err < 0 || whole == len)
		return err;
	memcpy(last, data + whole, len - whole);
	return io_write(r->fd, last, sizeof last, at + whole);
}

int cache_region_fill(struct cache_region *r, struct arena_entry *e, const void *data)
{
	const uint8_t *from = data;
	uint64_t sum = 0;
	int err = 0;
	for (uint32_t at = 0; err == 0 && at < e->len; at += ARENA_GRANULE) {
		uint32_t n = e->len - at < ARENA_GRANULE ? e->len - at : ARENA_GRANULE;
		sum = checksum64_seeded(from + at, n, sum);
		err = write_granule(r, e->granules[at / ARENA_GRANULE], from + at, n);
	}
	e->sum = sum;
	atomic_store(&e->trusted, err == 0);
	return err;
}

int cache_region_fill_from(struct cache_region *r, struct arena_entry *e, struct arena *from,
			   const struct arena_entry *source)
{
	uint64_t sum = 0;
	uint32_t n;
	int err = 0;
	for (uint32_t at = 0; err == 0 && at < e->len; at += n) {
		const uint8_t *bytes = arena_bytes(from, source, at, &n);
		sum = checksum64_seeded(bytes, n, sum);
		err = write_granule(r, e->granules[at / ARENA_GRANULE], bytes, n);
	}
	e->sum = sum;
	atomic_store(&e->trusted, err == 0);
	return err;
}

int cache_region_read(struct cache_region *r, const struct arena_entry *e, uint32_t at,
		      uint32_t len, void *out)
{
	guard.base = r->base;
	guard.bytes = r->bytes;
	if (sigsetjmp(guard.out, 0)) {
		guard.armed = 0;
		return -EIO;
	}
	guard.armed = 1;
	atomic_signal_fence(memory_order_seq_cst);
	arena_copy(r->arena, e, at, len, out);
	atomic_signal_fence(memory_order_seq_cst);
	guard.armed = 0;
	return 0;
}

int cache_region_verify(struct cache_region *r, const struct arena_entry *e)
{
	CLEANUP_FREE uint8_t *bytes = malloc(ARENA_GRANULE);
	uint64_t sum = 0;
	if (!bytes)
		return -ENOMEM;
	for (uint32_t at = 0; at < e->len; at += ARENA_GRANULE) {
		uint32_t n = e->len - at < ARENA_GRANULE ? e->len - at : ARENA_GRANULE;
		off_t where = (off_t)e->granules[at / ARENA_GRANULE] * ARENA_GRANULE;
		int err = io_read_exact(r->fd, bytes, n, where);
		if (err < 0)
			return err;
		sum = checksum64_seeded(bytes, n, sum);
	}
	return sum == e->sum ? 0 : -EUCLEAN;
}
