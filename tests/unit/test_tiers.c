// SPDX-License-Identifier: MIT
/* Which place is which tier, whatever foldfs.conf says by turns; and packs in a directory. */
#include "tiers.h"
#include "access.h"
#include "cleanup.h"
#include "fake_kv.h"
#include "fault.h"
#include "pack.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <sys/stat.h>

struct bed {
	char dir[64], why[256];
	int hot;
	struct kv *kv;
	struct config conf;
	struct tiers *tiers;
	uint8_t uuid[16];
};

static char *in(struct bed *b, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", b->dir, name);
	return out;
}

static void make(struct bed *b)
{
	char path[128];
	const char *tmp = getenv("TMPDIR");
	*b = (struct bed){ .kv = fake_kv_new(), .uuid = "one pool's uuid" };
	snprintf(b->dir, sizeof b->dir, "%.40s/foldfs-tiers-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(b->dir));
	b->hot = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(b->hot >= 0);
	assert_int_equal(mkdir(in(b, "w", path), 0700), 0);
	assert_int_equal(mkdir(in(b, "c", path), 0700), 0);
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw)
{
	(void)s;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void done(struct bed *b)
{
	tiers_close(b->tiers);
	close(b->hot);
	fake_kv_free(b->kv);
	nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Pairs of a name and a directory, up to NULL. */
static void declare(struct bed *b, const char *name, ...)
{
	va_list ap;
	va_start(ap, name);
	memset(&b->conf, 0, sizeof b->conf);
	for (; name; name = va_arg(ap, const char *)) {
		struct config_tier *t = &b->conf.tiers[b->conf.n_tiers++];
		snprintf(t->name, sizeof t->name, "%s", name);
		char path[128];
		in(b, va_arg(ap, const char *), path);
		memcpy(t->place, path, sizeof path);
	}
	va_end(ap);
}

static int try_open(struct bed *b)
{
	struct tiers_options opt = {
		.kv = b->kv, .config = &b->conf, .hot_dirfd = b->hot, .claim = true
	};
	memcpy(opt.pool_uuid, b->uuid, sizeof opt.pool_uuid);
	tiers_close(TAKE_PTR(b->tiers));
	return tiers_open(&opt, &b->tiers, b->why, sizeof b->why);
}

static void reopen(struct bed *b)
{
	assert_int_equal(try_open(b), 0);
}

static unsigned number_of(struct bed *b, const char *name)
{
	struct tier_info info;
	assert_true(tiers_find(b->tiers, name, &info));
	return info.number;
}

static bool is_absent(struct bed *b, unsigned number)
{
	struct tier_info info;
	assert_true(tiers_get(b->tiers, number, &info));
	assert_int_equal(info.absent, tiers_place(b->tiers, number) == NULL);
	return info.absent;
}

static void test_numbers_stay(void **state)
{
	(void)state;
	struct bed b;
	struct tier_info info;
	make(&b);
	declare(&b, NULL);
	reopen(&b);
	assert_false(tiers_any(b.tiers));
	declare(&b, "warm", "w", "cold", "c", NULL);
	reopen(&b);
	unsigned warm = number_of(&b, "warm"), cold = number_of(&b, "cold");
	assert_true(warm && cold && warm != cold && tiers_any(b.tiers));
	declare(&b, "cold", "c", "warm", "w", NULL);
	reopen(&b);
	assert_int_equal(number_of(&b, "warm"), warm);
	assert_true(tiers_nth(b.tiers, 1, &info) && info.number == cold);
	declare(&b, "tepid", "w", "cold", "c", NULL);
	reopen(&b);
	assert_int_equal(number_of(&b, "tepid"), warm);
	declare(&b, NULL);
	reopen(&b);
	assert_true(tiers_get(b.tiers, warm, &info) && !info.declared && !info.absent);
	assert_false(tiers_nth(b.tiers, 3, &info));
	done(&b);
}

/* Its row is gone, and it is not declared; but packs lie in it. */
static void test_a_number_that_packs_name_is_not_given_again(void **state)
{
	(void)state;
	struct bed b;
	struct pack_row row = { .id = 7, .state = PACK_SEALED, .bytes = 100, .tier = 1 };
	make(&b);
	struct kv_batch *batch = kv_batch_new();
	pack_put(batch, &row);
	assert_int_equal(kv_commit(b.kv, batch, NULL), 0);
	declare(&b, "warm", "w", NULL);
	reopen(&b);
	assert_int_equal(number_of(&b, "warm"), 2);
	done(&b);
}

static void test_a_row_that_was_lost_comes_back_from_the_label(void **state)
{
	(void)state;
	struct bed b;
	make(&b);
	declare(&b, "cold", "c", "warm", "w", NULL);
	reopen(&b);
	unsigned warm = number_of(&b, "warm");
	assert_int_not_equal(warm, 1);
	fake_kv_free(b.kv);
	b.kv = fake_kv_new();
	declare(&b, "warm", "w", NULL);
	reopen(&b);
	assert_int_equal(number_of(&b, "warm"), warm);
	done(&b);
}

static void test_nothing_else_is_taken_for_a_place(void **state)
{
	(void)state;
	struct bed b;
	char w[128], c[128], away[128];
	make(&b);
	declare(&b, "warm", "w", "cold", "c", NULL);
	reopen(&b);
	unsigned warm = number_of(&b, "warm");
	tiers_close(TAKE_PTR(b.tiers));
	assert_int_equal(rename(in(&b, "w", w), in(&b, "away", away)), 0);
	reopen(&b); /* not there */
	assert_true(is_absent(&b, warm));
	assert_int_equal(mkdir(w, 0700), 0);
	reopen(&b); /* empty */
	assert_true(is_absent(&b, warm));
	assert_int_equal(rmdir(w), 0); /* it was left empty */
	tiers_close(TAKE_PTR(b.tiers));
	assert_int_equal(rename(in(&b, "c", c), w), 0);
	reopen(&b); /* another tier's */
	assert_true(is_absent(&b, warm));
	assert_int_equal(rename(w, c), 0);
	tiers_look(b.tiers);
	assert_false(is_absent(&b, number_of(&b, "cold")));
	assert_true(is_absent(&b, warm));
	assert_int_equal(rename(away, w), 0);
	tiers_look(b.tiers);
	assert_false(is_absent(&b, warm));
	done(&b);
}

static void test_what_cannot_be_declared(void **state)
{
	(void)state;
	struct bed b, other;
	char path[128];
	make(&b);
	make(&other);
	declare(&b, "warm", "nowhere", NULL);
	assert_int_equal(try_open(&b), -ENOENT);
	assert_non_null(strstr(b.why, "cannot be opened"));
	declare(&b, "warm", "w", NULL);
	assert_int_equal(mkdir(in(&b, "w/files", path), 0700), 0);
	assert_int_equal(try_open(&b), -ENOTEMPTY);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(fake_kv_rows(b.kv, KV_META), 0);
	reopen(&b);
	declare(&b, "warm", "w", "again", "w", NULL);
	assert_int_equal(try_open(&b), -EEXIST);
	memcpy(other.uuid, "another's uuid.", 16);
	snprintf(other.conf.tiers[0].name, sizeof other.conf.tiers[0].name, "warm");
	in(&b, "w", path);
	memcpy(other.conf.tiers[0].place, path, sizeof path);
	other.conf.n_tiers = 1;
	assert_int_equal(try_open(&other), -EEXIST);
	assert_non_null(strstr(other.why, "another pool"));
	done(&b);
	done(&other);
}

static void test_one_process_at_a_time(void **state)
{
	(void)state;
	struct bed b, copy;
	make(&b);
	declare(&b, "warm", "w", NULL);
	reopen(&b);
	unsigned warm = number_of(&b, "warm");
	copy = b;
	copy.tiers = NULL;
	reopen(&copy);
	assert_true(is_absent(&copy, warm));
	tiers_close(TAKE_PTR(b.tiers));
	tiers_look(copy.tiers);
	assert_false(is_absent(&copy, warm));
	tiers_close(TAKE_PTR(copy.tiers));
	done(&b);
}

static void test_labels(void **state)
{
	(void)state;
	struct place_label label = { { 1, 2, 0xff }, { 9, 0xa0 }, 7 }, back;
	char text[PLACE_LABEL_MAX];
	size_t len = place_label_print(&label, text);
	assert_true(len < PLACE_LABEL_MAX);
	assert_int_equal(place_label_parse(text, len, &back), 0);
	assert_memory_equal(back.pool, label.pool, 16);
	assert_memory_equal(back.tier, label.tier, 16);
	assert_int_equal(back.number, 7);
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(place_label_parse(text, i, &back), -ESTALE);
		text[i] ^= 0x10;
		int r = place_label_parse(text, len, &back);
		assert_true(r == -ESTALE || back.number != 7 || memcmp(back.pool, label.pool, 16) ||
			    memcmp(back.tier, label.tier, 16));
		text[i] ^= 0x10;
	}
	assert_int_equal(place_label_parse("", 0, &back), -ESTALE);
}

#define PACK_BYTES (3u << 20 | 1234u)

static int zeros_and_more(struct place_source *from, void *buf, size_t len, uint64_t at)
{
	(void)from;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (at + i) / 65536 % 2 ? (uint8_t)((at + i) * 7 | 1) : 0;
	return 0;
}

static int broken(struct place_source *from, void *buf, size_t len, uint64_t at)
{
	return at ? -EIO : zeros_and_more(from, buf, len, at);
}

static int count(void *arg, uint64_t pack, uint64_t bytes)
{
	assert_int_equal(bytes, PACK_BYTES);
	*(uint64_t *)arg += pack;
	return 0;
}

static void test_packs_in_a_directory(void **state)
{
	(void)state;
	struct bed b;
	struct place *pl;
	struct stat st;
	uint64_t sum = 0, bytes;
	char path[128], name[128];
	make(&b);
	assert_int_equal(place_dir_open(in(&b, "w", path), &pl), 0);
	struct place_source good = { zeros_and_more, PACK_BYTES };
	struct place_source bad = { broken, PACK_BYTES };
	assert_int_equal(pl->ops->put(pl, 5, &good), 0);
	assert_int_equal(pl->ops->put(pl, 0x10, &good), 0);
	assert_int_equal(pl->ops->put(pl, 7, &bad), -EIO);
	fault_arm("fsync:1=EIO");
	assert_int_equal(pl->ops->put(pl, 8, &good), -EIO);
	fault_arm(NULL);
	assert_int_equal(pl->ops->list(pl, count, &sum), 0);
	assert_int_equal(sum, 0x15);
	assert_int_equal(pl->ops->size(pl, 5, &bytes), 0);
	assert_int_equal(pl->ops->size(pl, 7, &bytes), -ENOENT);
	assert_int_equal(stat(in(&b, "w/0000000000000005.pack", name), &st), 0);
	assert_true(st.st_blocks * 512 < PACK_BYTES * 2 / 3); /* zeros are holes */
	uint8_t *want = malloc(1 << 20), *got = malloc(1 << 20);
	struct place_read reads[] = { { 5, 1000000, 1 << 20, got, 0 }, { 6, 0, 1, got, 0 } };
	zeros_and_more(NULL, want, 1 << 20, 1000000);
	pl->ops->read(pl, reads, 2);
	assert_int_equal(reads[0].result, 1 << 20);
	assert_int_equal(reads[1].result, -ENOENT);
	assert_memory_equal(want, got, 1 << 20);
	free(want);
	free(got);
	close(open(in(&b, "w/0000000000000009.pack.part", name), O_CREAT | O_WRONLY, 0600));
	close(open(in(&b, "w/mine.part", name), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(pl->ops->tidy(pl), 0);
	assert_int_equal(access(in(&b, "w/0000000000000009.pack.part", name), F_OK), -1);
	assert_int_equal(access(in(&b, "w/mine.part", name), F_OK), 0);
	assert_int_equal(pl->ops->remove(pl, 5), 0);
	assert_int_equal(pl->ops->remove(pl, 5), 0);
	assert_int_equal(pl->ops->open_pack(pl, 5), -ENOENT);
	place_close(pl);
	place_close(NULL);
	done(&b);
}

/* A filesystem that does not write past its page cache: some say so at once, some only then. */
static enum { NOTHING, TO_OPEN, TO_WRITE } refused;

int __wrap_io_create(int dirfd, const char *name, int flags, mode_t mode);
int __real_io_create(int dirfd, const char *name, int flags, mode_t mode);
int __wrap_io_create(int dirfd, const char *name, int flags, mode_t mode)
{
	return refused == TO_OPEN && flags & O_DIRECT ? -EINVAL
						      : __real_io_create(dirfd, name, flags, mode);
}

int __wrap_io_write(int fd, const void *buf, size_t len, off_t at);
int __real_io_write(int fd, const void *buf, size_t len, off_t at);
int __wrap_io_write(int fd, const void *buf, size_t len, off_t at)
{
	return refused == TO_WRITE && fcntl(fd, F_GETFL) & O_DIRECT
		       ? -EINVAL
		       : __real_io_write(fd, buf, len, at);
}

static void test_a_directory_without_direct_writes(void **state)
{
	(void)state;
	struct bed b;
	struct place *pl;
	struct place_source good = { zeros_and_more, PACK_BYTES };
	char path[128];
	uint8_t *want = malloc(PACK_BYTES), *got = malloc(PACK_BYTES + 1);
	zeros_and_more(NULL, want, PACK_BYTES, 0);
	make(&b);
	assert_int_equal(place_dir_open(in(&b, "w", path), &pl), 0);
	for (refused = NOTHING; refused <= TO_WRITE; refused++) {
		struct place_read read = { 5, 0, PACK_BYTES + 1, got, 0 };
		assert_int_equal(pl->ops->put(pl, 5, &good), 0);
		pl->ops->read(pl, &read, 1);
		assert_int_equal(read.result, PACK_BYTES);
		assert_memory_equal(want, got, PACK_BYTES);
	}
	refused = NOTHING;
	place_close(pl);
	free(want);
	free(got);
	done(&b);
}

static void test_times_of_access(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct access *a;
	assert_int_equal(access_open(kv, &a), 0);
	assert_int_equal(access_time(a, 1000), 0);
	access_note(a, 1000, 100);
	access_note(a, 1000, 5000);
	int64_t now = access_time(a, 1000);
	assert_true(now > 1500000000);
	assert_int_equal(access_bytes(a, 1000), 3 * 4096);
	access_fade(a);
	assert_int_equal(access_bytes(a, 1000), 4096);
	access_set(a, 3, 77);
	access_set(a, 3, 76);
	access_note(a, UINT64_MAX, 1); /* of a damaged row */
	assert_int_equal(access_time(a, UINT64_MAX), 0);
	assert_int_equal(access_save(a), 0);
	assert_int_equal(fake_kv_rows(kv, KV_META), 2);
	access_close(a);
	assert_int_equal(access_open(kv, &a), 0);
	assert_int_equal(access_time(a, 1000), now);
	assert_int_equal(access_time(a, 3), 77);
	assert_int_equal(access_bytes(a, 1000), 0);
	fake_kv_fail_commits(kv, -EIO);
	assert_int_equal(access_save(a), 0); /* nothing to save */
	access_close(a);
	access_close(NULL);
	fake_kv_free(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_stay),
		cmocka_unit_test(test_a_number_that_packs_name_is_not_given_again),
		cmocka_unit_test(test_a_row_that_was_lost_comes_back_from_the_label),
		cmocka_unit_test(test_nothing_else_is_taken_for_a_place),
		cmocka_unit_test(test_what_cannot_be_declared),
		cmocka_unit_test(test_one_process_at_a_time),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_packs_in_a_directory),
		cmocka_unit_test(test_a_directory_without_direct_writes),
		cmocka_unit_test(test_times_of_access),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
