// SPDX-License-Identifier: MIT
#include "replica_fetch.h"
#include "cleanup.h"
#include "expand.h"
#include "io.h"
#include "pool_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define TEXT_MAX (1u << 20)

int replica_fetch_block(struct replica_fetch *f, const struct replica_block *b, struct buf *out)
{
	char name[DEPOT_NAME_MAX];
	int r = replica_block_read(f->depot, f->root->epoch, b, out);
	if (r == 0)
		return f->went_on ? f->went_on(f->arg, b->len) : 0;
	replica_object_name(f->root->epoch, &b->digest, name);
	pool_say(f->err, "%s/%s, which is a part of the replica, %s%s", f->place, name,
		 r == -EUCLEAN	? "has other bytes than were written"
		 : r == -ENOENT ? "is missing"
				: "cannot be read: ",
		 r == -EUCLEAN || r == -ENOENT ? "" : strerror(-r));
	return r == -ENOENT ? -EUCLEAN : r;
}

int replica_fetch_text(struct replica_fetch *f, enum replica_kind kind, struct buf *out)
{
	for (size_t i = 0; i < f->root->n_items; i++) {
		const struct replica_item *it = &f->root->items[i];
		int r = 0;
		if (it->kind != kind || it->size > TEXT_MAX)
			continue;
		for (size_t k = 0; r == 0 && k < it->n; k++)
			r = replica_fetch_block(f, &f->root->blocks[it->first + k], out);
		return r;
	}
	return 0;
}

/* 1: these bytes are in the file that there was. */
static int take_had(const struct replica_had *had, const struct replica_block *b, struct buf *out)
{
	struct digest digest;
	size_t lo = 0, hi = had ? had->n : 0;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (had->blocks[mid].at < b->at)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!had || lo == had->n || had->blocks[lo].at != b->at || had->blocks[lo].len != b->len ||
	    !digest_equal(&had->blocks[lo].digest, &b->digest))
		return 0;
	size_t from = out->len;
	uint8_t *data = buf_extend(out, b->len);
	if (!data)
		return -ENOMEM;
	if (io_read_exact(had->fd, data, b->len, (off_t)b->at) == 0) {
		digest_of(data, b->len, &digest);
		if (digest_equal(&digest, &b->digest))
			return 1;
	}
	out->len = from;
	return 0;
}

int replica_fetch_file(struct replica_fetch *f, const struct replica_item *it, int dirfd,
		       const char *name, const struct replica_had *had)
{
	CLEANUP_BUF struct buf block = { 0 };
	CLEANUP_CLOSE int fd = io_create(dirfd, name, O_RDWR | O_EXCL, 0600);
	int r = fd < 0 ? fd : 0;
	if (r == 0 && ftruncate(fd, (off_t)it->size))
		r = -errno;
	for (size_t i = 0; r == 0 && i < it->n; i++) {
		const struct replica_block *b = &f->root->blocks[it->first + i];
		buf_reset(&block);
		r = take_had(had, b, &block);
		if (r == 0)
			r = replica_fetch_block(f, b, &block);
		if (r >= 0)
			r = io_write(fd, block.data, block.len, (off_t)b->at);
	}
	struct timespec time = { .tv_sec = it->mtime / 1000000000,
				 .tv_nsec = it->mtime % 1000000000 };
	if (r == 0 && it->mtime > 0 && futimens(fd, (struct timespec[]){ time, time }))
		r = -errno;
	return r < 0 ? r : io_fsync(fd);
}

int replica_fetch_log(struct replica_fetch *f, const struct replica_item *it,
		      int (*fn)(void *arg, uint64_t lsn, struct slice payload), void *arg)
{
	CLEANUP_BUF struct buf packed = { 0 };
	CLEANUP_FREE uint8_t *raw = it->size <= REPLICA_ENTRIES_MAX ? malloc(it->size + 1) : NULL;
	uint64_t next = it->a;
	int r = raw ? replica_fetch_block(f, &f->root->blocks[it->first], &packed) : -EUCLEAN;
	if (r == 0)
		r = expand_exact(raw, it->size, slice_of(packed.data, packed.len));
	struct slice s = slice_of(raw, it->size);
	while (r == 0 && s.len) {
		uint64_t lsn = take_le64(&s);
		uint32_t len = take_le32(&s);
		const uint8_t *payload = take_bytes(&s, len);
		if (s.bad || lsn != next++)
			return -EUCLEAN;
		r = fn(arg, lsn, slice_of(payload, len));
	}
	return r == 0 && next != it->b + 1 ? -EUCLEAN : r;
}
