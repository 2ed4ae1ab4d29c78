// SPDX-License-Identifier: MIT
/* Leases, roots, and what is left of a ship that ends at any of its steps. */
#include "pool_bed.h"
#include "fault.h"
#include "lease.h"
#include "replica_ship.h"
#include "replicator.h"
#include "takeover.h"
#include <pthread.h>
#include <stdatomic.h>

#define FILES 300u

struct place_bed {
	char path[64];
	struct depot *depot;
	struct place *tier;
};

static void place_make(struct place_bed *b, const uint8_t uuid[16])
{
	const char *tmp = getenv("TMPDIR");
	char why[200];
	snprintf(b->path, sizeof b->path, "%.40s/foldfs-replica-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(b->path));
	struct place_options where = { .where = b->path };
	assert_int_equal(depot_open(&where, &b->depot, why, sizeof why), 0);
	assert_int_equal(replica_open_tier(&where, true, &b->tier, why, sizeof why), 0);
	struct place_label label = { .number = REPLICA_TIER, .tier = "uuid of a tier" };
	memcpy(label.pool, uuid, 16);
	assert_int_equal(b->tier->ops->claim(b->tier, &label), 0);
}

static void place_done(struct place_bed *b)
{
	depot_close(b->depot);
	place_close(b->tier);
	nftw(b->path, bed_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct lease_record record_of(const uint8_t uuid[16], uint64_t lease_ms)
{
	struct lease_record rec = { .host = "here", .lease_ms = lease_ms };
	memcpy(rec.pool, uuid, 16);
	return rec;
}

/* ---- objects ---- */

static int count_name(void *arg, const char *name)
{
	(void)name;
	++*(unsigned *)arg;
	return 0;
}

static void test_objects_in_a_directory(void **state)
{
	struct place_bed b;
	struct buf got = { 0 };
	unsigned n = 0;
	(void)state;
	place_make(&b, (const uint8_t *)"uuid of the pool");
	const struct depot_ops *ops = b.depot->ops;
	assert_int_equal(ops->get(b.depot, "a/x", 10, &got), -ENOENT);
	assert_int_equal(ops->create(b.depot, "a/x", slice_of("first", 5)), 0);
	assert_int_equal(ops->create(b.depot, "a/x", slice_of("other", 5)), -EEXIST);
	assert_int_equal(ops->put(b.depot, "a/xy", slice_of("second", 6)), 0);
	assert_int_equal(ops->put(b.depot, "a/y", slice_of("third", 5)), 0);
	assert_int_equal(ops->get(b.depot, "a/x", 4, &got), -EFBIG);
	assert_int_equal(ops->get(b.depot, "a/x", 5, &got), 0);
	assert_int_equal(got.len, 5);
	assert_memory_equal(got.data, "first", 5);
	assert_int_equal(ops->list(b.depot, "a/x", count_name, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(ops->list(b.depot, "nothing/", count_name, &n), 0);
	assert_int_equal(ops->remove(b.depot, "a/x"), 0);
	assert_int_equal(ops->remove(b.depot, "a/x"), 0);
	assert_int_equal(ops->create(b.depot, "a/x", slice_of("again", 5)), 0);
	buf_done(&got);
	place_done(&b);
}

struct racer {
	struct depot *depot;
	pthread_t thread;
	uint64_t number;
	int result;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct lease_record rec = record_of((const uint8_t *)"uuid of the pool", 1000);
	rec.base_seq = r->number;
	r->result = lease_begin(r->depot, 7, &rec);
	return NULL;
}

static void test_an_epoch_has_one_owner(void **state)
{
	struct racer racers[8];
	struct place_bed b;
	struct lease_seen seen;
	uint64_t winners = 0, winner = 0;
	(void)state;
	place_make(&b, (const uint8_t *)"uuid of the pool");
	for (unsigned i = 0; i < 8; i++) {
		racers[i] = (struct racer){ .depot = b.depot, .number = i };
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_true(racers[i].result == 0 || racers[i].result == -EEXIST);
		winners += racers[i].result == 0;
		winner = racers[i].result == 0 ? i : winner;
	}
	assert_int_equal(winners, 1);
	assert_int_equal(lease_look(b.depot, &seen), 0);
	assert_int_equal(seen.epoch, 7);
	assert_int_equal(seen.record.base_seq, winner);
	place_done(&b);
}

/* ---- waiting ---- */

struct waiter {
	struct depot *depot;
	uint64_t epoch, calls;
	bool beat, begin, close;
};

static int meanwhile(void *arg, uint64_t left_ms)
{
	struct waiter *w = arg;
	struct lease_record rec = record_of((const uint8_t *)"uuid of the pool", 1);
	(void)left_ms;
	w->calls++;
	if (w->beat || w->close)
		assert_int_equal(lease_beat(w->depot, w->epoch, w->calls, w->close), 0);
	if (w->begin)
		assert_int_equal(lease_begin(w->depot, w->epoch + 1, &rec), 0);
	return 0;
}

static void test_who_waits_sees_what_the_owner_does(void **state)
{
	struct place_bed b;
	struct lease_seen seen;
	struct lease_record rec = record_of((const uint8_t *)"uuid of the pool", 86400000), by;
	struct waiter w = { 0 };
	(void)state;
	place_make(&b, (const uint8_t *)"uuid of the pool");
	w.depot = b.depot;
	assert_int_equal(lease_look(b.depot, &seen), -ENOENT);
	assert_int_equal(lease_begin(b.depot, 1, &rec), 0);
	assert_int_equal(lease_look(b.depot, &seen), 0);
	w.epoch = seen.epoch;
	w.beat = true;
	assert_int_equal(lease_wait(b.depot, &seen, meanwhile, &w), -EBUSY);
	assert_int_equal(lease_look(b.depot, &seen), 0);
	w.beat = false;
	w.close = true;
	assert_int_equal(lease_wait(b.depot, &seen, meanwhile, &w), 0);
	assert_int_equal(lease_look(b.depot, &seen), 0);
	assert_true(seen.closed);
	assert_int_equal(lease_wait(b.depot, &seen, NULL, NULL), 0);
	assert_int_equal(lease_is_lost(b.depot, 1, NULL), 0);
	assert_int_equal(lease_begin(b.depot, 2, &rec), 0);
	assert_int_equal(lease_is_lost(b.depot, 1, &by), 1);
	assert_string_equal(by.host, "here");
	assert_int_equal(lease_look(b.depot, &seen), 0);
	assert_int_equal(seen.epoch, 2);
	w = (struct waiter){ .depot = b.depot, .epoch = 2, .begin = true };
	assert_int_equal(lease_wait(b.depot, &seen, meanwhile, &w), -ESTALE);
	rec.lease_ms = 30; /* and silence */
	assert_int_equal(lease_begin(b.depot, 4, &rec), 0);
	assert_int_equal(lease_look(b.depot, &seen), 0);
	w = (struct waiter){ .depot = b.depot };
	assert_int_equal(lease_wait(b.depot, &seen, meanwhile, &w), 0);
	assert_true(w.calls > 0);
	place_done(&b);
}

static void test_an_altered_epoch_is_none(void **state)
{
	static const char text[] =
		"foldfs-epoch 1\npool 00112233445566778899aabbccddeeff\n"
		"owner 0123456789abcdef0123456789abcdef\nhost h\nlease 5\nbase 3 4\n"
		"claim 0123456789abcdef0123456789abcdef\n";
	struct lease_record rec;
	char copy[sizeof text];
	(void)state;
	assert_int_equal(lease_parse(text, sizeof text - 1, &rec), 0);
	assert_int_equal(rec.base_seq, 4);
	for (size_t len = 0; len < sizeof text - 1; len++)
		assert_int_equal(lease_parse(text, len, &rec), -EUCLEAN);
	for (size_t i = 0; i < sizeof text - 1; i++) {
		memcpy(copy, text, sizeof text);
		copy[i] = (char)(copy[i] == ' ' ? '\n' : ' ');
		assert_int_equal(lease_parse(copy, sizeof text - 1, &rec), -EUCLEAN);
	}
}

/* ---- roots ---- */

static void make_root(struct replica_root *root)
{
	struct replica_item dump = { .kind = REPLICA_DUMP, .a = 3, .b = 100, .size = 9000000 };
	struct replica_item log = { .kind = REPLICA_LOG, .a = 101, .b = 120, .size = 77 };
	struct replica_item pack = { .kind = REPLICA_PACK, .a = 5, .size = 1u << 27 };
	struct replica_item staged = {
		.kind = REPLICA_STAGED, .a = 17, .b = 2, .size = 4096, .mtime = -5
	};
	struct replica_block b = { .at = 0, .len = 1000, .digest = { "digest" } };
	*root = (struct replica_root){ .epoch = 2, .seq = 9, .lsn = 120, .time = 1700000000 };
	assert_int_equal(replica_root_add(root, &dump), 0);
	assert_int_equal(replica_root_add_block(root, &b), 0);
	b.at = 1u << 22;
	assert_int_equal(replica_root_add_block(root, &b), 0);
	assert_int_equal(replica_root_add(root, &log), 0);
	assert_int_equal(replica_root_add_block(root, &b), 0);
	assert_int_equal(replica_root_add(root, &pack), 0);
	assert_int_equal(replica_root_add(root, &staged), 0);
}

static void test_a_root_is_read_as_it_was_written(void **state)
{
	struct replica_root root, again;
	struct buf bytes = { 0 }, twice = { 0 };
	(void)state;
	make_root(&root);
	replica_root_print(&root, &bytes);
	assert_int_equal(replica_root_parse(slice_of(bytes.data, bytes.len), &again), 0);
	assert_int_equal(again.n_items, 4);
	assert_int_equal(again.items[3].mtime, -5);
	assert_int_equal(again.blocks[1].at, 1u << 22);
	replica_root_print(&again, &twice);
	assert_int_equal(twice.len, bytes.len);
	assert_memory_equal(twice.data, bytes.data, bytes.len);
	replica_root_done(&again);
	for (size_t len = 0; len < bytes.len; len++)
		assert_int_equal(replica_root_parse(slice_of(bytes.data, len), &again), -EUCLEAN);
	for (size_t i = 0; i < bytes.len; i++) {
		bytes.data[i] ^= 1;
		assert_int_equal(replica_root_parse(slice_of(bytes.data, bytes.len), &again),
				 -EUCLEAN);
		bytes.data[i] ^= 1;
	}
	root.lsn++; /* the log ends before it */
	buf_reset(&bytes);
	replica_root_print(&root, &bytes);
	assert_int_equal(replica_root_parse(slice_of(bytes.data, bytes.len), &again), -EUCLEAN);
	buf_done(&bytes);
	buf_done(&twice);
	replica_root_done(&root);
}

/* ---- ships ---- */

static atomic_bool never;

struct ship_bed {
	struct pool_bed pool;
	struct place_bed place;
	struct replica_ship ship;
	uint64_t staged, chunks;
};

static void ship_begin(struct ship_bed *b, uint64_t epoch)
{
	struct lease_record rec = record_of(b->pool.pool->super.uuid, 1);
	b->ship = (struct replica_ship){ .pool = b->pool.pool,
					 .depot = b->place.depot,
					 .tier = b->place.tier,
					 .epoch = epoch,
					 .stop = &never };
	assert_int_equal(lease_begin(b->place.depot, epoch, &rec), 0);
}

static void ship_make(struct ship_bed *b)
{
	memset(b, 0, sizeof *b);
	bed_make(&b->pool, "pack_size=4M");
	place_make(&b->place, b->pool.pool->super.uuid);
	ship_begin(b, 1);
}

static void ship_done(struct ship_bed *b)
{
	fault_arm(NULL);
	replica_ship_done(&b->ship);
	place_done(&b->place);
	bed_remove(&b->pool);
}

/* A staging file with data at 1 MiB, for an inode whose row names it. */
static void add_staged(struct ship_bed *b)
{
	struct inode_row row = { .mode = S_IFREG | 0644, .nlink = 1, .size = 2u << 20 };
	uint8_t bytes[5000];
	int fd;
	assert_int_equal(ids_next(b->pool.pool->inode_ids, &row.ino), 0);
	assert_int_equal(staging_create(b->pool.pool->staging, row.ino, &row.staging_gen, &fd), 0);
	memset(bytes, (int)++b->staged, sizeof bytes);
	assert_int_equal(io_write(fd, bytes, sizeof bytes, 1 << 20), 0);
	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	close(fd);
	struct kv_batch *batch = kv_batch_new();
	inode_row_put(batch, &row);
	assert_int_equal(kv_commit(b->pool.pool->kv, batch, NULL), 0);
}

static void add_chunk(struct pool *pool, uint64_t number)
{
	static uint8_t data[256 << 10];
	struct packed packed;
	struct digest digest;
	uint64_t seed = 1000 + number;
	prng_fill(&seed, data, sizeof data);
	digest_of(data, sizeof data, &digest);
	assert_int_equal(packer_add(pool->packer, &digest, data, sizeof data, &packed), 0);
}

/* Chunks in packs: more than one pack holds, and one that is being filled. */
static void add_chunks(struct ship_bed *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		add_chunk(b->pool.pool, b->chunks++);
	packer_drain(b->pool.pool->packer);
}

/* Bytes that are there need no new chunk, if they read back. */
static void check_chunks(struct pool *pool, uint64_t n)
{
	uint64_t next = packer_next_id(pool->packer);
	for (uint64_t i = 0; i < n; i++)
		add_chunk(pool, i);
	packer_drain(pool->packer);
	assert_int_equal(packer_next_id(pool->packer), next);
}

static void change(struct ship_bed *b)
{
	for (unsigned i = 0; i < 20; i++)
		bed_add_file(&b->pool);
	bed_churn(&b->pool, 50);
	add_staged(b);
	add_chunks(b, 20);
}

/* Of all tables but those that say where packs are. */
static void content_of(struct kv *kv, struct holdings *ret)
{
	bed_holdings(kv, ret);
	assert_int_equal(ret->errors, 0);
	ret->hash[KV_PACK] = ret->rows[KV_PACK] = 0;
}

static int try_takeover(const struct place_bed *place, struct pool_bed *to,
			struct takeover_result *res)
{
	struct takeover_options opt = {
		.from = place->path,
		.options = "reserve_size=0,cache_size=0,verify_age=0,replicate_lease=1s"
	};
	*to = (struct pool_bed){ .seed = 1 };
	bed_path(to);
	return takeover_run(to->path, &opt, res, &to->err);
}

static void check_staged(const struct ship_bed *b, const struct pool_bed *to, uint64_t n)
{
	char cmd[300];
	(void)b;
	snprintf(cmd, sizeof cmd,
		 "[ $(ls '%s/staging' | wc -l) = %lu ] && for f in '%s'/staging/*; do "
		 "[ $(stat -c %%s \"$f\") = 2097152 ] || exit 1; done",
		 to->path, n, to->path);
	assert_int_equal(system(cmd), 0);
}

/* Another machine finds exactly that. */
static void assert_taken_over(struct ship_bed *b, const struct holdings *want, uint64_t staged)
{
	struct pool_bed other;
	struct takeover_result res;
	struct holdings have;
	int r = try_takeover(&b->place, &other, &res);
	if (r < 0)
		fail_msg("%d %s", r, other.err.text);
	check_staged(b, &other, staged);
	bed_open(&other);
	content_of(other.pool->kv, &have);
	for (unsigned t = 0; t < KV_TABLES; t++)
		if (t != KV_META &&
		    (have.hash[t] != want->hash[t] || have.rows[t] != want->rows[t]))
			fail_msg("table %u: %lu rows, not %lu", t, have.rows[t], want->rows[t]);
	check_chunks(other.pool, staged * 20);
	bed_remove(&other);
}

static void test_another_machine_finds_what_was_shipped(void **state)
{
	struct ship_bed b;
	struct holdings want;
	(void)state;
	ship_make(&b);
	bed_fill(&b.pool, FILES);
	change(&b);
	assert_int_equal(replica_ship_run(&b.ship), 0);
	assert_true(b.ship.packs > 0);
	content_of(b.pool.pool->kv, &want);
	for (unsigned i = 0; i < 3; i++) {
		change(&b);
		assert_int_equal(replica_ship_run(&b.ship), 0);
		content_of(b.pool.pool->kv, &want);
	}
	assert_int_equal(b.ship.last.seq, 4);
	assert_taken_over(&b, &want, 4);
	ship_done(&b);
}

static const char *const steps[] = { "ship_log",   "ship_pack",	  "place_write",   "place_copied",
				     "ship_files", "depot_write", "depot_written", "ship_root" };

/* Whatever is interrupted, and how far it got: what was published before is there, all of it and no more. */
static void test_an_interrupted_ship_leaves_what_was_published(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
		for (unsigned nth = 1; nth <= (strncmp(steps[i], "depot", 5) ? 1 : 4); nth++) {
			struct ship_bed b;
			struct holdings was, now;
			char spec[64];
			ship_make(&b);
			bed_fill(&b.pool, 40);
			change(&b);
			assert_int_equal(replica_ship_run(&b.ship), 0);
			content_of(b.pool.pool->kv, &was);
			change(&b);
			snprintf(spec, sizeof spec, "%s:%u=EIO", steps[i], nth);
			fault_arm(spec);
			int r = replica_ship_run(&b.ship);
			fault_arm(NULL);
			if (r != -EIO)
				fail_msg("%s gave %d", spec, r);
			assert_int_equal(b.ship.last.seq, 1);
			if (nth % 2) { /* it is caught up with, */
				assert_int_equal(replica_ship_run(&b.ship), 0);
				content_of(b.pool.pool->kv, &now);
				assert_taken_over(&b, &now, 2);
			} else { /* or never is */
				assert_taken_over(&b, &was, 1);
			}
			ship_done(&b);
		}
}

static void test_a_ship_that_never_goes_on_costs_only_itself(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		struct ship_bed b;
		struct holdings was;
		char spec[64];
		ship_make(&b);
		bed_fill(&b.pool, 40);
		change(&b);
		assert_int_equal(replica_ship_run(&b.ship), 0);
		content_of(b.pool.pool->kv, &was);
		change(&b);
		snprintf(spec, sizeof spec, "%s:1+=EIO", steps[i]);
		fault_arm(spec);
		assert_int_equal(replica_ship_run(&b.ship), -EIO);
		fault_arm(NULL);
		assert_taken_over(&b, &was, 1);
		ship_done(&b);
	}
}

/* It was asleep while another machine took over. */
static void test_a_paused_owner_changes_nothing(void **state)
{
	struct ship_bed b;
	struct holdings was;
	struct pool_bed other;
	struct takeover_result res;
	(void)state;
	ship_make(&b);
	bed_fill(&b.pool, 40);
	change(&b);
	assert_int_equal(replica_ship_run(&b.ship), 0);
	content_of(b.pool.pool->kv, &was);
	assert_int_equal(try_takeover(&b.place, &other, &res), 0);
	assert_int_equal(res.epoch, 2);
	bed_remove(&other);
	change(&b);
	assert_int_equal(replica_ship_run(&b.ship), -ESTALE);
	assert_int_equal(replica_ship_run(&b.ship), -ESTALE);
	assert_taken_over(&b, &was, 1); /* of the root that epoch 2 names */
	ship_done(&b);
}

/* Even one that had looked before it fell asleep: its root is there, and counts for nobody. */
static void test_a_root_that_comes_too_late_does_not_count(void **state)
{
	struct ship_bed b;
	struct holdings was;
	struct pool_bed other;
	struct takeover_result res;
	struct replica_root late = { 0 };
	struct buf bytes = { 0 };
	char name[DEPOT_NAME_MAX];
	(void)state;
	ship_make(&b);
	bed_fill(&b.pool, 40);
	change(&b);
	assert_int_equal(replica_ship_run(&b.ship), 0);
	content_of(b.pool.pool->kv, &was);
	assert_int_equal(try_takeover(&b.place, &other, &res), 0);
	bed_remove(&other);
	assert_int_equal(replica_root_read(b.place.depot, 1, 1, &late), 0);
	late.seq = 2;
	replica_root_print(&late, &bytes);
	replica_root_name(1, 2, name);
	assert_int_equal(
		b.place.depot->ops->create(b.place.depot, name, slice_of(bytes.data, bytes.len)),
		0);
	assert_int_equal(try_takeover(&b.place, &other, &res), 0);
	bed_remove(&other);
	assert_taken_over(&b, &was, 1);
	struct lease_seen seen;
	assert_int_equal(lease_look(b.place.depot, &seen), 0);
	assert_int_equal(seen.record.base_epoch, 1);
	assert_int_equal(seen.record.base_seq, 1);
	buf_done(&bytes);
	replica_root_done(&late);
	ship_done(&b);
}

static unsigned objects_of(struct ship_bed *b, uint64_t epoch)
{
	char folder[DEPOT_NAME_MAX];
	unsigned n = 0;
	snprintf(folder, sizeof folder, "e%016lx/", epoch);
	assert_int_equal(b->place.depot->ops->list(b->place.depot, folder, count_name, &n), 0);
	return n;
}

/* Of earlier ships and epochs. */
static void test_what_no_root_needs_goes_after_the_grace(void **state)
{
	struct ship_bed b;
	struct holdings want;
	(void)state;
	ship_make(&b);
	b.ship.grace_ms = 86400000;
	bed_fill(&b.pool, 40);
	for (unsigned i = 0; i < 3; i++) {
		change(&b);
		assert_int_equal(replica_ship_run(&b.ship), 0);
	}
	unsigned kept = objects_of(&b, 1);
	replica_ship_done(&b.ship);
	ship_begin(&b, 2);
	for (unsigned i = 0; i < 3; i++) { /* seen idle, and gone with the next */
		change(&b);
		assert_int_equal(replica_ship_run(&b.ship), 0);
		if (i == 0)
			assert_int_equal(objects_of(&b, 1), kept);
	}
	assert_int_equal(objects_of(&b, 1), 0);
	content_of(b.pool.pool->kv, &want);
	assert_taken_over(&b, &want, 6);
	ship_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_objects_in_a_directory),
		cmocka_unit_test(test_an_epoch_has_one_owner),
		cmocka_unit_test(test_who_waits_sees_what_the_owner_does),
		cmocka_unit_test(test_an_altered_epoch_is_none),
		cmocka_unit_test(test_a_root_is_read_as_it_was_written),
		cmocka_unit_test(test_another_machine_finds_what_was_shipped),
		cmocka_unit_test(test_an_interrupted_ship_leaves_what_was_published),
		cmocka_unit_test(test_a_ship_that_never_goes_on_costs_only_itself),
		cmocka_unit_test(test_a_paused_owner_changes_nothing),
		cmocka_unit_test(test_a_root_that_comes_too_late_does_not_count),
		cmocka_unit_test(test_what_no_root_needs_goes_after_the_grace),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
