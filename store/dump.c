// SPDX-License-Identifier: MIT
/* Writing. The file is nothing until its footer is there, and the footer is written only when all
 * before it, and the log up to the last LSN that the rows may show, are durable. */
#include "dump.h"
#include "cleanup.h"
#include "clock.h"
#include "digest.h"
#include "digests_format.h"
#include "dump_impl.h"
#include "fault.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <zstd.h>

#define FRAME_RAW (256u << 10)
#define LEVEL 1

struct writer {
	struct kv *kv;
	const atomic_bool *stop;
	int fd;
	uint64_t at;
	struct dump_footer footer;
	struct buf raw, packed;
	uint32_t rows; /* in raw */
	ZSTD_CCtx *zstd;
};

static int write_header(struct writer *w, const struct dump_place *place, struct dump_info *info)
{
	struct dump_header h = {
		.magic = DUMP_MAGIC,
		.version = DUMP_VERSION,
		.generation = info->generation,
		.start_lsn = info->start_lsn,
		.created = (uint64_t)info->created,
	};
	memcpy(h.pool_uuid, place->pool_uuid, sizeof h.pool_uuid);
	h.sum = checksum64(&h, offsetof(struct dump_header, sum));
	w->at = sizeof h;
	return io_write(w->fd, &h, sizeof h, 0);
}

static int write_frame(struct writer *w, enum kv_table t)
{
	size_t room = ZSTD_compressBound(w->raw.len);
	struct dump_frame f = {
		.magic = DUMP_FRAME_MAGIC,
		.table = t,
		.rows = w->rows,
		.raw_len = (uint32_t)w->raw.len,
	};
	buf_reset(&w->packed);
	uint8_t *frame = buf_extend(&w->packed, sizeof f + room + 8);
	if (!frame || w->raw.failed)
		return -ENOMEM;
	size_t len =
		ZSTD_compressCCtx(w->zstd, frame + sizeof f, room, w->raw.data, w->raw.len, LEVEL);
	if (ZSTD_isError(len))
		return -ENOMEM;
	f.stored_len = (uint32_t)len;
	f.sum = dump_frame_sum(&f, frame + sizeof f, w->footer.generation, w->at);
	memcpy(frame, &f, sizeof f);
	memset(frame + sizeof f + len, 0, 8);
	len = (sizeof f + len + 7) & ~(size_t)7;
	int r = io_write(w->fd, frame, len, (off_t)w->at);
	w->at += len;
	w->footer.frames++;
	w->footer.rows[t] += w->rows;
	w->footer.content = checksum64_seeded(&f.sum, sizeof f.sum, w->footer.content);
	w->rows = 0;
	buf_reset(&w->raw);
	return r;
}

static bool is_dumped(enum kv_table t, struct slice key)
{
	return t != KV_META || key.len != sizeof DIGESTS_ROW - 1 ||
	       memcmp(key.at, DIGESTS_ROW, key.len) != 0;
}

static int write_table(struct writer *w, enum kv_table t)
{
	struct kv_iter *it = kv_iter_new(w->kv, t, NULL, 0, false);
	struct slice key, val;
	int r = it ? 1 : -ENOMEM;
	if (w->stop && atomic_load(w->stop))
		r = -ECANCELED;
	while (r > 0 && (r = kv_iter_next(it, &key, &val)) > 0) {
		if (!is_dumped(t, key))
			continue;
		buf_put_varint(&w->raw, key.len);
		buf_put_varint(&w->raw, val.len);
		buf_put(&w->raw, key.at, key.len);
		buf_put(&w->raw, val.at, val.len);
		w->rows++;
		if (w->raw.len < FRAME_RAW)
			continue;
		r = w->stop && atomic_load(w->stop) ? -ECANCELED : write_frame(w, t);
		r = r < 0 ? r : 1;
	}
	kv_iter_free(it);
	return r == 0 && w->rows ? write_frame(w, t) : r;
}

static int write_footer(struct writer *w)
{
	w->footer.end_lsn = kv_last_lsn(w->kv);
	int r = kv_sync(w->kv, w->footer.end_lsn);
	if (r == 0)
		r = io_fdatasync(w->fd);
	if (r < 0)
		return r;
	w->footer.sum = checksum64(&w->footer, offsetof(struct dump_footer, sum));
	r = io_write(w->fd, &w->footer, sizeof w->footer, (off_t)w->at);
	w->at += sizeof w->footer;
	return r < 0 ? r : io_fsync(w->fd);
}

static int write_all(struct writer *w, const struct dump_place *place, struct dump_info *info)
{
	w->zstd = ZSTD_createCCtx();
	if (!w->zstd)
		return -ENOMEM;
	info->created = clock_wall_ns() / 1000000000;
	info->start_lsn = kv_visible_lsn(w->kv);
	w->footer.magic = DUMP_FOOTER_MAGIC;
	w->footer.generation = info->generation;
	w->footer.start_lsn = info->start_lsn;
	int r = fault_hit("dump");
	if (r == 0)
		r = write_header(w, place, info);
	for (unsigned t = 0; r == 0 && t < KV_TABLES; t++)
		if (t != KV_DIGEST)
			r = write_table(w, (enum kv_table)t);
	if (r == 0)
		r = write_footer(w);
	info->end_lsn = w->footer.end_lsn;
	info->bytes = w->at;
	info->rows_total = 0;
	for (unsigned t = 0; t < KV_TABLES; t++)
		info->rows_total += info->rows[t] = w->footer.rows[t];
	return r;
}

/* Removes every dump that is not of `kept`, whole or not. */
static int prune(const struct dump_place *place, const struct dump_info *kept, size_t n)
{
	int fd = openat(place->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	for (struct dirent *e; (e = readdir(dir));) {
		char name[DUMP_NAME_SIZE];
		bool keep = strncmp(e->d_name, "dump-", 5) != 0;
		for (size_t i = 0; i < n && !keep; i++) {
			dump_name(kept[i].generation, name);
			keep = !strcmp(e->d_name, name);
		}
		if (!keep && unlinkat(place->dirfd, e->d_name, 0))
			return -errno;
	}
	return 0;
}

static int next_generation(const struct dump_place *place, uint64_t *ret_generation)
{
	int fd = openat(place->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	uint64_t last = 0, generation;
	struct dirent *e;
	int more;
	if (!dir)
		return -errno;
	while ((more = io_next_entry(dir, &e)) > 0)
		if (sscanf(e->d_name, "dump-%16lx", &generation) == 1 && generation > last &&
		    generation < UINT64_MAX)
			last = generation;
	*ret_generation = last + 1;
	return more;
}

int dump_write(struct kv *kv, const struct dump_place *place, const atomic_bool *stop,
	       struct dump_info *ret_info)
{
	struct writer w = { .kv = kv, .stop = stop, .fd = -1 };
	struct dump_info info = { 0 }, kept[DUMPS_KEPT];
	char name[DUMP_NAME_SIZE];
	int r = next_generation(place, &info.generation);
	if (r < 0)
		return r;
	dump_name(info.generation, name);
	w.fd = io_create(place->dirfd, name, O_RDWR | O_EXCL, 0600);
	if (w.fd < 0)
		return w.fd;
	r = write_all(&w, place, &info);
	if (close(w.fd) && r == 0)
		r = -errno;
	if (r == 0)
		r = io_fsync_dir(place->dirfd);
	ZSTD_freeCCtx(w.zstd);
	buf_done(&w.raw);
	buf_done(&w.packed);
	if (r < 0) {
		unlinkat(place->dirfd, name, 0);
		return r;
	}
	*ret_info = info;
	int n = dump_list(place, kept, DUMPS_KEPT, NULL);
	return n > 0 && kept[0].generation == info.generation ? prune(place, kept, (size_t)n) : n;
}
