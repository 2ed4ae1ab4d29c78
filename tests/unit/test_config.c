// SPDX-License-Identifier: MIT
/* The pool's options: parsing, ranges, profiles, the file, and that what is printed is read back. */
#include "config.h"
#include "kv.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define DAEMON (CONFIG_POOL | CONFIG_MOUNT)

static struct config conf;
static struct config_error err;

static int apply(const char *options)
{
	config_defaults(&conf);
	memset(&err, 0, sizeof err);
	return config_apply(&conf, options, DAEMON, &err);
}

/* Refused with a sentence that has these words. */
static void refused(const char *options, unsigned scope, const char *word, const char *word2)
{
	config_defaults(&conf);
	memset(&err, 0, sizeof err);
	assert_int_equal(config_apply(&conf, options, scope, &err), -EINVAL);
	if (!strstr(err.text, word) || !strstr(err.text, word2))
		fail_msg("%s: '%s' and '%s' are not both in: %s", options, word, word2, err.text);
	assert_null(strchr(err.text, '\n'));
}

static void test_defaults(void **state)
{
	(void)state;
	config_defaults(&conf);
	assert_int_equal(conf.mode, IO_MODE_AUTO);
	assert_int_equal(conf.destage_delay_ms, 5000);
	assert_int_equal(conf.memory_limit, 64u << 20);
	assert_int_equal(conf.small_file, 128u << 10);
	assert_int_equal(conf.wal_sync_interval_ms, 1000);
	assert_int_equal(conf.zstd_level, 3);
	assert_int_equal(conf.pack_size, 128u << 20);
	assert_int_equal(conf.verify_age_s, 30 * 86400);
	assert_int_equal(conf.cache_size, 256u << 20);
	assert_false(conf.cache_huge_pages);
	assert_true(conf.near_caller);
	assert_int_equal(conf.cache_numa, NUMA_LOCAL);
	assert_int_equal(conf.reserve_size, 64u << 20);
	assert_int_equal(conf.attr_timeout_ms, 3600000);
	assert_int_equal(conf.entry_timeout_ms, 3600000);
	assert_int_equal(conf.max_write, 1u << 20);
	assert_int_equal(conf.read_ahead_kb, 128);
	assert_int_equal(conf.log_level, LOG_LEVEL_INFO);
	assert_int_equal(conf.allow_other, geteuid() == 0);
	assert_int_equal(conf.chunker, CHUNKER_FASTCDC);
	assert_int_equal(conf.chunk_avg, 64u << 10);
	assert_int_equal(conf.given, 0);
}

static void test_every_kind_of_value(void **state)
{
	(void)state;
	assert_int_equal(
		apply("mode=mediated,destage_delay=0.1,staging_limit=1.5G,threads=7,ro,"
		      "wal=io_uring,log_level=debug,log=/tmp/a\\,b\\\\c,verify_age=1500ms"),
		0);
	assert_int_equal(conf.mode, IO_MODE_MEDIATED);
	assert_int_equal(conf.destage_delay_ms, 100);
	assert_int_equal(conf.staging_limit, 3ull << 29);
	assert_int_equal(conf.threads, 7);
	assert_true(conf.read_only);
	assert_int_equal(conf.wal_backend, KV_WAL_IO_URING);
	assert_int_equal(conf.log_level, LOG_LEVEL_DEBUG);
	assert_string_equal(conf.log_file, "/tmp/a,b\\c");
	assert_int_equal(conf.verify_age_s, 2);
	assert_int_equal(
		apply("ro=no,,destage_delay=2m,cache_size=1gib,gc_rate=5kB,allow_other=on"), 0);
	assert_false(conf.read_only);
	assert_int_equal(conf.destage_delay_ms, 120000);
	assert_int_equal(conf.cache_size, 1u << 30);
	assert_int_equal(conf.gc_rate, 5120);
	assert_true(conf.allow_other);
	assert_int_equal(apply("cache_huge_pages=yes,cache_numa=interleave,near_caller=no"), 0);
	assert_false(conf.near_caller);
	assert_true(conf.cache_huge_pages);
	assert_int_equal(conf.cache_numa, NUMA_INTERLEAVE);
	assert_int_equal(apply("gc_min_live=60%,idle_load=30,low_watermark=7%"), 0);
	assert_int_equal(conf.gc_min_live, 60);
	assert_int_equal(conf.idle_load, 30);
	assert_int_equal(apply(""), 0);
	assert_int_equal(apply(NULL), 0);
	assert_int_equal(apply("mode=native,mode=auto"), 0);
	assert_int_equal(conf.mode, IO_MODE_AUTO);
}

static void test_what_is_refused(void **state)
{
	(void)state;
	refused("nonsense", DAEMON, "nonsense", "no option");
	refused("nonsense=1", DAEMON, "nonsense=1", "no option");
	refused("=1", DAEMON, "=1", "no option");
	refused("mode=sometimes", DAEMON, "mode=sometimes", "auto|native|mediated");
	refused("mode=", DAEMON, "mode=", "auto|native");
	refused("mode", DAEMON, "mode", "lacks");
	refused("destage_delay=-1", DAEMON, "destage_delay=-1", "0..7d");
	refused("destage_delay=soon", DAEMON, "soon", "time");
	refused("destage_delay=8d", DAEMON, "8d", "0..7d");
	refused("staging_limit=1X", DAEMON, "1X", "size");
	refused("staging_limit=1KX", DAEMON, "1KX", "size");
	refused("staging_limit=1.2.3K", DAEMON, "1.2.3K", "size");
	refused("staging_limit=.", DAEMON, "staging_limit=.", "size");
	refused("threads=0x", DAEMON, "threads=0x", "0..256");
	refused("threads=1.5", DAEMON, "threads=1.5", "number");
	refused("threads=1K", DAEMON, "threads=1K", "number");
	refused("threads=", DAEMON, "threads=", "number");
	refused("gc_min_live=0", DAEMON, "gc_min_live=0", "a percentage within 1..100");
	refused("idle_load=25.5%", DAEMON, "idle_load=25.5%", "percentage");
	refused("wal_sync_interval=99999999999999999999", DAEMON, "wal_sync_interval", "10ms..1h");
	refused("max_write=3", DAEMON, "max_write=3", "4K..1M");
	refused("cache_huge_pages=2M", DAEMON, "cache_huge_pages=2M", "yes or no");
	refused("cache_numa=remote", DAEMON, "cache_numa=remote", "local|interleave");
	refused("ro=perhaps", DAEMON, "ro=perhaps", "yes or no");
	refused("log=here", DAEMON, "log=here", "absolute");
	refused("chunker=fastcdc", DAEMON, "chunker", "mkfs.foldfs");
	refused("ro", CONFIG_MKFS | CONFIG_POOL, "ro", "mount.foldfs");
	refused("chunk_min=64K,chunk_avg=16K", CONFIG_MKFS, "chunk_min", "65536");
	refused("chunk_avg=48K", CONFIG_MKFS, "chunk_avg", "power of two");
	refused("chunk_avg=1T", CONFIG_MKFS, "chunk_avg=1T", "2K..8M");
	refused("label=0123456789012345678901234567890123456789012345678901234567890123",
		CONFIG_MKFS, "label", "63");
}

static void test_a_profile_yields_to_what_is_given_wherever_it_stands(void **state)
{
	(void)state;
	assert_int_equal(apply("zstd_level=9,profile=ingest"), 0);
	assert_int_equal(conf.zstd_level, 9);
	assert_int_equal(conf.destage_delay_ms, 1000);
	assert_int_equal(apply("profile=ingest,zstd_level=9"), 0);
	assert_int_equal(conf.zstd_level, 9);
	assert_int_equal(apply("profile=ingest,profile=source"), 0);
	assert_int_equal(conf.zstd_level, 6);
	assert_int_equal(conf.destage_delay_ms, 5000);
	config_defaults(&conf);
	assert_int_equal(config_apply(&conf, "profile=media", CONFIG_MKFS, &err), 0);
	assert_int_equal(conf.chunk_avg, 256u << 10);
}

static void test_every_profile_is_possible(void **state)
{
	(void)state;
	const char *name, *options;
	for (size_t i = 0; (options = config_profile(i, &name)); i++) {
		char one[64];
		snprintf(one, sizeof one, "profile=%s", name);
		config_defaults(&conf);
		assert_int_equal(config_apply(&conf, one, CONFIG_MKFS | CONFIG_POOL, &err), 0);
		assert_int_equal(conf.profile, i);
		struct chunker_params params = { (enum chunker_kind)conf.chunker,
						 (uint32_t)conf.chunk_min, (uint32_t)conf.chunk_avg,
						 (uint32_t)conf.chunk_max };
		assert_int_equal(chunker_check(&params), 0);
		config_defaults(&conf);
		assert_int_equal(config_apply(&conf, options, CONFIG_MKFS | CONFIG_POOL, &err), 0);
	}
}

static int load_text(const char *text, size_t len)
{
	char dir[] = "/tmp/foldfs-config.XXXXXX";
	assert_non_null(mkdtemp(dir));
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY);
	int fd = openat(dirfd, "foldfs.conf", O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
	config_defaults(&conf);
	memset(&err, 0, sizeof err);
	int r = config_load(&conf, dirfd, "foldfs.conf", &err);
	unlinkat(dirfd, "foldfs.conf", 0);
	close(dirfd);
	rmdir(dir);
	return r;
}

/* The library would take the rest of a long line for a line of its own. */
static void long_lines(void **state)
{
	(void)state;
	char text[1024];
	snprintf(text, sizeof text, "# %0200d ro = yes\nmode = native\n", 7);
	assert_int_equal(load_text(text, strlen(text)), 0);
	assert_int_equal(conf.mode, IO_MODE_NATIVE);
	assert_false(conf.read_only);
	snprintf(text, sizeof text, "\nlog = /%0300d\nmode = native\n", 7);
	assert_int_equal(load_text(text, strlen(text)), -EINVAL);
	assert_non_null(strstr(err.text, "foldfs.conf, line 2: it is too long"));
}

static void test_the_file(void **state)
{
	(void)state;
	static const char good[] = "; old\n# comment\n\n[foldfs]\nmode = native\n"
				   "destage_delay=1m  ; a while\nprofile: media\n";
	static const char value[] = "\nmode = native\ndestage_delay = whenever\n";
	static const char name[] = "modus = native\n";
	static const char scope[] = "ro = yes\n";
	static const char line[] = "mode = native\nwhat is this\nfrom = here\n";
	static const char section[] = "[other]\nmode = native\n";
	assert_int_equal(load_text(good, strlen(good)), 0);
	assert_int_equal(conf.mode, IO_MODE_NATIVE);
	assert_int_equal(conf.destage_delay_ms, 60000);
	assert_int_equal(conf.pack_size, 256u << 20);
	assert_int_equal(load_text("", 0), 0);
	assert_int_equal(load_text(value, strlen(value)), -EINVAL);
	assert_non_null(strstr(err.text, "foldfs.conf, line 3: option destage_delay=whenever"));
	assert_int_equal(load_text(name, strlen(name)), -EINVAL);
	assert_non_null(strstr(err.text, "modus"));
	assert_int_equal(load_text(scope, strlen(scope)), -EINVAL);
	assert_int_equal(load_text(line, strlen(line)), -EINVAL);
	assert_non_null(strstr(err.text, "line 2"));
	assert_int_equal(load_text(section, strlen(section)), -EINVAL);
	assert_non_null(strstr(err.text, "other"));
	config_defaults(&conf);
	assert_int_equal(config_load(&conf, AT_FDCWD, "/nowhere/foldfs.conf", &err), 0);
}

static void test_blanks_before_an_option_do_not_count(void **state)
{
	(void)state;
	static const char blanks[] = "  [foldfs]\n\tmode = native\n  replicate_region = here\n"
				     "  zstd_level = 9\n \n";
	static const char wrong[] = "mode = native\n  zstd_level = 99\n";
	assert_int_equal(load_text(blanks, strlen(blanks)), 0);
	assert_int_equal(conf.mode, IO_MODE_NATIVE);
	assert_string_equal(conf.replicate_region, "here");
	assert_int_equal(conf.zstd_level, 9);
	assert_int_equal(load_text(wrong, strlen(wrong)), -EINVAL);
	assert_non_null(strstr(err.text, "foldfs.conf, line 2: option zstd_level=99"));
}

static void bad_tiers(const char *text, const char *said)
{
	int r = load_text(text, strlen(text));
	if (r == 0)
		r = config_check(&conf, &err);
	assert_int_equal(r, -EINVAL);
	if (!strstr(err.text, said))
		fail_msg("%s", err.text);
}

static void test_tiers(void **state)
{
	(void)state;
	static const char good[] =
		"high_watermark = 95 %\n[tier warm]\nplace = /a b/w\n[foldfs]\n"
		"low_watermark = 70\n[tier cold-2]\nplace=/c\nage=2d\n[tier warm]\n"
		"age = 12h\n";
	static const char fine[] =
		"high_watermark = 95%\n[tier warm]\nplace = /a b/w\n[foldfs]\n"
		"low_watermark = 70\n[tier cold-2]\nplace=/c\nage=2d\n[tier warm]\n"
		"age = 12h\n";
	assert_int_equal(load_text(good, strlen(good)), -EINVAL);
	assert_int_equal(load_text(fine, strlen(fine)), 0);
	assert_int_equal(config_check(&conf, &err), 0);
	assert_int_equal(conf.high_watermark, 95);
	assert_int_equal(conf.low_watermark, 70);
	assert_int_equal(conf.n_tiers, 2);
	assert_string_equal(conf.tiers[0].name, "warm");
	assert_string_equal(conf.tiers[0].place, "/a b/w");
	assert_int_equal(conf.tiers[0].age_ms, 12 * 3600000);
	assert_string_equal(conf.tiers[1].name, "cold-2");
	assert_int_equal(conf.tiers[1].age_ms, 2 * 86400000);
	assert_int_equal(conf.tiers[0].level, 0);
	static const char level[] = "[tier a]\nplace=/a\nlevel=22\n";
	assert_int_equal(load_text(level, strlen(level)), 0);
	assert_int_equal(conf.tiers[0].level, 22);
	static const char bucket[] = "[tier b]\nplace = s3://bucket/some\nendpoint=https://host:1\n"
				     "region=r\nclass=GLACIER_IR\ntimeout=20s\n";
	assert_int_equal(load_text(bucket, strlen(bucket)), 0);
	assert_string_equal(conf.tiers[0].place, "s3://bucket/some");
	assert_string_equal(conf.tiers[0].endpoint, "https://host:1");
	assert_string_equal(conf.tiers[0].region, "r");
	assert_string_equal(conf.tiers[0].storage_class, "GLACIER_IR");
	assert_int_equal(conf.tiers[0].timeout_ms, 20000);
	bad_tiers("[tier b]\nplace=s3://\n", "absolute");
	bad_tiers("[tier b]\nplace=s3://b\ntimeout=0\n", "1s..1h");
	bad_tiers("[tier ]\nplace=/a\n", "name");
	bad_tiers("[tier hot]\nplace=/a\n", "name");
	bad_tiers("[tier A]\nplace=/a\n", "name");
	bad_tiers("[tier a]\nplace=a\n", "absolute");
	bad_tiers("[tier a]\nplace=/\n", "absolute");
	bad_tiers("[tier a]\nplace=/a\nage=0\n", "1s..36500d");
	bad_tiers("[tier a]\nplace=/a\nage=soon\n", "time");
	bad_tiers("[tier a]\nplace=/a\nmode=native\n", "has no mode");
	bad_tiers("[tier a]\nplace=/a\nlevel=0\n", "level=0: a number within 1..22");
	bad_tiers("[tier a]\nplace=/a\nlevel=23\n", "1..22");
	bad_tiers("[tier a]\nplace=/a\nlevel=-5\n", "1..22");
	bad_tiers("[tier a]\nplace=/a\nlevel=high\n", "1..22");
	bad_tiers("[tier a]\nage=1d\n", "lacks its place");
	bad_tiers("[tier a]\nplace=/a\nage=2d\n[tier b]\nplace=/b\nage=1d\n", "smaller age");
	bad_tiers("[tier a]\nplace=/a\n[tier b]\nplace=/a\n", "same place");
	bad_tiers("low_watermark=90\n", "must be smaller");
	bad_tiers("high_watermark=101%\n", "1..100");
}

static void test_what_is_printed_is_read_back(void **state)
{
	(void)state;
	struct buf text = { 0 };
	config_defaults(&conf);
	assert_int_equal(config_apply(&conf,
				      "cache_size=32M,wal_dir=/a b,destage_delay=0.25,mode=native,"
				      "gc_interval=1h,allow_other=yes,label=x,log_level=warning,"
				      "cache_huge_pages=yes,cache_numa=interleave",
				      CONFIG_MKFS | CONFIG_POOL, &err),
			 0);
	struct config before = conf;
	config_print(&conf, &text);
	assert_int_equal(load_text((char *)text.data, text.len), 0);
	memset(before.label, 0, sizeof before.label);
	before.given = conf.given;
	assert_memory_equal(&before, &conf, sizeof conf);
	buf_done(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_lines),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_every_kind_of_value),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_a_profile_yields_to_what_is_given_wherever_it_stands),
		cmocka_unit_test(test_every_profile_is_possible),
		cmocka_unit_test(test_the_file),
		cmocka_unit_test(test_blanks_before_an_option_do_not_count),
		cmocka_unit_test(test_tiers),
		cmocka_unit_test(test_what_is_printed_is_read_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
