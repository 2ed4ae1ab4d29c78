// SPDX-License-Identifier: MIT
/* Dumps of the index, the log that is kept for them, and what can be made of both. */
#include "pool_bed.h"
#include "base_verify.h"
#include "check.h"
#include "dump.h"
#include "fault.h"
#include "pool_impl.h"
#include "restore.h"
#include <pthread.h>

#define FILES 1500u

static void ruin_index(const struct pool_bed *b)
{
	char cmd[256];
	snprintf(cmd, sizeof cmd,
		 "dd if=/dev/urandom of='%s/index/data.mdb' bs=4096 count=64 seek=2 conv=notrunc "
		 "2>/dev/null",
		 b->path);
	assert_int_equal(system(cmd), 0);
}

static void shell(const struct pool_bed *b, const char *command)
{
	char cmd[512];
	snprintf(cmd, sizeof cmd, "cd '%s' && %s", b->path, command);
	assert_int_equal(system(cmd), 0);
}

static enum restore_need need_of(const struct pool_bed *b)
{
	enum restore_need need;
	struct pool_error err;
	int r = restore_diagnose(b->path, &need, &err);
	if (r < 0)
		fail_msg("%d %s", r, err.text);
	assert_true(need == RESTORE_NOTHING || strlen(err.text) > strlen(b->path));
	return need;
}

static int restore(const struct pool_bed *b, bool give_up, struct restore_result *res,
		   struct pool_error *err)
{
	struct restore_options opt = { .give_up_entries = give_up };
	*res = (struct restore_result){ 0 };
	return restore_index(b->path, &opt, res, err);
}

/* Opened as fsck does. */
static void holdings_of(struct pool_bed *b, struct holdings *ret)
{
	int r = pool_open(b->path, NULL, true, 0, &b->pool, &b->err);
	if (r < 0)
		fail_msg("%s", b->err.text);
	bed_holdings(b->pool->kv, ret);
	bed_close(b);
}

static void assert_goes_on(struct pool_bed *b)
{
	bed_open(b); /* for writing: the log is continued, or begun */
	bed_add_file(b);
	bed_close(b);
	assert_int_equal(need_of(b), RESTORE_NOTHING);
}

static void assert_restores(struct pool_bed *b, const struct holdings *want)
{
	struct restore_result res;
	struct pool_error err;
	struct holdings have;
	assert_int_equal(need_of(b), RESTORE_INDEX);
	int r = restore(b, false, &res, &err);
	if (r < 0)
		fail_msg("%d %s", r, err.text);
	assert_int_equal(res.lost_entries, 0);
	assert_int_equal(need_of(b), RESTORE_NOTHING);
	holdings_of(b, &have);
	assert_int_equal(have.errors, 0);
	assert_true(holdings_equal(&have, want));
	assert_goes_on(b);
}

static void dump_now(struct pool_bed *b)
{
	struct dump_place place = pool_dump_place(b->pool);
	struct dump_info info, kept[DUMPS_KEPT];
	uint64_t after, least;
	assert_int_equal(dump_write(b->pool->kv, &place, NULL, &info), 0);
	int n = dump_list(&place, kept, DUMPS_KEPT, NULL);
	assert_true(n > 0 && kept[0].generation == info.generation);
	dumps_keep(kept, (size_t)n, &after, &least);
	kv_keep_log(b->pool->kv, after, least);
}

/* Takes a copy as a power cut now would leave it, without its index, and has that made anew. */
static void assert_restores_copy(struct pool_bed *b, const struct holdings *want)
{
	struct pool_bed copy;
	bed_copy(b, &copy);
	bed_remove(b);
	ruin_index(&copy);
	assert_restores(&copy, want);
	bed_remove(&copy);
}

static void after_a_clean_close(void **state)
{
	(void)state;
	struct pool_bed b;
	struct holdings want;
	bed_make(&b, NULL);
	bed_fill(&b, FILES);
	bed_holdings(b.pool->kv, &want);
	bed_close(&b);
	assert_int_equal(need_of(&b), RESTORE_NOTHING);
	ruin_index(&b);
	assert_restores(&b, &want);
	holdings_of(&b, &want);
	shell(&b, "rm index/data.mdb"); /* gone altogether */
	assert_int_equal(pool_open(b.path, NULL, false, 0, &b.pool, &b.err), -EUCLEAN);
	assert_restores(&b, &want);
	bed_remove(&b);
}

static void after_a_crash(void **state)
{
	(void)state;
	struct pool_bed b, crashed;
	struct holdings want;
	bed_make(&b, NULL);
	bed_fill(&b, FILES);
	dump_now(&b);
	bed_churn(&b, 300);
	dump_now(&b);
	bed_churn(&b, 300);
	bed_add_file(&b);
	assert_int_equal(kv_sync(b.pool->kv, UINT64_MAX), 0);
	bed_holdings(b.pool->kv, &want);
	bed_copy(&b, &crashed);
	bed_remove(&b);
	assert_int_equal(need_of(&crashed), RESTORE_NOTHING);
	ruin_index(&crashed);
	assert_restores(&crashed, &want);
	bed_remove(&crashed);
}

/* The newer dump is rotten, at every kind of place: then the older one does. */
static void an_older_dump_does(void **state)
{
	static const char *const damage[] = {
		"truncate -s -1 $(ls packs/dump-* | tail -1)",
		"truncate -s 20 $(ls packs/dump-* | tail -1)",
		"printf X | dd of=$(ls packs/dump-* | tail -1) bs=1 seek=40 conv=notrunc "
		"2>/dev/null",
		"printf XYZ | dd of=$(ls packs/dump-* | tail -1) bs=1 seek=5000 conv=notrunc "
		"2>/dev/null",
		"cp $(ls packs/dump-* | head -1) $(ls packs/dump-* | tail -1)",
	};
	(void)state;
	struct pool_bed b, copy;
	struct holdings want;
	bed_make(&b, NULL);
	bed_fill(&b, FILES);
	dump_now(&b);
	bed_churn(&b, 300);
	dump_now(&b);
	bed_add_file(&b);
	bed_holdings(b.pool->kv, &want);
	bed_close(&b);
	ruin_index(&b);
	for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
		bed_copy(&b, &copy);
		shell(&copy, damage[i]);
		assert_restores(&copy, &want);
		bed_remove(&copy);
	}
	struct restore_result res;
	struct pool_error err;
	shell(&b, "truncate -s -1 packs/dump-*");
	assert_int_equal(restore(&b, true, &res, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no dump"));
	bed_remove(&b);
}

struct churner {
	struct pool_bed *b;
	atomic_bool stop;
	unsigned rounds;
};

static void *churn_main(void *arg)
{
	struct churner *c = arg;
	while (!atomic_load(&c->stop)) {
		bed_add_file(c->b);
		bed_churn(c->b, 20);
		c->rounds++;
	}
	return NULL;
}

/* Dumps caught in the midst of writing, with checkpoints between: dump and log give the same as the
 * index itself. */
static void a_fuzzy_dump_converges(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct pool_bed b;
		struct holdings want;
		struct churner c = { .b = &b };
		pthread_t t;
		bed_make(&b, NULL);
		bed_fill(&b, FILES);
		assert_int_equal(pthread_create(&t, NULL, churn_main, &c), 0);
		for (unsigned n = 0; n < 1 + i; n++) {
			dump_now(&b);
			assert_int_equal(kv_checkpoint(b.pool->kv), 0);
		}
		atomic_store(&c.stop, true);
		pthread_join(t, NULL);
		assert_int_equal(kv_sync(b.pool->kv, UINT64_MAX), 0);
		bed_holdings(b.pool->kv, &want);
		assert_restores_copy(&b, &want);
	}
}

/* Two dumps after the last change nothing of the log is kept; closing makes them when that pays. */
static void the_log_goes(void **state)
{
	(void)state;
	struct pool_bed b;
	struct kv_stats s;
	bed_make(&b, NULL);
	bed_fill(&b, 6000);
	kv_get_stats(b.pool->kv, &s);
	assert_true(s.log_start_lsn < 10); /* of what mkfs dumped */
	bed_close(&b);
	shell(&b, "test $(ls packs/dump-* | wc -l) = 2 && ! ls wal/wal-* 2>/dev/null");
	bed_open(&b);
	kv_get_stats(b.pool->kv, &s);
	uint64_t start = s.log_start_lsn;
	for (unsigned i = 0; i < 3; i++) { /* across clean closes it is one log */
		bed_add_file(&b);
		bed_close(&b);
		shell(&b, "test $(du -s --apparent-size wal | cut -f1) -lt 100");
		bed_open(&b);
		kv_get_stats(b.pool->kv, &s);
		assert_int_equal(s.log_start_lsn, start);
	}
	bed_remove(&b);
}

/* Flips a bit so far behind the start of the log's fullest file, or before the end of what it has. */
#define ALTER_LOG                                                                                  \
	"f() { python3 -c \""                                                                      \
	"import glob, sys\n"                                                                       \
	"files={f: bytearray(open(f,'rb').read()) for f in glob.glob('wal/wal-*')}\n"              \
	"f=max(files, key=lambda f: len(files[f].rstrip(b'\\0')))\n"                               \
	"at=int(sys.argv[1]); d=files[f]\n"                                                        \
	"d[at if at > 0 else len(d.rstrip(b'\\0'))+at]^=1\n"                                       \
	"open(f,'r+b').write(d)\" $1; }; f "

/* What the dump has is not missed in the log. */
static void damage_before_what_is_needed_costs_nothing(void **state)
{
	(void)state;
	struct pool_bed b, copy;
	struct restore_result res;
	struct pool_error err;
	struct holdings want, have;
	bed_make(&b, NULL);
	bed_fill(&b, FILES);
	dump_now(&b);
	bed_add_file(&b);
	assert_int_equal(kv_sync(b.pool->kv, UINT64_MAX), 0);
	bed_holdings(b.pool->kv, &want);
	bed_copy(&b, &copy);
	bed_remove(&b);
	shell(&copy, ALTER_LOG "4200");
	assert_int_equal(pool_open(copy.path, NULL, false, 0, &copy.pool, &copy.err), -EUCLEAN);
	ruin_index(&copy);
	assert_int_equal(restore(&copy, false, &res, &err), 0);
	assert_true(!res.lost && res.entries > 0);
	assert_non_null(strstr(res.text, "nothing is lost"));
	holdings_of(&copy, &have);
	assert_int_equal(have.errors, 0);
	assert_int_equal(have.rows[KV_INODE], want.rows[KV_INODE]);
	assert_goes_on(&copy);
	bed_remove(&copy);
}

static void a_damaged_log_is_given_up_only_when_told(void **state)
{
	(void)state;
	struct pool_bed b, copy;
	struct restore_result res;
	struct pool_error err;
	struct holdings want, have;
	bed_make(&b, NULL);
	bed_fill(&b, FILES);
	dump_now(&b);
	bed_holdings(b.pool->kv, &want);
	dump_now(&b);
	for (unsigned i = 0; i < 50; i++) {
		bed_churn(&b, 1);
		assert_int_equal(kv_sync(b.pool->kv, UINT64_MAX), 0);
	}
	bed_copy(&b, &copy);
	bed_remove(&b);
	shell(&copy, ALTER_LOG "-3000");
	assert_int_equal(pool_open(copy.path, NULL, false, 0, &copy.pool, &copy.err), -EUCLEAN);
	assert_true(need_of(&copy) != RESTORE_NOTHING);
	ruin_index(&copy);
	assert_int_equal(restore(&copy, false, &res, &err), -EUCLEAN);
	assert_int_equal(need_of(&copy), RESTORE_INDEX);
	assert_int_equal(restore(&copy, true, &res, &err), 0);
	assert_true(res.lost_entries > 0);
	assert_non_null(strstr(res.text, "could not be read"));
	shell(&copy,
	      "for f in wal/wal-*; do case $f in *.damaged) ;; "
	      "*) cmp $f $f.damaged || ! tr -d '\\0' <$f | grep -q .;; esac || exit 1; done");
	shell(&copy, "ls wal/*.damaged >/dev/null && ls -l index/data.mdb.damaged >/dev/null");
	assert_int_equal(need_of(&copy), RESTORE_NOTHING);
	holdings_of(&copy, &have);
	assert_int_equal(have.errors, 0);
	assert_goes_on(&copy);
	shell(&copy, "ls wal/*.damaged >/dev/null"); /* whoever goes on leaves them alone */
	ruin_index(&copy); /* the second time: the first one's is kept, too */
	assert_int_equal(restore(&copy, true, &res, &err), 0);
	shell(&copy, "! cmp -s index/data.mdb.damaged index/data.mdb.damaged.2");
	bed_remove(&copy);
}

static void only_the_log_is_damaged(void **state)
{
	(void)state;
	struct pool_bed b, copy;
	struct restore_options opt = { .give_up_entries = true };
	struct restore_result res;
	struct pool_error err;
	struct holdings have;
	bed_make(&b, NULL);
	bed_fill(&b, 200);
	for (unsigned i = 0; i < 50; i++) {
		bed_add_file(&b);
		assert_int_equal(kv_sync(b.pool->kv, UINT64_MAX), 0);
	}
	bed_copy(&b, &copy);
	bed_remove(&b);
	shell(&copy, ALTER_LOG "-9000");
	assert_int_equal(need_of(&copy), RESTORE_LOG);
	assert_int_equal(restore_log(copy.path, &opt, &res, &err), 0);
	assert_true(res.lost_entries == 1 && res.last_lsn > res.gap_lsn + 1);
	assert_int_equal(need_of(&copy), RESTORE_NOTHING);
	holdings_of(&copy, &have);
	assert_int_equal(have.rows[KV_INODE] + res.lost_entries >= 250, 1);
	assert_goes_on(&copy);
	bed_remove(&copy);
}

/* Each write, sync and the swap fail in turn: the index is the old or the new one, and the next attempt
 * succeeds. */
static void restoring_can_be_interrupted(void **state)
{
	(void)state;
	struct pool_bed b, copy;
	struct holdings want, have;
	struct restore_result res;
	struct pool_error err;
	char spec[32];
	bed_make(&b, NULL);
	bed_fill(&b, 200);
	bed_holdings(b.pool->kv, &want);
	bed_close(&b);
	ruin_index(&b);
	int r = -EIO;
	for (unsigned n = 1; r < 0; n++) {
		bed_copy(&b, &copy);
		snprintf(spec, sizeof spec, "*:%u=EIO", n);
		fault_arm(spec);
		r = restore(&copy, false, &res, &err);
		fault_arm(NULL);
		if (r < 0 && need_of(&copy) == RESTORE_INDEX)
			assert_int_equal(restore(&copy, false, &res, &err), 0);
		assert_int_equal(need_of(&copy), RESTORE_NOTHING);
		holdings_of(&copy, &have);
		assert_true(holdings_equal(&have, &want));
		bed_remove(&copy);
		assert_true(n < 200);
	}
	bed_remove(&b);
}

/* No dump is worse than none: a failed one leaves the others, and their log. */
static void a_failing_dump_is_harmless(void **state)
{
	(void)state;
	struct pool_bed b;
	struct holdings want;
	struct dump_info info, kept[3];
	char spec[32];
	bed_make(&b, NULL);
	bed_fill(&b, FILES);
	dump_now(&b);
	bed_churn(&b, 300);
	struct dump_place place = pool_dump_place(b.pool);
	int r = -ENOSPC;
	for (unsigned n = 1; r < 0; n++) {
		snprintf(spec, sizeof spec, "write:%u=ENOSPC", n);
		assert_int_equal(kv_sync(b.pool->kv, UINT64_MAX), 0);
		fault_arm(n == 1 ? "dump:1=ENOSPC" : spec);
		r = dump_write(b.pool->kv, &place, NULL, &info);
		fault_arm(NULL);
		if (r < 0)
			assert_int_equal(r, -ENOSPC);
		assert_int_equal(dump_list(&place, kept, 3, NULL), 2);
		assert_true(n < 100);
	}
	atomic_bool stop = true;
	bed_churn(&b, 3);
	assert_int_equal(dump_write(b.pool->kv, &place, &stop, &info), -ECANCELED);
	assert_int_equal(kv_sync(b.pool->kv, UINT64_MAX), 0);
	bed_holdings(b.pool->kv, &want);
	assert_restores_copy(&b, &want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_a_clean_close),
		cmocka_unit_test(after_a_crash),
		cmocka_unit_test(an_older_dump_does),
		cmocka_unit_test(a_fuzzy_dump_converges),
		cmocka_unit_test(the_log_goes),
		cmocka_unit_test(damage_before_what_is_needed_costs_nothing),
		cmocka_unit_test(a_damaged_log_is_given_up_only_when_told),
		cmocka_unit_test(only_the_log_is_damaged),
		cmocka_unit_test(restoring_can_be_interrupted),
		cmocka_unit_test(a_failing_dump_is_harmless),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
