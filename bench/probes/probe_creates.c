// SPDX-License-Identifier: MIT
/* probe_creates DIR COUNT MIN MAX [SEED]: creates COUNT files of MIN..MAX random bytes in DIR, each by
 * create, one write, close; as cp does, without asking to read them. Prints JSON: the seconds of each
 * tenth of the files, so that a slope shows, and the bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TENTHS 10

static uint64_t state;

static uint64_t random_u64(void) /* xorshift64* */
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dull;
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(const char *what, const char *name)
{
	fprintf(stderr, "probe_creates: %s %s: %s\n", what, name, strerror(errno));
	return 1;
}

static int create(int dir, const char *name, const void *bytes, size_t n)
{
	int fd = openat(dir, name, O_CREAT | O_WRONLY | O_EXCL, 0644);
	if (fd < 0)
		return fail("can't create", name);
	if (write(fd, bytes, n) != (ssize_t)n)
		return fail("can't write", name);
	return close(fd) ? fail("can't close", name) : 0;
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: probe_creates DIR COUNT MIN MAX [SEED]\n");
		return 2;
	}
	unsigned long count = strtoul(argv[2], NULL, 0);
	size_t min = strtoul(argv[3], NULL, 0), max = strtoul(argv[4], NULL, 0);
	state = (argc > 5 ? strtoull(argv[5], NULL, 0) : 1) * 0x9e3779b97f4a7c15ull + 1;
	int dir = open(argv[1], O_DIRECTORY | O_RDONLY);
	uint64_t *bytes = malloc(max + 8);
	if (dir < 0 || !bytes || max < min)
		return fail("can't work in", argv[1]);

	double took[TENTHS] = { 0 };
	unsigned long total = 0;
	for (unsigned long i = 0; i < count; i++) {
		size_t n = min + (max > min ? random_u64() % (max - min + 1) : 0);
		for (size_t w = 0; w < n / 8 + 1; w++)
			bytes[w] = random_u64();
		char name[32];
		snprintf(name, sizeof(name), "f%07lu", i);
		double begin = now_s();
		if (create(dir, name, bytes, n))
			return 1;
		took[i * TENTHS / count] += now_s() - begin;
		total += n;
	}
	double sum = 0;
	printf("{\"tenths_s\": [");
	for (int t = 0; t < TENTHS; t++) {
		printf("%s%.4f", t ? ", " : "", took[t]);
		sum += took[t];
	}
	printf("], \"seconds\": %.4f, \"files\": %lu, \"bytes\": %lu}\n", sum, count, total);
	free(bytes);
	close(dir);
	return 0;
}
