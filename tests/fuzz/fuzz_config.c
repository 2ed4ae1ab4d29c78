// SPDX-License-Identifier: MIT
/* Input: u8 scope and whether the text is a file (FILE_TEXT) or options of -o; the text.
 * What a configuration prints must be read back as the same. */
#include "config.h"
#include "cleanup.h"
#include "fuzz.h"
#include <errno.h>

enum { SCOPES = 7, FILE_TEXT = 8 };

static struct config conf, again;

static int read_text(struct slice in, uint8_t flags, struct config_error *err)
{
	if (flags & FILE_TEXT) {
		fuzz_put_file(fuzz_dirfd(), "foldfs.conf", in.at, in.len);
		return config_load(&conf, fuzz_dirfd(), "foldfs.conf", err);
	}
	CLEANUP_FREE char *text = take_text(&in);
	return config_apply(&conf, text, flags & SCOPES, err);
}

/* Can a file hold it? Not what inih takes for a comment, cuts off, or finds too long for a line. */
static bool storable(const char *value)
{
	size_t n = strlen(value);
	return n < 180 && !strstr(value, " ;") && (!n || value[n - 1] != ' ');
}

static void print_and_read(void)
{
	CLEANUP_BUF struct buf text = { 0 }, text_again = { 0 };
	struct config_error err = { "" };
	config_print(&conf, &text);
	fuzz_put_file(fuzz_dirfd(), "printed", text.data, text.len);
	config_defaults(&again);
	if (config_load(&again, fuzz_dirfd(), "printed", &err) < 0) {
		fprintf(stderr, "%s\n%.*s", err.text, (int)text.len, (char *)text.data);
		abort();
	}
	config_print(&again, &text_again);
	must(text.len == text_again.len && !memcmp(text.data, text_again.data, text.len));
}

bool fuzz_one(struct slice in)
{
	uint8_t flags = take_u8(&in);
	struct config_error err = { "" };
	config_defaults(&conf);
	int r = read_text(in, flags, &err);
	must(memchr(err.text, 0, sizeof err.text));
	if (r < 0) {
		must(r == -EINVAL && *err.text);
		return false;
	}
	must(conf.pack_size >= 4 << 20 && conf.zstd_level <= 19 && conf.gc_min_live <= 100);
	must(memchr(conf.label, 0, sizeof conf.label) &&
	     memchr(conf.log_file, 0, sizeof conf.log_file));
	if (storable(conf.log_file) && storable(conf.wal_dir))
		print_and_read();
	return true;
}

static void seed(const char *name, uint8_t flags, const char *text)
{
	struct buf b = { 0 };
	buf_put_u8(&b, flags);
	buf_put(&b, text, strlen(text));
	fuzz_seed_buf(name, &b);
}

void fuzz_seeds(void)
{
	seed("mount", CONFIG_POOL | CONFIG_MOUNT,
	     "ro,mode=mediated,destage_delay=1.5m,pack_size=64M,allow_other=no,log_level=debug");
	seed("mkfs", CONFIG_POOL | CONFIG_MKFS,
	     "label=a\\,b\\\\c,chunk_min=4K,chunk_avg=16K,chunk_max=64K,profile=source,log=/a/b");
	seed("file", FILE_TEXT,
	     "# a comment\n[foldfs]\nprofile = media\ncache_size = 1G ; why\n"
	     "\nverify_age = 2d\nwal = io_uring\nlog = /var/log/foldfs\n");
}
