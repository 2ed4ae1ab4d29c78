// SPDX-License-Identifier: MIT
/* fuzz_<noun> [INPUT|DIRECTORY...]: runs the target's seeds, which it must find valid, then the inputs.
 * fuzz_<noun> --seeds DIRECTORY: writes the seeds there.
 */
#include "fuzz.h"
#include "cleanup.h"
#include "io.h"
#include "log.h"
#include <fcntl.h>

static const char *seeds_dir;
static unsigned runs, valid;

static void take_seed(const char *name, const void *data, size_t len)
{
	char path[4096];
	if (seeds_dir) {
		snprintf(path, sizeof path, "%s/%s", seeds_dir, name);
		fuzz_put_file(AT_FDCWD, path, data, len);
		return;
	}
	CLEANUP_FREE uint8_t *copy = malloc(len);
	if (len)
		memcpy(copy, data, len);
	runs++;
	if (fuzz_one(slice_of(copy, len))) {
		valid++;
		return;
	}
	fprintf(stderr, "the seed %s is not valid\n", name);
	exit(1);
}

static void run_file(int dirfd, const char *name)
{
	CLEANUP_FREE void *data = NULL;
	size_t len;
	if (io_slurp(dirfd, name, SIZE_MAX / 2, &data, &len) < 0) {
		fprintf(stderr, "%s cannot be read\n", name);
		exit(2);
	}
	CLEANUP_FREE uint8_t *copy = malloc(len);
	if (len)
		memcpy(copy, data, len);
	runs++;
	valid += fuzz_one(slice_of(copy, len));
}

static void run_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		run_file(AT_FDCWD, path);
		return;
	}
	CLEANUP_CLOSEDIR DIR *d = fdopendir(fd);
	must(d);
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			run_file(fd, e->d_name);
}

int main(int argc, char **argv)
{
	fuzz_take_seed = take_seed;
	if (argc == 3 && !strcmp(argv[1], "--seeds")) {
		seeds_dir = argv[2];
		fuzz_seeds();
		return 0;
	}
	must(log_to_file("/dev/null", 0) == 0);
	fuzz_seeds();
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	printf("%u inputs, %u of them valid\n", runs, valid);
	return 0;
}
