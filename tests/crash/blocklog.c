// SPDX-License-Identifier: MIT
#include "blocklog.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int find_records(struct blocklog *l)
{
	size_t room = 0;
	for (size_t at = 0; at + sizeof(struct blocklog_record) <= l->map_len;) {
		const void *p = (const char *)l->map + at;
		const struct blocklog_record *r = p;
		if (r->magic != BLOCKLOG_MAGIC)
			return -EUCLEAN;
		at += sizeof *r + r->len;
		if (at > l->map_len)
			break;
		if (l->n == room) {
			room = room ? room * 2 : 4096;
			void *more = realloc(l->records, room * sizeof *l->records);
			if (!more)
				return -ENOMEM;
			l->records = more;
		}
		l->records[l->n++] = r;
	}
	return 0;
}

static int map_log(struct blocklog *l, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return -errno;
	l->map_len = (size_t)st.st_size;
	l->map = mmap(NULL, l->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	return l->map == MAP_FAILED ? -errno : find_records(l);
}

static int read_image(struct blocklog *l)
{
	off_t at = 0;
	while ((at = lseek(l->image, at, SEEK_DATA)) >= 0 && (size_t)at < l->size) {
		off_t end = lseek(l->image, at, SEEK_HOLE);
		while (at < end) {
			ssize_t n = pread(l->image, l->disk + at, (size_t)(end - at), at);
			if (n <= 0)
				return -EIO;
			for (size_t p = (size_t)at / BLOCKLOG_PAGE;
			     p <= ((size_t)(at + n) - 1) / BLOCKLOG_PAGE; p++)
				l->touched[p] = true;
			at += n;
		}
	}
	return 0;
}

static int start_again(struct blocklog *l)
{
	size_t pages = (l->size + BLOCKLOG_PAGE - 1) / BLOCKLOG_PAGE;
	if (madvise(l->disk, l->size, MADV_DONTNEED)) /* zeros again */
		return -errno;
	memset(l->touched, 0, pages * sizeof *l->touched);
	memset(l->done, 0, l->n * sizeof *l->done);
	l->next = l->n_pending = 0;
	return read_image(l);
}

int blocklog_open(struct blocklog *l, const char *log_path, const char *image_path)
{
	struct stat st;
	*l = (struct blocklog){ .image = open(image_path, O_RDONLY | O_CLOEXEC) };
	if (l->image < 0 || fstat(l->image, &st))
		return -errno;
	l->size = (size_t)st.st_size;
	int r = map_log(l, log_path);
	if (r < 0)
		return r;
	l->disk = mmap(NULL, l->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	l->touched = calloc(l->size / BLOCKLOG_PAGE + 1, sizeof *l->touched);
	l->done = calloc(l->n + 1, sizeof *l->done);
	l->pending = calloc(l->n + 1, sizeof *l->pending);
	if (l->disk == MAP_FAILED || !l->touched || !l->done || !l->pending)
		return -ENOMEM;
	return start_again(l);
}

static void settle_write(struct blocklog *l, const struct blocklog_record *r)
{
	memcpy(l->disk + r->at, r + 1, r->len);
	for (size_t p = r->at / BLOCKLOG_PAGE; p <= (r->at + r->len - 1) / BLOCKLOG_PAGE; p++)
		l->touched[p] = true;
}

/* What was done is on the medium now; what was under way goes on pending. */
static void flush(struct blocklog *l)
{
	size_t kept = 0;
	for (size_t i = 0; i < l->n_pending; i++) {
		size_t number = l->pending[i];
		if (l->done[number])
			settle_write(l, l->records[number]);
		else
			l->pending[kept++] = number;
	}
	l->n_pending = kept;
}

int blocklog_walk(struct blocklog *l, size_t last)
{
	int r = last + 1 < l->next ? start_again(l) : 0;
	for (; r == 0 && l->next <= last && l->next < l->n; l->next++) {
		const struct blocklog_record *rec = l->records[l->next];
		if (rec->kind == BLOCKLOG_WRITE && (rec->len == 0 || rec->at + rec->len > l->size))
			r = -EUCLEAN;
		else if (rec->kind == BLOCKLOG_WRITE)
			l->pending[l->n_pending++] = l->next;
		else if (rec->kind == BLOCKLOG_DONE && rec->at < l->n)
			l->done[rec->at] = true;
		else if (rec->kind == BLOCKLOG_FLUSH)
			flush(l);
	}
	return r;
}
