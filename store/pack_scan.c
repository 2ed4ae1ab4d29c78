// SPDX-License-Identifier: MIT
/* A sealed pack holds what its footer lists; heads are read at those offsets and nowhere else, so
 * that neither a hole nor a rotten frame hides its neighbours.
 *
 * A pack without a footer is walked: each valid head says where the next frame begins. Where none
 * begins, the walk looks for the next valid head at a multiple of FRAME_ALIGN. A head's sum covers
 * the pack and the offset, so user data that happens to hold a frame (a pack stored in a pool) is
 * never taken for one. The search reads each byte once and sums a candidate only when its fixed part
 * is plausible, so its cost is bounded by the file's length except for data made to look like heads,
 * where it is one checksum (at most 48 KiB) per 8 bytes.
 *
 * A scan reads heads. Whether a payload reached the disk is not its business: rows of the index refer
 * only to frames that were synced.
 */
#include "pack_scan.h"
#include "cleanup.h"
#include "fault.h"
#include "io.h"
#include <errno.h>
#include <sys/stat.h>

#define HEAD_FIRST_READ 4096u
#define HEAD_MAX (sizeof(struct frame_header) + FRAME_CHUNKS_MAX * sizeof(struct chunk_entry))
#define WINDOW (256u * 1024)

struct scan {
	int fd;
	uint64_t pack, limit;
	uint8_t *head;	 /* HEAD_MAX bytes */
	uint8_t *window; /* WINDOW bytes, made when the walk first loses its way */
};

int pack_header_write(int fd, uint64_t pack, const uint8_t pool_uuid[16], int64_t created)
{
	struct pack_header h = {
		.magic = PACK_MAGIC,
		.version = PACK_VERSION,
		.pack = pack,
		.created = (uint64_t)created,
	};
	memcpy(h.pool_uuid, pool_uuid, sizeof h.pool_uuid);
	h.sum = checksum64(&h, offsetof(struct pack_header, sum));
	return io_write(fd, &h, sizeof h, 0);
}

bool pack_header_is(const struct pack_header *h, uint64_t pack, const uint8_t pool_uuid[16])
{
	return h->magic == PACK_MAGIC && h->version == PACK_VERSION && !h->flags &&
	       h->pack == pack && !memcmp(h->pool_uuid, pool_uuid, sizeof h->pool_uuid) &&
	       h->sum == checksum64(h, offsetof(struct pack_header, sum));
}

int pack_header_check(int fd, uint64_t pack, const uint8_t pool_uuid[16])
{
	struct pack_header h;
	int r = io_read_exact(fd, &h, sizeof h, 0);
	return r < 0 ? r : pack_header_is(&h, pack, pool_uuid) ? 0 : -EUCLEAN;
}

bool pack_is_foreign(int fd, const uint8_t pool_uuid[16])
{
	struct pack_header h;
	return io_read_exact(fd, &h, sizeof h, 0) == 0 && h.magic == PACK_MAGIC &&
	       h.sum == checksum64(&h, offsetof(struct pack_header, sum)) &&
	       memcmp(h.pool_uuid, pool_uuid, sizeof h.pool_uuid) != 0;
}

int pack_keep_frame(void *arg, uint64_t offset, const struct frame_head *head)
{
	struct pack_kept *k = arg;
	uint64_t first = head->entries[0].id, last = head->entries[head->h.chunks - 1].id;
	if (first > k->limit)
		return 0;
	if (k->n == k->cap) {
		size_t cap = k->cap ? k->cap * 2 : 256;
		struct footer_entry *v = realloc(k->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		k->v = v;
		k->cap = cap;
	}
	if (!k->n || first < k->first_chunk)
		k->first_chunk = first;
	if (last > k->last_chunk)
		k->last_chunk = last;
	k->end = offset + head->stored_len;
	k->v[k->n++] = (struct footer_entry){
		.offset = offset,
		.first_chunk = first,
		.stored_len = head->stored_len,
		.decoded_len = head->h.decoded_len,
	};
	return 0;
}

static int entry_order(const void *a, const void *b)
{
	uint64_t x = ((const struct footer_entry *)a)->offset,
		 y = ((const struct footer_entry *)b)->offset;
	return (x > y) - (x < y);
}

int pack_footer_write(int fd, uint64_t pack, uint64_t end, struct footer_entry *entries, size_t n,
		      uint64_t last_chunk, uint64_t *ret_bytes)
{
	size_t len = n * sizeof *entries + sizeof(struct footer_tail);
	CLEANUP_FREE uint8_t *bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	struct footer_tail tail = {
		.magic = PACK_FOOTER_MAGIC,
		.pack = pack,
		.frames = n,
		.last_chunk = last_chunk,
	};
	if (n) { /* none: all the frames that the index names have lost their heads */
		qsort(entries, n, sizeof *entries, entry_order);
		memcpy(bytes, entries, n * sizeof *entries);
	}
	memcpy(bytes + n * sizeof *entries, &tail, sizeof tail);
	put_le64(bytes + len - sizeof tail.sum, checksum64(bytes, len - sizeof tail.sum));
	int r = io_write(fd, bytes, len, (off_t)end);
	if (r < 0)
		return r;
	if (ftruncate(fd, (off_t)(end + len)))
		return -errno;
	*ret_bytes = end + len;
	return 0;
}

static bool footer_plausible(const struct footer_entry *e, size_t n, uint64_t at)
{
	uint64_t end = sizeof(struct pack_header);
	for (size_t i = 0; i < n; i++) {
		if (e[i].offset < end || e[i].offset % FRAME_ALIGN || e[i].offset > at ||
		    e[i].stored_len > at - e[i].offset)
			return false;
		end = e[i].offset + e[i].stored_len;
	}
	return true;
}

int pack_footer_find(const struct pack_bytes *from, uint64_t pack,
		     struct footer_entry **ret_entries, size_t *ret_n, uint64_t *ret_at)
{
	struct footer_tail tail;
	uint64_t size = from->size;
	int r = fault_hit("pack_footer");
	if (r < 0)
		return r;
	if (size < sizeof(struct pack_header) + sizeof tail)
		return -ENOENT;
	r = from->read(from->arg, &tail, sizeof tail, size - sizeof tail);
	if (r < 0)
		return r;
	size_t room = size - sizeof(struct pack_header) - sizeof tail;
	if (tail.magic != PACK_FOOTER_MAGIC || tail.pack != pack ||
	    tail.frames > room / sizeof(struct footer_entry))
		return -ENOENT;
	size_t entries = tail.frames * sizeof(struct footer_entry), len = entries + sizeof tail;
	uint64_t at = size - len;
	CLEANUP_FREE uint8_t *bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	r = from->read(from->arg, bytes, len, at);
	if (r < 0)
		return r;
	if (checksum64(bytes, len - sizeof tail.sum) != get_le64(bytes + len - sizeof tail.sum) ||
	    !footer_plausible((const void *)bytes, tail.frames, at))
		return -ENOENT;
	*ret_entries = (struct footer_entry *)TAKE_PTR(bytes);
	*ret_n = tail.frames;
	*ret_at = at;
	return 0;
}

static int read_fd(void *arg, void *buf, size_t len, uint64_t at)
{
	return io_read_exact(*(const int *)arg, buf, len, (off_t)at);
}

int pack_footer_read(int fd, uint64_t pack, struct footer_entry **ret_entries, size_t *ret_n,
		     uint64_t *ret_at)
{
	struct stat st;
	if (fstat(fd, &st))
		return -errno;
	struct pack_bytes from = { read_fd, &fd, (uint64_t)st.st_size };
	return pack_footer_find(&from, pack, ret_entries, ret_n, ret_at);
}

/* 0, -EUCLEAN when no valid frame lies at offset, -errno. */
static int read_head(struct scan *s, uint64_t offset, struct frame_head *ret_head)
{
	size_t need = HEAD_FIRST_READ, have = 0;
	if (offset > s->limit)
		return -EUCLEAN;
	int r = fault_hit("pack_read");
	if (r < 0)
		return r;
	do {
		size_t left = s->limit - offset;
		if (need > left)
			need = left;
		if (need <= have) /* the file ends within the head */
			return -EUCLEAN;
		r = io_read_exact(s->fd, s->head + have, need - have, (off_t)(offset + have));
		if (r < 0)
			return r;
		have = need;
		r = frame_parse_head(s->head, have, s->pack, offset, ret_head, &need);
	} while (r == -EAGAIN);
	if (r == 0 && ret_head->stored_len > s->limit - offset)
		return -EUCLEAN;
	return r;
}

/* Finds the first valid head at or after `at`. 1 and *ret_offset, 0 when there is none, -errno. */
static int resync(struct scan *s, uint64_t at, uint64_t *ret_offset)
{
	struct frame_head head;
	size_t need;
	if (!s->window && !(s->window = malloc(WINDOW)))
		return -ENOMEM;
	for (; at < s->limit; at += WINDOW) {
		size_t len = s->limit - at < WINDOW ? s->limit - at : WINDOW;
		int r = io_read_exact(s->fd, s->window, len, (off_t)at);
		if (r < 0)
			return r;
		for (size_t i = 0; i + sizeof(struct frame_header) <= len; i += FRAME_ALIGN) {
			if (get_le32(s->window + i) != FRAME_MAGIC)
				continue;
			r = frame_parse_head(s->window + i, len - i, s->pack, at + i, &head, &need);
			if (r == -EAGAIN)
				r = read_head(s, at + i, &head);
			if (r == 0 && head.stored_len <= s->limit - at - i) {
				*ret_offset = at + i;
				return 1;
			}
			if (r < 0 && r != -EUCLEAN)
				return r;
		}
		/* a fixed part cut by the window's end is seen whole by the next window */
		if (len == WINDOW)
			at -= (sizeof(struct frame_header) + FRAME_ALIGN - 1) & ~(FRAME_ALIGN - 1);
	}
	return 0;
}

static int walk(struct scan *s, uint64_t from, pack_scan_fn *fn, void *arg, uint64_t *ret_end)
{
	struct frame_head head;
	uint64_t at = from;
	while (at < s->limit) {
		int r = read_head(s, at, &head);
		if (r == -EUCLEAN) {
			r = resync(s, at + FRAME_ALIGN, &at);
			if (r <= 0)
				return r;
			continue;
		}
		if (r == 0)
			r = fn(arg, at, &head);
		if (r)
			return r;
		at += head.stored_len;
		*ret_end = at;
	}
	return 0;
}

/* What cannot be read is passed over, and reported when everything else has been seen. */
static int visit_listed(struct scan *s, const struct footer_entry *e, size_t n, uint64_t from,
			pack_scan_fn *fn, void *arg, uint64_t *ret_end)
{
	struct frame_head head;
	int first_error = 0;
	for (size_t i = 0; i < n; i++) {
		if (e[i].offset < from)
			continue;
		int r = read_head(s, e[i].offset, &head);
		if (r == 0 && head.stored_len != e[i].stored_len)
			r = -EUCLEAN;
		if (r < 0) {
			first_error = first_error ? first_error : r;
			continue;
		}
		r = fn(arg, e[i].offset, &head);
		if (r)
			return r;
		*ret_end = e[i].offset + e[i].stored_len;
	}
	return first_error;
}

int pack_scan_fd(int fd, uint64_t pack, uint64_t from, pack_scan_fn *fn, void *arg,
		 uint64_t *ret_end)
{
	CLEANUP_FREE struct footer_entry *entries = NULL;
	CLEANUP_FREE uint8_t *head = malloc(HEAD_MAX);
	struct scan s = { .fd = fd, .pack = pack, .head = head };
	struct stat st;
	size_t n;
	if (!head)
		return -ENOMEM;
	if (fstat(fd, &st))
		return -errno;
	if (from < sizeof(struct pack_header))
		from = sizeof(struct pack_header);
	from = (from + FRAME_ALIGN - 1) & ~(uint64_t)(FRAME_ALIGN - 1);
	*ret_end = from;
	int r = pack_footer_read(fd, pack, &entries, &n, &s.limit);
	if (r == 0)
		return visit_listed(&s, entries, n, from, fn, arg, ret_end);
	if (r != -ENOENT)
		return r;
	s.limit = (uint64_t)st.st_size;
	r = walk(&s, from, fn, arg, ret_end);
	free(s.window);
	return r;
}
