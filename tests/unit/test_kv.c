// SPDX-License-Identifier: MIT
/* The engine against a plain array: random batches, checkpoints, reopenings, scans both ways. */
#include "kv_pool.h"
#include "base_verify.h"

static void a_row_survives_everything_ordinary(void **state)
{
	(void)state;
	struct pool p;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	uint64_t lsn;
	assert_int_equal(put1(kv, KV_INODE, "one", "1", &lsn), 0);
	assert_int_equal(lsn, 1);
	assert_row(kv, KV_INODE, "one", "1");
	assert_row(kv, KV_DIRENT, "one", NULL);
	assert_int_equal(kv_sync(kv, lsn), 0);
	assert_int_equal(kv_durable_lsn(kv), 1);
	assert_int_equal(kv_checkpoint(kv), 0);
	assert_row(kv, KV_INODE, "one", "1");
	assert_int_equal(put1(kv, KV_INODE, "one", "2", NULL), 0);
	assert_int_equal(put1(kv, KV_INODE, "two", "", NULL), 0);
	assert_row(kv, KV_INODE, "one", "2");
	assert_int_equal(kv_close(kv), 0);
	kv = pool_open(&p);
	assert_int_equal(p.rec.frames_replayed, 0);
	assert_int_equal(kv_last_lsn(kv), 3);
	assert_row(kv, KV_INODE, "one", "2");
	assert_row(kv, KV_INODE, "two", "");
	assert_int_equal(del1(kv, KV_INODE, "one"), 0);
	assert_row(kv, KV_INODE, "one", NULL);
	assert_int_equal(kv_checkpoint(kv), 0);
	assert_row(kv, KV_INODE, "one", NULL);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

static void limits_are_refused_at_commit(void **state)
{
	(void)state;
	struct pool p;
	static char big[KV_VALUE_MAX + 1];
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	CLEANUP_BUF struct buf val = { 0 };
	struct kv_batch *b = kv_batch_new();
	assert_true(kv_batch_empty(b));
	kv_batch_put(b, KV_INODE, "", 0, "", 0);
	assert_int_equal(kv_commit(kv, b, NULL), -EINVAL);
	b = kv_batch_new();
	kv_batch_put(b, KV_INODE, big, KV_KEY_MAX + 1, "", 0);
	assert_int_equal(kv_commit(kv, b, NULL), -EINVAL);
	b = kv_batch_new();
	kv_batch_put(b, KV_INODE, "k", 1, big, sizeof big);
	assert_int_equal(kv_commit(kv, b, NULL), -EINVAL);
	b = kv_batch_new();
	kv_batch_put(b, KV_INODE, big, KV_KEY_MAX, big, KV_VALUE_MAX);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	b = kv_batch_new(); /* a frame larger than several segments */
	for (char k = 'a'; k <= 'j'; k++)
		kv_batch_put(b, KV_INODE, &k, 1, big, KV_VALUE_MAX - (size_t)k);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(kv_commit(kv, kv_batch_new(), NULL), 0);
	assert_int_equal(kv_commit(kv, NULL, NULL), -ENOMEM);
	assert_int_equal(kv_last_lsn(kv), 2);
	assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
	b = kv_batch_new();
	for (int k = 0; k < 65; k++)
		kv_batch_put(b, KV_INODE, &k, sizeof k, big, KV_VALUE_MAX);
	assert_int_equal(kv_commit(kv, b, NULL), -E2BIG);
	assert_int_equal(kv_close(kv), 0);
	kv = pool_open(&p);
	assert_int_equal(kv_get(kv, KV_INODE, big, KV_KEY_MAX, &val), 0);
	assert_int_equal(val.len, KV_VALUE_MAX);
	assert_int_equal(kv_get(kv, KV_INODE, "j", 1, &val), 0);
	assert_int_equal(val.len, 2 * KV_VALUE_MAX - 'j');
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

static void a_clean_pool_has_no_log(void **state)
{
	(void)state;
	struct pool p;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	for (int i = 0; i < 3000; i++) {
		char key[32], val[300];
		snprintf(key, sizeof key, "key %d", i);
		snprintf(val, sizeof val, "%0299d", i);
		assert_int_equal(put1(kv, KV_XATTR, key, val, NULL), 0);
	}
	struct kv_stats s;
	kv_get_stats(kv, &s);
	assert_true(s.wal_bytes_on_disk > 0);
	assert_int_equal(kv_close(kv), 0);
	DIR *d = opendir(p.wal);
	for (struct dirent *e; (e = readdir(d));)
		assert_true(e->d_name[0] == '.');
	closedir(d);
	kv = pool_open(&p);
	kv_get_stats(kv, &s);
	assert_int_equal(s.rows[KV_XATTR], 3000);
	assert_int_equal(s.last_lsn, 3000);
	assert_int_equal(s.durable_lsn, 3000);
	assert_int_equal(s.checkpoint_lsn, 3000);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

static void read_only_changes_nothing(void **state)
{
	(void)state;
	struct pool p, crashed;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	put1(kv, KV_INODE, "a", "base", NULL);
	kv_checkpoint(kv);
	put1(kv, KV_INODE, "b", "log", NULL);
	assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
	pool_copy(&p, &crashed);
	crashed.opt.read_only = true;
	assert_int_equal(kv_close(kv), 0);
	char cmd[512];
	snprintf(cmd, sizeof cmd,
		 "cd %s && find . -type f -printf '%%p %%s %%T@ ' -exec md5sum {} ';'"
		 " | sort > %s/sums",
		 crashed.dir, p.dir);
	assert_int_equal(system(cmd), 0);
	kv = pool_open(&crashed);
	assert_int_equal(crashed.rec.frames_replayed, 1);
	assert_row(kv, KV_INODE, "a", "base");
	assert_row(kv, KV_INODE, "b", "log");
	assert_int_equal(put1(kv, KV_INODE, "c", "", NULL), -EROFS);
	assert_int_equal(kv_checkpoint(kv), -EROFS);
	assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
	assert_int_equal(kv_close(kv), 0);
	snprintf(cmd, sizeof cmd,
		 "cd %s && find . -type f -printf '%%p %%s %%T@ ' -exec md5sum {} ';'"
		 " | sort | cmp - %s/sums",
		 crashed.dir, p.dir);
	assert_int_equal(system(cmd), 0);
	pool_remove(&p);
	pool_remove(&crashed);
}

/* The model: value number per key, -1 for none; values are derived from the number. */
enum { KEYS = 600 };
struct model {
	int64_t val[KEYS];
};

static size_t model_key(unsigned i, uint8_t key[16])
{
	memset(key, 0, 16);
	put_be64(key, i / 10); /* groups, and keys of different lengths */
	key[8] = (uint8_t)(i % 10);
	return 9 + i % 3;
}

static size_t model_value(int64_t n, uint8_t *val)
{
	size_t len = (size_t)(n * 37 % 400);
	memset(val, (int)(n & 0xff), len);
	put_le64(val + len, (uint64_t)n);
	return len + 8;
}

static uint32_t rnd(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void model_commit(struct kv *kv, struct model *m, uint32_t *seed, int64_t *counter)
{
	struct kv_batch *b = kv_batch_new();
	unsigned n = 1 + rnd(seed) % 20;
	uint8_t key[16], val[512];
	for (unsigned i = 0; i < n; i++) {
		unsigned k = rnd(seed) % KEYS;
		size_t klen = model_key(k, key);
		if (rnd(seed) % 3 == 0) {
			kv_batch_delete(b, KV_EXTENT, key, klen);
			m->val[k] = -1;
		} else {
			m->val[k] = ++*counter;
			kv_batch_put(b, KV_EXTENT, key, klen, val, model_value(*counter, val));
		}
	}
	assert_int_equal(kv_commit(kv, b, NULL), 0);
}

static void expect_row(const struct model *m, unsigned k, struct slice key, struct slice val)
{
	uint8_t want_key[16], want_val[512];
	assert_int_equal(key.len, model_key(k, want_key));
	assert_memory_equal(key.at, want_key, key.len);
	assert_int_equal(val.len, model_value(m->val[k], want_val));
	assert_memory_equal(val.at, want_val, val.len);
}

static void expect_scan(struct kv *kv, const struct model *m, unsigned from, bool down)
{
	uint8_t key[16];
	struct slice k, v;
	size_t klen = model_key(from, key);
	struct kv_iter *it = kv_iter_new(kv, KV_EXTENT, key, klen, down);
	for (int i = (int)from; i >= 0 && i < KEYS; i += down ? -1 : 1) {
		if (m->val[i] < 0)
			continue;
		assert_int_equal(kv_iter_next(it, &k, &v), 1);
		expect_row(m, (unsigned)i, k, v);
	}
	assert_int_equal(kv_iter_next(it, &k, &v), 0);
	assert_int_equal(kv_iter_next(it, &k, &v), 0);
	kv_iter_free(it);
}

static void expect_gets(struct kv *kv, const struct model *m)
{
	uint8_t key[16];
	for (unsigned i = 0; i < KEYS; i++) {
		CLEANUP_BUF struct buf b = { 0 };
		size_t klen = model_key(i, key);
		int r = kv_get(kv, KV_EXTENT, key, klen, &b);
		assert_int_equal(r, m->val[i] < 0 ? -ENOENT : 0);
		if (r == 0)
			expect_row(m, i, slice_of(key, klen), slice_of(b.data, b.len));
	}
}

static void random_life(struct pool *p, uint32_t seed)
{
	struct model m;
	int64_t counter = 0;
	memset(&m, -1, sizeof m);
	p->opt.memtable_bytes = 24 << 10;
	struct kv *kv = pool_open(p);
	for (int i = 0; i < 1500; i++) {
		model_commit(kv, &m, &seed, &counter);
		switch (rnd(&seed) % 60) {
		case 0:
			assert_int_equal(kv_checkpoint(kv), 0);
			break;
		case 1:
			assert_int_equal(kv_close(kv), 0);
			kv = pool_open(p);
			break;
		case 2:
			assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
			break;
		case 3:
		case 4:
			expect_scan(kv, &m, rnd(&seed) % KEYS, rnd(&seed) & 1);
			break;
		case 5:
			expect_gets(kv, &m);
			break;
		default:
			break;
		}
	}
	expect_scan(kv, &m, 0, false);
	expect_scan(kv, &m, KEYS - 1, true);
	assert_int_equal(kv_close(kv), 0);
}

static void random_lives_match_the_model(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 4; seed++) {
		struct pool p;
		pool_make(&p);
		p.opt.wal_backend = seed & 1 ? KV_WAL_IO_URING : KV_WAL_STANDARD;
		p.opt.wal_compress = seed & 2;
		p.opt.sync_interval_ms = seed & 2 ? 5 : 0;
		random_life(&p, seed);
		pool_remove(&p);
	}
}

/* Rows change place (freeze, checkpoint) between the refills of one scan. */
static void scans_outlive_checkpoints(void **state)
{
	(void)state;
	struct pool p;
	struct model m;
	uint32_t seed = 9;
	int64_t counter = 0;
	memset(&m, -1, sizeof m);
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	for (int i = 0; i < 300; i++)
		model_commit(kv, &m, &seed, &counter);
	for (int down = 0; down < 2; down++) {
		struct slice k, v;
		struct kv_iter *it = kv_iter_new(kv, KV_EXTENT, NULL, 0, down);
		int n = 0;
		for (int i = down ? KEYS - 1 : 0; i >= 0 && i < KEYS; i += down ? -1 : 1) {
			if (m.val[i] < 0)
				continue;
			assert_int_equal(kv_iter_next(it, &k, &v), 1);
			expect_row(&m, (unsigned)i, k, v);
			if (n++ % 40 == 20) {
				assert_int_equal(put1(kv, KV_INODE, "other table", "", NULL), 0);
				assert_int_equal(kv_checkpoint(kv), 0);
			}
		}
		assert_int_equal(kv_iter_next(it, &k, &v), 0);
		kv_iter_free(it);
	}
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

static void scans_of_nothing_end(void **state)
{
	(void)state;
	struct pool p;
	struct slice k, v;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	put1(kv, KV_INODE, "m", "1", NULL);
	const struct {
		const char *from;
		bool down;
		int rows;
	} cases[] = { { "a", false, 1 }, { "m", false, 1 }, { "z", false, 0 }, { "", false, 1 },
		      { "a", true, 0 },	 { "m", true, 1 },  { "z", true, 1 },  { "", true, 0 } };
	for (int pass = 0; pass < 3; pass++) {
		for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
			struct kv_iter *it = kv_iter_new(kv, KV_INODE, cases[i].from,
							 strlen(cases[i].from), cases[i].down);
			int rows = 0;
			while (kv_iter_next(it, &k, &v) > 0)
				rows++;
			assert_int_equal(rows, pass == 2 ? 0 : cases[i].rows);
			kv_iter_free(it);
		}
		if (pass == 0)
			assert_int_equal(kv_checkpoint(kv), 0);
		else
			assert_int_equal(del1(kv, KV_INODE, "m"), 0);
	}
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

struct loading {
	uint64_t next, end;
	bool deleting;
	uint8_t key[16];
};

static int load_next(void *arg, struct slice *key, struct slice *val)
{
	struct loading *l = arg;
	if (l->next == l->end)
		return 0;
	memset(l->key, 0, sizeof l->key);
	put_be64(l->key, l->next++ * 3);
	*key = slice_of(l->key, sizeof l->key);
	*val = l->deleting ? slice_of(NULL, 0) : slice_of(l->key, 8);
	return 1;
}

static void loads_are_durable_at_once(void **state)
{
	(void)state;
	struct pool p, copy;
	struct kv_stats s;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	struct loading l = { .end = 10000 };
	assert_int_equal(kv_load_sorted(kv, KV_DIGEST, load_next, &l, "mark", "10000", 5), 0);
	pool_copy(&p, &copy);
	struct kv *kv2 = pool_open(&copy);
	kv_get_stats(kv2, &s);
	assert_int_equal(s.rows[KV_DIGEST], 10000);
	assert_row(kv2, KV_META, "mark", "10000");
	assert_int_equal(kv_close(kv2), 0);
	l = (struct loading){ .next = 10, .end = 9990, .deleting = true };
	assert_int_equal(kv_load_sorted(kv, KV_DIGEST, load_next, &l, NULL, NULL, 0), 0);
	l = (struct loading){ .next = 5, .end = 15 };
	assert_int_equal(kv_load_sorted(kv, KV_DIGEST, load_next, &l, NULL, NULL, 0), 0);
	kv_get_stats(kv, &s);
	assert_int_equal(s.rows[KV_DIGEST], 25);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
	pool_remove(&copy);
}

static void damaged_values_are_named(void **state)
{
	(void)state;
	struct pool p;
	struct slice k, v;
	CLEANUP_BUF struct buf b = { 0 };
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	put1(kv, KV_INODE, "a", "fine", NULL);
	put1(kv, KV_INODE, "b", "this one will rot", NULL);
	put1(kv, KV_INODE, "c", "fine", NULL);
	assert_int_equal(kv_close(kv), 0);
	char cmd[256];
	snprintf(cmd, sizeof cmd, "sed -i 's/this one will rot/this one has. rot/g' %s/data.mdb",
		 p.index);
	assert_int_equal(system(cmd), 0);
	kv = pool_open(&p);
	assert_row(kv, KV_INODE, "a", "fine");
	assert_int_equal(kv_get(kv, KV_INODE, "b", 1, &b), -EUCLEAN);
	struct kv_iter *it = kv_iter_new(kv, KV_INODE, NULL, 0, false);
	assert_int_equal(kv_iter_next(it, &k, &v), 1);
	assert_int_equal(kv_iter_next(it, &k, &v), -EUCLEAN);
	assert_memory_equal(k.at, "b", 1);
	assert_int_equal(kv_iter_next(it, &k, &v), 1);
	assert_memory_equal(k.at, "c", 1);
	assert_int_equal(kv_iter_next(it, &k, &v), 0);
	kv_iter_free(it);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

static int truncate_index(struct pool *p, off_t size)
{
	char path[128], why[160];
	snprintf(path, sizeof path, "%s/data.mdb", p->index);
	assert_int_equal(truncate(path, size), 0);
	return base_verify(p->index_fd, why, sizeof why);
}

/* LMDB does not write pages that a transaction has taken and freed again, if they are the last ones: a
 * sound file may be shorter than it says, and a look at it before it is opened must not call that damage. */
static void an_index_may_be_shorter_than_it_says(void **state)
{
	(void)state;
	struct pool p;
	uint64_t last;
	char path[128];
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	assert_int_equal(put1(kv, KV_INODE, "one", "1", NULL), 0);
	assert_int_equal(kv_close(kv), 0);
	snprintf(path, sizeof path, "%s/data.mdb", p.index);
	CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
	for (off_t at = 16 + 120; at < 2 * 4096; at += 4096) { /* in both meta pages */
		assert_int_equal(io_read_exact(fd, &last, sizeof last, at), 0);
		last += 100;
		assert_int_equal(io_write(fd, &last, sizeof last, at), 0);
	}
	kv = pool_open(&p);
	assert_row(kv, KV_INODE, "one", "1");
	assert_int_equal(kv_close(kv), 0);
	assert_int_equal(truncate_index(&p, 2 * 4096), -EUCLEAN);
	pool_remove(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_survives_everything_ordinary),
		cmocka_unit_test(limits_are_refused_at_commit),
		cmocka_unit_test(a_clean_pool_has_no_log),
		cmocka_unit_test(read_only_changes_nothing),
		cmocka_unit_test(random_lives_match_the_model),
		cmocka_unit_test(scans_outlive_checkpoints),
		cmocka_unit_test(scans_of_nothing_end),
		cmocka_unit_test(loads_are_durable_at_once),
		cmocka_unit_test(damaged_values_are_named),
		cmocka_unit_test(an_index_may_be_shorter_than_it_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
