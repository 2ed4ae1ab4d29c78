// SPDX-License-Identifier: MIT
#include "wal_files.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static int file_read_header(int dirfd, struct wal_file *f)
{
	char name[WAL_NAME_SIZE];
	uint8_t raw[sizeof f->header];
	wal_segment_name(f->seq, name);
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	ssize_t n = io_read(fd, raw, sizeof raw, 0);
	if (n < 0)
		return (int)n;
	f->kind = wal_header_parse(raw, (size_t)n, f->seq, &f->header);
	return 0;
}

/* Log order; what has no valid header comes last. */
static int by_lsn(const void *a, const void *b)
{
	const struct wal_file *x = a, *y = b;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	uint64_t i = x->kind == WAL_HEADER_VALID ? x->header.first_lsn : x->seq;
	uint64_t j = y->kind == WAL_HEADER_VALID ? y->header.first_lsn : y->seq;
	if (i == j) { /* one that ended before its first frame, and its successor */
		i = x->seq;
		j = y->seq;
	}
	return (i > j) - (i < j);
}

static int dir_add(struct wal_dir *d, int dirfd, uint64_t seq)
{
	struct wal_file *files = realloc(d->files, (d->n + 1) * sizeof *files);
	if (!files)
		return -ENOMEM;
	d->files = files;
	files[d->n] = (struct wal_file){ .seq = seq };
	d->last_seq = seq > d->last_seq ? seq : d->last_seq;
	return file_read_header(dirfd, &files[d->n++]);
}

int wal_dir_list(int dirfd, const uint8_t pool_uuid[16], struct wal_dir *d)
{
	CLEANUP_CLOSE int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	*d = (struct wal_dir){ 0 };
	if (!dir)
		return -errno;
	take_fd(&fd);
	int r = 0;
	for (struct dirent *e; r == 0 && (errno = 0, e = readdir(dir));) {
		uint64_t seq;
		if (wal_segment_parse_name(e->d_name, &seq))
			r = dir_add(d, dirfd, seq);
	}
	if (r == 0 && errno)
		r = -errno;
	for (size_t i = 0; r == 0 && i < d->n; i++)
		if (d->files[i].kind == WAL_HEADER_VALID &&
		    memcmp(d->files[i].header.pool_uuid, pool_uuid, 16))
			r = -ESTALE;
	if (d->n)
		qsort(d->files, d->n, sizeof *d->files, by_lsn);
	return r;
}

void wal_dir_done(struct wal_dir *d)
{
	free(d->files);
	*d = (struct wal_dir){ 0 };
}

size_t wal_dir_valid(const struct wal_dir *d)
{
	size_t n = 0;
	while (n < d->n && d->files[n].kind == WAL_HEADER_VALID)
		n++;
	return n;
}

int wal_dir_versions(const struct wal_dir *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->files[i].kind == WAL_HEADER_NEWER)
			return -EPROTONOSUPPORT;
	return 0;
}

int wal_file_slurp(int dirfd, const struct wal_file *f, uint8_t **ret_data, size_t *ret_len)
{
	char name[WAL_NAME_SIZE];
	void *data;
	wal_segment_name(f->seq, name);
	int r = io_slurp(dirfd, name, WAL_SEGMENT_MAX, &data, ret_len);
	if (r < 0)
		return r == -EFBIG ? -EUCLEAN : r;
	*ret_data = data;
	return 0;
}
