// SPDX-License-Identifier: MIT
#include "fuzz.h"
#include "cleanup.h"
#include "io.h"
#include "log.h"
#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

void (*fuzz_take_seed)(const char *name, const void *data, size_t len);

static char dir[64];
static int dirfd_of_dir = -1;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* a copy of exactly that length, so that one byte too many is seen */
	CLEANUP_FREE uint8_t *copy = malloc(len);
	if (len)
		memcpy(copy, data, len);
	static bool quiet;
	if (!quiet) {
		must(log_to_file("/dev/null", 0) == 0);
		quiet = true;
	}
	fuzz_one(slice_of(copy, len));
	return 0;
}

void fuzz_seed(const char *name, const void *data, size_t len)
{
	must(fuzz_take_seed);
	fuzz_take_seed(name, data, len);
}

void fuzz_seed_buf(const char *name, struct buf *b)
{
	must(!b->failed);
	fuzz_seed(name, b->data, b->len);
	buf_done(b);
}

struct slice take_up_to(struct slice *s, size_t len)
{
	if (s->bad || !s->len)
		return slice_of("", 0);
	len = len < s->len ? len : s->len;
	return slice_of(take_bytes(s, len), len);
}

char *take_text(struct slice *s)
{
	char *text = malloc(s->len + 1);
	must(text);
	if (s->len)
		memcpy(text, s->at, s->len);
	text[s->len] = 0;
	*s = slice_of(s->at + s->len, 0);
	return text;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_dir(void)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_dir(void)
{
	if (*dir)
		return dir;
	const char *tmp = getenv("TMPDIR");
	if (!tmp && access("/dev/shm", W_OK) == 0)
		tmp = "/dev/shm";
	snprintf(dir, sizeof dir, "%.40s/foldfs-fuzz-XXXXXX", tmp ? tmp : "/tmp");
	must(mkdtemp(dir));
	atexit(remove_dir);
	return dir;
}

int fuzz_dirfd(void)
{
	if (dirfd_of_dir < 0) {
		dirfd_of_dir = open(fuzz_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(dirfd_of_dir >= 0);
	}
	return dirfd_of_dir;
}

void fuzz_put_file(int dirfd, const char *name, const void *data, size_t len)
{
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && io_write(fd, data, len, 0) == 0);
}

void fuzz_empty_dir(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *d = fdopendir(fd);
	must(d);
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_type != DT_DIR)
			must(unlinkat(fd, e->d_name, 0) == 0);
}

int fuzz_file(const void *data, size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	must(fd >= 0 && io_write(fd, data, len, 0) == 0);
	return fd;
}
