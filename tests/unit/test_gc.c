// SPDX-License-Identifier: MIT
/* gc over the real store: what is referenced always reads back, what isn't goes, whatever happens
 * meanwhile: new files, duplicates of dying chunks, readers, crashes. Full disks: test_gc_room.c. */
#include "gc_model.h"
#include "kv_batch.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

static const struct chunker_params large = { CHUNKER_FASTCDC, 100000, 262144, 1048576 };

static unsigned pack_files(struct stack *st)
{
	char path[128];
	unsigned n = 0;
	snprintf(path, sizeof path, "%s/packs", st->dir);
	DIR *d = opendir(path);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* ---- tests ---- */

static void when_all_is_deleted_nothing_is_left(void **state)
{
	(void)state;
	struct model m;
	struct gc_result r;
	model_make(&m, 1);
	stack_open(&m.st);
	for (unsigned i = 0; i < FILES; i++)
		model_store(&m, i);
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
	model_check(&m);
	for (unsigned i = 0; i < FILES; i++)
		file_delete(&m.st, INO + i);
	uint64_t next = packer_next_id(m.st.packer);
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
	assert_int_equal(r.chunks_live, 0);
	assert_true(r.chunks_dead > 0 && r.packs_dropped > 0 && r.bytes_freed > 0);
	assert_int_equal(count_rows(&m.st, KV_CHUNK), 0);
	assert_int_equal(pack_files(&m.st), 0); /* when it is over, the space is there */
	assert_int_equal(stack_close(&m.st), 0);
	stack_open(&m.st);
	assert_int_equal(count_rows(&m.st, KV_PACK), 0);
	assert_true(packer_next_id(m.st.packer) >= next); /* no id is given twice */
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &m.files[i];
		assert_int_equal(file_store(&m.st, INO + i, f->data, f->len), 0);
	}
	model_check(&m);
	model_end(&m);
}

static void random_lives(const struct chunker_params *chunker, uint64_t seed, unsigned rounds)
{
	struct model m;
	struct gc_result r;
	model_make(&m, seed);
	m.st.chunker = *chunker;
	stack_open(&m.st);
	uint64_t rewritten = 0, dropped = 0;
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned k = 0; k < 12; k++) {
			unsigned i = (unsigned)prng_below(&m.seed, FILES);
			if (prng_below(&m.seed, 3))
				model_store(&m, i);
			else
				model_delete(&m, i);
		}
		assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
		model_check(&m);
		assert_lean(&m, &r);
		rewritten += r.packs_rewritten;
		dropped += r.packs_dropped;
		if (round % 4 == 3) {
			assert_int_equal(stack_close(&m.st), 0);
			stack_open(&m.st);
			model_check(&m);
		}
	}
	assert_true(rewritten > 0 && dropped > 0);
	/* live chunks are still known, dead ones are not */
	struct packer_stats before, after;
	packer_get_stats(m.st.packer, &before);
	for (unsigned i = 0; i < FILES; i++)
		if (m.files[i].len)
			assert_int_equal(
				file_store(&m.st, INO + 1000 + i, m.files[i].data, m.files[i].len),
				0);
	packer_get_stats(m.st.packer, &after);
	assert_int_equal(after.bytes_new, before.bytes_new);
	model_end(&m);
}

static void files_come_and_go(void **state)
{
	(void)state;
	random_lives(&small, 2, 16);
}

static void long_chunks_come_and_go(void **state)
{
	(void)state;
	random_lives(&large, 3, 12);
}

/* Between any two steps of a pass somebody stores the bytes that are being collected. */

struct resurrection {
	struct model *m;
	unsigned calls, stored;
};

static void store_the_dead(void *arg, const struct gc_result *so_far)
{
	struct resurrection *res = arg;
	struct model *m = res->m;
	(void)so_far;
	unsigned i = res->calls++ % FILES;
	if (m->files[i].len && i % 2) {
		assert_int_equal(
			file_store(&m->st, INO + 500 + i, m->files[i].data, m->files[i].len), 0);
		res->stored++;
	}
}

static void the_dead_may_be_wanted_again(void **state)
{
	(void)state;
	for (unsigned start = 0; start < 6; start++) {
		struct model m;
		struct gc_result r;
		struct resurrection res = { .m = &m, .calls = start * 3 };
		model_make(&m, 10 + start);
		stack_open(&m.st);
		for (unsigned i = 0; i < FILES; i++)
			model_store(&m, i);
		for (unsigned i = 0; i < FILES; i++)
			file_delete(&m.st, INO + i);
		assert_int_equal(gc_run(m.st.gc, store_the_dead, &res, &r), 0);
		assert_true(res.stored > 0);
		if (start % 2) {
			assert_int_equal(stack_close(&m.st), 0);
			stack_open(&m.st);
		}
		unsigned found = 0;
		for (unsigned i = 0; i < FILES; i++) {
			int cmp =
				file_compare(&m.st, INO + 500 + i, m.files[i].data, m.files[i].len);
			assert_true(cmp == 0 || cmp == -ENOENT);
			found += cmp == 0;
		}
		assert_true(found > 0);
		check_rows(&m.st);
		assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
		model_end(&m);
	}
}

/* ---- everything at once ---- */

struct busy {
	struct model *m;
	unsigned from, to; /* its own files */
	uint64_t seed;
	bool *stop;
};

static void *write_and_delete(void *arg)
{
	struct busy *b = arg;
	struct stack *st = &b->m->st;
	for (unsigned round = 0; round < 40; round++) {
		unsigned i = b->from + (unsigned)prng_below(&b->seed, b->to - b->from);
		struct file *f = &b->m->files[i];
		if (f->len) {
			assert_int_equal(file_compare(st, INO + i, f->data, f->len), 0);
			file_delete(st, INO + i);
			f->len = 0;
		}
		if (prng_below(&b->seed, 4)) {
			file_invent(f, &b->seed);
			assert_int_equal(file_store(st, INO + i, f->data, f->len), 0);
			assert_int_equal(file_compare(st, INO + i, f->data, f->len), 0);
		}
	}
	return NULL;
}

static void *collect(void *arg)
{
	struct busy *b = arg;
	struct gc_result r;
	while (!__atomic_load_n(b->stop, __ATOMIC_SEQ_CST))
		assert_int_equal(gc_run(b->m->st.gc, NULL, NULL, &r), 0);
	return NULL;
}

static void *read_steady(void *arg)
{
	struct busy *b = arg;
	while (!__atomic_load_n(b->stop, __ATOMIC_SEQ_CST))
		for (unsigned i = b->from; i < b->to; i++) {
			struct file *f = &b->m->files[i];
			assert_int_equal(file_compare(&b->m->st, INO + i, f->data, f->len), 0);
		}
	return NULL;
}

static void everything_at_once(uint64_t gc_short)
{
	struct model m;
	struct gc_result r;
	bool stop = false;
	pthread_t threads[5];
	model_make(&m, 5);
	m.st.sync_interval_ms = 2;
	m.st.no_cache = true;
	m.st.min_live_percent = 95; /* move a lot */
	m.st.gc_short = gc_short;
	stack_open(&m.st);
	for (unsigned i = 0; i < FILES; i++)
		model_store(&m, i);
	struct busy b[5] = {
		{ &m, 8, 14, 1, &stop }, { &m, 14, 19, 2, &stop }, { &m, 19, 24, 3, &stop },
		{ &m, 0, 8, 0, &stop },	 { &m, 0, 0, 0, &stop },
	};
	for (unsigned t = 0; t < 3; t++)
		pthread_create(&threads[t], NULL, write_and_delete, &b[t]);
	pthread_create(&threads[3], NULL, read_steady, &b[3]);
	pthread_create(&threads[4], NULL, collect, &b[4]);
	for (unsigned t = 0; t < 3; t++)
		pthread_join(threads[t], NULL);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (unsigned t = 3; t < 5; t++)
		pthread_join(threads[t], NULL);
	model_check(&m);
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
	model_check(&m);
	assert_int_equal(stack_close(&m.st), 0);
	stack_open(&m.st);
	model_check(&m);
	model_end(&m);
}

static void all_at_once(void **state)
{
	(void)state;
	everything_at_once(0);
}

/* Frames become holes under those who read. */
static void all_at_once_without_room(void **state)
{
	(void)state;
	everything_at_once(UINT64_MAX);
}

/* ---- while a batch goes in ----
 *
 * The engine shows a batch row by row to those who look for the row before a key. So the linker hands
 * us what is committed (--wrap), and when a test watches, each operation on chunks is committed
 * alone, in its order, and after each every live chunk must be found to its last byte. */

static struct watch {
	struct stack *st; /* NULL: nobody watches */
	struct live {
		uint64_t id, len;
	} * live;
	size_t n, cap;
	unsigned steps;
} watch;

static uint64_t chunk_length(struct kv *kv, uint64_t id)
{
	struct frame_row row;
	uint32_t at, left;
	uint64_t len = 0;
	while (chunk_find(kv, id, (uint32_t)len, &row, &at, &left) == 0) {
		len += left;
		frame_row_done(&row);
		if (len % FRAME_DECODED_MAX)
			break; /* of a row that is not full the chunk has no other */
	}
	return len;
}

static void watch_chunk(void *arg, uint64_t chunk)
{
	(void)arg;
	if (!chunk)
		return;
	if (watch.n == watch.cap) {
		watch.cap = watch.cap ? 2 * watch.cap : 256;
		watch.live = realloc(watch.live, watch.cap * sizeof *watch.live);
		assert_non_null(watch.live);
	}
	uint64_t len = chunk_length(watch.st->kv, chunk);
	assert_true(len > 0);
	watch.live[watch.n++] = (struct live){ chunk, len };
}

static void step_through(struct kv *kv, const struct kv_batch *b);

int __real_kv_commit(struct kv *kv, struct kv_batch *b, uint64_t *ret_lsn);
int __wrap_kv_commit(struct kv *kv, struct kv_batch *b, uint64_t *ret_lsn);

static void (*before_commit)(void); /* called once, for a batch that changes chunks */

static bool changes_chunks(const struct kv_batch *b)
{
	struct slice rest = slice_of(b->ops.data, b->ops.len);
	for (struct kv_op op; kv_op_take(&rest, &op) > 0;)
		if (op.table == KV_CHUNK)
			return true;
	return false;
}

int __wrap_kv_commit(struct kv *kv, struct kv_batch *b, uint64_t *ret_lsn)
{
	if (watch.st)
		step_through(kv, b);
	if (before_commit && changes_chunks(b)) {
		void (*fn)(void) = before_commit;
		before_commit = NULL;
		fn();
	}
	return __real_kv_commit(kv, b, ret_lsn);
}

static void step_through(struct kv *kv, const struct kv_batch *b)
{
	struct slice rest = slice_of(b->ops.data, b->ops.len);
	for (struct kv_op op; kv_op_take(&rest, &op) > 0;) {
		if (op.table != KV_CHUNK)
			continue;
		struct kv_batch *one = kv_batch_new();
		if (op.is_delete)
			kv_batch_delete(one, KV_CHUNK, op.key.at, op.key.len);
		else
			kv_batch_put(one, KV_CHUNK, op.key.at, op.key.len, op.val.at, op.val.len);
		assert_int_equal(__real_kv_commit(kv, one, NULL), 0);
		watch.steps++;
		for (size_t i = 0; i < watch.n; i++)
			assert_int_equal(chunk_length(kv, watch.live[i].id), watch.live[i].len);
	}
}

static void watch_a_pass(const struct chunker_params *chunker)
{
	struct model m;
	struct gc_result r;
	model_make(&m, 7);
	m.st.chunker = *chunker;
	m.st.min_live_percent = 100;
	stack_open(&m.st);
	for (unsigned i = 0; i < FILES / 2; i++)
		model_store(&m, i);
	for (unsigned i = 0; i < FILES / 2; i += 2)
		model_delete(&m, i);
	watch = (struct watch){ .st = &m.st };
	assert_int_equal(extents_scan(m.st.x, watch_chunk, NULL), 0);
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
	watch.st = NULL;
	assert_true(r.packs_rewritten > 0 && watch.n > 4 && watch.steps > 4);
	free(watch.live);
	model_check(&m);
	model_end(&m);
}

static void no_chunk_is_missing_between_two_rows(void **state)
{
	(void)state;
	watch_a_pass(&small);
	watch_a_pass(&large);
}

/* ---- beside healing ---- */

static void *collect_once(void *arg)
{
	struct gc_result r;
	struct stack *st = arg;
	return (void *)(intptr_t)gc_run(st->gc, NULL, NULL, &r);
}

static struct {
	struct stack *st;
	pthread_t thread;
	int ended, result;
} beside;

static void *collect_beside(void *arg)
{
	struct gc_result r;
	(void)arg;
	beside.result = gc_run(beside.st->gc, NULL, NULL, &r);
	__atomic_store_n(&beside.ended, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* A whole pass, if it does not wait for us. */
static void collect_now(void)
{
	beside.ended = 0;
	pthread_create(&beside.thread, NULL, collect_beside, NULL);
	for (unsigned i = 0; i < 300 && !__atomic_load_n(&beside.ended, __ATOMIC_SEQ_CST); i++)
		usleep(1000);
}

static void damage_head(struct stack *st, uint64_t id)
{
	struct frame_row row;
	uint32_t at, left;
	char path[160];
	assert_int_equal(chunk_find(st->kv, id, 0, &row, &at, &left), 0);
	snprintf(path, sizeof path, "%s/packs/%016llx.pack", st->dir, (unsigned long long)row.pack);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "?", 1, (off_t)row.offset), 1); /* the magic number */
	close(fd);
	frame_row_done(&row);
}

/* What is healed goes into a pack of which most is garbage: it must not go with that. */
static void healed_chunks_are_not_swept(void **state)
{
	(void)state;
	struct model m;
	struct scrub_status status;
	model_make(&m, 6);
	m.st.level = 0;
	stack_open(&m.st);
	for (unsigned i = 0; i < 2; i++) {
		m.files[i].len = 300 * KIB;
		block(m.files[i].data, m.files[i].len, 1000 + i);
		assert_int_equal(file_store(&m.st, INO + i, m.files[i].data, m.files[i].len), 0);
	}
	assert_int_equal(stack_close(&m.st), 0);
	stack_open(&m.st);
	damage_chunk(&m.st, file_chunk(&m.st, INO, 150 * KIB));
	assert_int_equal(scrub_run(m.st.scrub, NULL, NULL), 0);
	scrub_get_status(m.st.scrub, &status);
	assert_true(status.rotten > 0);
	assert_int_equal(file_store(&m.st, INO + 50, m.files[0].data, m.files[0].len), 0);
	file_delete(&m.st, INO + 50);
	model_delete(&m, 0);
	beside.st = &m.st;
	damage_head(&m.st, file_chunk(&m.st, INO + 1, 150 * KIB));
	before_commit = collect_now;
	assert_int_equal(scrub_run(m.st.scrub, NULL, NULL), 0); /* repairs it */
	assert_null(before_commit);
	pthread_join(beside.thread, NULL);
	assert_int_equal(beside.result, 0);
	assert_int_equal(rotten_count(m.st.rotten), 0);
	model_check(&m);
	assert_null(collect_once(&m.st));
	model_check(&m);
	model_end(&m);
}

/* ---- what goes wrong ---- */

/* The process ends at the n-th write, sync or rename of the pass. True when it got that far. */
static bool crash_in_gc(struct stack *st, unsigned n)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char spec[32];
		struct gc_result r;
		if (stack_try_open(st))
			_exit(1);
		snprintf(spec, sizeof spec, "*:%u=crash", n);
		fault_arm(spec);
		_exit(gc_run(st->gc, NULL, NULL, &r) ? 2 : 0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0);
	return WEXITSTATUS(status) == 99;
}

static void crash_at_any_write(uint64_t gc_short)
{
	bool crashed = true;
	unsigned crashes = 0;
	for (unsigned n = 1; crashed && n < 400; n += 1 + n / 2) {
		struct model m;
		struct gc_result r;
		model_make(&m, 40 + n);
		m.st.min_live_percent = 90;
		m.st.gc_short = gc_short;
		m.st.pack_bytes = gc_short ? 4 * MIB : m.st.pack_bytes;
		m.st.sync_interval_ms = 1;
		stack_open(&m.st);
		half_delete(&m);
		assert_int_equal(stack_close(&m.st), 0);
		crashed = crash_in_gc(&m.st, n);
		crashes += crashed;
		stack_open(&m.st);
		model_check(&m);
		model_store(&m, 0);
		assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
		model_check(&m);
		assert_lean(&m, &r);
		model_end(&m);
	}
	assert_true(crashes > 5);
}

static void a_crash_at_any_write_loses_nothing(void **state)
{
	(void)state;
	crash_at_any_write(0);
}

static void a_crash_without_room_loses_nothing(void **state)
{
	(void)state;
	crash_at_any_write(UINT64_MAX);
}

static void what_cannot_be_read_stays(void **state)
{
	(void)state;
	struct model m;
	struct gc_result r, again;
	model_make(&m, 8);
	m.st.min_live_percent = 100;
	stack_open(&m.st);
	half_delete(&m);
	uint64_t bad = file_chunk(&m.st, INO + 1, 0);
	damage_chunk(&m.st, bad);
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
	struct frame_row row;
	uint32_t at, left;
	assert_int_equal(chunk_find(m.st.kv, bad, 0, &row, &at, &left), 0);
	frame_row_done(&row);
	unsigned lost = 0;
	for (unsigned i = 1; i < FILES; i += 2) {
		int cmp = file_compare(&m.st, INO + i, m.files[i].data, m.files[i].len);
		assert_true(cmp == 0 || cmp == -EIO);
		lost += cmp != 0;
	}
	assert_in_range(lost, 1, FILES / 2 - 1);
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &again), 0);
	assert_int_equal(again.packs_rewritten, 0);
	model_end(&m);
}

/* ---- manners ---- */

static void the_rate_holds_and_closing_stops(void **state)
{
	(void)state;
	struct model m;
	struct gc_result r;
	pthread_t thread;
	void *ret;
	model_make(&m, 9);
	m.st.min_live_percent = 100;
	m.st.gc_rate = 2 * MIB;
	stack_open(&m.st);
	half_delete(&m);
	uint64_t start = clock_mono_ms();
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
	uint64_t took = clock_mono_ms() - start;
	assert_true(r.bytes_rewritten > 300 * KIB);
	assert_true(took + 20 >= r.bytes_rewritten * 1000 / m.st.gc_rate);
	assert_int_equal(stack_close(&m.st), 0);

	m.st.gc_rate = 1000; /* minutes */
	stack_open(&m.st);
	for (unsigned i = 1; i < FILES; i += 4)
		model_delete(&m, i);
	pthread_create(&thread, NULL, collect_once, &m.st);
	usleep(200000);
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), -EBUSY);
	start = clock_mono_ms();
	gc_close(m.st.gc);
	m.st.gc = NULL;
	assert_true(clock_mono_ms() - start < 5000);
	pthread_join(thread, &ret);
	assert_true((intptr_t)ret == -ECANCELED || (intptr_t)ret == 0);
	model_check(&m);
	model_end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(when_all_is_deleted_nothing_is_left),
		cmocka_unit_test(files_come_and_go),
		cmocka_unit_test(long_chunks_come_and_go),
		cmocka_unit_test(the_dead_may_be_wanted_again),
		cmocka_unit_test(all_at_once),
		cmocka_unit_test(all_at_once_without_room),
		cmocka_unit_test(no_chunk_is_missing_between_two_rows),
		cmocka_unit_test(healed_chunks_are_not_swept),
		cmocka_unit_test(a_crash_at_any_write_loses_nothing),
		cmocka_unit_test(a_crash_without_room_loses_nothing),
		cmocka_unit_test(what_cannot_be_read_stays),
		cmocka_unit_test(the_rate_holds_and_closing_stops),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
