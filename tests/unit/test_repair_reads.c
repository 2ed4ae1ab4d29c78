// SPDX-License-Identifier: MIT
/* What a repair cannot read, or lies twice, or is another pool's, is neither damage nor gone. */
#include "repair_bed.h"
#include "pack_scan.h"

#define DAMAGED(b) close_pool(b)

/* A disk that gives an error today may give the bytes tomorrow: nothing is taken for lost by that. */
static void repair_with_fault(struct bed *b, const char *fault)
{
	struct repair_report report;
	b->rows[FILE_INO].nlink = 7; /* something to repair */
	put_row(b, &b->rows[FILE_INO]);
	DAMAGED(b);
	fault_arm(fault);
	int r = run_repair(b, false, true, &report);
	fault_arm(NULL);
	assert_int_equal(r, 0);
	assert_non_null(strstr(b->found, "has the link count 2"));
	expect_all_content(b);
	assert_int_equal(run_repair(b, false, false, &report), 0);
	if (report.left || report.result.lost)
		fail_msg("later on there are errors:\n%s", b->found);
}

static void test_frames_that_cannot_be_read(void **state)
{
	repair_with_fault(*state, "pack_read:1+=EIO");
}

static void test_one_head_that_cannot_be_read(void **state)
{
	repair_with_fault(*state, "pack_read:1=EIO");
}

static void test_footer_that_cannot_be_read(void **state)
{
	repair_with_fault(*state, "pack_footer:1+=EIO");
}

/* Names that were not seen are not gone: at each place of it the repair ends with an error. */
static void test_directories_that_cannot_be_read(void **state)
{
	struct bed *b = *state;
	struct repair_report report;
	char fault[64];
	unsigned failed = 0;
	DAMAGED(b);
	for (unsigned nth = 1; nth < 64; nth++) {
		open_bare(b);
		b->rows[FILE_INO].nlink = 7;
		put_row(b, &b->rows[FILE_INO]);
		close_pool(b);
		snprintf(fault, sizeof fault, "readdir:%u=EIO", nth);
		fault_arm(fault);
		failed += run_repair(b, false, true, &report) < 0;
		fault_arm(NULL);
		if (strstr(b->found, "is gone") || report.result.lost)
			fail_msg("with the %u-th name: %s", nth, b->found);
		expect_all_content(b);
	}
	assert_true(failed > 8); /* and not of the last ones, which nobody reads */
	assert_int_equal(report.left, 0);
}

static void test_packs_that_cannot_be_opened(void **state)
{
	repair_with_fault(*state, "repair_open:1+=EIO");
}

/* A crash has left the pack open, and the device gives only a part of it: the pool mounts nevertheless,
 * and the new footer lists what rows say to be there. */
static void test_an_open_pack_that_cannot_be_read(void **state)
{
	struct bed *b = *state;
	struct repair_report report;
	struct pool_error err = { 0 };
	struct pack_row row;
	struct footer_entry *entries;
	char file[128];
	size_t n, again;
	uint64_t at;
	read_first_pack(b, &row, file, sizeof file);
	struct kv_batch *batch = kv_batch_new();
	row.state = PACK_OPEN;
	row.bytes = 0;
	pack_put(batch, &row);
	assert_int_equal(kv_commit(b->pool->kv, batch, NULL), 0);
	DAMAGED(b);
	CLEANUP_CLOSE int fd = open(file, O_RDWR);
	assert_int_equal(pack_footer_read(fd, row.id, &entries, &n, &at), 0);
	free(entries);
	assert_int_equal(ftruncate(fd, (off_t)at), 0);
	fault_arm("pack_read:1+=EIO");
	int r = pool_open(b->path, NULL, false, 0, &b->pool, &err);
	fault_arm(NULL);
	if (r < 0)
		fail_msg("%s", err.text);
	close_pool(b);
	assert_int_equal(pack_footer_read(fd, row.id, &entries, &again, &at), 0);
	free(entries);
	assert_true(n > 0);
	assert_int_equal(again, n);
	expect_all_content(b);
	assert_int_equal(run_repair(b, false, true, &report), 0);
	assert_int_equal(report.left + report.repaired + report.result.lost, 0);
}

static void copy_file(const char *from, const char *to, size_t cut)
{
	uint8_t bytes[65536];
	CLEANUP_CLOSE int in = open(from, O_RDONLY), out = open(to, O_RDWR | O_CREAT, 0600);
	ssize_t n, all = 0;
	assert_true(in >= 0 && out >= 0);
	for (; (n = read(in, bytes, sizeof bytes)) > 0; all += n)
		assert_int_equal(write(out, bytes, (size_t)n), n);
	memset(bytes, 0, sizeof bytes);
	assert_int_equal(pwrite(out, bytes, cut, all / 2), (ssize_t)cut);
}

/* A directory as tier cold, beside the pool. */
static void add_tier(struct bed *b, char dir[160])
{
	struct pool_error err = { 0 };
	char path[200];
	snprintf(dir, 160, "%s.cold", b->path);
	assert_int_equal(mkdir(dir, 0700), 0);
	snprintf(path, sizeof path, "%s/foldfs.conf", b->path);
	FILE *conf = fopen(path, "a");
	assert_non_null(conf);
	fprintf(conf, "[tier cold]\nplace=%s\nage=1d\n", dir);
	assert_int_equal(fclose(conf), 0);
	if (pool_open(b->path, NULL, false, 0, &b->pool, &err) < 0)
		fail_msg("%s", err.text);
	close_pool(b);
}

static void remove_tier(const char *dir)
{
	char path[200];
	snprintf(path, sizeof path, "%s/foldfs-tier", dir);
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
}

/* A pack lies twice, and the copy that its row names could not be weighed: the other one, which is
 * damaged, does not take its part. */
static void test_a_copy_that_cannot_be_weighed(void **state)
{
	struct bed *b = *state;
	struct repair_report report;
	struct pack_row row;
	char file[128], dir[160], path[200];
	b->rows[FILE_INO].nlink = 7;
	put_row(b, &b->rows[FILE_INO]);
	read_first_pack(b, &row, file, sizeof file);
	DAMAGED(b);
	add_tier(b, dir);
	snprintf(path, sizeof path, "%s%s", dir, strrchr(file, '/'));
	copy_file(file, path, 8192);
	fault_arm("pack_weigh:1=ENOMEM");
	int r = run_repair(b, false, true, &report);
	fault_arm(NULL);
	if (r == 0 && report.result.lost)
		fail_msg("%s", b->found);
	expect_all_content(b);
	unlink(path);
	remove_tier(dir);
}

/* A mount removes what a move has left in a tier, and nothing that is another pool's. */
static void test_packs_in_a_tier_that_are_not_ours(void **state)
{
	static const uint8_t other[16] = "somebody's pool";
	struct bed *b = *state;
	struct pack_row row;
	char file[128], dir[160], path[200];
	read_first_pack(b, &row, file, sizeof file);
	DAMAGED(b);
	add_tier(b, dir);
	snprintf(path, sizeof path, "%s%s", dir, strrchr(file, '/'));
	for (int foreign = 0; foreign < 2; foreign++) {
		copy_file(file, path, 0);
		CLEANUP_CLOSE int fd = open(path, O_RDWR);
		if (foreign)
			assert_int_equal(pack_header_write(fd, row.id, other, 7), 0);
		expect_all_content(b);
		assert_int_equal(access(path, F_OK), foreign ? 0 : -1);
	}
	unlink(path);
	remove_tier(dir);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_bare, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_frames_that_cannot_be_read),
		TEST(test_one_head_that_cannot_be_read),
		TEST(test_footer_that_cannot_be_read),
		TEST(test_directories_that_cannot_be_read),
		TEST(test_packs_that_cannot_be_opened),
		TEST(test_a_copy_that_cannot_be_weighed),
		TEST(test_packs_in_a_tier_that_are_not_ours),
		TEST(test_an_open_pack_that_cannot_be_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
