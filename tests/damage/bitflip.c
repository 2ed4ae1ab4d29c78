// SPDX-License-Identifier: MIT
/* bitflip POOL COUNT SEED [FILE BIT]: flips single bits of a pool's files, one at a time, and reads all
 * of the pool after each.
 *
 * Files take turns; the bit is any one up to the file's last byte that is not zero, and a little
 * beyond. After it everything is read: each name by listing and by looking it up, each attribute, all
 * bytes of all files. What a flip may do:
 *
 *   noticed    something is an error, the pool is refused, or a line in the log tells of damage; the rest
 *              is as before. Damage to the log is told, and what is shown is the state before the
 *              damaged entry: that of the same log, cut off there.
 *   redundant  everything reads as before, and either the whole file may be missing without a
 *              difference (this is tried out, before any flip: cache, filter, dumps, a log that is not
 *              needed), or fsck.foldfs -n -f, which verifies every page and row of the index and
 *              every head of a frame, says that it is damaged
 *   unused     everything reads as before and fsck finds all sound: no byte that carries anything
 *   staged     what nothing guards: bytes in staging files
 *   tail       the end of a log, which no later entry proves to have been durable: its damage looks like
 *              a write that a power cut tore. The state before it is shown, no other.
 *
 * What it may not: wrong (anything else is shown, or nothing of it said), died, hung. Then FILE and BIT
 * are printed.
 *
 * A line "= KIND TRIED VERDICT N ..." for each kind of file; last line "TRIED VERDICT N ...".
 * Status 1 if wrong, died or hung is not 0. The pool is as before at the end, also after most ways to be
 * interrupted.
 */
#include "cleanup.h"
#include "io.h"
#include "log.h"
#include "poolread.h"
#include "repair_run.h"
#include "wal_format.h"
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

enum verdict { SAME, NOTICED, STAGED, REDUNDANT, UNUSED, TAIL, WRONG, DIED, HUNG, VERDICTS };
static const char *const names[] = { "same", "noticed", "staged", "redundant", "unused",
				     "tail", "wrong",	"died",	  "hung" };

struct file {
	char path[512];
	uint64_t bits;
	bool needed; /* without it, something is missing or said */
	unsigned kind;
};

static const char *const kinds[] = { "super",  "foldfs.conf", "index/data.mdb",
				     "index/", "wal/",	      "packs/dump-",
				     "packs/", "staging/",    "cache/",
				     "" /* others */ };
#define KINDS (sizeof kinds / sizeof *kinds)

static struct {
	const char *pool;
	struct file files[FILES_MAX];
	size_t n;
	char *before, *after, *log;
	char *cut; /* what is shown when the log ends before the flipped bit */
	uint64_t random;
	uint64_t count[KINDS][VERDICTS];
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

/* FN writes what it finds, in a process of its own. Returns its wait status, or -1 if it hangs. */
static int in_child(void (*fn)(const char *pool, FILE *out), char *ret_text, char *ret_log)
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
		fn(flips.pool, out);
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

/* Is every line of A in B the same, or an error there? NOTICED when an error is, STAGED when what
 * differs is staged. */
static enum verdict compare(const char *a, const char *b)
{
	enum verdict v = SAME;
	for (const char *line = a; *line; line = strchr(line, '\n') + 1) {
		size_t len = (size_t)(strchr(line, '\n') - line);
		const char *other = line_of(b, line, strcspn(line, " \n"));
		if (other && !strncmp(line, other, len + 1))
			continue;
		if (other && line_has(other, " ! "))
			v = v == SAME ? NOTICED : v;
		else if (line_has(line, " staged"))
			v = v == WRONG ? v : STAGED;
		else
			v = WRONG;
	}
	return v;
}

/* Nothing in TEXT that is not in FROM, but for errors: names may be missing, contents never differ. */
static bool shows_only(const char *text, const char *from)
{
	for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
		const char *was = line_of(from, line, strcspn(line, " \n"));
		size_t len = (size_t)(strchr(line, '\n') - line);
		if (*line != '!' && !line_has(line, " ! ") && (!was || strncmp(line, was, len + 1)))
			return false;
	}
	return true;
}

static enum verdict judge(int status)
{
	if (status < 0)
		return HUNG;
	if (status)
		return DIED;
	bool said = *flips.log || strstr(flips.after, "! ");
	enum verdict v = compare(flips.before, flips.after);
	if (v == SAME) /* nothing is missing: is something new? */
		v = compare(flips.after, flips.before);
	if (v == WRONG && said && shows_only(flips.after, flips.before))
		return NOTICED;
	return v == SAME && said ? NOTICED : v;
}

static void write_errors(void *out, enum repair_sentence kind, const char *sentence)
{
	if (kind == REPAIR_ERROR)
		fprintf(out, "! %s\n", sentence);
}

static void fsck(const char *pool, FILE *out)
{
	struct repair_call call = { .full = true, .say = write_errors, .arg = out };
	struct repair_report report;
	struct pool_error err = { 0 };
	if (repair_run(pool, &call, &report, &err) < 0)
		fprintf(out, "! %s\n", err.text);
}

/* All reads as before. Why is that? */
static enum verdict explain(const struct file *f)
{
	if (!f->needed)
		return REDUNDANT;
	int status = in_child(fsck, flips.after, flips.log);
	if (status)
		return status < 0 ? HUNG : DIED;
	return *flips.after ? REDUNDANT : UNUSED;
}

/* ---- the log, whose damage may show an earlier state ---- */

/* Where the frame begins that has this byte, and whether a later one proves that it was durable. */
static uint64_t frame_of(const uint8_t *data, uint64_t len, uint64_t byte, bool *ret_proved)
{
	uint64_t begin = WAL_FRAMES_AT, lsn = 0;
	struct wal_frame_header h;
	*ret_proved = false;
	for (uint64_t at = WAL_FRAMES_AT; at + sizeof h <= len;) {
		memcpy(&h, data + at, sizeof h);
		if (!h.lsn)
			break;
		if (at <= byte || !lsn) {
			begin = at;
			lsn = h.lsn;
		} else if (h.durable_lsn >= lsn) {
			*ret_proved = true;
		}
		at += (sizeof h + h.stored_len + WAL_ALIGN - 1) / WAL_ALIGN * WAL_ALIGN;
	}
	return begin;
}

/* The flip is undone already. What is shown must be what a log shows that ends before it. */
static enum verdict judge_log(const struct file *f, int fd, uint64_t bit)
{
	uint64_t len = f->bits / 8;
	CLEANUP_FREE uint8_t *data = malloc(len), *zeros = calloc(1, len);
	CLEANUP_FREE char *log = malloc(OUTPUT_MAX);
	bool proved, said = *flips.log || strstr(flips.after, "! ");
	if (!data || !zeros || !log || io_read_exact(fd, data, len, 0) < 0)
		abort();
	uint64_t begin = frame_of(data, len, bit / 8, &proved);
	if (io_write(fd, zeros, len - begin, (off_t)begin) < 0)
		abort();
	int status = in_child(poolread, flips.cut, log);
	if (io_write(fd, data + begin, len - begin, (off_t)begin) < 0)
		abort();
	if (status || !shows_only(flips.after, flips.cut) ||
	    (!said && !shows_only(flips.cut, flips.after)))
		return WRONG;
	return said ? NOTICED : proved ? WRONG : TAIL;
}

static enum verdict flip(const struct file *f, uint64_t bit)
{
	bool in_log = !strcmp(kinds[f->kind], "wal/");
	flips.bit = bit;
	flips.flipped = open(f->path, O_RDWR | O_CLOEXEC);
	if (flips.flipped < 0)
		abort();
	toggle(flips.flipped, bit);
	enum verdict v = judge(in_child(poolread, flips.after, flips.log));
	if (v == SAME)
		v = explain(f);
	int fd = take_fd(&flips.flipped);
	toggle(fd, bit);
	if (in_log && (v == WRONG || v == STAGED))
		v = judge_log(f, fd, bit);
	close(fd);
	flips.count[f->kind][v]++;
	if (v >= WRONG)
		printf("%s %s %llu\n", names[v], f->path + strlen(flips.pool) + 1,
		       (unsigned long long)bit);
	fflush(stdout);
	return v;
}

/* Tries whether the file can be done without. */
static bool is_needed(const struct file *f)
{
	char aside[sizeof f->path + 8];
	snprintf(aside, sizeof aside, "%s.aside", f->path);
	if (rename(f->path, aside))
		abort();
	enum verdict v = judge(in_child(poolread, flips.after, flips.log));
	if (rename(aside, f->path))
		abort();
	return v != SAME;
}

static void classify(struct file *f)
{
	const char *name = f->path + strlen(flips.pool) + 1;
	while (strncmp(name, kinds[f->kind], strlen(kinds[f->kind])))
		f->kind++;
	f->needed = is_needed(f);
}

static uint64_t print_counts(const uint64_t count[VERDICTS], const char *kind)
{
	uint64_t sum = 0;
	for (int v = NOTICED; v < VERDICTS; v++)
		sum += count[v];
	if (!sum && kind)
		return 0;
	if (kind)
		printf("= %s ", *kind ? kind : "others");
	printf("%llu", (unsigned long long)sum);
	for (int v = NOTICED; v < VERDICTS; v++)
		if (count[v] || !kind)
			printf(" %s %llu", names[v], (unsigned long long)count[v]);
	printf("\n");
	return sum;
}

static int print_result(void)
{
	uint64_t all[VERDICTS] = { 0 };
	for (size_t k = 0; k < KINDS; k++) {
		print_counts(flips.count[k], kinds[k]);
		for (int v = 0; v < VERDICTS; v++)
			all[v] += flips.count[k][v];
	}
	print_counts(all, NULL);
	return all[WRONG] + all[DIED] + all[HUNG] ? 1 : 0;
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
	flips.cut = malloc(OUTPUT_MAX);
	signal(SIGINT, restore_and_die);
	signal(SIGTERM, restore_and_die);
	find_files(flips.pool);
	qsort(flips.files, flips.n, sizeof *flips.files, order);
	if (!flips.n || in_child(poolread, flips.before, flips.log) || strstr(flips.before, "! ")) {
		show();
		fprintf(stderr, "bitflip: the pool is not sound before anything is flipped\n");
		return 2;
	}
	for (size_t i = 0; i < flips.n; i++)
		classify(&flips.files[i]);
	if (argc == 6)
		return flip_one(argv[4], strtoull(argv[5], NULL, 10));
	uint64_t count = strtoull(argv[2], NULL, 10);
	for (uint64_t i = 0; i < count; i++) {
		const struct file *f = &flips.files[i % flips.n];
		flip(f, draw_bit(f));
	}
	return print_result();
}
