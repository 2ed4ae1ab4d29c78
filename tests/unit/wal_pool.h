// SPDX-License-Identifier: MIT
/* wal_pool: pools whose log was left by a crash, and what an open says of one whose files are altered. */
#ifndef FOLDFS_TEST_WAL_POOL_H
#define FOLDFS_TEST_WAL_POOL_H
#include "kv_pool.h"
#include "wal_format.h"
#include "wal_segment.h"

/* Batch i puts "i" -> i in one table and the row "last" -> i in another. */
static inline int commit_number(struct kv *kv, uint64_t i, uint64_t *ret_lsn)
{
	struct kv_batch *b = kv_batch_new();
	uint8_t key[8], val[200] = { 0 };
	put_be64(key, i);
	put_le64(val, i);
	kv_batch_put(b, KV_SEGMENT, key, sizeof key, val, 8 + i * 29 % 190);
	kv_batch_put(b, KV_META, "last", 4, val, 8);
	return kv_commit(kv, b, ret_lsn);
}

/* The state must be the one after some batch n; returns n. */
static inline uint64_t assert_prefix(struct kv *kv)
{
	CLEANUP_BUF struct buf last = { 0 };
	struct slice k, v;
	uint64_t n = 0, want = 0;
	if (kv_get(kv, KV_META, "last", 4, &last) == 0)
		want = get_le64(last.data);
	struct kv_iter *it = kv_iter_new(kv, KV_SEGMENT, NULL, 0, false);
	while (kv_iter_next(it, &k, &v) > 0) {
		n++;
		assert_int_equal(get_be64(k.at), n);
		assert_int_equal(get_le64(v.at), n);
	}
	kv_iter_free(it);
	assert_int_equal(n, want);
	assert_int_equal(n, kv_last_lsn(kv));
	return n;
}

struct segment_file {
	char path[128];
	uint64_t seq, first_lsn;
	uint8_t *data;
	size_t len;
};

/* The log's segments with a header, in order. */
static inline size_t read_log(struct pool *p, struct segment_file *files, size_t max)
{
	size_t n = 0;
	for (uint64_t seq = 1; seq < 200 && n < max; seq++) {
		char name[WAL_NAME_SIZE];
		struct segment_file *f = &files[n];
		struct wal_segment_header h;
		void *data;
		wal_segment_name(seq, name);
		if (io_slurp(p->wal_fd, name, WAL_SEGMENT_MAX, &data, &f->len))
			continue;
		if (wal_header_parse(data, f->len, seq, &h) != WAL_HEADER_VALID) {
			free(data);
			continue;
		}
		snprintf(f->path, sizeof f->path, "%s/%s", p->wal, name);
		f->seq = seq;
		f->first_lsn = h.first_lsn;
		f->data = data;
		n++;
	}
	return n;
}

static inline void free_log(struct segment_file *files, size_t n)
{
	while (n)
		free(files[--n].data);
}

static inline void write_file(const char *path, const void *data, size_t len)
{
	CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(io_write(fd, data, len, 0), 0);
}

static inline void write_new_file(const char *path, const void *data, size_t len)
{
	CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(io_write(fd, data, len, 0), 0);
}

/* Frames of a segment, notes too: offsets of each and of the end. */
static inline size_t frame_offsets(const struct segment_file *f, size_t *ret_at, size_t max)
{
	size_t at = WAL_FRAMES_AT, n = 0;
	while (at + sizeof(struct wal_frame_header) < f->len && get_le32(f->data + at) && n < max) {
		ret_at[n++] = at;
		at += wal_frame_size(get_le32(f->data + at + 4));
	}
	ret_at[n] = at;
	return n;
}

#define NO_NOTES 1000000u

/* A copy of a pool with `n` batches, each synced on its own, crashed before its checkpoint. */
static inline void crashed_pool(struct pool *p, uint64_t n, bool sync_each)
{
	struct pool live;
	pool_make(&live);
	live.opt.wal_note_ms = NO_NOTES;
	struct kv *kv = pool_open(&live);
	for (uint64_t i = 1; i <= n; i++) {
		assert_int_equal(commit_number(kv, i, NULL), 0);
		if (sync_each || i == n / 2)
			assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
	}
	assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
	pool_copy(&live, p);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&live);
}

/* Opens a throw-away copy whose segment has these bytes. Returns kv_open's result and, when it is
 * good, in *ret_n how many batches there are; commits go on in it and survive another crash. */
static inline int open_altered(const struct pool *base, const struct segment_file *f,
			       const void *data, size_t len, bool read_only, uint64_t *ret_n,
			       struct kv_recovery *ret_rec)
{
	struct pool p, again;
	struct kv *kv;
	char path[128];
	pool_copy(base, &p);
	snprintf(path, sizeof path, "%s%s", p.wal, strrchr(f->path, '/'));
	write_file(path, data, len);
	p.opt.read_only = read_only;
	int r = kv_open(&p.opt, &kv, ret_rec);
	if (r == 0) {
		*ret_n = assert_prefix(kv);
		if (!read_only) {
			assert_int_equal(commit_number(kv, *ret_n + 1, NULL), 0);
			assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
			pool_copy(&p, &again);
			struct kv *kv2 = pool_open(&again);
			assert_int_equal(assert_prefix(kv2), *ret_n + 1);
			assert_int_equal(kv_close(kv2), 0);
			pool_remove(&again);
		}
		assert_int_equal(kv_close(kv), 0);
	}
	pool_remove(&p);
	return r;
}
#endif
