// SPDX-License-Identifier: MIT
/* bitflip POOL COUNT SEED [FILE BIT]: flips single bits of a pool's files, one at a time, and reads all
 * of the pool after each.
 *
 * Files take turns; the bit is any one up to the file's last byte that is not zero, and a little
 * beyond. What a flip may do: nothing that can be seen (harmless), or be noticed (an error, a
 * refusal, a line in the log). A reader that dies or hangs, or says something else than before without
 * an error, has failed, and its FILE and BIT are printed. What nothing guards is counted apart, see
 * unguarded().
 *
 * Last line: "TRIED harmless N noticed N unguarded N wrong N died N hung N". Status 1 if any of the
 * last three is not 0. The pool is as before at the end, also after most ways to be interrupted.
 */
#include "cleanup.h"
#include "io.h"
#include "log.h"
#include "poolread.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 256u
#define OUTPUT_MAX ((size_t)4 << 20)
#define PATIENCE_MS 30000
#define BEYOND 64u /* bytes behind the last that is not zero */

enum verdict { HARMLESS, NOTICED, UNGUARDED, WRONG, DIED, HUNG, VERDICTS };
static const char *const names[] = { "harmless", "noticed", "unguarded", "wrong", "died", "hung" };

struct file {
	char path[512];
	uint64_t bits;
};

static struct {
	const char *pool;
	struct file files[FILES_MAX];
	size_t n;
	char *before, *after, *log;
	uint64_t random;
	uint64_t count[VERDICTS];
	bool in_log;
	int flipped; /* descriptor of the file that is damaged now */
	uint64_t bit;
} flips = { .flipped = -1 };

static uint64_t draw(uint64_t below)
{
	flips.random ^= flips.random << 13;
	flips.random ^= flips.random >> 7;
	flips.random ^= flips.random << 17;
	return flips.random % below;
}

static void toggle(int fd, uint64_t bit)
{
	uint8_t byte;
	if (pread(fd, &byte, 1, (off_t)(bit / 8)) != 1)
		byte = 0;
	byte ^= (uint8_t)(1u << bit % 8);
	if (pwrite(fd, &byte, 1, (off_t)(bit / 8)) != 1)
		abort();
}

static void restore_and_die(int sig)
{
	if (flips.flipped >= 0)
		toggle(flips.flipped, flips.bit);
	_exit(128 + sig);
}

/* Any bit, but none in a hole: writing there could not be undone. */
static uint64_t draw_bit(const struct file *f)
{
	CLEANUP_CLOSE int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	uint64_t bit = draw(f->bits);
	off_t data = lseek(fd, (off_t)(bit / 8), SEEK_DATA);
	if (data < 0)
		data = lseek(fd, 0, SEEK_DATA);
	if (data < 0)
		abort();
	return (uint64_t)data * 8 + bit % 8;
}

static uint64_t used_bytes(const char *path)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	static uint8_t buf[1 << 16];
	uint64_t used = 0;
	ssize_t n;
	for (uint64_t at = 0; fd >= 0 && (n = pread(fd, buf, sizeof buf, (off_t)at)) > 0;
	     at += (uint64_t)n)
		for (ssize_t i = 0; i < n; i++)
			used = buf[i] ? at + (uint64_t)i + 1 : used;
	struct stat st;
	if (fd < 0 || fstat(fd, &st) || lseek(fd, 0, SEEK_DATA) < 0)
		return 0;
	return used + BEYOND < (uint64_t)st.st_size ? used + BEYOND : (uint64_t)st.st_size;
}

static void find_files(const char *dir)
{
	CLEANUP_CLOSEDIR DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));) {
		struct file *f = &flips.files[flips.n];
		if (e->d_name[0] == '.' || flips.n == FILES_MAX)
			continue;
		int n = snprintf(f->path, sizeof f->path, "%s/%s", dir, e->d_name);
		if (n < 0 || (size_t)n >= sizeof f->path)
			continue;
		if (e->d_type == DT_DIR) {
			char below[512];
			memcpy(below, f->path, sizeof below);
			find_files(below);
		} else if (e->d_type == DT_REG && strcmp(e->d_name, "lock") &&
			   strcmp(e->d_name, "lock.mdb")) {
			f->bits = used_bytes(f->path) * 8;
			flips.n += f->bits > 0;
		}
	}
}

static int order(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Reads until the end, or PATIENCE_MS after the last sign of life; false then. */
static bool drain(int fd, char *buf)
{
	size_t len = 0;
	for (uint64_t until = now_ms() + PATIENCE_MS;;) {
		uint64_t now = now_ms();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (now >= until || poll(&p, 1, (int)(until - now)) <= 0)
			return false;
		ssize_t n = read(fd, buf + len, OUTPUT_MAX - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	buf[len] = 0;
	return true;
}

/* The whole pool, read by a process of its own. Returns its wait status, or -1 if it hangs. */
static int read_pool(char *ret_text, char *ret_log)
{
	int text[2], status = 0;
	FILE *log = tmpfile();
	if (!log || pipe(text))
		abort();
	pid_t pid = fork();
	if (pid == 0) {
		FILE *out = fdopen(text[1], "w");
		close(text[0]);
		dup2(fileno(log), 2);
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		log_set_level(LOG_LEVEL_WARN);
		poolread(flips.pool, out);
		fclose(out);
		_exit(0);
	}
	close(text[1]);
	bool ended = drain(text[0], ret_text);
	if (!ended)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(text[0]);
	ssize_t n = pread(fileno(log), ret_log, OUTPUT_MAX - 1, 0);
	ret_log[n < 0 ? 0 : n] = 0;
	fclose(log);
	return ended ? status : -1;
}

/* The line about this path, or NULL; up to its end. */
static const char *line_of(const char *text, const char *line, size_t path_len)
{
	for (const char *at = text; *at; at = strchr(at, '\n') + 1)
		if (!strncmp(at, line, path_len + 1))
			return at;
	return NULL;
}

static bool line_has(const char *line, const char *word)
{
	const char *found = strstr(line, word), *end = strchr(line, '\n');
	return found && found < end;
}

/* What nothing guards: bytes in staging; and the last batch of a log that was not closed, here the
 * making of "last" in the root, for its damage looks like a write that a power cut has torn. */
static bool unguarded(const char *line)
{
	return line_has(line, " staged") ||
	       (flips.in_log && (!strncmp(line, "./last ", 7) || !strncmp(line, ". ", 2)));
}

/* Is every line of A in B the same, or an error there? NOTICED when an error is, UNGUARDED when what
 * differs is staged. */
static enum verdict compare(const char *a, const char *b)
{
	enum verdict v = HARMLESS;
	for (const char *line = a; *line; line = strchr(line, '\n') + 1) {
		size_t len = (size_t)(strchr(line, '\n') - line);
		const char *other = line_of(b, line, strcspn(line, " \n"));
		if (other && !strncmp(line, other, len + 1))
			continue;
		if (other && line_has(other, " ! "))
			v = v == HARMLESS ? NOTICED : v;
		else if (unguarded(line))
			v = v == WRONG ? v : UNGUARDED;
		else
			v = WRONG;
	}
	return v;
}

static enum verdict judge(int status)
{
	if (status < 0)
		return HUNG;
	if (status)
		return DIED;
	bool said = *flips.log || strstr(flips.after, "! ");
	enum verdict v = compare(flips.before, flips.after);
	if (v == HARMLESS) /* nothing is missing: is something new? */
		v = compare(flips.after, flips.before);
	if (v == WRONG && said) {
		/* names may be missing or attributes old, if that was said; contents never differ */
		for (const char *line = flips.after; *line; line = strchr(line, '\n') + 1) {
			const char *was = line_of(flips.before, line, strcspn(line, " \n"));
			size_t len = (size_t)(strchr(line, '\n') - line);
			if (*line != '!' && !line_has(line, " ! ") &&
			    (!was || strncmp(line, was, len + 1)))
				return WRONG;
		}
		return NOTICED;
	}
	return v == HARMLESS && said ? NOTICED : v;
}

static enum verdict flip(const struct file *f, uint64_t bit)
{
	flips.bit = bit;
	flips.in_log = strstr(f->path + strlen(flips.pool), "/wal/") != NULL;
	flips.flipped = open(f->path, O_RDWR | O_CLOEXEC);
	if (flips.flipped < 0)
		abort();
	toggle(flips.flipped, bit);
	enum verdict v = judge(read_pool(flips.after, flips.log));
	toggle(flips.flipped, bit);
	close(take_fd(&flips.flipped));
	flips.count[v]++;
	if (v >= WRONG)
		printf("%s %s %llu\n", names[v], f->path + strlen(flips.pool) + 1,
		       (unsigned long long)bit);
	fflush(stdout);
	return v;
}

static void show(void)
{
	printf("--- before\n%s--- after\n%s--- log\n%s", flips.before, flips.after, flips.log);
}

static int flip_one(const char *name, uint64_t bit)
{
	for (size_t i = 0; i < flips.n; i++)
		if (!strcmp(flips.files[i].path + strlen(flips.pool) + 1, name)) {
			enum verdict v = flip(&flips.files[i], bit);
			show();
			printf("%s\n", names[v]);
			return v >= WRONG;
		}
	fprintf(stderr, "bitflip: there is no %s\n", name);
	return 2;
}

int main(int argc, char **argv)
{
	if (argc != 4 && argc != 6) {
		fprintf(stderr, "usage: bitflip POOL COUNT SEED [FILE BIT]\n");
		return 2;
	}
	flips.pool = argv[1];
	flips.random = strtoull(argv[3], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
	flips.before = malloc(OUTPUT_MAX);
	flips.after = malloc(OUTPUT_MAX);
	flips.log = malloc(OUTPUT_MAX);
	signal(SIGINT, restore_and_die);
	signal(SIGTERM, restore_and_die);
	find_files(flips.pool);
	qsort(flips.files, flips.n, sizeof *flips.files, order);
	if (!flips.n || read_pool(flips.before, flips.log) || strstr(flips.before, "! ")) {
		show();
		fprintf(stderr, "bitflip: the pool is not sound before anything is flipped\n");
		return 2;
	}
	if (argc == 6)
		return flip_one(argv[4], strtoull(argv[5], NULL, 10));
	uint64_t count = strtoull(argv[2], NULL, 10);
	for (uint64_t i = 0; i < count; i++) {
		const struct file *f = &flips.files[i % flips.n];
		flip(f, draw_bit(f));
	}
	printf("%llu", (unsigned long long)count);
	for (int v = 0; v < VERDICTS; v++)
		printf(" %s %llu", names[v], (unsigned long long)flips.count[v]);
	printf("\n");
	return flips.count[WRONG] + flips.count[DIED] + flips.count[HUNG] ? 1 : 0;
}
