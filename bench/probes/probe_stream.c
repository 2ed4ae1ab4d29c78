// SPDX-License-Identifier: MIT
/* probe_stream write FILE BYTES PERCENT SEED: writes BYTES of content made on the fly, 1 MiB a call,
 * opened as cp opens its target, and ends with fsync.
 * probe_stream check FILE BYTES PERCENT SEED: reads FILE and compares.
 *
 * PERCENT of each 4 KiB block can be compressed away; the rest is random, and block n depends on the
 * seed and n alone, so no block is there twice and nothing need be kept to check it. Prints JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define BUFFER (1 << 20)

static unsigned long percent;
static uint64_t seed;

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fill_block(uint64_t *block, uint64_t number)
{
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15ull ^ (number + 1) * 0xbf58476d1ce4e5b9ull;
	size_t random_words = BLOCK / 8 * (100 - percent) / 100;
	for (size_t i = 0; i < BLOCK / 8; i++) {
		x ^= x >> 12;
		x ^= x << 25;
		x ^= x >> 27;
		block[i] = i < random_words ? x * 0x2545f4914f6cdd1dull : 0x2020202020202020ull;
	}
}

static void fill(uint64_t *buffer, uint64_t at)
{
	for (size_t i = 0; i < BUFFER / BLOCK; i++)
		fill_block(buffer + i * BLOCK / 8, at / BLOCK + i);
}

static int fail(const char *what, const char *path)
{
	fprintf(stderr, "probe_stream: %s %s: %s\n", what, path, strerror(errno));
	return 1;
}

static int write_all(int fd, const char *path, const char *bytes, size_t n)
{
	while (n) {
		ssize_t did = write(fd, bytes, n);
		if (did < 0)
			return fail("can't write", path);
		bytes += did;
		n -= (size_t)did;
	}
	return 0;
}

static int check_all(int fd, const char *path, const uint64_t *bytes, size_t n, char *got)
{
	for (size_t done = 0; done < n;) {
		ssize_t did = read(fd, got + done, n - done);
		if (did <= 0)
			return fail("can't read", path);
		done += (size_t)did;
	}
	errno = EBADMSG;
	return memcmp(bytes, got, n) ? fail("other bytes than were written in", path) : 0;
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: probe_stream write|check FILE BYTES PERCENT SEED\n");
		return 2;
	}
	int writing = !strcmp(argv[1], "write");
	const char *path = argv[2];
	uint64_t total = strtoull(argv[3], NULL, 0);
	percent = strtoul(argv[4], NULL, 0);
	seed = strtoull(argv[5], NULL, 0);
	uint64_t *buffer = aligned_alloc(BLOCK, BUFFER);
	char *got = aligned_alloc(BLOCK, BUFFER);
	int fd = writing ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644) : open(path, O_RDONLY);
	if (fd < 0 || !buffer || !got || percent > 100)
		return fail("can't open", path);

	double begin = now_s(), generating = 0;
	for (uint64_t at = 0; at < total; at += BUFFER) {
		double before = now_s();
		fill(buffer, at);
		generating += now_s() - before;
		size_t n = total - at < BUFFER ? (size_t)(total - at) : BUFFER;
		if (writing ? write_all(fd, path, (char *)buffer, n)
			    : check_all(fd, path, buffer, n, got))
			return 1;
	}
	if ((writing && fsync(fd)) || close(fd))
		return fail("can't finish", path);
	double seconds = now_s() - begin;
	printf("{\"bytes\": %lu, \"seconds\": %.4f, \"generating_s\": %.4f, \"mb_per_s\": %.1f}\n",
	       total, seconds, generating, (double)total / 1e6 / (seconds - generating));
	free(buffer);
	free(got);
	return 0;
}
