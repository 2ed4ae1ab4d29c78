// SPDX-License-Identifier: MIT
/* Reading: whatever is there may be rotten, so every length is checked before it is used. */
#include "cleanup.h"
#include "digest.h"
#include "dump_impl.h"
#include "expand.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <zstd.h>

uint64_t dump_frame_sum(const struct dump_frame *f, const void *payload, uint64_t generation,
			uint64_t offset)
{
	uint64_t seed = checksum64_seeded(f, offsetof(struct dump_frame, sum), generation ^ offset);
	return checksum64_seeded(payload, f->stored_len, seed);
}

struct dump_file {
	int fd;
	uint64_t size; /* without the footer */
	struct dump_header header;
	struct dump_footer footer;
};

static bool header_valid(const struct dump_header *h, const uint8_t uuid[16], uint64_t generation)
{
	return h->magic == DUMP_MAGIC && h->version == DUMP_VERSION && !h->flags &&
	       !memcmp(h->pool_uuid, uuid, 16) && h->generation == generation &&
	       h->sum == checksum64(h, offsetof(struct dump_header, sum));
}

static bool footer_valid(const struct dump_footer *f, const struct dump_header *h)
{
	return f->magic == DUMP_FOOTER_MAGIC && f->generation == h->generation &&
	       f->start_lsn == h->start_lsn && f->end_lsn >= f->start_lsn &&
	       f->sum == checksum64(f, offsetof(struct dump_footer, sum));
}

/* -EUCLEAN: not a whole dump of this pool. The caller closes ret->fd, whatever the result. */
static int file_open(const struct dump_place *place, uint64_t generation, struct dump_file *ret)
{
	char name[DUMP_NAME_SIZE];
	struct stat st;
	dump_name(generation, name);
	*ret = (struct dump_file){ .fd = openat(place->dirfd, name,
						O_RDONLY | O_CLOEXEC | O_NOFOLLOW) };
	if (ret->fd < 0 || fstat(ret->fd, &st))
		return -errno;
	if ((size_t)st.st_size < sizeof ret->header + sizeof ret->footer)
		return -EUCLEAN;
	ret->size = (uint64_t)st.st_size - sizeof ret->footer;
	int r = io_read_exact(ret->fd, &ret->header, sizeof ret->header, 0);
	if (r == 0)
		r = io_read_exact(ret->fd, &ret->footer, sizeof ret->footer, (off_t)ret->size);
	if (r < 0)
		return r;
	return header_valid(&ret->header, place->pool_uuid, generation) &&
			       footer_valid(&ret->footer, &ret->header)
		       ? 0
		       : -EUCLEAN;
}

static int info_of(const struct dump_place *place, uint64_t generation, struct dump_info *ret)
{
	struct dump_file f;
	int r = file_open(place, generation, &f);
	if (f.fd >= 0)
		close(f.fd);
	if (r < 0)
		return r;
	*ret = (struct dump_info){
		.generation = generation,
		.start_lsn = f.footer.start_lsn,
		.end_lsn = f.footer.end_lsn,
		.created = (int64_t)f.header.created,
		.bytes = f.size + sizeof f.footer,
	};
	for (unsigned t = 0; t < KV_TABLES; t++)
		ret->rows_total += ret->rows[t] = f.footer.rows[t];
	return 0;
}

static void insert_sorted(struct dump_info *v, size_t *n, size_t max, const struct dump_info *one)
{
	size_t i = *n < max ? *n : max;
	while (i > 0 && v[i - 1].generation < one->generation) {
		if (i < max)
			v[i] = v[i - 1];
		i--;
	}
	if (i < max)
		v[i] = *one;
	if (*n < max)
		++*n;
}

int dump_list(const struct dump_place *place, struct dump_info *ret_dumps, size_t max,
	      int *ret_unread)
{
	int unread = 0, fd = openat(place->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0;
	if (!dir)
		return -errno;
	for (struct dirent *e; (errno = 0, e = readdir(dir));) {
		uint64_t generation;
		char name[DUMP_NAME_SIZE];
		struct dump_info one;
		if (sscanf(e->d_name, "dump-%16lx", &generation) != 1)
			continue;
		dump_name(generation, name);
		if (strcmp(name, e->d_name))
			continue;
		int r = info_of(place, generation, &one);
		if (r == 0)
			insert_sorted(ret_dumps, &n, max, &one);
		else if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
			return r;
		else if (r != -EUCLEAN && r != -ENOENT) /* pruned meanwhile */
			unread = r;
	}
	if (ret_unread)
		*ret_unread = unread;
	return errno ? -errno : (int)n;
}

struct reading {
	int (*fn)(void *arg, enum kv_table t, struct slice key, struct slice val);
	void *arg;
	const struct dump_file *file;
	uint64_t at, rows[KV_TABLES], content;
	unsigned table;
	struct buf stored, raw, last_key;
};

static int hand_out(struct reading *rd, const struct dump_frame *f)
{
	struct slice in = slice_of(rd->raw.data, f->raw_len);
	if (f->table != rd->table)
		buf_reset(&rd->last_key);
	rd->table = f->table;
	for (uint32_t i = 0; i < f->rows; i++) {
		uint64_t klen = take_varint(&in), vlen = take_varint(&in);
		if (in.bad || !klen || klen > KV_KEY_MAX || vlen > KV_VALUE_MAX ||
		    klen + vlen > in.len)
			return -EUCLEAN;
		struct slice key = slice_of(take_bytes(&in, klen), klen);
		struct slice val = slice_of(take_bytes(&in, vlen), vlen);
		size_t least = klen < rd->last_key.len ? klen : rd->last_key.len;
		int c = least ? memcmp(rd->last_key.data, key.at, least) : 0;
		if (c > 0 || (c == 0 && klen <= rd->last_key.len))
			return -EUCLEAN;
		buf_reset(&rd->last_key);
		buf_put(&rd->last_key, key.at, klen);
		int r = rd->last_key.failed ? -ENOMEM
					    : rd->fn(rd->arg, (enum kv_table)f->table, key, val);
		if (r)
			return r;
	}
	rd->rows[f->table] += f->rows;
	return in.len ? -EUCLEAN : 0;
}

static bool frame_plausible(const struct reading *rd, const struct dump_frame *f)
{
	return f->magic == DUMP_FRAME_MAGIC && f->table < KV_TABLES && f->table != KV_DIGEST &&
	       f->table >= rd->table && f->rows && f->raw_len && f->raw_len <= DUMP_FRAME_RAW_MAX &&
	       f->stored_len <= ZSTD_compressBound(f->raw_len) &&
	       f->stored_len <= rd->file->size - rd->at - sizeof *f;
}

static int read_frame(struct reading *rd)
{
	struct dump_frame f;
	if (rd->file->size - rd->at < sizeof f)
		return -EUCLEAN;
	int r = io_read_exact(rd->file->fd, &f, sizeof f, (off_t)rd->at);
	if (r < 0)
		return r;
	if (!frame_plausible(rd, &f))
		return -EUCLEAN;
	buf_reset(&rd->stored);
	buf_reset(&rd->raw);
	void *stored = buf_extend(&rd->stored, f.stored_len),
	     *raw = buf_extend(&rd->raw, f.raw_len);
	if (!stored || !raw)
		return -ENOMEM;
	r = io_read_exact(rd->file->fd, stored, f.stored_len, (off_t)(rd->at + sizeof f));
	if (r < 0)
		return r;
	if (f.sum != dump_frame_sum(&f, stored, rd->file->header.generation, rd->at))
		return -EUCLEAN;
	r = expand_exact(raw, f.raw_len, slice_of(stored, f.stored_len));
	if (r < 0)
		return r;
	rd->content = checksum64_seeded(&f.sum, sizeof f.sum, rd->content);
	rd->at += (sizeof f + f.stored_len + 7) & ~(uint64_t)7;
	return hand_out(rd, &f);
}

int dump_read(const struct dump_place *place, uint64_t generation,
	      int (*fn)(void *arg, enum kv_table t, struct slice key, struct slice val), void *arg)
{
	struct dump_file file;
	struct reading rd = { .fn = fn, .arg = arg, .file = &file, .at = sizeof file.header };
	int r = file_open(place, generation, &file);
	for (uint64_t i = 0; r == 0 && i < file.footer.frames; i++)
		r = read_frame(&rd);
	bool whole = rd.at == file.size && rd.content == file.footer.content;
	for (unsigned t = 0; t < KV_TABLES; t++)
		whole = whole && rd.rows[t] == file.footer.rows[t];
	if (file.fd >= 0)
		close(file.fd);
	buf_done(&rd.stored);
	buf_done(&rd.raw);
	buf_done(&rd.last_key);
	return r == 0 && !whole ? -EUCLEAN : r;
}
