// SPDX-License-Identifier: MIT
/* What several threads or tables share: reference counts under concurrent changes, and the marks and
 * scans by which gc learns what is in use. */
#include "extents.h"
#include "cleanup.h"
#include "fake_kv.h"
#include "prng.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <cmocka.h>

#define THREADS 4
#define CHUNKS 4000

struct world {
	struct kv *kv;
	struct extents *x;
	struct inode_row source;
	pthread_rwlock_t source_lock; /* the caller's own lock on that inode */
};

static struct inode_row new_file(uint64_t ino)
{
	return (struct inode_row){ .ino = ino, .mode = S_IFREG | 0644, .nlink = 1 };
}

static int commit_row(struct change *c, const struct inode_row *row)
{
	inode_row_put(change_batch(c), row);
	return change_commit(c, NULL);
}

static void write_pieces(struct extents *x, struct inode_row *row, uint64_t at, uint64_t first,
			 size_t n)
{
	struct piece *v = calloc(n, sizeof *v);
	for (size_t i = 0; i < n; i++)
		v[i] = (struct piece){ .chunk = first + i, .length = 10, .repeat = 1 };
	struct change *c = change_new(x);
	assert_int_equal(extents_replace(c, row, at, n * 10, v, n), 0);
	if (row->size < at + n * 10)
		row->size = at + n * 10;
	assert_int_equal(commit_row(c, row), 0);
	free(v);
}

static void world_open(struct world *w)
{
	*w = (struct world){ .kv = fake_kv_new(), .source = new_file(1) };
	fake_kv_yield(w->kv);
	pthread_rwlock_init(&w->source_lock, NULL);
	assert_int_equal(extents_open(w->kv, &w->x), 0);
}

static void world_close(struct world *w)
{
	pthread_rwlock_destroy(&w->source_lock);
	extents_close(w->x);
	fake_kv_free(w->kv);
}

struct cloner {
	struct world *w;
	uint64_t seed;
	int err;
	struct inode_row row;
};

/* Clones from the source, overwrites, cuts and frees, all in a file of its own. */
static void *clone_and_free(void *arg)
{
	struct cloner *me = arg;
	struct world *w = me->w;
	for (unsigned i = 0; i < 400 && !me->err; i++) {
		uint64_t at = prng_below(&me->seed, CHUNKS * 5), len = CHUNKS * 5;
		struct piece p = { .chunk = 1 + prng_below(&me->seed, CHUNKS),
				   .length = 10,
				   .repeat = 3 };
		struct change *c = change_new(w->x);
		pthread_rwlock_rdlock(&w->source_lock);
		me->err = extents_clone(c, &w->source, at, &me->row, at / 2, len);
		if (!me->err && i % 3 == 0)
			me->err = extents_replace(c, &me->row, at, 30, &p, 1);
		if (!me->err)
			me->err = commit_row(c, &me->row);
		else
			change_drop(c);
		pthread_rwlock_unlock(&w->source_lock);
		if (me->err)
			break;
		c = change_new(w->x);
		if (i % 5 == 4)
			while ((me->err = extents_free_some(c, &me->row, 2)) == 1)
				;
		else
			me->err = extents_replace(c, &me->row, at, 1000, NULL, 0);
		if (!me->err)
			me->err = commit_row(c, &me->row);
		else
			change_drop(c);
	}
	return NULL;
}

static void free_file(struct world *w, struct inode_row *row)
{
	struct change *c = change_new(w->x);
	int r;
	while ((r = extents_free_some(c, row, 7)) == 1)
		;
	assert_int_equal(r, 0);
	assert_int_equal(commit_row(c, row), 0);
}

static void test_counts_survive_threads(void **state)
{
	(void)state;
	struct world w;
	struct cloner cloner[THREADS];
	pthread_t thread[THREADS];
	world_open(&w);
	for (unsigned i = 0; i < CHUNKS; i += 200)
		write_pieces(w.x, &w.source, i * 10, 1 + i, 200);
	size_t segments = fake_kv_rows(w.kv, KV_SEGMENT), rows = fake_kv_rows(w.kv, KV_EXTENT);
	assert_true(segments == rows && segments >= 10);
	for (unsigned i = 0; i < THREADS; i++) {
		cloner[i] = (struct cloner){ .w = &w, .seed = i, .row = new_file(10 + i) };
		assert_int_equal(pthread_create(&thread[i], NULL, clone_and_free, &cloner[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(cloner[i].err, 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		free_file(&w, &cloner[i].row);
	assert_int_equal(fake_kv_rows(w.kv, KV_SEGREF), 0);
	assert_int_equal(fake_kv_rows(w.kv, KV_SEGMENT), segments);
	assert_int_equal(fake_kv_rows(w.kv, KV_EXTENT), rows);
	free_file(&w, &w.source);
	assert_int_equal(fake_kv_rows(w.kv, KV_SEGMENT), 0);
	assert_int_equal(fake_kv_rows(w.kv, KV_EXTENT), 0);
	world_close(&w);
}

/* --- Marks --------------------------------------------------------------------------------- */

struct marks {
	atomic_uchar seen[CHUNKS + 1];
};

static void mark_chunk(void *arg, uint64_t chunk)
{
	struct marks *m = arg;
	assert_true(chunk >= 1 && chunk <= CHUNKS);
	atomic_store(&m->seen[chunk], 1);
}

static void test_a_scan_reports_what_is_used(void **state)
{
	(void)state;
	struct world w;
	struct marks *m = calloc(1, sizeof *m);
	struct inode_row small = new_file(2);
	world_open(&w);
	write_pieces(w.x, &w.source, 0, 100, 1000);
	write_pieces(w.x, &small, 50, 7, 2);
	assert_int_equal(small.pieces, 3);
	assert_int_equal(extents_scan(w.x, mark_chunk, m), 0);
	for (unsigned i = 1; i <= CHUNKS; i++)
		assert_int_equal(m->seen[i], i == 7 || i == 8 || (i >= 100 && i < 1100));

	/* A scan that misses chunks would have them deleted. */
	fake_kv_damage(w.kv, KV_SEGMENT, "\0\0\0\0\0\0\0\1", 8);
	assert_int_equal(extents_scan(w.x, mark_chunk, m), -EUCLEAN);
	fake_kv_set(w.kv, KV_SEGMENT, "\0\0\0\0\0\0\0\1", 8, "junk", 4);
	assert_int_equal(extents_scan(w.x, mark_chunk, m), -EUCLEAN);
	world_close(&w);
	free(m);
}

static void test_a_change_reports_what_it_makes_reachable(void **state)
{
	(void)state;
	struct world w;
	struct marks *m = calloc(1, sizeof *m);
	struct inode_row small = new_file(2);
	struct piece p = { .chunk = 5, .length = 10, .repeat = 1 };
	world_open(&w);
	write_pieces(w.x, &w.source, 0, 100, 10);
	struct change *c = change_new(w.x);
	assert_int_equal(extents_replace(c, &small, 0, 10, &p, 1), 0);
	extents_set_mark(w.x, mark_chunk, m);
	assert_int_equal(m->seen[5], 0);
	assert_int_equal(commit_row(c, &small), 0); /* made before the mark, committed after it */
	assert_int_equal(m->seen[5], 1);
	write_pieces(w.x, &small, 10, 200, 50);
	assert_true(m->seen[200] && m->seen[249] && !m->seen[100]);
	extents_set_mark(w.x, NULL, NULL);
	write_pieces(w.x, &small, 10, 300, 50);
	assert_int_equal(m->seen[300], 0);
	world_close(&w);
	free(m);
}

/* Moves its chunks between its two files for ever: a scan that sees neither would lose them. */
static atomic_bool stop_moving;

static void *move_about(void *arg)
{
	struct cloner *me = arg;
	struct inode_row to = new_file(me->row.ino + 1000);
	while (!atomic_load(&stop_moving) && !me->err) {
		struct change *c = change_new(me->w->x);
		uint64_t len = me->row.size;
		me->err = extents_clone(c, &me->row, 0, &to, 0, len);
		while (!me->err && extents_free_some(c, &me->row, 9) == 1)
			;
		to.size = len;
		me->row.size = 0;
		inode_row_put(change_batch(c), &me->row);
		if (me->err)
			change_drop(c);
		else
			me->err = commit_row(c, &to);
		struct inode_row other = me->row;
		me->row = to;
		to = other;
	}
	return NULL;
}

static void test_marking_while_maps_move(void **state)
{
	(void)state;
	struct world w;
	struct cloner mover[THREADS];
	pthread_t thread[THREADS];
	struct marks *m = calloc(1, sizeof *m);
	unsigned lost = 0;
	world_open(&w);
	for (unsigned i = 0; i < THREADS; i++) {
		mover[i] = (struct cloner){ .w = &w, .row = new_file(10 + i) };
		write_pieces(w.x, &mover[i].row, 0, 1 + i * 100, i % 2 ? 4 : 100);
	}
	/* Inodes between the two, so that the scan takes its time from one to the other. */
	struct change *c = change_new(w.x);
	for (uint64_t ino = 100; ino < 1000; ino++) {
		struct inode_row row = new_file(ino);
		inode_row_put(change_batch(c), &row);
	}
	assert_int_equal(change_commit(c, NULL), 0);
	atomic_store(&stop_moving, false);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, move_about, &mover[i]), 0);
	for (unsigned round = 0; round < 300; round++) {
		memset(m, 0, sizeof *m);
		extents_set_mark(w.x, mark_chunk, m);
		lost += extents_scan(w.x, mark_chunk, m) != 0;
		extents_set_mark(w.x, NULL, NULL);
		for (unsigned i = 0; i < THREADS; i++)
			for (unsigned k = 0; k < (i % 2 ? 4 : 100); k++)
				lost += !m->seen[1 + i * 100 + k];
	}
	atomic_store(&stop_moving, true);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(mover[i].err, 0);
	}
	assert_int_equal(lost, 0);
	world_close(&w);
	free(m);
}

/* --- Owners -------------------------------------------------------------------------------- */

static void note_owner(void *arg, uint64_t ino)
{
	uint64_t *mask = arg;
	assert_true(!(*mask & 1ull << ino)); /* each once */
	*mask |= 1ull << ino;
}

static uint64_t owners_of(struct world *w, uint64_t chunk)
{
	uint64_t mask = 0;
	assert_int_equal(extents_owners(w->x, chunk, note_owner, &mask), 0);
	return mask;
}

static void test_owners(void **state)
{
	(void)state;
	struct world w;
	struct inode_row copy = new_file(2), part = new_file(3), small = new_file(4);
	world_open(&w);
	write_pieces(w.x, &w.source, 0, 100, 1000);
	write_pieces(w.x, &small, 0, 1099, 1);
	struct change *c = change_new(w.x);
	assert_int_equal(extents_clone(c, &w.source, 0, &copy, 0, 10000), 0);
	assert_int_equal(extents_clone(c, &copy, 0, &copy, 20000, 10000), 0);
	assert_int_equal(extents_clone(c, &w.source, 5000, &part, 0, 5000), 0);
	inode_row_put(change_batch(c), &part);
	assert_int_equal(commit_row(c, &copy), 0);
	assert_int_equal(owners_of(&w, 100), 1 << 1 | 1 << 2);
	assert_int_equal(owners_of(&w, 600), 1 << 1 | 1 << 2 | 1 << 3);
	assert_int_equal(owners_of(&w, 1099), 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4);
	assert_int_equal(owners_of(&w, 1100), 0);

	/* Damage elsewhere does not keep it from naming the rest. */
	fake_kv_damage(w.kv, KV_EXTENT, "\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0", 16);
	fake_kv_set(w.kv, KV_SEGMENT, "\0\0\0\0\0\0\0\0", 8, "junk", 4);
	assert_int_equal(owners_of(&w, 100), 1 << 1 | 1 << 2);
	fake_kv_damage(w.kv, KV_INODE, "\0\0\0\0\0\0\0\4", 8);
	assert_int_equal(owners_of(&w, 1099), 1 << 1 | 1 << 2 | 1 << 3);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_survive_threads),
		cmocka_unit_test(test_a_scan_reports_what_is_used),
		cmocka_unit_test(test_a_change_reports_what_it_makes_reachable),
		cmocka_unit_test(test_marking_while_maps_move),
		cmocka_unit_test(test_owners),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
