// SPDX-License-Identifier: MIT
/* POOL/index/filter (digests_format.h). It is read in the background after open, while slices may
 * already be added to and loaded; it is a cache, so whatever is wrong with it means that it, or one
 * slice of it, is not there. */
#include "digests_internal.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define FILTER_FILE_NEW FILTER_FILE ".new"

static uint64_t header_sum(const struct filter_file_header *h)
{
	return checksum64(h, offsetof(struct filter_file_header, sum));
}

/* Words are little-endian on disk. */
static void swap_words(struct filter *f)
{
	for (uint64_t i = 0; le64toh(1) != 1 && i < f->blocks * FILTER_BLOCK_WORDS; i++)
		f->words[i] = le64toh(f->words[i]);
}

static bool header_valid(const struct digests *d, const struct filter_file_header *h)
{
	return get_le64(&h->magic) == FILTER_FILE_MAGIC &&
	       get_le32(&h->version) == FILTER_FILE_VERSION &&
	       get_le32(&h->slices) == DIGEST_SLICES && get_le64(&h->sum) == header_sum(h) &&
	       !memcmp(h->table_id, d->table_id, sizeof d->table_id);
}

static int read_blocks(int fd, off_t at, const struct filter_file_slice *from, struct filter *f)
{
	uint64_t blocks = get_le64(&from->blocks);
	int r = filter_init_blocks(f, get_le64(&from->room), blocks);
	if (r < 0)
		return r;
	r = io_read_exact(fd, f->words, filter_bytes(f), at);
	if (r == 0 && checksum64(f->words, filter_bytes(f)) != get_le64(&from->sum))
		r = -EUCLEAN;
	swap_words(f);
	f->n = get_le64(&from->n);
	if (r < 0)
		filter_done(f);
	return r;
}

/* Gives the slice its filter, if that still fits: a load since open would be missing from it. What
 * has been added meanwhile is added to it. */
static bool adopt(struct digest_slice *s, struct filter *f, uint64_t loads)
{
	SCOPED_LOCK(&s->lock);
	if (s->loads != loads || s->filter.words) {
		filter_done(f);
		return false;
	}
	s->filter = *f;
	s->filter_changed = s->fresh.n || s->loading.n;
	digest_filters_add_gathered(&s->filter, s);
	atomic_store(&s->filter_wanted, filter_full(&s->filter));
	return true;
}

void filter_file_read(struct digests *d)
{
	struct filter_file_header h;
	struct stat st;
	CLEANUP_CLOSE int fd = openat(d->opt.index_dirfd, FILTER_FILE, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || io_read_exact(fd, &h, sizeof h, 0) < 0 ||
	    !header_valid(d, &h))
		return;
	off_t at = sizeof h;
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		uint64_t blocks = get_le64(&h.slice[i].blocks);
		struct filter f;
		if (blocks > (uint64_t)(st.st_size - at) / FILTER_BLOCK_BYTES)
			return;
		if (blocks && read_blocks(fd, at, &h.slice[i], &f) == 0 &&
		    adopt(&d->slice[i], &f, get_le64(&h.slice[i].loads)))
			atomic_fetch_add(&d->filter_slices_read, 1);
		at += (off_t)(blocks * FILTER_BLOCK_BYTES);
	}
}

static void fill_header(struct digests *d, struct filter_file_header *h)
{
	memset(h, 0, sizeof *h);
	put_le64(&h->magic, FILTER_FILE_MAGIC);
	put_le32(&h->version, FILTER_FILE_VERSION);
	put_le32(&h->slices, DIGEST_SLICES);
	memcpy(h->table_id, d->table_id, sizeof h->table_id);
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		struct digest_slice *s = &d->slice[i];
		swap_words(&s->filter);
		put_le64(&h->slice[i].loads, s->loads);
		put_le64(&h->slice[i].blocks, s->filter.blocks);
		put_le64(&h->slice[i].n, s->filter.n);
		put_le64(&h->slice[i].room, s->filter.room);
		put_le64(&h->slice[i].sum, checksum64(s->filter.words, filter_bytes(&s->filter)));
	}
	put_le64(&h->sum, header_sum(h));
}

static int write_all(struct digests *d, int fd)
{
	struct filter_file_header h;
	off_t at = sizeof h;

	fill_header(d, &h);
	int r = io_write(fd, &h, sizeof h, 0);
	for (unsigned i = 0; r == 0 && i < DIGEST_SLICES; i++) {
		const struct filter *f = &d->slice[i].filter;
		if (f->words)
			r = io_write(fd, f->words, filter_bytes(f), at);
		at += (off_t)filter_bytes(f);
	}
	return r < 0 ? r : io_fsync(fd);
}

/* Before the first load there is no row, so no table id to bind the file to. */
static bool worth_writing(const struct digests *d)
{
	bool changed = false, loaded = false;
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		changed |= d->slice[i].filter_changed;
		loaded |= d->slice[i].loads != 0;
	}
	return changed && loaded;
}

int filter_file_write(struct digests *d)
{
	int dir = d->opt.index_dirfd;
	if (!worth_writing(d))
		return 0;
	CLEANUP_CLOSE int fd = io_create(dir, FILTER_FILE_NEW, O_WRONLY | O_TRUNC, 0600);
	if (fd < 0)
		return fd;
	int r = write_all(d, fd);
	if (r == 0 && renameat(dir, FILTER_FILE_NEW, dir, FILTER_FILE) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir, FILTER_FILE_NEW, 0);
		return r;
	}
	return io_fsync_dir(dir);
}
