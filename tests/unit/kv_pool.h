// SPDX-License-Identifier: MIT
/* kv_pool: throw-away index/ and wal/ directories for the engine's tests. */
#ifndef FOLDFS_TEST_KV_POOL_H
#define FOLDFS_TEST_KV_POOL_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "cleanup.h"
#include "fault.h"
#include "io.h"
#include "kv.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct pool {
	char dir[64], index[80], wal[80];
	int index_fd, wal_fd;
	struct kv_options opt;
	struct kv_recovery rec;
	int failures, failure_err;
};

static inline void pool_failed(void *arg, int err, const char *what)
{
	struct pool *p = arg;
	(void)what;
	p->failure_err = err;
	__atomic_add_fetch(&p->failures, 1, __ATOMIC_SEQ_CST);
}

static inline void pool_make(struct pool *p)
{
	*p = (struct pool){ 0 };
	const char *tmp = getenv("TMPDIR");
	snprintf(p->dir, sizeof p->dir, "%.40s/foldfs-kv-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->index, sizeof p->index, "%s/index", p->dir);
	snprintf(p->wal, sizeof p->wal, "%s/wal", p->dir);
	assert_int_equal(mkdir(p->index, 0700), 0);
	assert_int_equal(mkdir(p->wal, 0700), 0);
	p->index_fd = open(p->index, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p->wal_fd = open(p->wal, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p->index_fd >= 0 && p->wal_fd >= 0);
	p->opt = (struct kv_options){
		.index_dirfd = p->index_fd,
		.wal_dirfd = p->wal_fd,
		.index_path = p->index,
		.pool_uuid = "test pool uuid.",
		.wal_segment_bytes = 256 << 10,
		.on_failure = pool_failed,
		.on_failure_arg = p,
	};
}

static inline int pool_remove_one(const char *path, const struct stat *st, int type,
				  struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void pool_remove(struct pool *p)
{
	close(p->index_fd);
	close(p->wal_fd);
	nftw(p->dir, pool_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline struct kv *pool_open(struct pool *p)
{
	struct kv *kv = NULL;
	assert_int_equal(kv_open(&p->opt, &kv, &p->rec), 0);
	return kv;
}

static inline int pool_try_open(struct pool *p)
{
	struct kv *kv = NULL;
	int r = kv_open(&p->opt, &kv, &p->rec);
	if (r == 0)
		kv_close(kv);
	return r;
}

static inline void pool_copy_dir(const char *from, const char *to)
{
	char cmd[256];
	snprintf(cmd, sizeof cmd, "cp -a --sparse=auto '%s/.' '%s/'", from, to);
	assert_int_equal(system(cmd), 0);
}

/* A second pool with the first one's files as they are at this moment. The log is copied after the
 * index: a crash freezes both at once, and an index newer than the log would be no crash. */
static inline void pool_copy(const struct pool *from, struct pool *to)
{
	pool_make(to);
	pool_copy_dir(from->index, to->index);
	pool_copy_dir(from->wal, to->wal);
	to->opt.sync_interval_ms = from->opt.sync_interval_ms;
	to->opt.wal_backend = from->opt.wal_backend;
	to->opt.wal_compress = from->opt.wal_compress;
}

static inline int put1(struct kv *kv, enum kv_table t, const char *key, const char *val,
		       uint64_t *ret_lsn)
{
	struct kv_batch *b = kv_batch_new();
	kv_batch_put(b, t, key, strlen(key), val, strlen(val));
	return kv_commit(kv, b, ret_lsn);
}

static inline int del1(struct kv *kv, enum kv_table t, const char *key)
{
	struct kv_batch *b = kv_batch_new();
	kv_batch_delete(b, t, key, strlen(key));
	return kv_commit(kv, b, NULL);
}

static inline void assert_row(struct kv *kv, enum kv_table t, const char *key, const char *val)
{
	CLEANUP_BUF struct buf b = { 0 };
	int r = kv_get(kv, t, key, strlen(key), &b);
	if (!val) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(b.len, strlen(val));
	assert_memory_equal(b.data, val, b.len);
}
#endif
