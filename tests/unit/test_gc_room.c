// SPDX-License-Identifier: MIT
/* gc on a disk without room: what is dead is given back in place, and nothing is lost. */
#include "gc_model.h"

static void a_full_disk_stops_a_pass(void **state)
{
	(void)state;
	static const char *const faults[] = { "pack_write:%u+=ENOSPC", "pack_write:%u=EIO",
					      "pack_create:%u=ENOSPC" };
	for (unsigned k = 0; k < 3; k++)
		for (unsigned n = 1; n < 20; n = n * 2 + 1) {
			struct model m;
			struct gc_result r;
			char spec[64];
			model_make(&m, n);
			m.st.min_live_percent = 100;
			stack_open(&m.st);
			half_delete(&m);
			snprintf(spec, sizeof spec, faults[k], k == 2 ? n / 4 + 1 : n);
			fault_arm(spec);
			int err = gc_run(m.st.gc, NULL, NULL, &r);
			fault_arm(NULL);
			assert_true(err == 0 || err == -ENOSPC || err == -EIO);
			model_check(&m);
			if (k == 1) {
				assert_int_equal(stack_close(&m.st), 0);
				stack_open(&m.st);
				model_check(&m);
			}
			assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
			model_check(&m);
			assert_int_equal(stack_close(&m.st), 0);
			stack_open(&m.st);
			model_check(&m);
			model_end(&m);
		}
}

static uint64_t bytes_of_packs(struct stack *st)
{
	uint64_t bytes, n;
	packs_bytes(st->packs, &bytes, &n);
	return bytes;
}

/* Files that share nothing, longer than a frame. */
static void delete_runs(struct model *m)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &m->files[i];
		f->len = FILE_MAX;
		prng_fill(&m->seed, f->data, f->len);
		assert_int_equal(file_store(&m->st, INO + i, f->data, f->len), 0);
	}
	for (unsigned i = 0; i < FILES; i++)
		if (i % 6 < 3)
			model_delete(m, i);
}

/* Nothing can be written; what is dead is given back even so, once, and its place is nobody's. */
static void a_full_disk_gives_back_what_is_dead(void **state)
{
	(void)state;
	struct model m;
	struct gc_result r, again;
	model_make(&m, 3);
	m.st.pack_bytes = 16 * MIB;
	stack_open(&m.st);
	delete_runs(&m);
	uint64_t before = bytes_of_packs(&m.st);
	fault_arm("pack_write:1+=ENOSPC");
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
	uint64_t after = bytes_of_packs(&m.st);
	assert_true(r.packs_trimmed > 0 && r.packs_rewritten == 0);
	assert_true(before > after + r.bytes_dead * 3 / 4);
	assert_in_range(r.bytes_freed, before - after, before - after + 8192); /* but a footer */
	model_check(&m);
	int err = gc_run(m.st.gc, NULL, NULL, &again);
	fault_arm(NULL);
	assert_true(err == 0 || err == -ENOSPC);
	assert_int_equal(again.bytes_freed, 0);
	assert_int_equal(scrub_run(m.st.scrub, NULL, NULL), 0);
	assert_int_equal(rotten_count(m.st.rotten), 0);
	assert_int_equal(stack_close(&m.st), 0);
	stack_open(&m.st);
	assert_true(bytes_of_packs(&m.st) <= after + 8192); /* it has its footer now */
	model_check(&m);
	for (unsigned i = 0; i < FILES; i++) { /* the bytes that went, once more */
		struct file *f = &m.files[i];
		if (!f->len) {
			uint64_t seed = 3;
			f->len = 20000;
			prng_fill(&seed, f->data, f->len);
			assert_int_equal(file_store(&m.st, INO + i, f->data, f->len), 0);
		}
	}
	model_check(&m);
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
	model_check(&m);
	assert_lean(&m, &r);
	model_end(&m);
}

/* A pass that was stopped halfway by a full disk leaves packs whose rows are all live. */
static void what_a_stopped_pass_left_is_found(void **state)
{
	(void)state;
	struct model m;
	struct gc_result r;
	model_make(&m, 4);
	m.st.pack_bytes = 16 * MIB;
	stack_open(&m.st);
	delete_runs(&m);
	uint64_t before = bytes_of_packs(&m.st);
	fault_arm("pack_write:4+=ENOSPC");
	(void)gc_run(m.st.gc, NULL, NULL, &r);
	fault_arm(NULL);
	assert_int_equal(gc_run(m.st.gc, NULL, NULL, &r), 0);
	model_check(&m);
	assert_true(bytes_of_packs(&m.st) < before);
	assert_true(bytes_of_packs(&m.st) < r.bytes_live + r.bytes_live / 4 + MIB);
	model_end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_disk_stops_a_pass),
		cmocka_unit_test(a_full_disk_gives_back_what_is_dead),
		cmocka_unit_test(what_a_stopped_pass_left_is_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
