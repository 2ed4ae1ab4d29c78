// SPDX-License-Identifier: MIT
/* Walks the reference and asks the target the same. Inode numbers differ, but two names that are one
 * inode on one side must be one on the other, so each pair of numbers is remembered.
 *
 * Files of a few MiB are compared byte by byte; of larger, sparse ones only what either side calls
 * data. Files whose times are unsure get new ones, so that later comparisons are strict again. */
#include "treediff.h"
#include "playground.h"
#include "outcome.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FULL_SIZE 8192
#define BLOCK (1 << 20)
#define SMALL (8ll << 20)

struct pair {
	ino_t target, reference;
};

struct walk {
	const char *root[SIDES];
	struct pair *pairs;
	size_t pair_count, differences;
	unsigned char *block[SIDES];
};

static void report(struct walk *walk, const char *path, const char *what)
{
	if (++walk->differences <= 20)
		fprintf(stderr, "model: tree differs at %s/%s: %s\n", walk->root[TARGET], path,
			what);
}

static void full(const struct walk *walk, int side, const char *path, char ret_path[FULL_SIZE])
{
	if (snprintf(ret_path, FULL_SIZE, "%s/%s", walk->root[side], path) >= FULL_SIZE)
		abort();
}

static void compare_inodes(struct walk *walk, const char *path, ino_t target, ino_t reference)
{
	for (size_t i = 0; i < walk->pair_count; i++) {
		struct pair *p = &walk->pairs[i];
		if ((p->target == target) != (p->reference == reference))
			report(walk, path, "is one inode with another name on one side only");
		else if (p->target == target)
			return;
	}
	struct pair *more = realloc(walk->pairs, (walk->pair_count + 1) * sizeof *more);
	if (!more)
		abort();
	walk->pairs = more;
	walk->pairs[walk->pair_count++] = (struct pair){ target, reference };
}

/* ---- content */

static void compare_block(struct walk *walk, const char *path, const int fd[SIDES], int64_t at)
{
	ssize_t got[SIDES];
	for (int s = 0; s < SIDES; s++)
		got[s] = pread(fd[s], walk->block[s], BLOCK, at);
	if (got[TARGET] != got[REFERENCE]) {
		char what[120];
		snprintf(what, sizeof what, "reads at %lld: %zd and %zd (%s)", (long long)at,
			 got[TARGET], got[REFERENCE], strerror(errno));
		report(walk, path, what);
		return;
	}
	for (ssize_t i = 0; i < got[TARGET]; i++) {
		if (walk->block[TARGET][i] != walk->block[REFERENCE][i]) {
			char what[120];
			snprintf(what, sizeof what, "byte %lld: %02x and %02x", (long long)at + i,
				 walk->block[TARGET][i], walk->block[REFERENCE][i]);
			report(walk, path, what);
			return;
		}
	}
}

static void compare_content(struct walk *walk, const char *path, int64_t size)
{
	int fd[SIDES];
	for (int s = 0; s < SIDES; s++) {
		char name[FULL_SIZE];
		full(walk, s, path, name);
		fd[s] = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (fd[TARGET] < 0 || fd[REFERENCE] < 0) {
		report(walk, path, "cannot be opened");
	} else if (size <= SMALL) {
		for (int64_t at = 0; at < size; at += BLOCK)
			compare_block(walk, path, fd, at);
	} else {
		for (int s = 0; s < SIDES; s++) {
			int64_t at = 0;
			while ((at = lseek(fd[s], at, SEEK_DATA)) >= 0) {
				compare_block(walk, path, fd, at);
				at += BLOCK;
			}
		}
	}
	for (int s = 0; s < SIDES; s++)
		if (fd[s] >= 0)
			close(fd[s]);
}

/* ---- attributes */

static size_t sorted_xattrs(const char *path, char *text, size_t size)
{
	char list[8192];
	struct side side = { .data = (unsigned char *)text };
	struct outcome out = { 0 };
	const char *names[128];
	size_t count = 0;
	ssize_t len = llistxattr(path, list, sizeof list);
	for (ssize_t at = 0; at < len && count < 128; at += (ssize_t)strlen(list + at) + 1)
		names[count++] = list + at;
	side_put_names(&side, names, count, &out);
	size_t used = out.data_len;
	for (size_t i = 0; i < count; i++) {
		ssize_t n = lgetxattr(path, names[i], text + used, size - used);
		used += n > 0 ? (size_t)n : 0;
	}
	return used;
}

static void compare_xattrs(struct walk *walk, const char *path)
{
	static char text[SIDES][IO_MAX + 65536];
	size_t used[SIDES];
	for (int s = 0; s < SIDES; s++) {
		char name[FULL_SIZE];
		full(walk, s, path, name);
		used[s] = sorted_xattrs(name, text[s], sizeof text[s]);
	}
	if (used[TARGET] != used[REFERENCE] || memcmp(text[TARGET], text[REFERENCE], used[TARGET]))
		report(walk, path, "extended attributes");
}

static void compare_target_of_link(struct walk *walk, const char *path)
{
	char text[SIDES][PATH_SIZE] = { 0 };
	for (int s = 0; s < SIDES; s++) {
		char name[FULL_SIZE];
		full(walk, s, path, name);
		if (readlink(name, text[s], sizeof text[s] - 1) < 0)
			report(walk, path, "cannot be read as a link");
	}
	if (strcmp(text[TARGET], text[REFERENCE]) != 0)
		report(walk, path, "the link's target");
}

/* Same times on both sides, after what was stored through mappings has reached the file. */
static void tighten_times(struct walk *walk, const char *path)
{
	struct timespec times[2] = { { 1234567890, 1 }, { 1234567890, 987654321 } };
	for (int s = 0; s < SIDES; s++) {
		char name[FULL_SIZE];
		full(walk, s, path, name);
		int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || fsync(fd) < 0 || futimens(fd, times) < 0)
			report(walk, path, "its times cannot be set");
		if (fd >= 0)
			close(fd);
	}
}

static void compare_dir(struct walk *walk, const char *path);

static void compare_entry(struct walk *walk, const char *path)
{
	struct stat st[SIDES];
	char why[300];
	for (int s = 0; s < SIDES; s++) {
		char name[FULL_SIZE];
		full(walk, s, path, name);
		if (lstat(name, &st[s]) < 0) {
			snprintf(why, sizeof why, "%s: %s", s == TARGET ? "target" : "reference",
				 strerror(errno));
			report(walk, path, why);
			return;
		}
	}
	struct stat *ref = &st[REFERENCE];
	bool loose = S_ISREG(ref->st_mode) && loose_has(ref->st_ino);
	if (!stats_agree(&st[TARGET], ref, why, sizeof why))
		report(walk, path, why);
	compare_xattrs(walk, path);
	if (!S_ISDIR(ref->st_mode) && ref->st_nlink > 1)
		compare_inodes(walk, path, st[TARGET].st_ino, ref->st_ino);
	if (S_ISREG(ref->st_mode) && st[TARGET].st_size == ref->st_size)
		compare_content(walk, path, ref->st_size);
	if (loose)
		tighten_times(walk, path);
	if (S_ISLNK(ref->st_mode) && S_ISLNK(st[TARGET].st_mode))
		compare_target_of_link(walk, path);
	if (S_ISDIR(ref->st_mode) && S_ISDIR(st[TARGET].st_mode))
		compare_dir(walk, path);
}

static int entries(const struct walk *walk, int side, const char *path, struct dirent ***ret_list)
{
	char name[FULL_SIZE];
	full(walk, side, path, name);
	int n = scandir(name, ret_list, NULL, alphasort);
	return n < 0 ? 0 : n;
}

static void free_entries(struct dirent **list, int count)
{
	for (int i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

/* Both lists are sorted alike (the locale is C), so one pass finds what is on one side only. */
static void compare_dir(struct walk *walk, const char *path)
{
	struct dirent **list[SIDES] = { NULL, NULL };
	int count[SIDES], at[SIDES] = { 0, 0 };
	for (int s = 0; s < SIDES; s++)
		count[s] = entries(walk, s, path, &list[s]);
	while (at[TARGET] < count[TARGET] || at[REFERENCE] < count[REFERENCE]) {
		int order;
		if (at[TARGET] == count[TARGET])
			order = 1;
		else if (at[REFERENCE] == count[REFERENCE])
			order = -1;
		else
			order = strcmp(list[TARGET][at[TARGET]]->d_name,
				       list[REFERENCE][at[REFERENCE]]->d_name);
		int side = order < 0 ? TARGET : REFERENCE;
		const char *name = list[side][at[side]]->d_name;
		char below[FULL_SIZE];
		if (snprintf(below, FULL_SIZE, "%s%s%s", path, *path ? "/" : "", name) >= FULL_SIZE)
			abort();
		if (order)
			report(walk, below,
			       order < 0 ? "only in the target" : "only in the reference");
		else if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
			compare_entry(walk, below);
		at[TARGET] += order <= 0;
		at[REFERENCE] += order >= 0;
	}
	for (int s = 0; s < SIDES; s++)
		free_entries(list[s], count[s]);
}

size_t treediff(const char *target, const char *reference)
{
	struct walk walk = { .root = { target, reference } };
	for (int s = 0; s < SIDES; s++)
		if (!(walk.block[s] = malloc(BLOCK)))
			abort();
	compare_dir(&walk, "");
	for (int s = 0; s < SIDES; s++)
		free(walk.block[s]);
	free(walk.pairs);
	return walk.differences;
}
