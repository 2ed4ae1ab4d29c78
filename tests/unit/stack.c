// SPDX-License-Identifier: MIT
#include "stack.h"
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

static int open_dir(const char *dir, const char *name)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	mkdir(path, 0700);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

void stack_make(struct stack *st)
{
	*st = (struct stack){
		.verify_age_s = 1000,
		.workers = 2,
		.level = 1,
		.chunker = CHUNKER_DEFAULT,
	};
	const char *tmp = getenv("TMPDIR");
	snprintf(st->dir, sizeof st->dir, "%.40s/foldfs-stack-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(st->dir));
	st->index_fd = open_dir(st->dir, "index");
	st->wal_fd = open_dir(st->dir, "wal");
	st->packs_fd = open_dir(st->dir, "packs");
	for (unsigned i = 0; i < STACK_LOCKS; i++)
		pthread_mutex_init(&st->ino_locks[i], NULL);
}

static void engine_failed(void *arg, int err, const char *what)
{
	struct stack *st = arg;
	(void)err;
	(void)what;
	__atomic_add_fetch(&st->failures, 1, __ATOMIC_SEQ_CST);
}

static int open_index(struct stack *st)
{
	char index[128];
	struct kv_recovery rec;
	snprintf(index, sizeof index, "%s/index", st->dir);
	struct kv_options ko = {
		.index_dirfd = st->index_fd,
		.wal_dirfd = st->wal_fd,
		.index_path = index,
		.pool_uuid = "stack test uuid",
		.sync_interval_ms = st->sync_interval_ms,
		.wal_segment_bytes = 1 << 20,
		.on_failure = engine_failed,
		.on_failure_arg = st,
	};
	struct digests_options dopt = { .memory_bytes = 1 << 20, .index_dirfd = st->index_fd };
	int r = kv_open(&ko, &st->kv, &rec);
	if (r == 0)
		r = extents_open(st->kv, &st->x);
	if (r == 0)
		r = digests_open(st->kv, &dopt, &st->digests);
	return r;
}

static int open_store(struct stack *st)
{
	struct packs_options po = {
		.dirfd = st->packs_fd,
		.kv = st->kv,
		.pool_uuid = "stack test uuid",
		.target_bytes = st->pack_bytes ? st->pack_bytes : 4 << 20,
	};
	struct cache_options co = { .dirfd = -1, .ring_bytes = st->no_cache ? 256 << 10 : 0 };
	int r = packs_open(&po, &st->packs);
	if (r == 0)
		r = cache_open(&co, &st->cache);
	if (r == 0)
		r = chunks_open(st->kv, st->packs, st->cache, &st->chunks);
	struct rotten_options ro = {
		.kv = st->kv,
		.packs = st->packs,
		.chunks = st->chunks,
		.level = st->level,
	};
	if (r == 0)
		r = rotten_open(&ro, &st->rotten);
	struct packer_options pko = {
		.rotten = st->rotten,
		.extents = st->x,
		.packs = st->packs,
		.chunks = st->chunks,
		.digests = st->digests,
		.level = st->level,
		.verify_age_s = st->verify_age_s,
		.stream = PACK_STREAM_NEW,
	};
	if (r == 0)
		r = packer_open(&pko, &st->packer);
	return r;
}

static int open_workers(struct stack *st)
{
	struct destage_options dso = {
		.packer = st->packer,
		.chunker = st->chunker,
		.workers = st->workers,
	};
	int r = destage_open(&dso, &st->destage);
	struct gc_options go = {
		.extents = st->x,
		.packs = st->packs,
		.chunks = st->chunks,
		.digests = st->digests,
		.packer = st->packer,
		.destage = st->destage,
		.cache = st->cache,
		.rotten = st->rotten,
		.level = st->level,
		.min_live_percent = st->min_live_percent,
		.short_bytes = st->gc_short,
		.rate_bytes_per_s = st->gc_rate,
	};
	struct scrub_options so = {
		.kv = st->kv,
		.packs = st->packs,
		.packer = st->packer,
		.rotten = st->rotten,
		.packs_dirfd = st->packs_fd,
		.pool_uuid = "stack test uuid",
		.rate_bytes_per_s = st->scrub_rate,
	};
	if (r == 0)
		r = gc_open(&go, &st->gc);
	return r ? r : scrub_open(&so, &st->scrub);
}

int stack_try_open(struct stack *st)
{
	int r = open_index(st);
	if (r == 0)
		r = open_store(st);
	return r ? r : open_workers(st);
}

void stack_open(struct stack *st)
{
	assert_int_equal(stack_try_open(st), 0);
}

int stack_close(struct stack *st)
{
	scrub_close(st->scrub);
	gc_close(st->gc);
	destage_close(st->destage);
	int r = packer_close(st->packer), first = r;
	rotten_close(st->rotten);
	r = digests_close(st->digests);
	first = first ? first : r;
	chunks_close(st->chunks);
	cache_close(st->cache);
	r = packs_close(st->packs);
	first = first ? first : r;
	extents_close(st->x);
	r = kv_close(st->kv);
	return first ? first : r;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
	(void)s;
	(void)type;
	(void)ftw;
	return remove(path);
}

void stack_remove(struct stack *st)
{
	close(st->index_fd);
	close(st->wal_fd);
	close(st->packs_fd);
	for (unsigned i = 0; i < STACK_LOCKS; i++)
		pthread_mutex_destroy(&st->ino_locks[i]);
	nftw(st->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void stack_copy(const struct stack *from, struct stack *to)
{
	/* a crash freezes all at once; copying takes time, so what refers goes first: LMDB, the log,
	 * then the packs. A pack may be removed once the log says so: such a copy is made again. */
	static const char *const parts[] = { "index", "wal", "packs" };
	char cmd[512];
	stack_make(to);
	to->verify_age_s = from->verify_age_s;
	to->pack_bytes = from->pack_bytes;
	to->chunker = from->chunker;
	for (unsigned i = 0; i < 3; i++) {
		snprintf(cmd, sizeof cmd, "cp -a --sparse=auto '%s/%s/.' '%s/%s/' 2>&1", from->dir,
			 parts[i], to->dir, parts[i]);
		assert_int_equal(system(cmd), 0);
	}
}

/* ---- files ---- */

static pthread_mutex_t *ino_lock(struct stack *st, uint64_t ino)
{
	return &st->ino_locks[ino % STACK_LOCKS];
}

static int upload_read(struct destage_source *s, void *buf, size_t len, uint64_t at)
{
	struct upload *u = (struct upload *)s;
	if (u->read_error && at + len > u->fail_at)
		return u->read_error;
	memcpy(buf, u->data + at, len);
	return 0;
}

static int upload_commit(struct destage_source *s, uint64_t at, uint64_t len,
			 const struct piece *pieces, size_t n)
{
	struct upload *u = (struct upload *)s;
	struct inode_row row;
	if (u->commit_error && at + len > u->fail_at)
		return u->commit_error;
	u->pieces += n;
	u->windows++;
	SCOPED_LOCK(ino_lock(u->st, u->ino));
	int r = inode_row_get(u->st->kv, u->ino, &row);
	if (r == -ENOENT) {
		row = (struct inode_row){ .ino = u->ino, .mode = S_IFREG | 0600, .nlink = 1 };
		r = 0;
	}
	struct change *c = change_new(u->st->x);
	if (r == 0)
		r = extents_replace(c, &row, at, len, pieces, n);
	if (r < 0) {
		change_drop(c);
		return r;
	}
	if (row.size < at + len)
		row.size = at + len;
	inode_row_put(change_batch(c), &row);
	return change_commit(c, NULL);
}

static void upload_done(struct destage_source *s, int err)
{
	struct upload *u = (struct upload *)s;
	u->result = err;
	__atomic_add_fetch(&u->done, 1, __ATOMIC_SEQ_CST);
}

void upload_start(struct upload *u, struct stack *st, uint64_t ino, const void *data, size_t len)
{
	u->st = st;
	u->ino = ino;
	u->data = data;
	u->s.at = 0;
	u->s.len = len;
	u->s.read = u->read ? u->read : upload_read;
	u->s.commit = upload_commit;
	u->s.done = upload_done;
	u->done = 0;
	u->result = 1;
	destage_start(st->destage, &u->s);
}

int file_store(struct stack *st, uint64_t ino, const void *data, size_t len)
{
	struct upload u = { 0 };
	upload_start(&u, st, ino, data, len);
	destage_flush(st->destage);
	assert_int_equal(u.done, 1);
	return u.result;
}

void file_delete(struct stack *st, uint64_t ino)
{
	struct inode_row row;
	SCOPED_LOCK(ino_lock(st, ino));
	int more;
	assert_int_equal(inode_row_get(st->kv, ino, &row), 0);
	do {
		struct change *c = change_new(st->x);
		more = extents_free_some(c, &row, 100);
		assert_true(more >= 0);
		if (more)
			inode_row_put(change_batch(c), &row);
		else
			inode_row_delete(change_batch(c), ino);
		assert_int_equal(change_commit(c, NULL), 0);
	} while (more);
}

int file_compare(struct stack *st, uint64_t ino, const void *data, size_t len)
{
	struct inode_row row;
	struct map_vec map = { 0 };
	CLEANUP_FREE uint8_t *got = malloc(len + 1);
	pthread_mutex_lock(ino_lock(st, ino)); /* a map that is replaced meanwhile is none */
	int r = inode_row_get(st->kv, ino, &row);
	bool same_size = r == 0 && row.size == len;
	if (same_size)
		r = extents_map(st->x, &row, 0, len, &map);
	pthread_mutex_unlock(ino_lock(st, ino));
	if (r == 0 && !same_size)
		return 1;
	if (r == 0)
		r = chunks_read_map(st->chunks, &map, 0, len, got);
	map_vec_done(&map);
	return r ? r : memcmp(got, data, len) != 0;
}

uint64_t file_chunk(struct stack *st, uint64_t ino, uint64_t at)
{
	struct inode_row row;
	struct map_vec map = { 0 };
	assert_int_equal(inode_row_get(st->kv, ino, &row), 0);
	assert_int_equal(extents_map(st->x, &row, at, 1, &map), 0);
	uint64_t id = map.n ? map.v[0].piece.chunk : 0;
	map_vec_done(&map);
	return id;
}

/* ---- looking behind ---- */

uint64_t count_rows(struct stack *st, enum kv_table t)
{
	struct kv_iter *it = kv_iter_new(st->kv, t, "", 0, false);
	struct slice k, v;
	uint64_t n = 0;
	while (kv_iter_next(it, &k, &v) == 1)
		n++;
	kv_iter_free(it);
	return n;
}

void damage_chunk(struct stack *st, uint64_t id)
{
	struct frame_row row;
	uint32_t at, left;
	char path[160];
	uint8_t bytes[64];
	assert_int_equal(chunk_find(st->kv, id, 0, &row, &at, &left), 0);
	snprintf(path, sizeof path, "%s/packs/%016llx.pack", st->dir, (unsigned long long)row.pack);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	/* from the payload's first quarter on: beyond the head */
	uint64_t head = sizeof(struct frame_header) + row.n * sizeof(struct chunk_entry);
	uint64_t payload = row.stored_len - head;
	for (uint64_t i = 0; i < payload; i += 1024) {
		uint64_t n = payload - i < sizeof bytes ? payload - i : sizeof bytes;
		assert_int_equal(io_read_exact(fd, bytes, n, (off_t)(row.offset + head + i)), 0);
		for (uint64_t b = 0; b < n; b++)
			bytes[b] ^= 0xff;
		assert_int_equal(pwrite(fd, bytes, n, (off_t)(row.offset + head + i)), n);
	}
	close(fd);
	cache_forget_pack(st->cache, row.pack);
	frame_row_done(&row);
}

struct ageing {
	struct kv_batch *batch;
	int64_t when;
};

static int age_one(void *arg, const struct pack_row *row)
{
	struct ageing *a = arg;
	struct pack_row older = *row;
	older.created = older.verified = a->when;
	pack_put(a->batch, &older);
	return 0;
}

void age_packs(struct stack *st, int64_t seconds)
{
	struct ageing a = { kv_batch_new(), clock_wall_ns() / 1000000000 - seconds };
	assert_int_equal(packs_each(st->packs, age_one, &a), 0);
	assert_int_equal(kv_commit(st->kv, a.batch, NULL), 0);
}

void check_rows(struct stack *st)
{
	struct kv_iter *it = kv_iter_new(st->kv, KV_CHUNK, "", 0, false);
	struct slice k, v;
	uint64_t last = 0;
	uint16_t last_part = 0;
	while (kv_iter_next(it, &k, &v) == 1) {
		struct frame_row row;
		CLEANUP_FREE struct chunk_entry *entries = NULL;
		uint32_t n;
		assert_int_equal(frame_decode_row(k, v, &row), 0);
		assert_true(row.n > 0);
		assert_true(row.chunks[0].id > last ||
			    (row.chunks[0].id == last && row.part == last_part + 1));
		last = row.chunks[row.n - 1].id;
		last_part = row.part;
		for (uint32_t i = 1; i < row.n; i++)
			assert_true(row.chunks[i].id > row.chunks[i - 1].id);
		assert_int_equal(chunks_frame_digests(st->chunks, row.chunks[0].id, &entries, &n),
				 0);
		if (!row.part)
			assert_int_equal(n, row.n);
		struct pack_row pack;
		assert_int_equal(pack_get(st->kv, row.pack, &pack), 0);
		assert_int_not_equal(pack.state, PACK_DOOMED);
		frame_row_done(&row);
	}
	kv_iter_free(it);
}
