// SPDX-License-Identifier: MIT
/* blockcut LOG IMAGE OUT: builds the disks that power cuts would have left.
 *
 * Reads lines "NUMBER MODE SEED" and for each makes OUT the disk after a cut just behind record
 * NUMBER of the log, then answers "PENDING KEPT": how many writes the cut could lose and how many of
 * them (torn ones count) it left. What a flush covered is there; of the writes that came later, MODE
 *
 *   none    loses all
 *   all     keeps all
 *   subset  keeps each with chance 1/2
 *   torn    keeps each sector of 512 bytes with chance 1/2
 *   last    keeps all but the last, and of that the first half of its sectors
 */
#include "blocklog.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512u

static const char *const modes[] = { "none", "all", "subset", "torn", "last" };
enum mode { NONE, ALL, SUBSET, TORN, LAST, MODES };

struct cut {
	struct blocklog log;
	enum mode mode;
	uint64_t random;
	const char *path;
	int out;
	size_t kept;
};

static bool toss(struct cut *c)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return c->random >> 33 & 1;
}

static int put(struct cut *c, const void *data, size_t len, uint64_t at)
{
	ssize_t n = len ? pwrite(c->out, data, len, (off_t)at) : 0;
	return n == (ssize_t)len ? 0 : -EIO;
}

/* A new file each time: a loop device that goes late may still have blocks of the last one cached. */
static int begin_file(struct cut *c)
{
	if (c->out >= 0)
		close(c->out);
	unlink(c->path);
	c->out = open(c->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return c->out < 0 || ftruncate(c->out, (off_t)c->log.size) ? -errno : 0;
}

static int put_settled(struct cut *c)
{
	struct blocklog *l = &c->log;
	int r = begin_file(c);
	for (size_t at = 0; r == 0 && at < l->size; at += BLOCKLOG_PAGE) {
		size_t len = l->size - at < BLOCKLOG_PAGE ? l->size - at : BLOCKLOG_PAGE;
		if (l->touched[at / BLOCKLOG_PAGE])
			r = put(c, l->disk + at, len, at);
	}
	return r;
}

static int put_torn(struct cut *c, const struct blocklog_record *rec)
{
	const char *data = (const char *)(rec + 1);
	int r = 0;
	for (size_t at = 0; r == 0 && at < rec->len; at += SECTOR) {
		size_t len = rec->len - at < SECTOR ? rec->len - at : SECTOR;
		if (toss(c))
			r = put(c, data + at, len, rec->at + at);
	}
	c->kept++;
	return r;
}

static int put_pending(struct cut *c, const struct blocklog_record *rec, bool last)
{
	size_t len = rec->len;
	if (c->mode == TORN)
		return put_torn(c, rec);
	if (c->mode == NONE || (c->mode == SUBSET && !toss(c)))
		return 0;
	if (c->mode == LAST && last)
		len = len / 2 / SECTOR * SECTOR;
	c->kept++;
	return put(c, rec + 1, len, rec->at);
}

static int build(struct cut *c, size_t number, uint64_t seed)
{
	struct blocklog *l = &c->log;
	c->random = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
	c->kept = 0;
	int r = blocklog_walk(l, number);
	if (r == 0)
		r = put_settled(c);
	for (size_t i = 0; r == 0 && i < l->n_pending; i++)
		r = put_pending(c, l->records[l->pending[i]], i + 1 == l->n_pending);
	return r;
}

static int parse_mode(const char *word, enum mode *ret_mode)
{
	for (int m = 0; m < MODES; m++)
		if (!strcmp(word, modes[m])) {
			*ret_mode = (enum mode)m;
			return 0;
		}
	return -EINVAL;
}

int main(int argc, char **argv)
{
	struct cut c = { .out = -1, .path = argv[argc - 1] };
	char line[256], word[16];
	unsigned long long number, seed;
	if (argc != 4) {
		fprintf(stderr, "usage: blockcut LOG IMAGE OUT\n");
		return 2;
	}
	int r = blocklog_open(&c.log, argv[1], argv[2]);
	while (r == 0 && fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "%llu %15s %llu", &number, word, &seed) != 3)
			r = -EINVAL;
		if (r == 0)
			r = parse_mode(word, &c.mode);
		if (r == 0)
			r = build(&c, number, seed);
		if (r == 0)
			printf("%zu %zu\n", c.log.n_pending, c.kept);
		fflush(stdout);
	}
	if (r < 0)
		fprintf(stderr, "blockcut: %s\n", strerror(-r));
	return r < 0 ? 1 : 0;
}
