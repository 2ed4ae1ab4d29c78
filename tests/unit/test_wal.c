// SPDX-License-Identifier: MIT
/* What the log promises: after a crash a prefix that contains all that was acknowledged; damage is
 * told from a torn tail; nothing is written before its barriers have run.
 */
#include "wal_pool.h"
#include "digest.h"

static void a_torn_tail_is_cut_at_every_byte(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f;
	struct kv_recovery rec;
	size_t at[16];
	uint64_t n;
	crashed_pool(&p, 5, true);
	assert_int_equal(read_log(&p, &f, 1), 1);
	assert_int_equal(frame_offsets(&f, at, 15), 5);
	for (size_t cut = at[4]; cut <= at[5]; cut += cut == at[4] || cut + 9 > at[5] ? 1 : 7) {
		uint8_t keep[512];
		size_t tail = at[5] - cut;
		memcpy(keep, f.data + cut, tail);
		memset(f.data + cut, 0, tail);
		bool whole = !memcmp(keep, f.data + cut, tail); /* they were zeros */
		assert_int_equal(open_altered(&p, &f, f.data, f.len, false, &n, &rec), 0);
		assert_int_equal(n, whole ? 5 : 4);
		assert_int_equal(rec.torn_tail, !whole && cut > at[4]);
		memcpy(f.data + cut, keep, tail);
		assert_int_equal(open_altered(&p, &f, f.data, cut, false, &n, &rec), -ENOENT);
	}
	free_log(&f, 1);
	pool_remove(&p);
}

static void damage_before_durable_frames_is_told(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f;
	struct kv_recovery rec;
	size_t at[16];
	uint64_t n;
	crashed_pool(&p, 6, true);
	assert_int_equal(read_log(&p, &f, 1), 1);
	assert_int_equal(frame_offsets(&f, at, 15), 6);
	for (size_t i = 0; i < 5; i++)
		for (size_t off = at[i]; off < at[i + 1] - WAL_ALIGN; off += i == 2 ? 3 : 37) {
			f.data[off] ^= 0x10;
			assert_int_equal(open_altered(&p, &f, f.data, f.len, false, &n, &rec),
					 -EUCLEAN);
			assert_true(rec.damaged);
			assert_int_equal(rec.last_lsn, i);
			f.data[off] ^= 0x10;
		}
	f.data[at[3] + 50] ^= 1;
	assert_int_equal(open_altered(&p, &f, f.data, f.len, true, &n, &rec), 0);
	assert_int_equal(n, 3);
	assert_true(rec.damaged);
	free_log(&f, 1);
	pool_remove(&p);
}

/* Power fails during a flush: any of the group's blocks may be on the disk. */
static void an_unfinished_group_loses_only_itself(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f;
	struct kv_recovery rec;
	size_t at[64];
	uint64_t n = 0;
	uint32_t seed = 7;
	crashed_pool(&p, 40, false); /* one group of 20, then another */
	assert_int_equal(read_log(&p, &f, 1), 1);
	assert_int_equal(frame_offsets(&f, at, 63), 40);
	CLEANUP_FREE uint8_t *data = malloc(f.len);
	for (int round = 0; round < 60; round++) {
		memcpy(data, f.data, f.len);
		size_t first_lost = 40;
		for (size_t sector = at[20] / 512; sector * 512 < at[40]; sector++) {
			seed = seed * 1664525u + 1013904223u;
			if (seed >> 30)
				continue;
			size_t from = sector * 512 < at[20] ? at[20] : sector * 512;
			memset(data + from, 0, sector * 512 + 512 - from);
			for (size_t i = 20; i < first_lost; i++)
				if (at[i + 1] > from)
					first_lost = i;
		}
		assert_int_equal(open_altered(&p, &f, data, f.len, false, &n, &rec), 0);
		assert_true(n == first_lost || n == first_lost + 1); /* only padding was lost */
	}
	free_log(&f, 1);
	pool_remove(&p);
}

static void damage_in_older_segments_is_told(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f[8];
	struct kv_recovery rec;
	uint64_t n_batches;
	crashed_pool(&p, 4000, false);
	size_t n = read_log(&p, f, 8);
	assert_true(n >= 3);
	struct segment_file *mid = &f[1];
	CLEANUP_FREE size_t *at = calloc(8000, sizeof *at);
	size_t frames = frame_offsets(mid, at, 7000);
	mid->data[at[frames - 1] + 45] ^=
		1; /* its end: the next one is there, so it is not missed */
	assert_int_equal(open_altered(&p, mid, mid->data, mid->len, false, &n_batches, &rec), 0);
	mid->data[at[frames - 1] + 45] ^= 1;
	mid->data[at[frames - 2] + 45] ^= 1; /* its last batch */
	assert_int_equal(open_altered(&p, mid, mid->data, mid->len, false, &n_batches, &rec),
			 -EUCLEAN);
	mid->data[at[frames - 2] + 45] ^= 1;
	mid->data[30] ^= 1; /* its header */
	assert_int_equal(open_altered(&p, mid, mid->data, mid->len, true, &n_batches, &rec),
			 -ENOENT);
	mid->data[30] ^= 1;
	f[0].data[30] ^= 1;
	assert_int_equal(open_altered(&p, &f[0], f[0].data, f[0].len, false, &n_batches, &rec),
			 -ENOENT);
	f[0].data[30] ^= 1;
	assert_int_equal(open_altered(&p, &f[n - 1], f[n - 1].data, WAL_FRAMES_AT + 10, false,
				      &n_batches, &rec),
			 -ENOENT);
	assert_int_equal(unlink(mid->path), 0);
	assert_int_equal(pool_try_open(&p), -ENOENT);
	assert_int_equal(unlink(f[0].path), 0);
	assert_int_equal(pool_try_open(&p), -ENOENT);
	free_log(f, n);
	pool_remove(&p);
}

static void strangers_are_refused(void **state)
{
	(void)state;
	struct pool p, other;
	crashed_pool(&p, 5, true);
	p.opt.pool_uuid[3] ^= 1;
	assert_int_equal(pool_try_open(&p), -ESTALE);
	p.opt.pool_uuid[3] ^= 1;
	crashed_pool(&other, 5, true); /* same uuid, another log */
	pool_copy_dir(other.wal, p.wal);
	assert_int_equal(pool_try_open(&p), -ESTALE);
	pool_remove(&other);
	pool_remove(&p);

	crashed_pool(&p, 5, true);
	pool_make(&other); /* an empty index, a log with frames */
	pool_copy_dir(p.wal, other.wal);
	assert_int_equal(pool_try_open(&other), -ESTALE);
	other.opt.pool_uuid[3] ^= 1;
	assert_int_equal(pool_try_open(&other), -ESTALE);
	pool_remove(&other);

	pool_make(&other); /* a dirty index, no log */
	pool_copy_dir(p.index, other.index);
	assert_int_equal(pool_try_open(&other), -ENOENT);
	pool_remove(&other);
	pool_remove(&p);
}

struct watch {
	struct kv_barrier b;
	struct pool *p;
	const char *marker;
	int result, order;
	int ran, released, seen_in_file;
};
static int barrier_order;

static bool log_contains(struct pool *p, const char *marker)
{
	char cmd[256];
	snprintf(cmd, sizeof cmd, "grep -q -a '%s' %s/wal-*", marker, p->wal);
	return system(cmd) == 0;
}

static int watch_run(struct kv_barrier *b)
{
	struct watch *w = (struct watch *)b;
	w->ran++;
	w->order = ++barrier_order;
	w->seen_in_file = log_contains(w->p, w->marker);
	return w->result;
}

static void watch_release(struct kv_barrier *b)
{
	((struct watch *)b)->released++;
}

static int commit_with(struct kv *kv, struct watch *w, uint64_t *ret_lsn)
{
	struct kv_batch *b = kv_batch_new();
	kv_batch_put(b, KV_INODE, w->marker, strlen(w->marker), "", 0);
	kv_batch_barrier(b, &w->b);
	return kv_commit(kv, b, ret_lsn);
}

static struct watch watch_of(struct pool *p, const char *marker, uint64_t key)
{
	return (struct watch){ .b = { .run = watch_run, .release = watch_release, .key = key },
			       .p = p,
			       .marker = marker };
}

static void barriers_run_before_the_frame_is_written(void **state)
{
	(void)state;
	struct pool p;
	for (int backend = 0; backend < 2; backend++) {
		pool_make(&p);
		p.opt.wal_backend = backend ? KV_WAL_IO_URING : KV_WAL_STANDARD;
		struct kv *kv = pool_open(&p);
		struct watch a = watch_of(&p, "markerA", 1), b = watch_of(&p, "markerB", 2),
			     a2 = watch_of(&p, "markerC", 1);
		barrier_order = 0;
		assert_int_equal(commit_with(kv, &a, NULL), 0);
		assert_int_equal(commit_with(kv, &b, NULL), 0);
		assert_int_equal(commit_with(kv, &a2, NULL), 0);
		assert_int_equal(a.ran + b.ran, 0);
		assert_false(log_contains(&p, "markerA"));
		assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
		assert_true(log_contains(&p, "markerA") && log_contains(&p, "markerC"));
		assert_int_equal(a.ran, 1);
		assert_int_equal(b.ran, 1);
		assert_int_equal(a2.ran, 0); /* the same as a, in the same group */
		assert_true(a.order < b.order);
		assert_int_equal(a.released + b.released + a2.released, 3);
		assert_int_equal(a.seen_in_file + b.seen_in_file, 0);
		struct kv_batch *dropped = kv_batch_new();
		kv_batch_barrier(dropped, &b.b);
		assert_false(kv_batch_empty(dropped));
		kv_batch_free(dropped);
		assert_int_equal(b.released, 2);
		assert_int_equal(b.ran, 1);
		assert_int_equal(kv_close(kv), 0);
		pool_remove(&p);
	}
}

static void record_error(void *arg, int err)
{
	*(int *)arg = err ? err : 1;
}

static void a_failed_barrier_fails_the_engine(void **state)
{
	(void)state;
	struct pool p, copy;
	pool_make(&p);
	struct kv *kv = pool_open(&p);
	int told = 0, told_sync = 0, told_late = 0;
	uint64_t lsn;
	assert_int_equal(put1(kv, KV_INODE, "before", "", NULL), 0);
	assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
	struct watch w = watch_of(&p, "markerD", 1), later = watch_of(&p, "markerE", 2);
	w.result = -EDQUOT;
	assert_int_equal(commit_with(kv, &w, &lsn), 0);
	assert_int_equal(commit_with(kv, &later, NULL), 0);
	kv_when_durable(kv, lsn, record_error, &told);
	kv_sync_async(kv, UINT64_MAX, record_error, &told_sync);
	assert_int_equal(kv_sync(kv, lsn), -EDQUOT);
	assert_int_equal(kv_sync(kv, 1), 0);
	assert_int_equal(put1(kv, KV_INODE, "after", "", NULL), -EDQUOT);
	assert_int_equal(kv_checkpoint(kv), -EDQUOT);
	kv_when_durable(kv, lsn, record_error, &told_late);
	assert_row(kv, KV_INODE, "before", "");
	assert_row(kv, KV_INODE, "markerD", "");
	assert_int_equal(later.ran, 0);
	pool_copy(&p, &copy);
	assert_int_equal(kv_close(kv), -EDQUOT);
	assert_int_equal(told, -EDQUOT);
	assert_int_equal(told_sync, -EDQUOT);
	assert_int_equal(told_late, -EDQUOT);
	assert_int_equal(w.released + later.released, 2);
	assert_int_equal(p.failures, 1);
	assert_int_equal(p.failure_err, -EDQUOT);
	kv = pool_open(&copy);
	assert_row(kv, KV_INODE, "before", "");
	assert_row(kv, KV_INODE, "markerD", NULL);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
	pool_remove(&copy);
}

static void nothing_is_tried_twice(void **state)
{
	(void)state;
	static const char *const faults[] = { "wal_write:1=EIO", "wal_sync:1=EIO", "write:1=EIO",
					      "fdatasync:1=ENOSPC", "checkpoint:1=EIO" };
	for (size_t i = 0; i < 2 * sizeof faults / sizeof *faults; i++) {
		struct pool p;
		pool_make(&p);
		p.opt.wal_backend = i & 1 ? KV_WAL_IO_URING : KV_WAL_STANDARD;
		struct kv *kv = pool_open(&p);
		bool checkpoint = !strncmp(faults[i / 2], "checkpoint", 10);
		int err = strstr(faults[i / 2], "ENOSPC") ? -ENOSPC : -EIO;
		assert_int_equal(commit_number(kv, 1, NULL), 0);
		assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
		assert_int_equal(commit_number(kv, 2, NULL), 0);
		fault_arm(faults[i / 2]);
		assert_int_equal(checkpoint ? kv_checkpoint(kv) : kv_sync(kv, 2), err);
		fault_arm(NULL);
		assert_int_equal(commit_number(kv, 3, NULL), err);
		assert_int_equal(kv_sync(kv, 2), checkpoint ? 0 : err);
		assert_int_equal(kv_close(kv), err);
		assert_int_equal(p.failures, 1);
		kv = pool_open(&p);
		uint64_t n = assert_prefix(kv);
		assert_true(checkpoint ? n == 2 : n >= 1);
		assert_int_equal(kv_close(kv), 0);
		pool_remove(&p);
	}
}

static void a_full_disk_refuses_before_it_accepts(void **state)
{
	(void)state;
	struct pool p, copy;
	pool_make(&p);
	p.opt.wal_segment_bytes = 64 << 10;
	struct kv *kv = pool_open(&p);
	uint64_t i = 0, deletes = 0;
	int r;
	assert_int_equal(commit_number(kv, ++i, NULL), 0);
	assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
	fault_arm("wal_allocate:1+=ENOSPC");
	while ((r = commit_number(kv, i + 1, NULL)) == 0)
		i++;
	assert_int_equal(r, -ENOSPC);
	assert_true(i > 100 && i < 2000);
	for (r = 0; r == 0; deletes += r == 0) { /* the reserve is for these */
		struct kv_batch *b = kv_batch_new();
		kv_batch_set_reserve(b);
		kv_batch_delete(b, KV_ORPHAN, "x", 1);
		r = kv_commit(kv, b, NULL);
	}
	assert_int_equal(r, -ENOSPC);
	assert_true(deletes > 500);
	assert_int_equal(commit_number(kv, i + 1, NULL), -ENOSPC);
	assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
	assert_int_equal(p.failures, 0);
	pool_copy(&p, &copy);
	fault_arm(NULL);
	assert_int_equal(put1(kv, KV_INODE, "again", "", NULL), 0);
	assert_int_equal(kv_close(kv), 0);
	kv = pool_open(&copy);
	assert_int_equal(kv_last_lsn(kv), i + deletes);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
	pool_remove(&copy);
}

static void a_checkpoint_without_space_is_put_off(void **state)
{
	(void)state;
	struct pool p;
	pool_make(&p);
	p.opt.memtable_bytes = 32 << 10;
	p.opt.wal_segment_bytes = 8 << 20;
	struct kv *kv = pool_open(&p);
	uint64_t i = 0;
	int r;
	fault_arm("checkpoint:1+=ENOSPC");
	assert_int_equal(commit_number(kv, ++i, NULL), 0);
	assert_int_equal(kv_checkpoint(kv), -ENOSPC);
	while ((r = commit_number(kv, i + 1, NULL)) == 0)
		i++;
	assert_int_equal(r, -ENOSPC); /* both memtables are full, and nothing moves */
	struct kv_batch *b = kv_batch_new();
	kv_batch_set_reserve(b);
	kv_batch_delete(b, KV_ORPHAN, "x", 1);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
	assert_int_equal(p.failures, 0);
	fault_arm(NULL);
	assert_int_equal(kv_checkpoint(kv), 0);
	assert_int_equal(put1(kv, KV_INODE, "again", "", NULL), 0);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&p);
}

/* Rows go into LMDB by small transactions when there is no space for one large; a crash between
 * them leaves LMDB with some rows of the future, which replay makes whole. */
static void a_checkpoint_in_slices_may_be_interrupted(void **state)
{
	(void)state;
	for (unsigned slices = 1; slices < 12; slices++) {
		struct pool p, copy;
		struct kv_stats s;
		char fault[64];
		pool_make(&p);
		struct kv *kv = pool_open(&p);
		for (uint64_t i = 1; i <= 300; i++)
			assert_int_equal(commit_number(kv, i, NULL), 0);
		assert_int_equal(kv_checkpoint(kv), 0);
		for (uint64_t i = 301; i <= 600; i++)
			assert_int_equal(commit_number(kv, i, NULL), 0);
		fault_arm("checkpoint:1+=ENOSPC");
		assert_int_equal(kv_checkpoint(kv), -ENOSPC);
		kv_get_stats(kv, &s);
		assert_int_equal(s.checkpoint_err, -ENOSPC);
		snprintf(fault, sizeof fault, "checkpoint:%u+=ENOSPC", slices);
		fault_arm(fault);
		int r = kv_checkpoint(kv);
		assert_true(r == -ENOSPC || (r == 0 && slices > 5));
		pool_copy(&p, &copy);
		assert_int_equal(assert_prefix(kv), 600);
		fault_arm(NULL);
		struct kv *kv2 = pool_open(&copy);
		assert_int_equal(assert_prefix(kv2), 600);
		assert_int_equal(kv_close(kv2), 0);
		assert_int_equal(kv_checkpoint(kv), 0);
		assert_int_equal(assert_prefix(kv), 600);
		kv_get_stats(kv, &s);
		assert_int_equal(s.checkpoint_err, 0);
		assert_int_equal(kv_close(kv), 0);
		pool_remove(&p);
		pool_remove(&copy);
	}
}

/* A wait for the writer, which sleeps in between. */
static void wait_for_note(struct pool *p)
{
	struct segment_file f;
	size_t at[16];
	for (bool there = false; !there;) {
		assert_int_equal(read_log(p, &f, 1), 1);
		size_t n = frame_offsets(&f, at, 15);
		there = n && get_le32(f.data + at[n - 1] + 12) == WAL_FRAME_NOTE;
		free_log(&f, 1);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

/* Once the log has been quiet, damage to its last batches is no torn tail; and it goes on behind a note. */
static void a_note_tells_damage_of_the_last_batches(void **state)
{
	(void)state;
	struct pool live, p;
	struct segment_file f;
	struct kv_recovery rec;
	uint64_t shown;
	size_t at[16];
	pool_make(&live);
	live.opt.wal_note_ms = 1;
	struct kv *kv = pool_open(&live);
	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(commit_number(kv, i, NULL), 0);
		assert_int_equal(kv_sync(kv, UINT64_MAX), 0);
		wait_for_note(&live);
	}
	pool_copy(&live, &p);
	assert_int_equal(kv_close(kv), 0);
	pool_remove(&live);
	assert_int_equal(read_log(&p, &f, 1), 1);
	assert_int_equal(frame_offsets(&f, at, 15), 6);
	assert_int_equal(open_altered(&p, &f, f.data, f.len, false, &shown, &rec), 0);
	assert_int_equal(shown, 3);
	f.data[at[4] + 45] ^= 1;
	assert_int_equal(open_altered(&p, &f, f.data, f.len, false, &shown, &rec), -EUCLEAN);
	assert_int_equal(rec.last_lsn, 2);
	f.data[at[4] + 45] ^= 1;
	f.data[at[5] + 33] ^= 1; /* the last note itself: nothing is lost by that */
	assert_int_equal(open_altered(&p, &f, f.data, f.len, false, &shown, &rec), 0);
	assert_int_equal(shown, 3);
	free_log(&f, 1);
	pool_remove(&p);
}

static void a_newer_version_is_told_apart_from_damage(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f;
	struct kv_recovery rec;
	uint64_t shown;
	crashed_pool(&p, 5, true);
	assert_int_equal(read_log(&p, &f, 1), 1);
	put_le32(f.data + offsetof(struct wal_segment_header, version), WAL_VERSION + 1);
	put_le64(f.data + offsetof(struct wal_segment_header, checksum),
		 checksum64(f.data, offsetof(struct wal_segment_header, checksum)));
	assert_int_equal(open_altered(&p, &f, f.data, f.len, false, &shown, &rec),
			 -EPROTONOSUPPORT);
	assert_int_equal(open_altered(&p, &f, f.data, f.len, true, &shown, &rec), -EPROTONOSUPPORT);
	free_log(&f, 1);
	pool_remove(&p);
}

/* Bytes changed, cut off or moved anywhere in the log: whatever open says, it says it in order, and
 * what it shows is a prefix. */
static void random_damage_is_survived(void **state)
{
	(void)state;
	struct pool p;
	struct segment_file f[8];
	uint32_t seed = 3;
	int good = 0, bad = 0;
	crashed_pool(&p, 2500, false);
	size_t n = read_log(&p, f, 8);
	assert_true(n >= 2);
	for (int round = 0; round < 150; round++) {
		struct pool q;
		struct kv *kv;
		pool_copy(&p, &q);
		for (unsigned hits = 1 + (seed >> 9) % 4; hits; hits--) {
			seed = seed * 1664525u + 1013904223u;
			struct segment_file *s = &f[(seed >> 8) % n];
			char path[128];
			snprintf(path, sizeof path, "%s%s", q.wal, strrchr(s->path, '/'));
			CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
			size_t used = s == &f[n - 1] ? WAL_FRAMES_AT + 4096 : s->len;
			off_t at = (off_t)((seed >> 3) % used);
			if (seed >> 30 == 0)
				assert_int_equal(ftruncate(fd, at), 0);
			else if (seed >> 30 == 1)
				assert_int_equal(
					io_write(fd, s->data + (seed >> 5) % used / 2, 512, at), 0);
			else
				assert_int_equal(io_write(fd, &seed, 1 + seed % 4, at), 0);
		}
		q.opt.read_only = round & 1;
		int r = kv_open(&q.opt, &kv, &q.rec);
		if (r == 0) {
			assert_prefix(kv);
			assert_int_equal(kv_close(kv), 0);
		}
		assert_true(r == 0 || r == -EUCLEAN || r == -ENOENT);
		*(r == 0 ? &good : &bad) += 1;
		pool_remove(&q);
	}
	assert_true(good > 0 && bad > 0);
	free_log(f, n);
	pool_remove(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_torn_tail_is_cut_at_every_byte),
		cmocka_unit_test(damage_before_durable_frames_is_told),
		cmocka_unit_test(an_unfinished_group_loses_only_itself),
		cmocka_unit_test(damage_in_older_segments_is_told),
		cmocka_unit_test(strangers_are_refused),
		cmocka_unit_test(a_note_tells_damage_of_the_last_batches),
		cmocka_unit_test(a_newer_version_is_told_apart_from_damage),
		cmocka_unit_test(random_damage_is_survived),
		cmocka_unit_test(barriers_run_before_the_frame_is_written),
		cmocka_unit_test(a_failed_barrier_fails_the_engine),
		cmocka_unit_test(nothing_is_tried_twice),
		cmocka_unit_test(a_full_disk_refuses_before_it_accepts),
		cmocka_unit_test(a_checkpoint_without_space_is_put_off),
		cmocka_unit_test(a_checkpoint_in_slices_may_be_interrupted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
