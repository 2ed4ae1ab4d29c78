// SPDX-License-Identifier: MIT
/* What is said of a log of which files are missing, cut, emptied or without their headers. */
#include "wal_pool.h"

/* No file of a log may be missing, cut or emptied without a word: not the first one of a session, which
 * only the base names, nor a later one, named by the one before. */
static void no_segment_can_vanish(void **state)
{
	(void)state;
	static const uint64_t batches[] = { 5, 4000 };
	for (size_t i = 0; i < 2; i++) {
		struct pool p;
		struct segment_file f[8], *last;
		struct kv_recovery rec;
		uint64_t shown;
		crashed_pool(&p, batches[i], false);
		size_t n = read_log(&p, f, 8);
		assert_true(i ? n >= 3 : n == 1);
		last = &f[n - 1];
		static const size_t cuts[] = { 0, 40, WAL_FRAMES_AT, WAL_FRAMES_AT + 100 };
		for (size_t k = 0; k < 4; k++)
			assert_int_equal(
				open_altered(&p, last, last->data, cuts[k], k & 1, &shown, &rec),
				-ENOENT);
		CLEANUP_FREE uint8_t *zeros = calloc(1, last->len);
		assert_int_equal(open_altered(&p, last, zeros, last->len, false, &shown, &rec),
				 -ENOENT);
		assert_int_equal(unlink(last->path), 0);
		assert_int_equal(pool_try_open(&p), -ENOENT);
		write_new_file(last->path, last->data, last->len);
		assert_int_equal(pool_try_open(&p), 0);
		free_log(f, n);
		pool_remove(&p);
	}
}

static void expect_missing(const struct pool *p, const struct segment_file *f, const void *data,
			   size_t len)
{
	struct kv_recovery rec;
	uint64_t shown;
	for (int read_only = 0; read_only < 2; read_only++) {
		assert_int_equal(open_altered(p, f, data, len, read_only, &shown, &rec), -ENOENT);
		assert_false(rec.damaged);
	}
}

/* Whatever follows it: a file without its header is as good as none. */
static void a_segment_without_its_header_is_missing(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f[8];
	crashed_pool(&p, 4000, false);
	size_t n = read_log(&p, f, 8);
	assert_true(n >= 3);
	for (size_t i = 0; i < n; i++) {
		struct segment_file *s = &f[i];
		CLEANUP_FREE uint8_t *data = malloc(s->len);
		memcpy(data, s->data, s->len);
		expect_missing(&p, s, data, 0);
		expect_missing(&p, s, data, 40);
		data[9] ^= 0x10;
		expect_missing(&p, s, data, s->len);
		memset(data, 0, WAL_FRAMES_AT);
		expect_missing(&p, s, data, s->len);
		memset(data, 0, s->len);
		expect_missing(&p, s, data, s->len);
	}
	free_log(f, n);
	pool_remove(&p);
}

/* What is told as damage may be mounted read-only, and fsck gives up what follows: not while a file that
 * may be somewhere else is what is wrong, too. */
static void damage_beside_a_missing_segment_is_no_mere_damage(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f[8];
	struct kv_recovery rec;
	uint64_t shown;
	size_t at[2];
	crashed_pool(&p, 4000, false);
	size_t n = read_log(&p, f, 8);
	assert_true(n >= 3);
	frame_offsets(&f[0], at, 1);
	f[0].data[at[0] + 50] ^= 1;
	assert_int_equal(open_altered(&p, &f[0], f[0].data, f[0].len, true, &shown, &rec), 0);
	assert_true(rec.damaged);
	write_file(f[0].path, f[0].data, f[0].len);
	expect_missing(&p, &f[1], f[1].data, 0);
	f[1].data[9] ^= 0x10;
	expect_missing(&p, &f[1], f[1].data, f[1].len);
	free_log(f, n);
	pool_remove(&p);
}

/* Room that a crash left, or a file that it left half-made, is no part of the log. */
static void an_unused_segment_is_not_missed(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f[8], spare = { 0 };
	struct kv_recovery rec;
	uint64_t shown;
	char name[WAL_NAME_SIZE];
	crashed_pool(&p, 4000, false);
	size_t n = read_log(&p, f, 8);
	wal_segment_name(f[n - 1].seq + 20, name);
	snprintf(spare.path, sizeof spare.path, "%s/%s", p.wal, name);
	CLEANUP_FREE uint8_t *zeros = calloc(1, 64 << 10);
	write_new_file(spare.path, zeros, 64 << 10);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(
			open_altered(&p, &spare, zeros, i ? 0 : 64 << 10, false, &shown, &rec), 0);
	zeros[3] = 1; /* half a header */
	assert_int_equal(open_altered(&p, &spare, zeros, 40, false, &shown, &rec), 0);
	assert_int_equal(shown, 4000);
	free_log(f, n);
	pool_remove(&p);
}

/* What a recovery has ended may be recovered again before anything follows, and what it began is named. */
static void a_recovery_ends_the_log_it_found(void **state)
{
	(void)state;
	struct pool p, q;
	struct segment_file f[8];
	crashed_pool(&p, 5, true);
	struct kv *kv = pool_open(&p);
	pool_copy(&p, &q);
	assert_int_equal(kv_close(kv), 0);
	size_t n = read_log(&q, f, 8);
	assert_int_equal(n, 2);
	assert_true(f[0].len < 64 << 10); /* cut */
	assert_int_equal(unlink(f[1].path), 0);
	assert_int_equal(pool_try_open(&q), -ENOENT);
	free_log(f, n);
	pool_remove(&q);
	pool_remove(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_segment_can_vanish),
		cmocka_unit_test(a_segment_without_its_header_is_missing),
		cmocka_unit_test(damage_beside_a_missing_segment_is_no_mere_damage),
		cmocka_unit_test(an_unused_segment_is_not_missed),
		cmocka_unit_test(a_recovery_ends_the_log_it_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
