// SPDX-License-Identifier: MIT
/* digests_bed: a throw-away pool with its digests open, for their tests. */
#ifndef FOLDFS_DIGESTS_BED_H
#define FOLDFS_DIGESTS_BED_H
#include "kv_pool.h"
#include "digests.h"
#include "digests_format.h"
#include "prng.h"
#include <time.h>

#define SMALL_MEMORY ((size_t)256 << 10)

/* A pool with its digests open. */
struct bed {
	struct pool pool;
	struct kv *kv;
	struct digests *d;
	struct digests_options opt;
};

static inline void bed_open(struct bed *b)
{
	b->kv = pool_open(&b->pool);
	b->opt.index_dirfd = b->pool.index_fd;
	assert_int_equal(digests_open(b->kv, &b->opt, &b->d), 0);
}

static inline void bed_make(struct bed *b)
{
	*b = (struct bed){ .opt = { .memory_bytes = SMALL_MEMORY } };
	pool_make(&b->pool);
	bed_open(b);
}

static inline void bed_close(struct bed *b)
{
	assert_int_equal(digests_close(b->d), 0);
	assert_int_equal(kv_close(b->kv), 0);
}

/* Power fails: the files stay as they are now, memory is gone. */
static inline void bed_crash(struct bed *b)
{
	struct pool copy;
	pool_copy(&b->pool, &copy);
	bed_close(b);
	pool_remove(&b->pool);
	b->pool = copy;
	b->pool.opt.index_path = b->pool.index;
	b->pool.opt.on_failure_arg = &b->pool;
	bed_open(b);
}

static inline void bed_remove(struct bed *b)
{
	bed_close(b);
	pool_remove(&b->pool);
}

static inline void wait_for_filter(struct digests *d)
{
	struct digests_stats st;
	for (unsigned i = 0; i < 5000; i++) {
		digests_get_stats(d, &st);
		if (st.filter_ready)
			return;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	fail_msg("the filter does not get ready");
}

static inline struct digest digest_no(uint64_t n)
{
	struct digest d;
	digest_of(&n, sizeof n, &d);
	return d;
}

static inline uint64_t find(struct digests *d, uint64_t key)
{
	struct digest digest = digest_no(key);
	uint64_t id = 0;
	int r = digests_find(d, &digest, &id);
	assert_in_range(r, 0, 1);
	assert_true(r == (id != 0));
	return id;
}

static inline int add(struct digests *d, uint64_t key, uint64_t id)
{
	struct digest digest = digest_no(key);
	return digests_add(d, &digest, id);
}

static inline int drop(struct digests *d, uint64_t key, uint64_t id)
{
	struct digest digest = digest_no(key);
	return digests_remove(d, &digest, id);
}
#endif
