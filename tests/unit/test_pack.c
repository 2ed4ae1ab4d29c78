// SPDX-License-Identifier: MIT
/* Packs: what is appended is found again, by index and by scan, after closing, after a crash at any
 * byte, after failed writes; what was lost is named, and nothing else goes with it.
 */
#include "chunk_pool.h"
#include "dump.h"
#include "inode_row.h"

struct seen {
	uint64_t n, last_offset, ids[4096];
};

static int note(void *arg, uint64_t offset, const struct frame_head *head)
{
	struct seen *s = arg;
	assert_true(!s->n || offset > s->last_offset);
	s->last_offset = offset;
	s->ids[s->n++] = head->entries[0].id;
	return 0;
}

static uint64_t scan(struct packs *p, uint64_t pack, struct seen *s)
{
	uint64_t end;
	memset(s, 0, sizeof *s);
	assert_int_equal(pack_scan(p, pack, 0, note, s, &end), 0);
	return end;
}

/* One chunk in each. */
static void add_frames(struct chunk_pool *cp, unsigned first, unsigned last, uint32_t len,
		       int level)
{
	for (unsigned i = first; i <= last; i++)
		assert_int_equal(chunk_pool_add(cp, i, len, level), 0);
}

static int count_states(void *arg, const struct pack_row *row)
{
	unsigned *n = arg;
	n[0]++;
	n[row->state]++;
	return 0;
}

static void assert_states(struct packs *p, unsigned open, unsigned sealed)
{
	unsigned n[4] = { 0 };
	assert_int_equal(packs_each(p, count_states, n), 0);
	assert_int_equal(n[PACK_OPEN], open);
	assert_int_equal(n[PACK_SEALED], sealed);
	assert_int_equal(n[0], open + sealed);
}

static void appended_frames_are_found(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct seen seen;
	chunk_pool_open(&cp, 1 << 20);
	for (unsigned i = 1; i <= 40; i++)
		assert_int_equal(chunk_pool_add(&cp, i, 100 * 1024, i % 2 ? 3 : 0), 0);
	uint64_t bytes, count;
	packs_bytes(cp.packs, &bytes, &count);
	assert_true(count >= 2);
	assert_states(cp.packs, 1, (unsigned)count - 1);
	uint64_t found = 0;
	for (uint64_t pack = 1; pack <= count; pack++) {
		scan(cp.packs, pack, &seen);
		for (uint64_t i = 0; i < seen.n; i++)
			assert_int_equal(seen.ids[i], ++found);
	}
	assert_int_equal(found, 40);
	chunk_pool_reopen(&cp);
	assert_states(cp.packs, 0, (unsigned)count);
	uint64_t bytes2, count2;
	packs_bytes(cp.packs, &bytes2, &count2);
	assert_int_equal(count, count2);
	assert_true(bytes2 > bytes);
	chunk_pool_check_all(&cp, 40);
	chunk_pool_close(&cp);
}

static void an_empty_set_leaves_nothing(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 0);
	chunk_pool_reopen(&cp);
	assert_int_equal(chunk_pool_files(&cp), 0);
	fault_arm("pack_write:1=EIO");
	assert_int_equal(chunk_pool_add(&cp, 1, 1000, 0), -EIO);
	fault_arm(NULL);
	chunk_pool_reopen(&cp);
	assert_int_equal(chunk_pool_files(&cp), 0);
	assert_states(cp.packs, 0, 0);
	chunk_pool_close(&cp);
}

/* Cut an unsealed pack anywhere: the scan gives exactly the frames that are whole. */
static void a_cut_pack_gives_a_prefix(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct seen seen;
	uint64_t ends[9] = { sizeof(struct pack_header) };
	chunk_pool_open(&cp, 0);
	for (unsigned i = 1; i <= 8; i++) {
		assert_int_equal(chunk_pool_add(&cp, i, 300 + 77 * i, i % 2 ? 3 : 0), 0);
		ends[i] = cp.last.offset + cp.last.stored_len;
	}
	int fd = chunk_pool_pack_fd(&cp, 1);
	for (uint64_t len = ends[8]; len >= ends[0]; len--) {
		assert_int_equal(ftruncate(fd, (off_t)len), 0);
		unsigned whole = 0;
		while (whole < 8 && ends[whole + 1] <= len)
			whole++;
		assert_int_equal(scan(cp.packs, 1, &seen), ends[whole]);
		assert_int_equal(seen.n, whole);
	}
	close(fd);
	chunk_pool_abandon(&cp);
	chunk_pool_remove(&cp);
}

/* Overwrite each frame's head in turn: the others are still found. */
static void the_scan_finds_its_way_again(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct seen seen;
	uint64_t at[9];
	chunk_pool_open(&cp, 0);
	for (unsigned i = 1; i <= 8; i++) {
		assert_int_equal(chunk_pool_add(&cp, i, 70000 * i % 250000 + 1, 0), 0);
		at[i] = cp.last.offset;
	}
	int fd = chunk_pool_pack_fd(&cp, 1);
	for (unsigned i = 1; i <= 8; i++) {
		uint8_t old, bad;
		assert_int_equal(pread(fd, &old, 1, (off_t)at[i] + 9), 1);
		bad = old ^ 0x10;
		assert_int_equal(pwrite(fd, &bad, 1, (off_t)at[i] + 9), 1);
		scan(cp.packs, 1, &seen);
		assert_int_equal(seen.n, 7);
		for (unsigned j = 0, id = 1; j < 7; j++, id++) {
			id += id == i;
			assert_int_equal(seen.ids[j], id);
		}
		assert_int_equal(pwrite(fd, &old, 1, (off_t)at[i] + 9), 1);
	}
	close(fd);
	chunk_pool_close(&cp);
}

static void a_failed_write_takes_its_place_back(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct seen seen;
	chunk_pool_open(&cp, 0);
	assert_int_equal(chunk_pool_add(&cp, 1, 5000, 0), 0);
	fault_arm("pack_write:1=ENOSPC");
	assert_int_equal(chunk_pool_add(&cp, 2, 5000, 0), -ENOSPC);
	fault_arm(NULL);
	assert_int_equal(chunk_pool_add(&cp, 2, 6000, 0), 0);
	scan(cp.packs, 1, &seen);
	assert_int_equal(seen.n, 2);
	chunk_pool_reopen(&cp);
	chunk_pool_check_all(&cp, 2);
	assert_int_equal(chunk_pool_files(&cp), 1);
	chunk_pool_close(&cp);
}

static void a_pack_that_cannot_be_made(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 0);
	fault_arm("pack_create:1=ENOSPC");
	assert_int_equal(chunk_pool_add(&cp, 1, 5000, 0), -ENOSPC);
	fault_arm(NULL);
	assert_int_equal(chunk_pool_files(&cp), 0);
	assert_int_equal(chunk_pool_add(&cp, 1, 5000, 0), 0);
	chunk_pool_check_all(&cp, 1);
	chunk_pool_close(&cp);
}

/* The disk is full when the footer is due: nothing is lost, and the next mount makes it. */
static void a_footer_that_finds_no_room(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 20000);
	add_frames(&cp, 1, 3, 5000, 0);
	fault_arm(
		"write:1=ENOSPC"); /* the footer of the first pack: the fourth frame needs another */
	assert_int_equal(chunk_pool_add(&cp, 4, 15000, 0), 0);
	fault_arm(NULL);
	assert_states(cp.packs, 2, 0);
	chunk_pool_check_all(&cp, 4);
	chunk_pool_reopen(&cp);
	assert_states(cp.packs, 0, 2);
	chunk_pool_check_all(&cp, 4);
	chunk_pool_close(&cp);
}

static void a_failed_sync_is_for_ever(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 0);
	assert_int_equal(chunk_pool_add(&cp, 1, 5000, 0), 0);
	assert_int_equal(pack_sync(cp.packs), 0);
	assert_int_equal(pack_sync(cp.packs), 0);
	assert_int_equal(chunk_pool_add(&cp, 2, 5000, 0), 0);
	fault_arm("fdatasync:1=EIO");
	assert_int_equal(pack_sync(cp.packs), -EIO);
	fault_arm(NULL);
	assert_int_equal(pack_sync(cp.packs), -EIO);
	assert_int_equal(chunk_pool_add(&cp, 3, 5000, 0), -EIO);
	assert_int_equal(pack_sync(cp.packs), -EIO);
	assert_int_equal(packs_close(cp.packs), -EIO);
	cp.packs = NULL;
	chunk_pool_abandon(&cp);
	chunk_pool_remove(&cp);
}

/* A crash: the log was synced up to chunk 5, the pack holds 8 frames and perhaps half of another. */
static void a_crash_keeps_what_the_index_knows(void **state)
{
	(void)state;
	for (int junk = 0; junk < 2; junk++) {
		struct chunk_pool cp;
		struct seen seen;
		chunk_pool_open(&cp, 0);
		add_frames(&cp, 1, 5, 9000, 3);
		assert_int_equal(kv_sync(cp.kv, UINT64_MAX), 0);
		cp.no_rows = true;
		add_frames(&cp, 6, 8, 9000, 3);
		chunk_pool_crash(&cp);
		if (junk) {
			int fd = chunk_pool_pack_fd(&cp, 1);
			assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - 10), 0);
			close(fd);
		}
		chunk_pool_recover(&cp);
		assert_states(cp.packs, 0, 1);
		scan(cp.packs, 1, &seen);
		assert_int_equal(seen.n, 5);
		chunk_pool_check_all(&cp, 5);
		/* the ids are given again, elsewhere */
		cp.no_rows = false;
		add_frames(&cp, 6, 7, 1234, 0);
		assert_int_not_equal(cp.last.pack, 1);
		chunk_pool_reopen(&cp);
		chunk_pool_check_all(&cp, 7);
		chunk_pool_close(&cp);
	}
}

static void a_pack_without_anything_known_goes(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 0);
	cp.no_rows = true;
	assert_int_equal(chunk_pool_add(&cp, 1, 9000, 3), 0);
	assert_int_equal(kv_sync(cp.kv, UINT64_MAX), 0); /* the pack's row is durable */
	chunk_pool_crash(&cp);
	assert_int_equal(chunk_pool_files(&cp), 1);
	chunk_pool_recover(&cp);
	assert_int_equal(chunk_pool_files(&cp), 0);
	assert_states(cp.packs, 0, 0);
	chunk_pool_close(&cp);
}

static void files_without_rows(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 0);
	add_frames(&cp, 1, 3, 9000, 3);
	chunk_pool_stop(&cp);
	/* one that holds known ids is taken in, a torn one removed, others left */
	chunk_pool_drop_row(&cp, 1);
	assert_int_equal(
		close(openat(cp.packs_fd, "0000000000000077.pack", O_CREAT | O_WRONLY, 0600)), 0);
	assert_int_equal(close(openat(cp.packs_fd, "notes.txt", O_CREAT | O_WRONLY, 0600)), 0);
	chunk_pool_recover(&cp);
	assert_states(cp.packs, 0, 1);
	assert_int_equal(chunk_pool_files(&cp), 1);
	chunk_pool_check_all(&cp, 3);
	chunk_pool_close(&cp);
}

/* Packs that were filled, and in the end sealed, before anything about them was durable. */
static void make_strays(struct chunk_pool *cp, unsigned packs, bool sealed)
{
	chunk_pool_open(cp, 32 << 10);
	cp->no_rows = true;
	for (unsigned i = 1; i <= packs; i++)
		assert_int_equal(chunk_pool_add(cp, i, 30 << 10, 0), 0);
	if (sealed) {
		chunk_pool_stop(cp);
	} else {
		assert_int_equal(kv_sync(cp->kv, UINT64_MAX), 0);
		chunk_pool_crash(cp);
	}
	for (unsigned i = 1; i <= packs; i++)
		chunk_pool_drop_row(cp, i);
	assert_int_equal(chunk_pool_files(cp), packs);
}

static void put_row(struct chunk_pool *cp, const struct inode_row *row, const char *meta)
{
	struct kv *kv = pool_open(&cp->pool);
	struct kv_batch *b = kv_batch_new();
	if (row)
		inode_row_put(b, row);
	if (meta)
		kv_batch_put(b, KV_META, meta, strlen(meta), "", 0);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(kv_close(kv), 0);
}

static const struct inode_row root = { .ino = INO_ROOT, .mode = S_IFDIR | 0755, .nlink = 2 };

static void what_nothing_refers_to_is_given_back(void **state)
{
	(void)state;
	struct chunk_pool cp;
	for (int sealed = 0; sealed < 2; sealed++) {
		make_strays(&cp, 3, sealed);
		put_row(&cp, &root, NULL);
		assert_int_equal(chunk_pool_try_recover(&cp, true), 0);
		chunk_pool_stop(&cp);
		assert_int_equal(chunk_pool_files(&cp), 3); /* reading only */
		chunk_pool_recover(&cp);
		assert_int_equal(chunk_pool_files(&cp), 0);
		cp.no_rows = false;
		add_frames(&cp, 1, 3, 9000, 3);
		chunk_pool_reopen(&cp);
		chunk_pool_check_all(&cp, 3);
		chunk_pool_close(&cp);
	}
}

/* An index without a root has just been begun anew, one with the mark lacks a part of its log. */
static void what_a_repair_has_yet_to_take_in_is_kept(void **state)
{
	(void)state;
	struct chunk_pool cp;
	for (int marked = 0; marked < 2; marked++) {
		make_strays(&cp, 3, true);
		if (marked)
			put_row(&cp, &root, META_LOG_LOST);
		chunk_pool_recover(&cp);
		assert_int_equal(chunk_pool_files(&cp), 3);
		chunk_pool_close(&cp);
	}
}

/* Rows of packs and frames are gone, but not those of files: their ids must not be given again. */
static void what_a_file_refers_to_is_kept(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct inode_row row = { .ino = 100, .mode = S_IFREG | 0600, .nlink = 1, .pieces = 1 };
	row.recipe[0] = (struct piece){ .chunk = 2, .length = 30 << 10, .repeat = 1 };
	row.size = row.mapped_bytes = 30 << 10;
	for (int sealed = 0; sealed < 2; sealed++) {
		make_strays(&cp, 3, sealed);
		put_row(&cp, &row, NULL);
		assert_int_equal(chunk_pool_try_recover(&cp, false), -EUCLEAN);
		assert_int_equal(chunk_pool_files(&cp), 3);
		chunk_pool_close(&cp);
	}
}

/* Somebody has put back an older index, and may yet put back the right one. */
static void what_a_newer_dump_may_refer_to_is_kept(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct dump_info info;
	char command[256];
	make_strays(&cp, 3, true);
	snprintf(command, sizeof command, "cd %s && mkdir old && cp -a index wal old", cp.pool.dir);
	assert_int_equal(system(command), 0);
	chunk_pool_drop_row(&cp, 9); /* some change */
	struct kv *kv = pool_open(&cp.pool);
	struct dump_place place = { .dirfd = cp.packs_fd };
	memcpy(place.pool_uuid, cp.pool.opt.pool_uuid, sizeof place.pool_uuid);
	assert_int_equal(dump_write(kv, &place, NULL, &info), 0);
	assert_int_equal(kv_close(kv), 0);
	snprintf(command, sizeof command,
		 "cd %s && rm -f index/* wal/* && cp -a old/index old/wal .", cp.pool.dir);
	assert_int_equal(system(command), 0);
	chunk_pool_recover(&cp);
	assert_int_equal(chunk_pool_files(&cp), 3);
	chunk_pool_close(&cp);
}

/* A crash took the reservation of a number, and left the pack: gc's, say, with chunks long known. */
static void a_number_in_use_is_not_the_next(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 0);
	add_frames(&cp, 1, 3, 9000, 3);
	chunk_pool_stop(&cp);
	chunk_pool_drop_row(&cp, 1);
	chunk_pool_set_next(&cp, 1);
	chunk_pool_recover(&cp);
	assert_states(cp.packs, 0, 1);
	chunk_pool_stop(&cp); /* with no pack begun */
	assert_int_equal(chunk_pool_next(&cp), 2);
	chunk_pool_recover(&cp);
	assert_int_equal(chunk_pool_add(&cp, 4, 9000, 3), 0);
	assert_int_equal(cp.last.pack, 2);
	chunk_pool_check_all(&cp, 4);
	chunk_pool_close(&cp);
}

static void damage_is_refused_and_named(void **state)
{
	(void)state;
	struct chunk_pool cp;
	for (int how = 0; how < 4; how++) {
		chunk_pool_open(&cp, 0);
		add_frames(&cp, 1, 3, 9000, 3);
		if (how < 2) { /* sealed */
			chunk_pool_stop(&cp);
		} else {
			assert_int_equal(kv_sync(cp.kv, UINT64_MAX), 0);
			chunk_pool_crash(&cp);
		}
		if (how % 2) {
			assert_int_equal(unlinkat(cp.packs_fd, "0000000000000001.pack", 0), 0);
		} else {
			int fd = chunk_pool_pack_fd(&cp, 1);
			assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - 16), 0);
			close(fd);
		}
		assert_int_equal(chunk_pool_try_recover(&cp, false), -EUCLEAN);
		chunk_pool_crash(&cp);
		assert_int_equal(chunk_pool_try_recover(&cp, true), 0); /* to look at it */
		chunk_pool_abandon(&cp);
		chunk_pool_remove(&cp);
	}
}

static void a_doomed_pack_goes_when_that_is_durable(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 0);
	assert_int_equal(chunk_pool_add(&cp, 1, 9000, 3), 0);
	struct kv_batch *b = kv_batch_new();
	assert_int_equal(pack_doom(cp.packs, b, 1), -EBUSY); /* still being filled */
	chunk_pool_reopen(&cp);
	int fd = pack_fd_get(cp.packs, 1);
	assert_true(fd >= 0);
	assert_int_equal(pack_doom(cp.packs, b, 1), 0);
	assert_int_equal(chunk_pool_files(&cp), 1);
	uint64_t lsn;
	assert_int_equal(kv_commit(cp.kv, b, &lsn), 0);
	assert_int_equal(chunk_pool_files(&cp), 1);
	assert_int_equal(kv_sync(cp.kv, lsn), 0);
	for (int i = 0; i < 1000 && chunk_pool_files(&cp); i++)
		usleep(1000);
	assert_int_equal(chunk_pool_files(&cp), 0);
	uint8_t byte;
	assert_int_equal(pread(fd, &byte, 1, 0), 1); /* who has it open goes on reading */
	pack_fd_put(cp.packs, 1, fd);
	assert_int_equal(pack_fd_get(cp.packs, 1), -ENOENT);

	b = kv_batch_new(); /* a batch that is dropped dooms nothing; no close may hang */
	chunk_pool_reopen(&cp);
	assert_int_equal(chunk_pool_add(&cp, 2, 9000, 3), 0);
	chunk_pool_reopen(&cp);
	assert_int_equal(pack_doom(cp.packs, b, 2), 0);
	kv_batch_free(b);
	b = kv_batch_new();
	assert_int_equal(pack_doom(cp.packs, b, 2), 0);
	assert_int_equal(kv_commit(cp.kv, b, NULL), 0);
	chunk_pool_reopen(&cp);
	assert_int_equal(chunk_pool_files(&cp), 0);
	assert_states(cp.packs, 0, 0);
	chunk_pool_close(&cp);
}

struct writer {
	struct chunk_pool *cp;
	unsigned first, n;
};

static void *write_some(void *arg)
{
	struct writer *w = arg;
	for (unsigned i = 0; i < w->n; i++) {
		int r = chunk_pool_add(w->cp, w->first + i, 3000 + i % 7 * 9000, i % 3);
		assert_true(r == 0 || r == -EIO);
		if (i % 16 == 0)
			assert_int_equal(pack_sync(w->cp->packs), 0);
	}
	return NULL;
}

static void many_writers(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct writer w[4];
	pthread_t t[4];
	struct seen *seen = malloc(sizeof *seen);
	chunk_pool_open(&cp, 1 << 20);
	fault_arm("pack_write:77=EIO");
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct writer){ &cp, 1 + 100 * i, 100 };
		assert_int_equal(pthread_create(&t[i], NULL, write_some, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	fault_arm(NULL);
	chunk_pool_reopen(&cp);
	uint64_t bytes, count, found = 0;
	packs_bytes(cp.packs, &bytes, &count);
	for (uint64_t pack = 1; pack <= count; pack++) {
		scan(cp.packs, pack, seen);
		found += seen->n;
	}
	assert_int_equal(found, 399);
	assert_int_equal(chunk_pool_check_present(&cp, 400), 399);
	free(seen);
	chunk_pool_close(&cp);
}

/* Descriptors are bounded, whatever is asked for. */
static void few_descriptors(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 4096);
	add_frames(&cp, 1, 30, 8000, 0);
	int fds[30];
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 30; i++) {
			fds[i] = pack_fd_get(cp.packs, i + 1);
			assert_true(fds[i] >= 0);
		}
		for (unsigned i = 0; i < 30; i++)
			pack_fd_put(cp.packs, i + 1, fds[i]);
	}
	int fd = dup(0);
	assert_true(fd < 80); /* CHUNK_POOL_MAX_OPEN, and what else a test has */
	close(fd);
	chunk_pool_close(&cp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appended_frames_are_found),
		cmocka_unit_test(an_empty_set_leaves_nothing),
		cmocka_unit_test(a_cut_pack_gives_a_prefix),
		cmocka_unit_test(the_scan_finds_its_way_again),
		cmocka_unit_test(a_failed_write_takes_its_place_back),
		cmocka_unit_test(a_pack_that_cannot_be_made),
		cmocka_unit_test(a_footer_that_finds_no_room),
		cmocka_unit_test(a_failed_sync_is_for_ever),
		cmocka_unit_test(a_crash_keeps_what_the_index_knows),
		cmocka_unit_test(a_pack_without_anything_known_goes),
		cmocka_unit_test(files_without_rows),
		cmocka_unit_test(what_nothing_refers_to_is_given_back),
		cmocka_unit_test(what_a_repair_has_yet_to_take_in_is_kept),
		cmocka_unit_test(what_a_file_refers_to_is_kept),
		cmocka_unit_test(what_a_newer_dump_may_refer_to_is_kept),
		cmocka_unit_test(a_number_in_use_is_not_the_next),
		cmocka_unit_test(damage_is_refused_and_named),
		cmocka_unit_test(a_doomed_pack_goes_when_that_is_durable),
		cmocka_unit_test(many_writers),
		cmocka_unit_test(few_descriptors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
