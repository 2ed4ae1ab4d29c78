// SPDX-License-Identifier: MIT
/* What is taken from a log that replay refuses: everything that can be read, and that was durable. */
#include "kv_batch.h"
#include "wal_pool.h"
#include "wal_salvage.h"

struct taken {
	bool has[5000]; /* by LSN */
	uint64_t n, last;
};

static int take(void *arg, uint64_t lsn, struct slice payload)
{
	struct taken *t = arg;
	struct kv_op op;
	assert_true(lsn < 5000 && lsn > t->last);
	assert_int_equal(kv_op_take(&payload, &op), 1);
	assert_int_equal(get_be64(op.key.at), lsn); /* commit_number() */
	t->has[lsn] = true;
	t->last = lsn;
	t->n++;
	return 0;
}

static struct wal_salvaged salvage(const struct pool *p, uint64_t after, struct taken *ret_taken)
{
	struct wal_survey log;
	struct wal_salvaged found;
	struct wal_replay in = { .dirfd = p->wal_fd,
				 .checkpoint_lsn = after,
				 .read_only = true,
				 .apply = take,
				 .arg = ret_taken };
	*ret_taken = (struct taken){ 0 };
	assert_int_equal(wal_survey(p->wal_fd, p->opt.pool_uuid, &log), 0);
	memcpy(in.id.pool_uuid, p->opt.pool_uuid, sizeof in.id.pool_uuid);
	memcpy(in.id.wal_id, log.wal_id, sizeof in.id.wal_id);
	assert_int_equal(wal_salvage(&in, &found), 0);
	assert_int_equal(found.last_lsn, ret_taken->n ? ret_taken->last : after);
	return found;
}

static void what_follows_damage_is_taken(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f;
	struct taken t;
	size_t at[16];
	crashed_pool(&p, 8, true);
	assert_int_equal(read_log(&p, &f, 1), 1);
	assert_int_equal(frame_offsets(&f, at, 15), 8);
	struct wal_salvaged s = salvage(&p, 0, &t);
	assert_true(s.lost == 0 && s.last_lsn == 8 && s.gap_lsn == 8 && t.n == 8);
	for (size_t i = 0; i < 7; i++)
		for (size_t off = at[i]; off < at[i + 1] - WAL_ALIGN; off += 5) {
			f.data[off] ^= 0x10;
			write_file(f.path, f.data, f.len);
			s = salvage(&p, 0, &t);
			assert_true(s.lost == 1 && s.gap_lsn == i && s.last_lsn == 8 && t.n == 7);
			assert_false(t.has[i + 1]);
			f.data[off] ^= 0x10;
		}
	f.data[at[1] + 50] ^= 1;
	f.data[at[4] + 50] ^= 1;
	write_file(f.path, f.data, f.len);
	s = salvage(&p, 0, &t);
	assert_true(s.lost == 2 && s.gap_lsn == 1 && s.last_lsn == 8 && t.n == 6);
	s = salvage(&p, 3, &t);
	assert_true(s.lost == 1 && s.gap_lsn == 4 && s.last_lsn == 8 && t.n == 4);
	free_log(&f, 1);
	pool_remove(&p);
}

/* Of a group that the power cut short nothing is taken behind its first lost frame: nobody was told that
 * it is there, and what it names may not be. */
static void what_was_never_durable_is_not_taken(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f;
	struct taken t;
	size_t at[64];
	crashed_pool(&p, 40, false); /* one group of 20, then another */
	assert_int_equal(read_log(&p, &f, 1), 1);
	assert_int_equal(frame_offsets(&f, at, 63), 40);
	f.data[at[29] + 50] ^= 1;
	write_file(f.path, f.data, f.len);
	struct wal_salvaged s = salvage(&p, 0, &t);
	assert_true(s.lost == 0 && s.last_lsn == 29 && t.n == 29);
	f.data[at[10] + 50] ^= 1;
	write_file(f.path, f.data, f.len);
	s = salvage(&p, 0, &t);
	assert_true(s.lost == 1 && s.gap_lsn == 10 && s.last_lsn == 29 && t.n == 28);
	for (size_t i = 18; i < 22; i++) /* a gap from what was durable to what was not */
		f.data[at[i] + 50] ^= 1;
	write_file(f.path, f.data, f.len);
	s = salvage(&p, 0, &t);
	assert_true(s.lost == 1 && s.last_lsn == 18 && t.n == 17);
	free_log(&f, 1);
	pool_remove(&p);
}

static void files_without_headers_and_gaps_between_files(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f[8];
	struct taken t;
	crashed_pool(&p, 4000, false);
	size_t n = read_log(&p, f, 8);
	assert_true(n >= 3);
	for (size_t i = 0; i + 1 < n; i++) {
		f[i].data[30] ^= 1;
		write_file(f[i].path, f[i].data, f[i].len);
	}
	struct wal_salvaged s = salvage(&p, 0, &t);
	assert_true(s.lost == 0 && s.last_lsn == 4000 && t.n == 4000);
	assert_int_equal(unlink(f[1].path), 0);
	s = salvage(&p, 0, &t);
	assert_int_equal(s.gap_lsn, f[1].first_lsn - 1);
	assert_int_equal(s.lost, f[2].first_lsn - f[1].first_lsn);
	assert_int_equal(s.last_lsn, 4000);
	write_file(f[0].path, f[0].data, 0);
	s = salvage(&p, 0, &t);
	assert_int_equal(s.gap_lsn, 0);
	assert_int_equal(s.lost, f[2].first_lsn - 1);
	assert_int_equal(t.n, 4001 - f[2].first_lsn);
	free_log(f, n);
	pool_remove(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_follows_damage_is_taken),
		cmocka_unit_test(what_was_never_durable_is_not_taken),
		cmocka_unit_test(files_without_headers_and_gaps_between_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
