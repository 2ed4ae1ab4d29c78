// SPDX-License-Identifier: MIT
/* Digests against a model, over clean and unclean ends; the filter's file; full disks. */
#include "digests_bed.h"

/* The model: what every chunk id was given to, and where each key leads. */
enum { KEYS = 30000, IDS = 300000, ROUNDS = 200000, PERIOD = 40000 };

struct model {
	struct bed bed;
	uint64_t seed, last_id, settled, loads;
	uint64_t leads_to[KEYS];
	bool touched[KEYS]; /* replaced or removed: a crash may bring the old entry back */
	uint32_t key_of[IDS];
	bool alive[IDS]; /* the chunk's frame is there */
};

static void model_add(struct model *m, uint32_t key)
{
	uint64_t id = ++m->last_id;
	assert_true(id < IDS);
	m->touched[key] |= m->leads_to[key] != 0;
	m->leads_to[key] = id;
	m->key_of[id] = key;
	m->alive[id] = true;
	assert_int_equal(add(m->bed.d, key, id), 0);
}

static void model_remove(struct model *m, uint32_t key)
{
	uint64_t id = m->leads_to[key];
	assert_int_equal(drop(m->bed.d, key, id + 1), 0); /* leads elsewhere: nothing happens */
	assert_int_equal(drop(m->bed.d, key, id), 0);
	m->alive[id] = false;
	m->leads_to[key] = 0;
	m->touched[key] = true;
}

static void model_settle(struct model *m)
{
	m->settled = m->last_id + 1;
	digests_settle(m->bed.d, m->settled);
}

static void model_check(struct model *m)
{
	for (uint32_t key = 0; key < KEYS; key++)
		assert_int_equal(find(m->bed.d, key), m->leads_to[key]);
}

/* What the caller does after open. */
static void model_add_again(struct model *m)
{
	uint64_t from = digests_watermark(m->bed.d);
	assert_true(from <= m->last_id + 1);
	for (uint64_t id = from ? from : 1; id <= m->last_id; id++)
		if (m->alive[id])
			assert_int_equal(add(m->bed.d, m->key_of[id], id), 0);
	model_settle(m);
}

static void count_loads(struct model *m)
{
	struct digests_stats st;
	digests_get_stats(m->bed.d, &st);
	m->loads += st.loads;
}

static void model_reopen(struct model *m)
{
	count_loads(m);
	if (prng_below(&m->seed, 2))
		model_settle(m);
	bed_close(&m->bed);
	bed_open(&m->bed);
	assert_true(digests_watermark(m->bed.d) >= m->settled);
	if (prng_below(&m->seed, 2))
		wait_for_filter(m->bed.d);
	model_check(m);
	model_add_again(m);
}

/* Frames that were not settled may be lost; all others are read again. */
static void model_crash(struct model *m)
{
	uint64_t durable = m->settled + prng_below(&m->seed, m->last_id + 2 - m->settled);
	count_loads(m);
	bed_crash(&m->bed);
	assert_true(digests_watermark(m->bed.d) <= m->settled);
	for (uint64_t id = durable; id <= m->last_id; id++) {
		uint32_t key = m->key_of[id];
		m->alive[id] = false;
		m->touched[key] = true;
		if (m->leads_to[key] == id)
			m->leads_to[key] = 0;
	}
	model_add_again(m);
	for (uint32_t key = 0; key < KEYS; key++) {
		uint64_t id = find(m->bed.d, key);
		if (!m->touched[key])
			assert_int_equal(id, m->leads_to[key]);
		else if (id) /* a hint that may lead to nothing, but never to something else */
			assert_int_equal(m->key_of[id], key);
		if (id && !m->alive[id])
			model_add(m, key);
		else
			m->leads_to[key] = id;
	}
	model_settle(m);
	model_check(m);
}

static void test_random_operations_against_the_model(void **state)
{
	(void)state;
	struct model *m = calloc(1, sizeof *m);
	m->seed = 1;
	bed_make(&m->bed);
	model_settle(m);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint32_t key = (uint32_t)prng_below(&m->seed, KEYS);
		unsigned dice = (unsigned)prng_below(&m->seed, 100);
		if (dice < 20)
			assert_int_equal(find(m->bed.d, key), m->leads_to[key]);
		else if (!m->leads_to[key] || dice < 60)
			model_add(m, key);
		else
			model_remove(m, key);
		if (dice == 99 && prng_below(&m->seed, 4) == 0)
			model_settle(m);
		if (round % PERIOD == PERIOD / 2)
			model_reopen(m);
		if (round % PERIOD == PERIOD - 1)
			model_crash(m);
		if (round % PERIOD == PERIOD / 4 * 3)
			assert_int_equal(digests_flush(m->bed.d), 0);
	}
	assert_true(m->loads > ROUNDS / PERIOD * 20);
	model_check(m);
	bed_remove(&m->bed);
	free(m);
}

static void test_watermark_follows_what_is_loaded(void **state)
{
	(void)state;
	struct bed b;
	bed_make(&b);
	assert_int_equal(digests_watermark(b.d), 0);
	digests_settle(b.d, 1);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_int_equal(add(b.d, i, i), 0);
	digests_settle(b.d, 600);
	digests_settle(b.d, 500); /* it never sinks */
	assert_int_equal(digests_watermark(b.d), 0);
	assert_int_equal(digests_flush(b.d), 0);
	assert_int_equal(digests_watermark(b.d), 600);
	digests_settle(b.d, 1001);
	bed_crash(&b);
	assert_int_equal(digests_watermark(b.d), 600);

	/* Adding again what is there costs nothing; what comes after the first settle counts. */
	struct digests_stats st;
	for (uint64_t i = 1; i < 600; i++)
		assert_int_equal(add(b.d, i, i), 0);
	digests_get_stats(b.d, &st);
	assert_int_equal(st.in_memory, 0);
	digests_settle(b.d, 1001);
	assert_int_equal(add(b.d, 7, 3), 0);
	assert_int_equal(find(b.d, 7), 3);
	assert_int_equal(digests_flush(b.d), 0);
	assert_int_equal(digests_watermark(b.d), 1001);
	bed_remove(&b);
}

static void test_bad_arguments_and_read_only(void **state)
{
	(void)state;
	struct bed b;
	bed_make(&b);
	assert_int_equal(add(b.d, 1, 0), -EINVAL);
	assert_int_equal(add(b.d, 1, UINT64_C(1) << 63), -EINVAL);
	assert_int_equal(add(b.d, 1, (UINT64_C(1) << 63) - 1), 0);
	bed_close(&b);
	b.opt.read_only = b.pool.opt.read_only = true;
	bed_open(&b);
	assert_int_equal(find(b.d, 1), (UINT64_C(1) << 63) - 1);
	assert_int_equal(add(b.d, 2, 2), -EROFS);
	assert_int_equal(drop(b.d, 1, 1), -EROFS);
	assert_int_equal(digests_flush(b.d), 0);
	wait_for_filter(b.d);
	bed_remove(&b);
}

static void fill(struct digests *d, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		assert_int_equal(add(d, i, i + 1), 0);
	digests_settle(d, to + 1);
}

static void check_filled(struct digests *d, uint64_t to)
{
	for (uint64_t i = 0; i < to; i++)
		assert_int_equal(find(d, i), i + 1);
}

/* How many lookups of absent keys in a hundred are answered without the tables. */
static unsigned filtered_percent(struct digests *d)
{
	struct digests_stats before, after;
	digests_get_stats(d, &before);
	for (uint64_t i = 0; i < 20000; i++)
		assert_int_equal(find(d, UINT64_C(1) << 40 | i), 0);
	digests_get_stats(d, &after);
	assert_int_equal(after.lookups - before.lookups, 20000);
	return (unsigned)((after.filter_negative - before.filter_negative) / 200);
}

static void test_the_filter_grows(void **state)
{
	(void)state;
	struct bed b;
	struct digests_stats st;
	bed_make(&b);
	fill(b.d, 0, 200000);
	wait_for_filter(b.d);
	nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
	assert_true(filtered_percent(b.d) >= 97);
	digests_get_stats(b.d, &st);
	assert_true(st.filter_bytes >= 200000 * 12 / 8);
	assert_true(st.filter_bytes <= 2 * 200000 * 12 / 8);
	check_filled(b.d, 200000);
	bed_remove(&b);
}

static void test_the_filter_obeys_its_limit(void **state)
{
	(void)state;
	struct bed b;
	struct digests_stats st;
	bed_make(&b);
	bed_close(&b);
	b.opt.filter_bytes_max = 64 << 10;
	bed_open(&b);
	fill(b.d, 0, 100000);
	wait_for_filter(b.d);
	bed_close(&b);
	bed_open(&b);
	wait_for_filter(b.d);
	digests_get_stats(b.d, &st);
	assert_true(st.filter_bytes <=
		    (64 << 10) * 17 / 16); /* a slice that is built anew is there twice */
	check_filled(b.d, 100000);
	bed_remove(&b);
}

static void test_the_filter_file_is_used(void **state)
{
	(void)state;
	struct bed b;
	struct digests_stats st;
	bed_make(&b);
	fill(b.d, 0, 50000);
	wait_for_filter(b.d);
	bed_close(&b);
	bed_open(&b);
	wait_for_filter(b.d);
	digests_get_stats(b.d, &st);
	assert_int_equal(st.filter_slices_read, DIGEST_SLICES);
	assert_true(filtered_percent(b.d) >= 97);
	check_filled(b.d, 50000);
	bed_remove(&b);
}

/* The file is older than a load that a crash left behind. */
static void test_a_stale_filter_is_ignored(void **state)
{
	(void)state;
	struct bed b;
	struct digests_stats st;
	bed_make(&b);
	fill(b.d, 0, 20000);
	bed_close(&b);
	bed_open(&b);
	fill(b.d, 20000, 32000); /* some slices are loaded, some not */
	bed_crash(&b);
	uint64_t from = digests_watermark(b.d);
	assert_in_range(from, 1, 32001);
	fill(b.d, from - 1, 32000);
	wait_for_filter(b.d);
	digests_get_stats(b.d, &st);
	assert_true(st.filter_slices_read < DIGEST_SLICES);
	check_filled(b.d, 32000);
	bed_remove(&b);
}

static void spoil_filter(struct bed *b, off_t at)
{
	uint8_t byte;
	int fd = openat(b->pool.index_fd, FILTER_FILE, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void test_a_damaged_or_foreign_filter_is_ignored(void **state)
{
	(void)state;
	struct bed b, other;
	struct digests_stats st;
	struct filter_file_header h;
	bed_make(&b);
	fill(b.d, 0, 20000);
	bed_close(&b);
	const off_t places[] = { 0, 9, 16, 40, sizeof h - 1, sizeof h, sizeof h + 70000 };
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		spoil_filter(&b, places[i]);
		bed_open(&b);
		wait_for_filter(b.d);
		digests_get_stats(b.d, &st);
		assert_int_equal(st.filter_slices_read,
				 places[i] < (off_t)sizeof h ? 0 : DIGEST_SLICES - 1);
		check_filled(b.d, 20000);
		assert_true(filtered_percent(b.d) >= 97);
		bed_close(&b);
	}
	bed_make(&other);
	fill(other.d, 5000, 15000);
	bed_close(&other);
	char cmd[256];
	snprintf(cmd, sizeof cmd, "cp '%s/%s' '%s/'", other.pool.index, FILTER_FILE, b.pool.index);
	assert_int_equal(system(cmd), 0);
	bed_open(&b);
	wait_for_filter(b.d);
	digests_get_stats(b.d, &st);
	assert_int_equal(st.filter_slices_read, 0);
	check_filled(b.d, 20000);
	bed_remove(&b);
	pool_remove(&other.pool);
}

static void test_a_full_disk(void **state)
{
	(void)state;
	struct bed b;
	struct digests_stats st;
	uint64_t n = 0;
	int r = 0;
	bed_make(&b);
	fill(b.d, 0, 5000);
	fault_arm("checkpoint:1+=ENOSPC");
	for (n = 5000; n < 100000; n++) {
		r = add(b.d, n, n + 1);
		if (r < 0)
			break;
	}
	assert_int_equal(r, -ENOSPC);
	digests_get_stats(b.d, &st);
	assert_in_range(st.memory_bytes, 2 * SMALL_MEMORY, 3 * SMALL_MEMORY);
	check_filled(b.d, n);
	assert_int_equal(drop(b.d, n, n + 1), -ENOSPC);
	assert_int_equal(digests_flush(b.d), -ENOSPC);
	check_filled(b.d, n);
	fault_arm(NULL);
	fill(b.d, n, n + 5000);
	assert_int_equal(digests_flush(b.d), 0);
	digests_get_stats(b.d, &st);
	assert_int_equal(st.in_memory, 0);
	assert_int_equal(st.in_base, n + 5000);
	assert_int_equal(digests_watermark(b.d), n + 5001);
	check_filled(b.d, n + 5000);
	bed_remove(&b);
}

static int one_row(void *arg, struct slice *key, struct slice *val)
{
	struct digest **digest = arg;
	if (!*digest)
		return 0;
	*key = slice_of((*digest)->bytes, DIGEST_KEY_BYTES);
	*val = slice_of("\x80", 1); /* a varint without its end */
	*digest = NULL;
	return 1;
}

static void test_damaged_rows_are_mended(void **state)
{
	(void)state;
	struct bed b;
	struct digests_stats st;
	struct digest digest = digest_no(5), *row = &digest;
	bed_make(&b);
	fill(b.d, 0, 100);
	bed_close(&b);
	b.kv = pool_open(&b.pool);
	assert_int_equal(kv_load_sorted(b.kv, KV_DIGEST, one_row, &row, DIGESTS_ROW, "short", 5),
			 0);
	assert_int_equal(kv_close(b.kv), 0);
	bed_open(&b);
	assert_int_equal(digests_watermark(b.d), 0);
	wait_for_filter(b.d);
	assert_int_equal(find(b.d, 5), 0);
	digests_get_stats(b.d, &st);
	assert_int_equal(st.damaged, 1);
	assert_int_equal(drop(b.d, 5, 6), 0);
	fill(b.d, 5, 6);
	bed_close(&b);
	bed_open(&b);
	check_filled(b.d, 100);
	bed_remove(&b);
}

static void test_a_removal_hides_every_layer(void **state)
{
	(void)state;
	struct bed b;
	bed_make(&b);
	fill(b.d, 0, 100);
	assert_int_equal(digests_flush(b.d), 0);
	assert_int_equal(drop(b.d, 5, 99), 0);
	assert_int_equal(find(b.d, 5), 6);
	assert_int_equal(drop(b.d, 5, 6), 0); /* in LMDB */
	assert_int_equal(find(b.d, 5), 0);
	assert_int_equal(add(b.d, 5, 1000), 0);
	assert_int_equal(drop(b.d, 5, 6), 0); /* not what it leads to now */
	assert_int_equal(find(b.d, 5), 1000);
	assert_int_equal(drop(b.d, 5, 1000), 0); /* in memory, over LMDB */
	assert_int_equal(find(b.d, 5), 0);
	assert_int_equal(drop(b.d, 12345, 1), 0); /* nowhere */
	assert_int_equal(digests_flush(b.d), 0);
	assert_int_equal(find(b.d, 5), 0);
	bed_close(&b);
	bed_open(&b);
	assert_int_equal(find(b.d, 5), 0);
	assert_int_equal(find(b.d, 6), 7);
	bed_remove(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watermark_follows_what_is_loaded),
		cmocka_unit_test(test_bad_arguments_and_read_only),
		cmocka_unit_test(test_damaged_rows_are_mended),
		cmocka_unit_test(test_a_removal_hides_every_layer),
		cmocka_unit_test(test_the_filter_grows),
		cmocka_unit_test(test_the_filter_obeys_its_limit),
		cmocka_unit_test(test_the_filter_file_is_used),
		cmocka_unit_test(test_a_stale_filter_is_ignored),
		cmocka_unit_test(test_a_damaged_or_foreign_filter_is_ignored),
		cmocka_unit_test(test_a_full_disk),
		cmocka_unit_test(test_random_operations_against_the_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
