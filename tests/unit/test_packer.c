// SPDX-License-Identifier: MIT
/* The packer over the real index and packs: who gets which id, what is trusted, what a failed
 * write takes with it, and what is known after a crash. */
#include "stack.h"
#include <sched.h>
#include <stdatomic.h>

#define KIB 1024u

struct waiting {
	struct packed_wait w; /* first */
	int err;
	unsigned runs;
};

static void note(struct packed_wait *w, int err)
{
	struct waiting *waiting = (struct waiting *)w;
	waiting->err = err;
	__atomic_add_fetch(&waiting->runs, 1, __ATOMIC_SEQ_CST);
}

static void fill(void *out, size_t len, uint64_t seed)
{
	prng_fill(&seed, out, len);
}

static struct packed add(struct stack *st, const void *data, uint32_t len)
{
	struct digest d;
	struct packed packed = { 0 };
	digest_of(data, len, &d);
	assert_int_equal(packer_add(st->packer, &d, data, len, &packed), 0);
	assert_true(packed.id > 0);
	return packed;
}

/* The result of waiting for the frames up to the one named. */
static int stored(struct stack *st, uint64_t first, uint64_t frame)
{
	struct waiting w = { .w = { .run = note, .first = first } };
	packer_flush(st->packer, frame);
	packer_drain(st->packer);
	packer_when_stored(st->packer, frame, &w.w);
	assert_int_equal(w.runs, 1);
	return w.err;
}

static void assert_reads(struct stack *st, uint64_t id, const void *data, uint32_t len)
{
	CLEANUP_FREE void *got = malloc(len);
	assert_int_equal(chunk_read(st->chunks, id, got, len), 0);
	assert_memory_equal(got, data, len);
}

static void one_chunk_one_id(void **state)
{
	(void)state;
	struct stack st;
	uint8_t data[64 * KIB];
	stack_make(&st);
	stack_open(&st);
	fill(data, sizeof data, 1);
	struct packed a = add(&st, data, sizeof data);
	assert_false(a.duplicate);
	assert_true(a.frame > 0);
	struct packed b = add(&st, data, sizeof data); /* while the frame is being filled */
	assert_true(b.duplicate);
	assert_int_equal(b.id, a.id);
	assert_int_equal(b.frame, a.frame);
	assert_int_equal(stored(&st, 0, a.frame), 0);
	struct packed c = add(&st, data, sizeof data);
	assert_true(c.duplicate);
	assert_int_equal(c.id, a.id);
	assert_int_equal(c.frame, 0);
	assert_reads(&st, a.id, data, sizeof data);
	assert_int_equal(stack_close(&st), 0);
	stack_open(&st); /* through the index this time */
	struct packed d = add(&st, data, sizeof data);
	assert_int_equal(d.id, a.id);
	assert_true(d.duplicate && !d.frame);
	fill(data, sizeof data, 2);
	struct packed e = add(&st, data, sizeof data);
	assert_true(e.id > a.id && !e.duplicate);
	struct packer_stats stats;
	packer_drain(st.packer);
	packer_get_stats(st.packer, &stats);
	assert_int_equal(stats.chunks, 2);
	assert_int_equal(stats.duplicates, 1);
	assert_int_equal(stats.bytes_in, 128 * KIB);
	assert_int_equal(stats.bytes_new, 64 * KIB);
	assert_int_equal(stats.frames, 1);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static void long_chunks_lie_in_parts(void **state)
{
	(void)state;
	struct stack st;
	stack_make(&st);
	stack_open(&st);
	const uint32_t lens[] = { 100,	FRAME_DECODED_MAX,     FRAME_DECODED_MAX + 1,
				  5000, 3 * FRAME_DECODED_MAX, CHUNK_LENGTH_MAX,
				  77 };
	const unsigned n = sizeof lens / sizeof *lens;
	CLEANUP_FREE uint8_t *data = malloc(CHUNK_LENGTH_MAX);
	struct packed p[sizeof lens / sizeof *lens];
	for (unsigned i = 0; i < n; i++) {
		fill(data, lens[i], i);
		p[i] = add(&st, data, lens[i]);
		assert_true(!i || p[i].id > p[i - 1].id);
	}
	assert_int_equal(stored(&st, p[0].frame, p[n - 1].frame), 0);
	check_rows(&st);
	assert_int_equal(stack_close(&st), 0);
	stack_open(&st);
	for (unsigned i = 0; i < n; i++) {
		fill(data, lens[i], i);
		assert_reads(&st, p[i].id, data, lens[i]);
		struct packed again = add(&st, data, lens[i]);
		assert_int_equal(again.id, p[i].id);
	}
	age_packs(&st, 100000); /* and read before they are relied upon */
	assert_int_equal(stack_close(&st), 0);
	stack_open(&st);
	for (unsigned i = 0; i < n; i++) {
		fill(data, lens[i], i);
		assert_int_equal(add(&st, data, lens[i]).id, p[i].id);
	}
	struct digest d = { 0 };
	struct packed none;
	assert_int_equal(packer_add(st.packer, &d, data, CHUNK_LENGTH_MAX + 1, &none), -EINVAL);
	assert_int_equal(packer_add(st.packer, &d, data, 0, &none), -EINVAL);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* Two digests that agree in the 16 bytes the index looks at. */
static void half_a_digest_is_no_duplicate(void **state)
{
	(void)state;
	struct stack st;
	uint8_t a[5000], b[5000];
	struct digest da, db;
	struct packed pa, pb, pc;
	stack_make(&st);
	stack_open(&st);
	fill(a, sizeof a, 1);
	fill(b, sizeof b, 2);
	digest_of(a, sizeof a, &da);
	db = da;
	db.bytes[31] ^= 1;
	assert_int_equal(packer_add(st.packer, &da, a, sizeof a, &pa), 0);
	packer_drain(st.packer);
	assert_int_equal(stack_close(&st), 0);
	stack_open(&st);
	assert_int_equal(packer_add(st.packer, &db, b, sizeof b, &pb), 0);
	assert_false(pb.duplicate);
	assert_int_not_equal(pb.id, pa.id);
	assert_int_equal(packer_add(st.packer, &da, a, sizeof a, &pc), 0);
	assert_int_equal(pc.id, pa.id);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static void old_chunks_are_read_and_healed(void **state)
{
	(void)state;
	struct stack st;
	uint8_t *data = malloc(1 << 20);
	struct packed p[32], q[32];
	stack_make(&st);
	st.verify_age_s = 1000;
	stack_open(&st);
	for (uint64_t i = 0; i < 32; i++) {
		fill(data, 32 * KIB, i);
		p[i] = add(&st, data, 32 * KIB);
	}
	packer_drain(st.packer);
	assert_int_equal(stack_close(&st), 0);

	stack_open(&st); /* young: believed, though it is rotten */
	damage_chunk(&st, p[3].id);
	fill(data, 32 * KIB, 3);
	assert_int_equal(add(&st, data, 32 * KIB).id, p[3].id);
	age_packs(&st, 900);
	assert_int_equal(stack_close(&st), 0);

	stack_open(&st);
	fill(data, 32 * KIB, 3);
	assert_int_equal(add(&st, data, 32 * KIB).id, p[3].id);
	age_packs(&st, 1100);
	assert_int_equal(stack_close(&st), 0);

	stack_open(&st);
	for (uint64_t i = 0; i < 32; i++) { /* each gets its bytes under the id that files know */
		fill(data, 32 * KIB, i);
		q[i] = add(&st, data, 32 * KIB);
		assert_int_equal(q[i].id, p[i].id);
		assert_true(q[i].duplicate);
	}
	assert_int_equal(rotten_count(st.rotten), 0);
	packer_drain(st.packer);
	check_rows(&st);
	for (uint64_t i = 0; i < 32; i++) {
		fill(data, 32 * KIB, i);
		assert_reads(&st, q[i].id, data, 32 * KIB);
	}
	assert_int_equal(stack_close(&st), 0);

	stack_open(&st); /* the index leads to the healthy copies */
	for (uint64_t i = 0; i < 32; i++) {
		fill(data, 32 * KIB, i);
		assert_int_equal(add(&st, data, 32 * KIB).id, q[i].id);
	}
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
	free(data);
}

/* Every write fails from the n-th on; then the disk has room again. */
static void a_failed_frame_takes_its_references(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 4; n++) { /* there are three frames */
		struct stack st;
		char spec[64];
		uint8_t data[64 * KIB];
		struct packed p[24];
		stack_make(&st);
		stack_open(&st);
		snprintf(spec, sizeof spec, "pack_write:%u+=ENOSPC", n);
		fault_arm(spec);
		for (uint64_t i = 0; i < 24; i++) {
			fill(data, sizeof data, i / 2); /* each one twice */
			p[i] = add(&st, data, sizeof data);
		}
		packer_drain(st.packer);
		fault_arm(NULL);
		unsigned lost = 0;
		for (uint64_t i = 0; i < 24; i++) {
			int err = p[i].frame ? stored(&st, 0, p[i].frame) : 0;
			fill(data, sizeof data, i / 2);
			assert_true(err == 0 || err == -ENOSPC);
			lost += err != 0;
			struct packed again = add(&st, data, sizeof data);
			if (err == 0) {
				assert_reads(&st, p[i].id, data, sizeof data);
				assert_int_equal(again.id, p[i].id);
			} else {
				assert_int_not_equal(again.id, p[i].id);
			}
		}
		assert_true((n < 4) == (lost > 0));
		packer_drain(st.packer);
		/* a range counts every frame in it */
		assert_int_equal(stored(&st, p[0].frame, p[23].frame ? p[23].frame : p[22].frame),
				 lost ? -ENOSPC : 0);
		assert_int_equal(stack_close(&st), 0);
		stack_open(&st);
		check_rows(&st);
		for (uint64_t i = 0; i < 12; i++) {
			fill(data, sizeof data, i);
			struct packed known = add(&st, data, sizeof data);
			assert_true(known.duplicate);
			assert_reads(&st, known.id, data, sizeof data);
		}
		assert_int_equal(stack_close(&st), 0);
		stack_remove(&st);
	}
}

static void a_long_chunk_fails_as_a_whole(void **state)
{
	(void)state;
	struct stack st;
	CLEANUP_FREE uint8_t *data = malloc(2 << 20);
	stack_make(&st);
	stack_open(&st);
	fill(data, 2 << 20, 1);
	fault_arm("pack_write:4=EIO");
	struct packed p = add(&st, data, 2 << 20);
	fault_arm(NULL);
	assert_int_equal(stored(&st, 0, p.frame), -EIO);
	assert_int_equal(count_rows(&st, KV_CHUNK), 0);
	struct packed again = add(&st, data, 2 << 20);
	assert_int_not_equal(again.id, p.id);
	assert_int_equal(stored(&st, 0, again.frame), 0);
	assert_reads(&st, again.id, data, 2 << 20);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static void a_crash_forgets_no_stored_chunk(void **state)
{
	(void)state;
	struct stack st, after;
	uint8_t data[20 * KIB];
	uint64_t ids[100];
	stack_make(&st);
	stack_open(&st);
	for (uint64_t i = 0; i < 100; i++) {
		fill(data, sizeof data, i);
		ids[i] = add(&st, data, sizeof data).id;
	}
	packer_drain(st.packer);
	assert_int_equal(kv_sync(st.kv, UINT64_MAX), 0);
	for (uint64_t i = 100; i < 150; i++) { /* these are lost */
		fill(data, sizeof data, i);
		add(&st, data, sizeof data);
	}
	stack_copy(&st, &after);
	stack_open(&after);
	assert_true(packer_next_id(after.packer) > ids[99]);
	for (uint64_t i = 0; i < 100; i++) {
		fill(data, sizeof data, i);
		struct packed p = add(&after, data, sizeof data);
		assert_true(p.duplicate);
		assert_int_equal(p.id, ids[i]);
		assert_reads(&after, p.id, data, sizeof data);
	}
	for (uint64_t i = 100; i < 150; i++) {
		fill(data, sizeof data, i);
		uint64_t id = add(&after, data, sizeof data).id;
		packer_drain(after.packer);
		assert_reads(&after, id, data, sizeof data);
	}
	check_rows(&after);
	assert_int_equal(stack_close(&after), 0);
	stack_remove(&after);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static bool refuse(void *arg, uint64_t chunk)
{
	return chunk != *(uint64_t *)arg;
}

static void a_refused_chunk_is_stored_anew(void **state)
{
	(void)state;
	struct stack st;
	uint8_t a[5000], b[5000];
	stack_make(&st);
	stack_open(&st);
	fill(a, sizeof a, 1);
	fill(b, sizeof b, 2);
	uint64_t ida = add(&st, a, sizeof a).id, idb = add(&st, b, sizeof b).id;
	packer_drain(st.packer);
	packer_set_mark(st.packer, refuse, &ida);
	uint64_t again = add(&st, a, sizeof a).id;
	assert_int_not_equal(again, ida);
	assert_int_equal(add(&st, a, sizeof a).id, again);
	assert_int_equal(add(&st, b, sizeof b).id, idb);
	packer_drain(st.packer);
	packer_set_mark(st.packer, NULL, NULL);
	assert_int_equal(add(&st, a, sizeof a).id, again);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static void what_was_stored_next_is_expected_next(void **state)
{
	(void)state;
	struct stack st;
	uint8_t data[30 * KIB];
	struct digest d[40], guess;
	uint32_t len;
	stack_make(&st);
	stack_open(&st);
	for (uint32_t i = 0; i < 40; i++) {
		fill(data, 20000 + i, i);
		digest_of(data, 20000 + i, &d[i]);
		add(&st, data, 20000 + i);
	}
	assert_false(packer_guess(st.packer, &d[39], &guess, &len));
	packer_drain(st.packer);
	assert_false(packer_guess(st.packer, &d[39], &guess, &len));
	assert_int_equal(stack_close(&st), 0);
	stack_open(&st);
	assert_false(packer_guess(st.packer, &d[0], &guess, &len)); /* nobody asked for it yet */
	fill(data, 20000, 0);
	assert_true(add(&st, data, 20000).duplicate);
	for (uint32_t i = 0; i + 1 < 40; i++) { /* over the ends of frames too */
		assert_true(packer_guess(st.packer, &d[i], &guess, &len));
		assert_true(digest_equal(&guess, &d[i + 1]));
		assert_int_equal(len, 20000 + i + 1);
	}
	assert_false(packer_guess(st.packer, &d[39], &guess, &len));
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* ---- many threads ---- */

/* While `held` is set, who adds a digest waits a moment: whoever does not wait for him gets ahead. */
static bool held, adding;

int __wrap_digests_add(struct digests *d, const struct digest *digest, uint64_t id);
int __real_digests_add(struct digests *d, const struct digest *digest, uint64_t id);

int __wrap_digests_add(struct digests *d, const struct digest *digest, uint64_t id)
{
	if (__atomic_load_n(&held, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&adding, true, __ATOMIC_SEQ_CST);
		usleep(100000);
	}
	return __real_digests_add(d, digest, id);
}

static void *flush_all(void *arg)
{
	packer_flush(arg, UINT64_MAX);
	return NULL;
}

/* gc clears what the packer remembers, and takes digests away: those of another thread's frame, too. */
static void who_drains_waits_for_the_digests(void **state)
{
	(void)state;
	struct stack st;
	struct digest d;
	uint8_t data[5000];
	uint64_t found = 0;
	pthread_t other;
	stack_make(&st);
	st.workers = 1; /* nobody who would help */
	stack_open(&st);
	fill(data, sizeof data, 1);
	digest_of(data, sizeof data, &d);
	uint64_t id = add(&st, data, sizeof data).id;
	__atomic_store_n(&held, true, __ATOMIC_SEQ_CST);
	pthread_create(&other, NULL, flush_all, st.packer);
	while (!__atomic_load_n(&adding, __ATOMIC_SEQ_CST))
		sched_yield();
	packer_drain(st.packer);
	assert_int_equal(digests_find(st.digests, &d, &found), 1);
	assert_int_equal(found, id);
	__atomic_store_n(&held, false, __ATOMIC_SEQ_CST);
	pthread_join(other, NULL);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

#define THREADS 4
#define SHARED 300

struct adder {
	struct stack *st;
	uint64_t seed;
	uint64_t ids[SHARED];
};

static void *add_all(void *arg)
{
	struct adder *a = arg;
	struct waiting w[SHARED] = { 0 };
	uint8_t data[40 * KIB];
	for (unsigned k = 0; k < SHARED; k++) {
		uint64_t i = (k + a->seed * 7) % SHARED;
		uint32_t len = (uint32_t)(500 + i * 131 % 40000);
		fill(data, len, i);
		struct packed p = add(a->st, data, len);
		a->ids[i] = p.id;
		w[k].w.run = note;
		if (p.frame)
			packer_when_stored(a->st->packer, p.frame, &w[k].w);
		else
			w[k].runs = 1;
	}
	packer_drain(a->st->packer);
	for (unsigned k = 0; k < SHARED; k++) {
		while (!__atomic_load_n(&w[k].runs, __ATOMIC_SEQ_CST))
			sched_yield();
		assert_int_equal(w[k].err, 0);
	}
	return NULL;
}

static void the_same_chunks_at_once_are_stored_once(void **state)
{
	(void)state;
	struct stack st;
	struct adder adders[THREADS];
	pthread_t threads[THREADS];
	uint8_t data[40 * KIB];
	stack_make(&st);
	stack_open(&st);
	for (unsigned t = 0; t < THREADS; t++) {
		adders[t] = (struct adder){ .st = &st, .seed = t };
		pthread_create(&threads[t], NULL, add_all, &adders[t]);
	}
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	for (uint64_t i = 0; i < SHARED; i++) {
		uint32_t len = (uint32_t)(500 + i * 131 % 40000);
		fill(data, len, i);
		for (unsigned t = 1; t < THREADS; t++)
			assert_int_equal(adders[t].ids[i], adders[0].ids[i]);
		assert_reads(&st, adders[0].ids[i], data, len);
	}
	struct packer_stats stats;
	packer_get_stats(st.packer, &stats);
	assert_int_equal(stats.chunks, THREADS * SHARED);
	assert_int_equal(stats.chunks - stats.duplicates, SHARED);
	check_rows(&st);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static struct packed add_to(struct stack *st, struct packer_stretch *stretch, const void *data,
			    uint32_t len)
{
	struct digest d;
	struct packed packed = { 0 };
	digest_of(data, len, &d);
	assert_int_equal(packer_add_side_by_side(st->packer, stretch, &d, data, len, &packed), 0);
	assert_false(packed.duplicate);
	return packed;
}

#define TURNS 60u

struct rival {
	struct stack *st;
	atomic_uint begun, ended; /* turns */
};

static void *add_between(void *arg)
{
	struct rival *r = arg;
	for (unsigned turn = 1; turn <= TURNS; turn++) {
		uint8_t data[KIB];
		struct packer_stretch stretch = { 0 };
		fill(data, sizeof data, 5000 + turn);
		while (r->begun < turn)
			sched_yield();
		add_to(r->st, &stretch, data, sizeof data);
		packer_end_stretch(r->st->packer, &stretch);
		r->ended = turn;
	}
	return NULL;
}

/* Whether the rival comes between is decided by time, so most of the turns are asked for. And in the end a
 * stretch that goes on keeps nobody from storing: the rival's turns end before it does. */
static void a_stretch_lies_side_by_side(void **state)
{
	(void)state;
	struct stack st;
	struct rival rival = { .st = &st };
	pthread_t thread;
	unsigned together = 0;
	stack_make(&st);
	stack_open(&st);
	pthread_create(&thread, NULL, add_between, &rival);
	for (unsigned turn = 1; turn <= TURNS; turn++) {
		uint8_t data[KIB];
		struct packer_stretch stretch = { 0 };
		fill(data, sizeof data, 6000 + turn);
		uint64_t first = add_to(&st, &stretch, data, sizeof data).id;
		rival.begun = turn;
		for (uint64_t until = clock_mono_ns() + 300000; clock_mono_ns() < until;)
			sched_yield();
		fill(data, sizeof data, 7000 + turn);
		together += add_to(&st, &stretch, data, sizeof data).id == first + 1;
		while (rival.ended < turn)
			sched_yield();
		packer_end_stretch(st.packer, &stretch);
	}
	pthread_join(thread, NULL);
	assert_true(together > TURNS / 2);
	check_rows(&st);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* What it keeps is what everything after it waits for. */
static void a_stretch_of_any_length_is_stored(void **state)
{
	(void)state;
	struct stack st;
	const uint32_t len = 200 * KIB; /* one to a frame */
	CLEANUP_FREE uint8_t *data = malloc(len);
	struct packer_stretch stretch = { 0 };
	struct packed first = { 0 }, last;
	stack_make(&st);
	stack_open(&st);
	fill(data, len, 1);
	for (uint64_t i = 0; i < 1200; i++) { /* more than may be in flight */
		memcpy(data, &i, sizeof i);
		last = add_to(&st, &stretch, data, len);
		first = i ? first : last;
	}
	packer_end_stretch(st.packer, &stretch);
	assert_int_equal(stored(&st, first.frame, last.frame), 0);
	assert_reads(&st, last.id, data, len);
	check_rows(&st);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_chunk_one_id),
		cmocka_unit_test(long_chunks_lie_in_parts),
		cmocka_unit_test(half_a_digest_is_no_duplicate),
		cmocka_unit_test(old_chunks_are_read_and_healed),
		cmocka_unit_test(a_failed_frame_takes_its_references),
		cmocka_unit_test(a_long_chunk_fails_as_a_whole),
		cmocka_unit_test(a_crash_forgets_no_stored_chunk),
		cmocka_unit_test(a_refused_chunk_is_stored_anew),
		cmocka_unit_test(what_was_stored_next_is_expected_next),
		cmocka_unit_test(who_drains_waits_for_the_digests),
		cmocka_unit_test(the_same_chunks_at_once_are_stored_once),
		cmocka_unit_test(a_stretch_lies_side_by_side),
		cmocka_unit_test(a_stretch_of_any_length_is_stored),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
