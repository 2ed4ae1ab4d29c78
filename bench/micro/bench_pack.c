// SPDX-License-Identifier: MIT
/* bench_pack [MIB [DIR]]: a file of that many MiB (default 512) of 64 KiB chunks, four to a frame,
 * once incompressible (raw frames) and once compressible (zstd 3), in a new directory under DIR.
 * Wall-clock MiB/s (in brackets: per second of this thread's CPU time) of appending sealed frames, of pack_sync(), and of chunks_read_map() in requests of
 * 1 MiB and 128 KiB in sequence and of 4 KiB at random; cold (the packs' pages dropped, an empty
 * cache) and warm (the same again, with a region that holds it all). One thread; then warm reads, and sealing
 * and appending, by threads: half a second of it for each number of threads stays on the disk until the end. */
#include "chunks.h"
#include "cleanup.h"
#include "clock.h"
#include "in_threads.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define CHUNK (64u * 1024)
#define PER_FRAME (FRAME_DECODED_MAX / CHUNK)
#define RANDOM_READS 20000u

struct bench {
	char dir[512], index[520], wal[520], packs_dir[520], cache_dir[520];
	int index_fd, wal_fd, packs_fd, cache_fd;
	struct kv *kv;
	struct packs *packs;
	struct cache *cache;
	struct chunks *chunks;
	uint64_t mib, chunks_n;
	struct map_vec map; /* of the request at hand */
	uint8_t *out;
};

struct span {
	uint64_t wall, cpu;
};

static struct span now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (struct span){ clock_mono_ns(),
			      (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec };
}

/* `amount` per second since then, worded. */
static const char *rate(double amount, struct span since)
{
	static char text[8][48];
	static unsigned turn;
	struct span t = now();
	char *s = text[turn++ % 8];
	snprintf(s, sizeof *text, "%.0f (%.0f)", amount * 1e9 / (double)(t.wall - since.wall + 1),
		 amount * 1e9 / (double)(t.cpu - since.cpu + 1));
	return s;
}

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(-r));
	exit(1);
}

static int dir_make(const char *parent, const char *name, char path[520])
{
	snprintf(path, 520, "%s/%s", parent, name);
	must(mkdir(path, 0700) ? -errno : 0, path);
	int fd = open(path, O_RDONLY | O_DIRECTORY);
	must(fd < 0 ? -errno : 0, path);
	return fd;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void bench_open(struct bench *b, const char *under)
{
	struct kv_recovery rec;
	snprintf(b->dir, sizeof b->dir, "%s/bench-pack-XXXXXX", under);
	must(mkdtemp(b->dir) ? 0 : -errno, b->dir);
	b->index_fd = dir_make(b->dir, "i", b->index);
	b->wal_fd = dir_make(b->dir, "w", b->wal);
	b->packs_fd = dir_make(b->dir, "p", b->packs_dir);
	b->cache_fd = dir_make(b->dir, "c", b->cache_dir);
	struct kv_options kv = { .index_dirfd = b->index_fd,
				 .wal_dirfd = b->wal_fd,
				 .index_path = b->index,
				 .sync_interval_ms = 1000 };
	must(kv_open(&kv, &b->kv, &rec), "index");
	struct packs_options packs = { .dirfd = b->packs_fd, .kv = b->kv };
	must(packs_open(&packs, &b->packs), "packs");
	b->out = malloc(1 << 20);
	b->map.v = calloc(64, sizeof *b->map.v);
}

static void bench_close(struct bench *b)
{
	must(packs_close(b->packs), "packs");
	must(kv_close(b->kv), "index");
	map_vec_done(&b->map);
	free(b->out);
	nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A cache that holds nothing (its region, if any, is new). */
static void cache_renew(struct bench *b, bool region)
{
	chunks_close(b->chunks);
	cache_close(b->cache);
	unlinkat(b->cache_fd, "table", 0);
	struct cache_options opt = { .dirfd = b->cache_fd,
				     .region_bytes = region ? b->mib * 5 / 4 << 20 : 0 };
	must(cache_open(&opt, &b->cache), "cache");
	must(chunks_open(b->kv, b->packs, b->cache, &b->chunks), "chunks");
}

static void drop_pages(struct bench *b)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir(b->packs_dir);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		CLEANUP_CLOSE int fd = openat(b->packs_fd, e->d_name, O_RDONLY);
		if (fd >= 0 && e->d_name[0] != '.')
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
}

/* Noise, or words as text has them. */
static void fill(uint8_t *to, uint64_t seed, bool compressible)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
	for (uint32_t i = 0; i < CHUNK;) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		uint64_t word = x % 64 < 32 ? x % 1024 : x % 16384;
		uint32_t len = compressible ? 3 + word % 7 : 8;
		uint64_t letters = word * 0x9e3779b97f4a7c15u;
		for (uint32_t j = 0; j < len && i < CHUNK; j++, i++)
			to[i] = compressible ? (uint8_t)('a' + (letters >> 5 * j) % 26)
					     : (uint8_t)(x >> 8 * j);
		if (compressible && i < CHUNK)
			to[i++] = ' ';
	}
}

static void append_all(struct bench *b, uint64_t first, int level)
{
	struct frame_builder *fb;
	struct frame_chunk chunks[PER_FRAME];
	struct frame_row row;
	uint8_t *data = malloc(CHUNK);
	uint64_t stored = 0;
	struct span t = now();
	must(frame_builder_new(&fb), "frame");
	uint64_t sealing = 0, appending = 0;
	for (uint64_t id = first; id < first + b->chunks_n; id += PER_FRAME) {
		frame_builder_reset(fb);
		for (uint32_t i = 0; i < PER_FRAME; i++) {
			struct digest d = { { 1 } };
			fill(data, id + i, level);
			frame_add(fb, id + i, &d, data, CHUNK);
		}
		t = now();
		must(frame_seal(fb, level), "seal");
		sealing += now().cpu - t.cpu;
		struct kv_batch *batch = kv_batch_new();
		t = now();
		must(pack_append(b->packs, PACK_STREAM_NEW, fb, batch, chunks, &row), "append");
		chunk_put_frame(batch, &row);
		must(kv_commit(b->kv, batch, NULL), "commit");
		appending += now().cpu - t.cpu;
		stored += row.stored_len;
	}
	t = now();
	must(pack_sync(b->packs), "sync");
	double mib = (double)b->mib, stored_mib = (double)stored / (1 << 20);
	printf("%s  seal (%.0f)  append (%.0f) of the %.0f MiB stored  sync %s MiB/s\n",
	       level ? "zstd" : "raw ", mib * 1e9 / (double)sealing,
	       stored_mib * 1e9 / (double)appending, stored_mib, rate(stored_mib, t));
	frame_builder_free(fb);
	free(data);
}

static void read_at(struct bench *b, uint64_t first, uint64_t at, uint32_t len)
{
	b->map.n = 0;
	for (uint64_t pos = at / CHUNK * CHUNK; pos < at + len; pos += CHUNK)
		b->map.v[b->map.n++] = (struct mapped){ pos, { first + pos / CHUNK, CHUNK, 0, 1 } };
	must(chunks_read_map(b->chunks, &b->map, at, len, b->out), "read");
}

static const char *sequential(struct bench *b, uint64_t first, uint32_t len)
{
	struct span t = now();
	for (uint64_t at = 0; at < b->mib << 20; at += len)
		read_at(b, first, at, len);
	return rate((double)b->mib, t);
}

/* As a filesystem would: while one MiB is read the one after the next is asked for. */
static const char *sequential_ahead(struct bench *b, uint64_t first, uint32_t len)
{
	struct span t = now();
	struct mapped v[2 * (1 << 20) / CHUNK];
	for (uint64_t at = 0; at < b->mib << 20; at += len) {
		struct map_vec ahead = { .v = v };
		uint64_t from = at + (1 << 20);
		for (uint64_t pos = from;
		     at % (1 << 20) == 0 && pos < from + (1 << 20) && pos < b->mib << 20;
		     pos += CHUNK)
			v[ahead.n++] = (struct mapped){ pos, { first + pos / CHUNK, CHUNK, 0, 1 } };
		chunks_prefetch(b->chunks, &ahead);
		read_at(b, first, at, len);
	}
	return rate((double)b->mib, t);
}

static const char *at_random(struct bench *b, uint64_t first, unsigned n)
{
	uint64_t x = 88172645463325252u;
	struct span t = now();
	for (unsigned i = 0; i < n; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		read_at(b, first, x % (b->mib << 8) * 4096, 4096);
	}
	return rate(n, t);
}

static void read_all(struct bench *b, uint64_t first, const char *name)
{
	const uint32_t lens[] = { 1 << 20, 128 << 10 };
	for (unsigned i = 0; i < 2; i++) {
		cache_renew(b, true);
		drop_pages(b);
		const char *cold = sequential(b, first, lens[i]);
		const char *second = sequential(b, first, lens[i]);
		sequential(b, first, lens[i]);
		const char *warm = sequential(b, first, lens[i]);
		printf("%s  sequential %4u KiB: cold %s  second %s  warm %s MiB/s\n", name,
		       lens[i] >> 10, cold, second, warm);
	}
	const char *warm = at_random(b, first, RANDOM_READS);
	cache_renew(b, false);
	drop_pages(b);
	printf("%s  sequential  128 KiB with read-ahead: cold %s MiB/s\n", name,
	       sequential_ahead(b, first, 128 << 10));
	cache_renew(b, false);
	drop_pages(b);
	const char *cold = at_random(b, first, RANDOM_READS / 20);
	sequential(b, first, 1 << 20);
	const char *pages = at_random(b, first, RANDOM_READS / 4);
	printf("%s  random 4 KiB: cold %s  pages warm, ring only %s  cache warm %s per second\n",
	       name, cold, pages, warm);
}

struct shared {
	struct bench *b;
	uint64_t first; /* of the chunks to be read */
	uint32_t len;	/* of a request */
	int level;
	_Atomic uint64_t next; /* id of the next chunk to be appended */
};

static double read_some(void *arg, struct in_threads_own *own)
{
	struct shared *s = arg;
	uint64_t requests = (s->b->mib << 20) / s->len;
	CLEANUP_FREE uint8_t *out = malloc(s->len);
	for (unsigned i = 0; i < 64; i++) {
		struct mapped v[4];
		struct map_vec map = { .v = v };
		uint64_t at = own->at++ * 0x9e3779b97f4a7c15u % requests * s->len;
		for (uint64_t pos = at / CHUNK * CHUNK; pos < at + s->len; pos += CHUNK)
			v[map.n++] =
				(struct mapped){ pos, { s->first + pos / CHUNK, CHUNK, 0, 1 } };
		must(chunks_read_map(s->b->chunks, &map, at, s->len, out), "read");
	}
	return s->len == 4096 ? 64 : 64.0 * s->len / (1 << 20);
}

static double append_some(void *arg, struct in_threads_own *own)
{
	struct shared *s = arg;
	struct frame_builder *fb;
	struct digest d = { { 1 } };
	CLEANUP_FREE uint8_t *data = malloc(FRAME_DECODED_MAX);
	must(frame_builder_new(&fb), "frame");
	for (unsigned k = 0; k < PER_FRAME; k++)
		fill(data + k * CHUNK, ++own->at, s->level);
	for (unsigned i = 0; i < 16; i++) {
		struct frame_chunk chunks[PER_FRAME];
		struct frame_row row;
		uint64_t id = atomic_fetch_add(&s->next, PER_FRAME);
		frame_builder_reset(fb);
		for (uint32_t k = 0; k < PER_FRAME; k++)
			frame_add(fb, id + k, &d, data + k * CHUNK, CHUNK);
		must(frame_seal(fb, s->level), "seal");
		struct kv_batch *batch = kv_batch_new();
		must(pack_append(s->b->packs, PACK_STREAM_NEW, fb, batch, chunks, &row), "append");
		chunk_put_frame(batch, &row);
		must(kv_commit(s->b->kv, batch, NULL), "commit");
	}
	frame_builder_free(fb);
	return 16.0 * PER_FRAME * CHUNK / (1 << 20);
}

static void by_threads(struct bench *b, int level, const char *name)
{
	struct shared s = { .b = b, .first = 1 + (level ? b->chunks_n : 0), .level = level };
	char what[64];
	s.next = 1 + 2 * b->chunks_n + (level ? UINT64_C(1) << 40 : 0);
	cache_renew(b, true);
	for (unsigned i = 0; i < 3; i++)
		sequential(b, s.first, 1 << 20);
	s.len = 128 << 10;
	snprintf(what, sizeof what, "%s read 128 KiB, warm, by threads", name);
	in_threads(what, "MiB/s", read_some, &s);
	s.len = 4096;
	snprintf(what, sizeof what, "%s read 4 KiB, warm, by threads", name);
	in_threads(what, "/s", read_some, &s);
	snprintf(what, sizeof what, "%s seal and append, by threads", name);
	in_threads(what, "MiB/s", append_some, &s);
	must(pack_sync(b->packs), "sync");
}

int main(int argc, char **argv)
{
	struct bench b = { .mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 512 };
	b.chunks_n = (b.mib << 20) / CHUNK;
	log_set_level(LOG_LEVEL_ERROR);
	bench_open(&b, argc > 2 ? argv[2] : ".");
	append_all(&b, 1, 0);
	append_all(&b, 1 + b.chunks_n, 3);
	must(kv_sync(b.kv, UINT64_MAX), "index");
	read_all(&b, 1, "raw ");
	read_all(&b, 1 + b.chunks_n, "zstd");
	by_threads(&b, 0, "raw ");
	by_threads(&b, 3, "zstd");
	chunks_close(b.chunks);
	cache_close(b.cache);
	bench_close(&b);
	return 0;
}
