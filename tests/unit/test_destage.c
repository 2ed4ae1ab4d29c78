// SPDX-License-Identifier: MIT
/* Destage over the real store: what comes in reads back, whatever its shape; callbacks come as
 * promised; failures end one source only; nothing is held up for ever. */
#include "stack.h"
#include "chunks.h"

#define MIB (1024u * 1024)
#define INO 100u

static const struct chunker_params small = { CHUNKER_FASTCDC, 1024, 4096, 16384 };

/* Random bytes, zeros, repeated blocks and pieces of what came before. */
static void fill_mixed(uint8_t *data, size_t len, uint64_t seed)
{
	for (size_t at = 0; at < len;) {
		size_t n = 1 + prng_below(&seed, 300000);
		n = n < len - at ? n : len - at;
		switch (prng_below(&seed, 5)) {
		case 0:
			memset(data + at, 0, n);
			break;
		case 1:
			memset(data + at, (int)prng_below(&seed, 256), n);
			break;
		case 2:
			if (at) {
				size_t from = prng_below(&seed, at);
				for (size_t i = 0; i < n; i++)
					data[at + i] = data[from + i];
				break;
			}
			/* fall through */
		default:
			prng_fill(&seed, data + at, n);
		}
		at += n;
	}
}

static void files_of_every_shape_read_back(void **state)
{
	(void)state;
	struct stack st;
	static const size_t lens[] = { 0,      1,	4095,	 4096,	      4097,    65536,
				       300000, 1000000, 2 * MIB, 5 * MIB + 3, 33 * MIB };
	const unsigned n = sizeof lens / sizeof *lens;
	CLEANUP_FREE uint8_t *data = malloc(lens[n - 1]);
	stack_make(&st);
	stack_open(&st);
	for (unsigned i = 0; i < n; i++) {
		fill_mixed(data, lens[i], i);
		assert_int_equal(file_store(&st, INO + i, data, lens[i]), 0);
		if (lens[i])
			assert_int_equal(file_compare(&st, INO + i, data, lens[i]), 0);
	}
	assert_int_equal(destage_pending_bytes(st.destage), 0);
	assert_int_equal(stack_close(&st), 0);
	stack_open(&st);
	check_rows(&st);
	struct packer_stats stats;
	for (unsigned i = 1; i < n; i++) {
		fill_mixed(data, lens[i], i);
		assert_int_equal(file_compare(&st, INO + i, data, lens[i]), 0);
		assert_int_equal(file_store(&st, INO + 50 + i, data, lens[i]), 0); /* again */
		assert_int_equal(file_compare(&st, INO + 50 + i, data, lens[i]), 0);
	}
	packer_get_stats(st.packer, &stats);
	assert_int_equal(stats.bytes_new, 0);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static void zeros_are_holes_and_repeats_are_one_piece(void **state)
{
	(void)state;
	struct stack st;
	CLEANUP_FREE uint8_t *data = calloc(1, 100 * MIB);
	struct upload u = { 0 };
	stack_make(&st);
	stack_open(&st);
	/* three windows of nothing but zeros, and one byte */
	data[100 * MIB - 1] = 1;
	upload_start(&u, &st, INO, data, 100 * MIB);
	destage_flush(st.destage);
	assert_int_equal(u.result, 0);
	assert_int_equal(u.windows, 4);
	assert_int_equal(u.pieces, 5);
	struct packer_stats stats;
	packer_get_stats(st.packer, &stats);
	assert_int_equal(stats.chunks, 1);
	assert_int_equal(stats.bytes_in, 1);
	/* one byte value throughout */
	memset(data, 7, 20 * MIB);
	u = (struct upload){ 0 };
	upload_start(&u, &st, INO + 1, data, 20 * MIB);
	destage_flush(st.destage);
	assert_int_equal(u.result, 0);
	assert_in_range(u.pieces, 1, 2);
	assert_int_equal(file_compare(&st, INO + 1, data, 20 * MIB), 0);
	packer_get_stats(st.packer, &stats);
	assert_in_range(stats.bytes_new, 1, 600000);
	/* runs of 4 KiB at odd places */
	uint64_t seed = 1;
	prng_fill(&seed, data, MIB);
	memset(data + 12345, 0, 4096);
	data[12344] = data[12345 + 4096] = 1;
	memset(data + 500001, 0, 4095);
	data[500000] = data[500001 + 4095] = 1;
	assert_int_equal(file_store(&st, INO + 2, data, MIB), 0);
	assert_int_equal(file_compare(&st, INO + 2, data, MIB), 0);
	assert_int_not_equal(file_chunk(&st, INO + 2, 12344), 0);
	assert_int_equal(file_chunk(&st, INO + 2, 12345), 0);
	assert_int_equal(file_chunk(&st, INO + 2, 12345 + 4095), 0);
	assert_int_not_equal(file_chunk(&st, INO + 2, 12345 + 4096), 0);
	assert_int_not_equal(file_chunk(&st, INO + 2, 500001), 0);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static void an_error_ends_its_source_only(void **state)
{
	(void)state;
	struct stack st;
	CLEANUP_FREE uint8_t *data = malloc(34 * MIB);
	struct upload u[6] = { 0 };
	stack_make(&st);
	stack_open(&st);
	fill_mixed(data, 34 * MIB, 5);
	u[0].read_error = -EIO;
	u[1].read_error = -ECANCELED;
	u[1].fail_at = 33 * MIB;
	u[2].commit_error = -ESTALE;
	u[3].commit_error = -ENOSPC;
	u[3].fail_at = 33 * MIB;
	for (unsigned i = 0; i < 6; i++)
		upload_start(&u[i], &st, INO + i, data + i, 34 * MIB - i);
	destage_flush(st.destage);
	static const int want[] = { -EIO, -ECANCELED, -ESTALE, -ENOSPC, 0, 0 };
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(u[i].done, 1);
		assert_int_equal(u[i].result, want[i]);
	}
	assert_int_equal(u[1].windows, 1);
	assert_int_equal(u[3].windows, 1);
	assert_int_equal(destage_pending_bytes(st.destage), 0);
	for (unsigned i = 4; i < 6; i++)
		assert_int_equal(file_compare(&st, INO + i, data + i, 34 * MIB - i), 0);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* The disk is full from the n-th write of a pack on, for a while. */
static void a_full_disk_loses_nothing(void **state)
{
	(void)state;
	static const char *const faults[] = { "pack_write:%u+=ENOSPC", "pack_write:%u=EIO",
					      "pack_create:%u=ENOSPC" };
	CLEANUP_FREE uint8_t *data = malloc(8 * MIB);
	uint64_t seed = 3;
	prng_fill(&seed, data, 8 * MIB);
	for (unsigned k = 0; k < 3; k++)
		for (unsigned n = 1; n < 30; n = n * 2 + 1) {
			struct stack st;
			struct upload u[8] = { 0 };
			char spec[64];
			stack_make(&st);
			stack_open(&st);
			snprintf(spec, sizeof spec, faults[k], k == 2 ? n / 8 + 1 : n);
			fault_arm(spec);
			for (unsigned i = 0; i < 8; i++)
				upload_start(&u[i], &st, INO + i, data + i * MIB, MIB);
			destage_flush(st.destage);
			fault_arm(NULL);
			unsigned lost = 0;
			for (unsigned i = 0; i < 8; i++) {
				assert_int_equal(u[i].done, 1);
				lost += u[i].result != 0;
				if (u[i].result == 0)
					assert_int_equal(
						file_compare(&st, INO + i, data + i * MIB, MIB), 0);
			}
			assert_true(lost > 0 || k == 2);
			for (unsigned i = 0; i < 8; i++)
				assert_int_equal(file_store(&st, INO + i, data + i * MIB, MIB), 0);
			assert_int_equal(stack_close(&st), 0);
			stack_open(&st);
			check_rows(&st);
			for (unsigned i = 0; i < 8; i++)
				assert_int_equal(file_compare(&st, INO + i, data + i * MIB, MIB),
						 0);
			assert_int_equal(stack_close(&st), 0);
			stack_remove(&st);
		}
}

static unsigned count_done(struct upload *u, unsigned n)
{
	unsigned done = 0;
	for (unsigned i = 0; i < n; i++)
		done += __atomic_load_n(&u[i].done, __ATOMIC_SEQ_CST);
	return done;
}

static void small_files_share_frames(void **state)
{
	(void)state;
	struct stack st;
	enum { N = 200 };
	CLEANUP_FREE uint8_t *data = malloc(N * 1000);
	CLEANUP_FREE struct upload *u = calloc(N, sizeof *u);
	uint64_t seed = 9;
	prng_fill(&seed, data, N * 1000);
	stack_make(&st);
	stack_open(&st);
	for (unsigned i = 0; i < N; i++) {
		u[i].s.small_together = true;
		upload_start(&u[i], &st, INO + i, data + i * 1000, 1000);
	}
	struct packer_stats stats = { 0 };
	while (stats.chunks < N) {
		usleep(1000);
		packer_get_stats(st.packer, &stats);
	}
	usleep(20000);
	assert_int_equal(count_done(u, N), 0); /* the frame isn't full */
	destage_nudge(st.destage);
	while (count_done(u, N) < N)
		usleep(1000);
	packer_get_stats(st.packer, &stats);
	assert_int_equal(stats.frames, 1);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(file_compare(&st, INO + i, data + i * 1000, 1000), 0);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static void who_waits_for_the_disk_comes_first(void **state)
{
	(void)state;
	struct stack st;
	CLEANUP_FREE uint8_t *data = malloc(8 * MIB);
	struct upload u = { 0 };
	uint64_t seed = 10;
	prng_fill(&seed, data, 8 * MIB);
	stack_make(&st);
	stack_open(&st);
	upload_start(&u, &st, INO, data, 8 * MIB);
	while (!count_done(&u, 1))
		usleep(1000);
	assert_int_equal(destage_gave_way(st.destage), 0); /* nobody waits */
	destage_give_way(st.destage);
	upload_start(&u, &st, INO + 1, data, 8 * MIB);
	while (!destage_gave_way(st.destage))
		destage_give_way(st.destage);
	assert_int_equal(count_done(&u, 1), 0);
	uint64_t gave_way =
		destage_gave_way(st.destage); /* in vain, if somebody waits for destage */
	while (!count_done(&u, 1)) {
		destage_hurry(st.destage); /* first: no moment in which it is only wanted */
		destage_give_way(st.destage);
		usleep(1000);
	}
	assert_in_range(destage_gave_way(st.destage), gave_way, gave_way + 2);
	uint64_t before; /* it is over a moment later, on however slow a machine */
	do {
		before = destage_gave_way(st.destage);
		upload_start(&u, &st, INO + 2, data, 8 * MIB);
		while (!count_done(&u, 1))
			usleep(1000);
	} while (destage_gave_way(st.destage) != before);
	assert_int_equal(file_compare(&st, INO + 1, data, 8 * MIB), 0);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static void giving_way_keeps_no_small_file_waiting(void **state)
{
	(void)state;
	struct stack st;
	CLEANUP_FREE uint8_t *data = malloc(24 * MIB);
	struct upload large = { 0 }, little = { .s.small_together = true };
	uint64_t seed = 11;
	prng_fill(&seed, data, 24 * MIB);
	stack_make(&st);
	st.workers = 1;
	stack_open(&st);
	destage_give_way(st.destage);
	upload_start(&large, &st, INO, data, 24 * MIB);
	while (!destage_gave_way(st.destage))
		destage_give_way(st.destage);
	upload_start(&little, &st, INO + 1, data, 1000);
	while (!count_done(&little, 1)) {
		destage_give_way(st.destage);
		destage_nudge(st.destage); /* as the ticker does */
		usleep(1000);
	}
	assert_int_equal(count_done(&large, 1), 0);
	destage_flush(st.destage);
	assert_int_equal(large.result, 0);
	assert_int_equal(file_compare(&st, INO, data, 24 * MIB), 0);
	assert_int_equal(file_compare(&st, INO + 1, data, 1000), 0);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static void an_ordinary_file_needs_no_nudge(void **state)
{
	(void)state;
	struct stack st;
	struct upload u[3] = { 0 };
	CLEANUP_FREE uint8_t *data = malloc(34 * MIB);
	uint64_t seed = 9;
	prng_fill(&seed, data, 34 * MIB);
	stack_make(&st);
	stack_open(&st);
	upload_start(&u[0], &st, INO, data, 34 * MIB);
	while (count_done(u, 1) < 1)
		usleep(1000);
	/* new at first, then known: the first window's last frame isn't filled by the second */
	memcpy(data, data + 17 * MIB, 17 * MIB);
	prng_fill(&seed, data, 100000);
	upload_start(&u[1], &st, INO + 1, data, 34 * MIB);
	u[2].s.small_together = true; /* waits along, but is not waited for */
	upload_start(&u[2], &st, INO + 2, "x", 1);
	while (count_done(u, 2) < 2)
		usleep(1000);
	destage_settle(st.destage);
	destage_flush(st.destage);
	assert_int_equal(count_done(u, 3), 3);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* ---- one file on several workers ---- */

/* The file is there after closing, and its rows agree. Removes the store. */
static void assert_stays(struct stack *st, const uint8_t *data, size_t len)
{
	assert_int_equal(stack_close(st), 0);
	stack_open(st);
	check_rows(st);
	assert_int_equal(file_compare(st, INO, data, len), 0);
	assert_int_equal(stack_close(st), 0);
	stack_remove(st);
}

static void idle_workers_store_the_frames_of_one_file(void **state)
{
	(void)state;
	CLEANUP_FREE uint8_t *data = malloc(36 * MIB);
	fill_mixed(data, 36 * MIB, 11);
	for (unsigned workers = 1; workers < 5; workers += 3) {
		struct stack st;
		struct packer_stats stats;
		stack_make(&st);
		st.workers = workers;
		st.level = 1;
		stack_open(&st);
		assert_int_equal(file_store(&st, INO, data, 36 * MIB), 0);
		assert_int_equal(file_compare(&st, INO, data, 36 * MIB), 0);
		packer_get_stats(st.packer, &stats);
		assert_true(workers == 1 ? stats.helped == 0 : stats.helped > 0);
		assert_stays(&st, data, 36 * MIB);
	}
}

/* Whichever frame is lost, and wherever the source ends itself: the file learns it, what came before
 * is right, and the same bytes can be stored afterwards. */
static void a_file_on_several_workers_may_fail_anywhere(void **state)
{
	(void)state;
	static const char *const faults[] = { "pack_write:%u=EIO", "pack_write:%u+=ENOSPC" };
	CLEANUP_FREE uint8_t *data = malloc(36 * MIB);
	uint64_t seed = 21;
	prng_fill(&seed, data, 36 * MIB);
	for (unsigned i = 0; i < 8; i++) {
		struct stack st;
		struct upload u = { 0 };
		char spec[64];
		stack_make(&st);
		st.workers = 4;
		stack_open(&st);
		u.fail_at = (i / 4 ? 34 : 5) * MIB;
		u.read_error = i % 4 == 2 ? -ECANCELED : 0;
		u.commit_error = i % 4 == 3 ? -ESTALE : 0;
		snprintf(spec, sizeof spec, faults[i % 2], 1 + i * 20);
		fault_arm(i % 4 < 2 ? spec : NULL);
		upload_start(&u, &st, INO, data, 36 * MIB);
		destage_flush(st.destage);
		fault_arm(NULL);
		const int want[] = { -EIO, -ENOSPC, -ECANCELED, -ESTALE };
		assert_int_equal(u.done, 1);
		assert_int_equal(u.result, want[i % 4]);
		assert_int_equal(destage_pending_bytes(st.destage), 0);
		struct inode_row row;
		if (u.windows && inode_row_get(st.kv, INO, &row) == 0)
			assert_int_equal(file_compare(&st, INO, data, row.size), 0);
		assert_int_equal(file_store(&st, INO, data, 36 * MIB), 0);
		assert_int_equal(file_compare(&st, INO, data, 36 * MIB), 0);
		assert_stays(&st, data, 36 * MIB);
	}
}

struct patient {
	struct upload u; /* first */
	struct upload *small;
};

/* The large file comes to its end only when the small one is stored. */
static int read_patiently(struct destage_source *s, void *buf, size_t len, uint64_t at)
{
	struct patient *p = (struct patient *)s;
	for (unsigned i = 0; at > 33 * MIB && !__atomic_load_n(&p->small->done, __ATOMIC_SEQ_CST);
	     i++) {
		if (i == 60000)
			return -ETIMEDOUT;
		usleep(1000);
	}
	memcpy(buf, p->u.data + at, len);
	return 0;
}

static void a_large_file_leaves_a_worker_to_a_small_one(void **state)
{
	(void)state;
	struct stack st;
	struct upload small_file = { 0 };
	struct patient large = { .small = &small_file };
	CLEANUP_FREE uint8_t *data = malloc(48 * MIB);
	uint64_t seed = 31;
	prng_fill(&seed, data, 48 * MIB);
	stack_make(&st);
	stack_open(&st);
	large.u.read = read_patiently;
	upload_start(&large.u, &st, INO, data, 40 * MIB);
	upload_start(&small_file, &st, INO + 1, data + 47 * MIB, 10000);
	destage_flush(st.destage);
	assert_int_equal(large.u.result, 0);
	assert_int_equal(small_file.result, 0);
	assert_int_equal(file_compare(&st, INO, data, 40 * MIB), 0);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* ---- many sources at once, flushed, settled and nudged from other threads ---- */

#define FILES 60u

struct crowd {
	struct stack *st;
	uint8_t *data;
	size_t lens[FILES];
	uint8_t *at[FILES];
	bool stop;
};

static void *hurry(void *arg)
{
	struct crowd *c = arg;
	for (unsigned i = 0; !__atomic_load_n(&c->stop, __ATOMIC_SEQ_CST); i++) {
		if (i % 4 == 0)
			destage_flush(c->st->destage);
		else if (i % 4 == 1)
			destage_settle(c->st->destage);
		else
			destage_nudge(c->st->destage);
		usleep(3000);
	}
	return NULL;
}

static void *read_along(void *arg)
{
	struct crowd *c = arg;
	for (unsigned i = 0; !__atomic_load_n(&c->stop, __ATOMIC_SEQ_CST); i++) {
		unsigned f = i % FILES;
		int r = file_compare(c->st, INO + f, c->at[f], c->lens[f]);
		assert_true(r == 0 || r == 1 || r == -ENOENT);
	}
	return NULL;
}

static void many_at_once(void **state)
{
	(void)state;
	struct stack st;
	struct crowd c = { .st = &st, .data = malloc(4 * MIB) };
	CLEANUP_FREE struct upload *u = calloc(FILES, sizeof *u);
	pthread_t threads[2];
	uint64_t seed = 4;
	stack_make(&st);
	st.chunker = small;
	st.workers = 4;
	st.sync_interval_ms = 5;
	stack_open(&st);
	fill_mixed(c.data, 4 * MIB, 1);
	for (unsigned i = 0; i < FILES; i++) {
		c.lens[i] = i % 3 ? 1 + prng_below(&seed, 3000) : 1 + prng_below(&seed, MIB);
		c.at[i] = c.data + prng_below(&seed, 3 * MIB);
	}
	pthread_create(&threads[0], NULL, hurry, &c);
	pthread_create(&threads[1], NULL, read_along, &c);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < FILES; i++) {
			u[i].s.small_together = c.lens[i] < 4000;
			upload_start(&u[i], &st, INO + i, c.at[i], c.lens[i]);
		}
		destage_flush(st.destage);
		for (unsigned i = 0; i < FILES; i++) {
			assert_int_equal(u[i].done, 1);
			assert_int_equal(u[i].result, 0);
			assert_int_equal(file_compare(&st, INO + i, c.at[i], c.lens[i]), 0);
		}
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	check_rows(&st);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
	free(c.data);
}

static void closing_waits_for_all(void **state)
{
	(void)state;
	struct stack st;
	struct upload u[20] = { 0 };
	CLEANUP_FREE uint8_t *data = malloc(4 * MIB);
	stack_make(&st);
	stack_open(&st);
	fill_mixed(data, 4 * MIB, 2);
	for (unsigned i = 0; i < 20; i++) {
		u[i].s.small_together = i % 2;
		upload_start(&u[i], &st, INO + i, data + i, i % 2 ? 1000 : 4 * MIB - i);
	}
	assert_int_equal(stack_close(&st), 0);
	assert_int_equal(count_done(u, 20), 20);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(u[i].result, 0);
	stack_open(&st);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(file_compare(&st, INO + i, data + i, i % 2 ? 1000 : 4 * MIB - i),
				 0);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_of_every_shape_read_back),
		cmocka_unit_test(zeros_are_holes_and_repeats_are_one_piece),
		cmocka_unit_test(an_error_ends_its_source_only),
		cmocka_unit_test(a_full_disk_loses_nothing),
		cmocka_unit_test(small_files_share_frames),
		cmocka_unit_test(who_waits_for_the_disk_comes_first),
		cmocka_unit_test(giving_way_keeps_no_small_file_waiting),
		cmocka_unit_test(an_ordinary_file_needs_no_nudge),
		cmocka_unit_test(idle_workers_store_the_frames_of_one_file),
		cmocka_unit_test(a_file_on_several_workers_may_fail_anywhere),
		cmocka_unit_test(a_large_file_leaves_a_worker_to_a_small_one),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(closing_waits_for_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
