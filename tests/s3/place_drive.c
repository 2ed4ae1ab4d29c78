// SPDX-License-Identifier: MIT
/* place_drive PLACE ENDPOINT COMMAND [ARGUMENT...] [-- COMMAND...]: a bucket as the place of a tier.
 *
 *	put PACK FILE	read FILE PACK AT LEN [PACK AT LEN...]	size PACK	remove PACK
 *	list	tidy	label	claim NUMBER
 *
 * Each command prints a line: ok or the name of the error, and what there is to tell.
 */
#include "place_s3.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#define READS_MAX 64

struct file {
	struct place_source from; /* first */
	int fd;
	uint64_t next;
};

static struct place *pl;

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

static void result(int r)
{
	printf("%s\n", r ? strerrorname_np(-r) : "ok");
	fflush(stdout);
}

/* In order, and once. */
static int file_read(struct place_source *from, void *buf, size_t len, uint64_t at)
{
	struct file *f = (struct file *)from;
	if (at != f->next)
		return -EBADMSG;
	f->next += len;
	return io_read_exact(f->fd, buf, len, (off_t)at);
}

static void do_put(uint64_t pack, const char *path)
{
	struct stat st;
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		result(-errno);
		return;
	}
	struct file f = { { file_read, (uint64_t)st.st_size }, fd, 0 };
	result(pl->ops->put(pl, pack, &f.from));
}

static void do_read(const char *path, char **argv, int n)
{
	struct place_read v[READS_MAX];
	size_t reads = 0;
	for (; n >= 3 && reads < READS_MAX; argv += 3, n -= 3) {
		size_t len = number(argv[2]);
		v[reads++] = (struct place_read){ number(argv[0]), number(argv[1]), len,
						  malloc(len), 0 };
	}
	pl->ops->read(pl, v, reads);
	CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	off_t at = 0;
	for (size_t i = 0; i < reads; i++) {
		if (v[i].result < 0)
			printf("%s ", strerrorname_np((int)-v[i].result));
		else
			printf("%zd ", v[i].result);
		if (v[i].result > 0 && io_write(fd, v[i].buf, (size_t)v[i].result, at) < 0)
			result(-EIO);
		at += v[i].result > 0 ? v[i].result : 0;
		free(v[i].buf);
	}
	result(0);
}

static int print_pack(void *arg, uint64_t pack, uint64_t bytes)
{
	(void)arg;
	printf("%" PRIu64 ":%" PRIu64 " ", pack, bytes);
	return 0;
}

static void do_label(void)
{
	struct place_label label;
	int r = pl->ops->read_label(pl, &label);
	if (r == 0)
		printf("%u ", label.number);
	result(r);
}

static void do_claim(unsigned n)
{
	struct place_label label = { .pool = "pool", .tier = "tier", .number = n };
	result(pl->ops->claim(pl, &label));
}

static void do_size(uint64_t pack)
{
	uint64_t bytes;
	int r = pl->ops->size(pl, pack, &bytes);
	if (r == 0)
		printf("%" PRIu64 " ", bytes);
	result(r);
}

static void command(char **argv, int n)
{
	const char *name = argv[0];
	if (!strcmp(name, "put") && n == 3)
		do_put(number(argv[1]), argv[2]);
	else if (!strcmp(name, "read") && n > 4)
		do_read(argv[1], argv + 2, n - 2);
	else if (!strcmp(name, "size") && n == 2)
		do_size(number(argv[1]));
	else if (!strcmp(name, "remove") && n == 2)
		result(pl->ops->remove(pl, number(argv[1])));
	else if (!strcmp(name, "list"))
		result(pl->ops->list(pl, print_pack, NULL));
	else if (!strcmp(name, "tidy"))
		result(pl->ops->tidy(pl));
	else if (!strcmp(name, "label"))
		do_label();
	else if (!strcmp(name, "claim") && n == 2)
		do_claim((unsigned)number(argv[1]));
	else
		result(-ENOSYS);
}

int main(int argc, char **argv)
{
	struct s3_options o;
	char why[S3_TEXT_MAX];
	if (argc < 4)
		return 2;
	s3_defaults(&o);
	o.place = argv[1];
	o.endpoint = argv[2];
	o.part_size = (uint64_t)5 << 20;
	o.tries = 4;
	o.backoff_ms = 20;
	int r = place_s3_open(&o, NULL, why, &pl);
	if (r < 0) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	for (int i = 3, end; i < argc; i = end + 1) {
		for (end = i; end < argc && strcmp(argv[end], "--") != 0;)
			end++;
		command(argv + i, end - i);
	}
	place_close(pl);
	return 0;
}
