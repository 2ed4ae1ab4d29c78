// SPDX-License-Identifier: MIT
/* scrub over the real store: every flipped bit of a frame is found, nothing is called bad that is not,
 * and the same bytes written once more heal the files that were there before. */
#include "stack.h"
#include "dump.h"
#include "inspect.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define KIB 1024u
#define MIB (1024u * KIB)
#define FILES 6u
#define FILE_LEN (300u * KIB)
#define INO 100u

static const struct chunker_params small = { CHUNKER_FASTCDC, 1024, 4096, 16384 };
static const struct chunker_params large = { CHUNKER_FASTCDC, 100000, 262144, 1048576 };

struct bed {
	struct stack st;
	uint8_t *data[FILES];
	size_t len[FILES];
};

/* Odd files are noise, stored raw; even ones can be compressed. */
static void invent(uint8_t *out, size_t len, unsigned i, uint64_t seed)
{
	prng_fill(&seed, out, len);
	for (size_t at = 0; i % 2 == 0 && at < len; at++)
		out[at] = "etaoin s"[out[at] % 8];
}

static void bed_make(struct bed *bed, const struct chunker_params *chunker)
{
	stack_make(&bed->st);
	bed->st.chunker = *chunker;
	bed->st.pack_bytes = 512 * KIB;
	stack_open(&bed->st);
	for (unsigned i = 0; i < FILES; i++) {
		bed->len[i] = FILE_LEN * (chunker == &large ? 6 : 1);
		bed->data[i] = malloc(bed->len[i]);
		invent(bed->data[i], bed->len[i], i, i + 1);
		assert_int_equal(file_store(&bed->st, INO + i, bed->data[i], bed->len[i]), 0);
	}
}

static void bed_done(struct bed *bed)
{
	assert_int_equal(stack_close(&bed->st), 0);
	stack_remove(&bed->st);
	for (unsigned i = 0; i < FILES; i++)
		free(bed->data[i]);
}

static struct scrub_status scrub(struct bed *bed)
{
	struct scrub_status status;
	assert_int_equal(scrub_run(bed->st.scrub, NULL, NULL), 0);
	scrub_get_status(bed->st.scrub, &status);
	assert_int_equal(status.state, SCRUB_FINISHED);
	return status;
}

static int compare(struct bed *bed, unsigned i)
{
	return file_compare(&bed->st, INO + i, bed->data[i], bed->len[i]);
}

static void assert_all_read(struct bed *bed)
{
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(compare(bed, i), 0);
}

static bool damaged_file(struct bed *bed, uint64_t ino)
{
	struct rotten_chunk *chunks;
	struct owner *files;
	size_t n_chunks, n;
	bool found = false;
	assert_int_equal(scrub_damage(bed->st.scrub, &chunks, &n_chunks, &files, &n), 0);
	for (size_t i = 0; i < n; i++)
		found = found || files[i].ino == ino;
	free(chunks);
	owners_free(files, n);
	return found;
}

/* The same bytes again, as another file, which goes at once. */
static void write_again(struct bed *bed, unsigned i)
{
	assert_int_equal(file_store(&bed->st, INO + 50, bed->data[i], bed->len[i]), 0);
	assert_int_equal(file_compare(&bed->st, INO + 50, bed->data[i], bed->len[i]), 0);
	file_delete(&bed->st, INO + 50);
}

static int pack_open_rw(struct bed *bed, uint64_t pack)
{
	char path[160];
	snprintf(path, sizeof path, "%s/packs/%016llx.pack", bed->st.dir, (unsigned long long)pack);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void flip(struct bed *bed, uint64_t pack, uint64_t at, unsigned bit)
{
	uint8_t byte;
	int fd = pack_open_rw(bed, pack);
	assert_int_equal(io_read_exact(fd, &byte, 1, (off_t)at), 0);
	byte ^= (uint8_t)(1u << bit);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
	cache_forget_pack(bed->st.cache, pack);
}

static struct frame_row frame_of(struct bed *bed, unsigned file, uint64_t at)
{
	struct frame_row row;
	uint32_t pos, left;
	uint64_t id = file_chunk(&bed->st, INO + file, at);
	assert_int_equal(chunk_find(bed->st.kv, id, 0, &row, &pos, &left), 0);
	frame_row_done(&row);
	return row; /* its place */
}

/* ---- tests ---- */

static int64_t oldest;

static int see_verified(void *arg, const struct pack_row *row)
{
	(void)arg;
	if (row->state == PACK_SEALED && row->verified < oldest)
		oldest = row->verified;
	return 0;
}

static void what_is_right_is_called_right(void **state)
{
	(void)state;
	struct bed bed;
	bed_make(&bed, &small);
	assert_int_equal(packs_retire(bed.st.packs), 0);
	assert_int_equal(stack_close(&bed.st), 0);
	stack_open(&bed.st);
	age_packs(&bed.st, 5000);
	struct scrub_status s = scrub(&bed);
	assert_int_equal(s.frames, count_rows(&bed.st, KV_CHUNK));
	assert_int_equal(s.bytes_done, s.bytes_total);
	assert_true(s.chunks > 100 && s.ended >= s.began);
	assert_int_equal(s.bad_frames + s.bad_chunks + s.bad_rows + s.bad_packs + s.rotten, 0);
	oldest = INT64_MAX; /* verified by now: nothing is read twice to be trusted */
	assert_int_equal(packs_each(bed.st.packs, see_verified, NULL), 0);
	assert_int_equal(oldest, s.began);
	bed_done(&bed);
}

/* One bit after the other. What no reader gets right must be found, and be healed. */
static void each_bit_counts(const struct chunker_params *chunker, unsigned rounds)
{
	struct bed bed;
	uint64_t seed = 77;
	unsigned lost = 0, repaired = 0, harmless = 0;
	bed_make(&bed, chunker);
	for (unsigned round = 0; round < rounds; round++) {
		unsigned i = round % FILES;
		struct frame_row row = frame_of(&bed, i, prng_below(&seed, bed.len[i]));
		uint64_t within =
			round % 4 ? prng_below(&seed, row.stored_len) : prng_below(&seed, 400);
		flip(&bed, row.pack, row.offset + within, (unsigned)prng_below(&seed, 8));
		struct scrub_status s = scrub(&bed);
		bool reads = compare(&bed, i) == 0;
		assert_int_equal(s.bad_chunks > s.repaired, s.rotten > 0);
		if (!reads)
			assert_true(s.rotten > 0 && damaged_file(&bed, INO + i));
		lost += s.rotten > 0;
		repaired += s.repaired > 0;
		harmless += s.bad_chunks == 0;
		write_again(&bed, i);
		for (unsigned k = 0; k < FILES && rotten_count(bed.st.rotten); k++)
			write_again(&bed, k); /* frames are shared */
		assert_int_equal(rotten_count(bed.st.rotten), 0);
		assert_all_read(&bed);
		if (round % 16 == 15) {
			struct gc_result r;
			assert_int_equal(gc_run(bed.st.gc, NULL, NULL, &r), 0);
			assert_int_equal(stack_close(&bed.st), 0);
			stack_open(&bed.st);
			assert_all_read(&bed);
		}
	}
	struct scrub_status s = scrub(&bed);
	assert_int_equal(s.bad_chunks, 0);
	check_rows(&bed.st);
	assert_true(lost > rounds / 4 && harmless < rounds / 4);
	if (chunker == &small)
		assert_true(repaired > 0);
	bed_done(&bed);
}

static void each_bit_of_small_chunks_counts(void **state)
{
	(void)state;
	each_bit_counts(&small, 96);
}

static void each_bit_of_long_chunks_counts(void **state)
{
	(void)state;
	each_bit_counts(&large, 32);
}

static void a_young_rotten_chunk_is_not_believed(void **state)
{
	(void)state;
	struct bed bed;
	bed_make(&bed, &small);
	damage_chunk(&bed.st, file_chunk(&bed.st, INO, 0));
	damage_chunk(&bed.st, file_chunk(&bed.st, INO + 1, 100000));
	struct scrub_status s = scrub(&bed);
	assert_true(s.bad_frames >= 2 && s.rotten >= 2);
	assert_true(damaged_file(&bed, INO) && damaged_file(&bed, INO + 1));
	assert_int_equal(compare(&bed, 0), -EIO);
	assert_int_equal(compare(&bed, 1), -EIO);
	assert_int_equal(stack_close(&bed.st), 0);
	stack_open(&bed.st); /* known over a remount */
	assert_int_equal(rotten_count(bed.st.rotten), s.rotten);
	for (unsigned i = 0; i < FILES; i++)
		write_again(&bed, i);
	assert_all_read(&bed);
	assert_int_equal(stack_close(&bed.st), 0);
	stack_open(&bed.st);
	assert_int_equal(rotten_count(bed.st.rotten), 0);
	assert_all_read(&bed);
	check_rows(&bed.st);
	bed_done(&bed);
}

static void what_reads_the_second_time_is_right(void **state)
{
	(void)state;
	struct bed bed;
	bed_make(&bed, &small);
	for (unsigned n = 1; n < 6; n++) {
		char spec[32];
		snprintf(spec, sizeof spec, "scrub_read:%u=EIO", n);
		fault_arm(spec);
		struct scrub_status s = scrub(&bed);
		fault_arm(NULL);
		assert_int_equal(s.bad_chunks, 0);
		assert_int_equal(s.frames, count_rows(&bed.st, KV_CHUNK));
	}
	fault_arm("scrub_read:1+=EIO"); /* and a device that is gone is not */
	struct scrub_status s = scrub(&bed);
	fault_arm(NULL);
	assert_int_equal(s.bad_frames, s.frames);
	s = scrub(&bed); /* until it is back */
	assert_int_equal(s.bad_frames, 0);
	assert_int_equal(s.rotten, 0);
	assert_all_read(&bed);
	bed_done(&bed);
}

static void a_full_disk_loses_no_note(void **state)
{
	(void)state;
	struct bed bed;
	bed_make(&bed, &small);
	damage_chunk(&bed.st, file_chunk(&bed.st, INO, 0));
	struct scrub_status s = scrub(&bed);
	fault_arm("pack_write:1+=ENOSPC");
	file_store(&bed.st, INO + 50, bed.data[0], bed.len[0]);
	fault_arm(NULL);
	assert_int_equal(rotten_count(bed.st.rotten), s.rotten);
	for (unsigned i = 0; i < FILES; i++)
		write_again(&bed, i);
	assert_int_equal(rotten_count(bed.st.rotten), 0);
	assert_all_read(&bed);
	bed_done(&bed);
}

static void *run(void *arg)
{
	struct stack *st = arg;
	return (void *)(intptr_t)scrub_run(st->scrub, NULL, NULL);
}

/* Until it has seen something; the rate lets it see no more. */
static void stop_in_the_middle(struct bed *bed, bool by_user)
{
	struct scrub_status s;
	pthread_t thread;
	void *ret;
	assert_int_equal(pthread_create(&thread, NULL, run, &bed->st), 0);
	do {
		usleep(1000);
		scrub_get_status(bed->st.scrub, &s);
	} while (s.state != SCRUB_RUNNING || !s.frames);
	assert_int_equal(scrub_run(bed->st.scrub, NULL, NULL), -EBUSY);
	scrub_stop(bed->st.scrub, by_user);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, -ECANCELED);
}

static void a_pass_goes_on_where_it_was(void **state)
{
	(void)state;
	for (unsigned by_user = 0; by_user < 2; by_user++) {
		struct bed bed;
		struct scrub_status s, t;
		bed_make(&bed, &small);
		assert_int_equal(stack_close(&bed.st), 0);
		bed.st.scrub_rate = 1;
		stack_open(&bed.st);
		stop_in_the_middle(&bed, by_user);
		assert_int_equal(stack_close(&bed.st), 0);
		bed.st.scrub_rate = 0;
		stack_open(&bed.st);
		scrub_get_status(bed.st.scrub, &s);
		assert_int_equal(s.state, by_user ? SCRUB_STOPPED : SCRUB_INTERRUPTED);
		assert_int_equal(s.frames, 1);
		t = scrub(&bed);
		assert_int_equal(t.began, s.began);
		assert_int_equal(t.frames, count_rows(&bed.st, KV_CHUNK));
		assert_int_equal(t.bytes_done, t.bytes_total);
		bed_done(&bed);
	}
}

static void a_footer_is_not_the_data(void **state)
{
	(void)state;
	struct bed bed;
	struct stat st;
	bed_make(&bed, &small);
	assert_int_equal(stack_close(&bed.st), 0);
	stack_open(&bed.st);
	int fd = pack_open_rw(&bed, 1);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	flip(&bed, 1, (uint64_t)st.st_size - 3, 3);
	struct scrub_status s = scrub(&bed);
	assert_int_equal(s.bad_packs, 1);
	assert_int_equal(s.bad_chunks, 0);
	assert_all_read(&bed);
	bed_done(&bed);
}

static void a_dump_is_read_too(void **state)
{
	(void)state;
	struct bed bed;
	struct dump_info info;
	char path[160];
	bed_make(&bed, &small);
	struct dump_place place = { .dirfd = bed.st.packs_fd, .pool_uuid = "stack test uuid" };
	assert_int_equal(dump_write(bed.st.kv, &place, NULL, &info), 0);
	assert_int_equal(scrub(&bed).bad_dumps, 0);
	snprintf(path, sizeof path, "%s/packs/dump-%016lx", bed.st.dir, info.generation);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "?", 1, (off_t)info.bytes / 2), 1);
	close(fd);
	assert_int_equal(scrub(&bed).bad_dumps, 1);
	bed_done(&bed);
}

/* ---- healed in part ---- */

/* Damages a compressed frame in the middle of file 0 and has it noted. */
static struct frame_row break_frame(struct bed *bed)
{
	struct frame_row row = frame_of(bed, 0, bed->len[0] / 2);
	assert_int_equal(row.codec, CODEC_ZSTD);
	flip(bed, row.pack, row.offset + row.stored_len - 100, 0);
	struct scrub_status s = scrub(bed);
	assert_int_equal(s.bad_frames, 1);
	assert_true(s.rotten > 8);
	return row;
}

static void half_a_frame_survives_gc(void **state)
{
	(void)state;
	struct bed bed;
	struct gc_result r;
	bed_make(&bed, &small);
	assert_int_equal(stack_close(&bed.st), 0);
	bed.st.min_live_percent = 100;
	stack_open(&bed.st);
	break_frame(&bed);
	size_t before = rotten_count(bed.st.rotten), half;
	for (unsigned part = 1; part <= 4; part++) {
		size_t from = bed.len[0] / 4 + 30000 * part;
		assert_int_equal(file_store(&bed.st, INO + 60, bed.data[0] + from, 30000), 0);
		file_delete(&bed.st, INO + 60);
		file_delete(&bed.st, INO + 5); /* so that there is something to move */
		assert_int_equal(file_store(&bed.st, INO + 5, bed.data[5], bed.len[5]), 0);
		assert_int_equal(gc_run(bed.st.gc, NULL, NULL, &r), 0);
		scrub(&bed);
		if (part % 2) {
			assert_int_equal(stack_close(&bed.st), 0);
			stack_open(&bed.st);
		}
	}
	half = rotten_count(bed.st.rotten);
	assert_true(half > 0 && half < before);
	assert_true(damaged_file(&bed, INO));
	for (unsigned i = 1; i < FILES; i++)
		assert_int_equal(compare(&bed, i), 0);
	write_again(&bed, 0);
	assert_int_equal(rotten_count(bed.st.rotten), 0);
	assert_all_read(&bed);
	check_rows(&bed.st);
	assert_int_equal(gc_run(bed.st.gc, NULL, NULL, &r), 0);
	assert_all_read(&bed);
	assert_int_equal(scrub(&bed).bad_chunks, 0);
	bed_done(&bed);
}

/* What was taken for lost with its frame is there again when the frame is. */
static void the_rest_of_a_frame_comes_back(void **state)
{
	(void)state;
	struct bed bed;
	bed_make(&bed, &small);
	struct frame_row row = break_frame(&bed);
	size_t before = rotten_count(bed.st.rotten), at = bed.len[0] / 2;
	assert_int_equal(file_store(&bed.st, INO + 60, bed.data[0] + at - 20000, 40000), 0);
	size_t half = rotten_count(bed.st.rotten);
	assert_true(half > 0 && half < before);
	scrub(&bed);
	assert_int_equal(rotten_count(bed.st.rotten), half);
	assert_true(damaged_file(&bed, INO));
	flip(&bed, row.pack, row.offset + row.stored_len - 100, 0);
	struct scrub_status s = scrub(&bed);
	assert_int_equal(s.repaired, half);
	assert_int_equal(rotten_count(bed.st.rotten), 0);
	assert_all_read(&bed);
	check_rows(&bed.st);
	assert_int_equal(scrub(&bed).bad_chunks, 0);
	bed_done(&bed);
}

/* What was read in advance says nothing of the damage that was noted since. */
static void an_old_look_forgets_no_new_note(void **state)
{
	(void)state;
	struct bed bed;
	struct inspect *in;
	struct frame_row rows[2];
	struct findings f;
	uint32_t at, left;
	bed_make(&bed, &small);
	struct inspect_options opt = { .kv = bed.st.kv,
				       .packs = bed.st.packs,
				       .rotten = bed.st.rotten };
	assert_int_equal(inspect_new(&opt, &in), 0);
	uint64_t ids[2] = { file_chunk(&bed.st, INO, 0), file_chunk(&bed.st, INO, FILE_LEN - 1) };
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(chunk_find(bed.st.kv, ids[i], 0, &rows[i], &at, &left), 0);
	assert_int_equal(rows[0].pack, rows[1].pack);
	assert_true(rows[0].offset < rows[1].offset);
	struct rotten_chunk old = { .id = ids[1], .pack = rows[1].pack, .offset = rows[1].offset };
	assert_int_equal(rotten_add(bed.st.rotten, &old), 0);
	assert_int_equal(inspect_row(in, &rows[0], &f), 0); /* reads both */
	assert_int_equal(inspect_row(in, &rows[1], &f), 0);
	assert_false(rotten_has(bed.st.rotten, ids[1]));
	assert_int_equal(rotten_add(bed.st.rotten, &old), 0);
	assert_int_equal(inspect_row(in, &rows[1], &f), 0);
	assert_int_equal(f.bad_chunks, 0);
	assert_true(rotten_has(bed.st.rotten, ids[1]));
	inspect_free(in);
	in = NULL;
	assert_int_equal(scrub(&bed).bad_chunks, 0);
	assert_false(rotten_has(bed.st.rotten, ids[1]));
	for (unsigned i = 0; i < 2; i++)
		frame_row_done(&rows[i]);
	bed_done(&bed);
}

/* The process ends at the n-th write, sync or rename while a file is healed. True when it got so far. */
static bool crash_in_healing(struct bed *bed, unsigned n)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char spec[32];
		if (stack_try_open(&bed->st))
			_exit(1);
		snprintf(spec, sizeof spec, "*:%u=crash", n);
		fault_arm(spec);
		_exit(file_store(&bed->st, INO + 50, bed->data[0], bed->len[0]) ? 2 : 0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0);
	return WEXITSTATUS(status) == 99;
}

static void a_crash_while_healing_loses_nothing(void **state)
{
	(void)state;
	bool crashed = true;
	unsigned crashes = 0;
	for (unsigned n = 1; crashed && n < 200; n += 1 + n / 4) {
		struct bed bed;
		bed_make(&bed, &small);
		assert_int_equal(stack_close(&bed.st), 0);
		bed.st.sync_interval_ms = 1;
		stack_open(&bed.st);
		break_frame(&bed);
		assert_int_equal(stack_close(&bed.st), 0);
		crashed = crash_in_healing(&bed, n);
		crashes += crashed;
		stack_open(&bed.st);
		for (unsigned i = 1; i < FILES; i++)
			assert_int_equal(compare(&bed, i), 0);
		/* what is not noted any more can be read */
		assert_int_equal(compare(&bed, 0), damaged_file(&bed, INO) ? -EIO : 0);
		write_again(&bed, 0);
		assert_int_equal(rotten_count(bed.st.rotten), 0);
		assert_all_read(&bed);
		check_rows(&bed.st);
		bed_done(&bed);
	}
	assert_true(crashes > 5);
}

/* ---- beside everything else ---- */

struct busy {
	struct bed *bed;
	bool stop;
};

static void *collect(void *arg)
{
	struct busy *b = arg;
	struct gc_result r;
	while (!__atomic_load_n(&b->stop, __ATOMIC_SEQ_CST))
		assert_int_equal(gc_run(b->bed->st.gc, NULL, NULL, &r), 0);
	return NULL;
}

static void *scrub_on(void *arg)
{
	struct busy *b = arg;
	while (!__atomic_load_n(&b->stop, __ATOMIC_SEQ_CST))
		assert_int_equal(scrub_run(b->bed->st.scrub, NULL, NULL), 0);
	return NULL;
}

static void nobody_minds_a_scrub(void **state)
{
	(void)state;
	struct bed bed;
	struct busy b = { .bed = &bed };
	pthread_t threads[2];
	uint64_t seed = 3;
	bed_make(&bed, &small);
	assert_int_equal(stack_close(&bed.st), 0);
	bed.st.min_live_percent = 100; /* move a lot */
	bed.st.sync_interval_ms = 2;
	stack_open(&bed.st);
	pthread_create(&threads[0], NULL, collect, &b);
	pthread_create(&threads[1], NULL, scrub_on, &b);
	for (unsigned round = 0; round < 40; round++) {
		unsigned i = round % FILES;
		file_delete(&bed.st, INO + i);
		invent(bed.data[i], bed.len[i], i, prng_next(&seed));
		assert_int_equal(file_store(&bed.st, INO + i, bed.data[i], bed.len[i]), 0);
		if (round % 10 == 5) { /* of this one, an old one reads again while they run */
			damage_chunk(&bed.st, file_chunk(&bed.st, INO + i, 0));
			while (compare(&bed, i)) {
				usleep(1000); /* until a pass comes by */
				for (unsigned k = 0; k < FILES && rotten_count(bed.st.rotten); k++)
					assert_int_equal(file_store(&bed.st, INO + 50 + k,
								    bed.data[k], bed.len[k]),
							 0);
			}
		}
		assert_int_equal(compare(&bed, i), 0);
	}
	__atomic_store_n(&b.stop, true, __ATOMIC_SEQ_CST);
	for (unsigned t = 0; t < 2; t++)
		pthread_join(threads[t], NULL);
	assert_all_read(&bed);
	struct scrub_status s = scrub(&bed);
	assert_int_equal(s.bad_chunks, 0);
	check_rows(&bed.st);
	bed_done(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_right_is_called_right),
		cmocka_unit_test(each_bit_of_small_chunks_counts),
		cmocka_unit_test(each_bit_of_long_chunks_counts),
		cmocka_unit_test(a_young_rotten_chunk_is_not_believed),
		cmocka_unit_test(what_reads_the_second_time_is_right),
		cmocka_unit_test(a_full_disk_loses_no_note),
		cmocka_unit_test(a_pass_goes_on_where_it_was),
		cmocka_unit_test(a_footer_is_not_the_data),
		cmocka_unit_test(a_dump_is_read_too),
		cmocka_unit_test(half_a_frame_survives_gc),
		cmocka_unit_test(the_rest_of_a_frame_comes_back),
		cmocka_unit_test(a_crash_while_healing_loses_nothing),
		cmocka_unit_test(an_old_look_forgets_no_new_note),
		cmocka_unit_test(nobody_minds_a_scrub),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
