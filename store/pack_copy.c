// SPDX-License-Identifier: MIT
#include "pack_copy.h"
#include "cleanup.h"
#include "fault.h"
#include "frame.h"
#include "io.h"
#include "pack_scan.h"
#include "pack_source.h"
#include "pool_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define FETCH_BYTES ((size_t)1 << 20)

static int write_all(struct pack_source *s, int fd)
{
	CLEANUP_FREE uint8_t *data = malloc(FETCH_BYTES);
	int r = data ? 0 : -ENOMEM;
	for (uint64_t at = 0; at < s->bytes && r == 0; at += FETCH_BYTES) {
		size_t n = s->bytes - at < FETCH_BYTES ? (size_t)(s->bytes - at) : FETCH_BYTES;
		r = pack_source_read(s, data, n, at);
		if (r == 0)
			r = io_write(fd, data, n, (off_t)at);
	}
	return r == -EUCLEAN ? -EIO : r;
}

static int fetch(struct place *pl, uint64_t pack, int tmp_dirfd)
{
	struct pack_source s;
	CLEANUP_CLOSE int fd = -1;
	int r = pack_source_open(&s, pl, pack);
	if (r == 0) {
		fd = openat(tmp_dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		r = fd < 0 ? -errno : write_all(&s, fd);
	}
	pack_source_close(&s);
	return r < 0 ? r : take_fd(&fd);
}

int pack_copy_open(struct tiers *t, unsigned tier, uint64_t pack, int tmp_dirfd)
{
	struct place *pl = tiers_place(t, tier);
	if (!pl)
		return -ENOMEDIUM;
	return pl->ops->open_pack ? pl->ops->open_pack(pl, pack) : fetch(pl, pack, tmp_dirfd);
}

struct weighing {
	struct kv *kv;
	int fd;
	uint64_t pack, sound;
	struct buf bytes;
};

/* Chunks of it may have been healed elsewhere: any of them will do. */
static bool is_named(const struct weighing *w, uint64_t offset, const struct frame_head *head)
{
	bool named = false;
	for (uint32_t i = 0; i < head->h.chunks && !named; i++) {
		struct frame_row row;
		uint32_t at, left;
		if (chunk_find(w->kv, head->entries[i].id, head->h.part * FRAME_DECODED_MAX, &row,
			       &at, &left) < 0)
			continue;
		named = row.pack == w->pack && row.offset == offset;
		frame_row_done(&row);
	}
	return named;
}

static int weigh_frame(void *arg, uint64_t offset, const struct frame_head *head)
{
	struct weighing *w = arg;
	struct frame_head own;
	size_t need;
	if (!is_named(w, offset, head))
		return 0;
	buf_reset(&w->bytes);
	void *to = buf_extend(&w->bytes, head->stored_len);
	CLEANUP_FREE void *out = malloc(head->h.decoded_len + 1);
	if (!to || !out)
		return -ENOMEM;
	if (io_read_exact(w->fd, to, head->stored_len, (off_t)offset) == 0 &&
	    frame_parse_head(to, head->stored_len, w->pack, offset, &own, &need) == 0 &&
	    own.h.decoded_len == head->h.decoded_len && frame_decode(&own, to, out) == 0)
		w->sound++;
	return 0;
}

int pack_copy_weigh(struct pool *pool, int fd, uint64_t pack, uint64_t *ret_weight)
{
	struct weighing w = { .kv = pool->kv, .fd = fd, .pack = pack };
	struct footer_entry *entries = NULL;
	uint64_t end, at;
	size_t n;
	int r = fault_hit("pack_weigh");
	if (r == 0)
		r = pack_scan_fd(fd, pack, 0, weigh_frame, &w, &end);
	buf_done(&w.bytes);
	if (r < 0 && r != -EUCLEAN && r != -EIO)
		return r;
	bool header = pack_header_check(fd, pack, pool->super.uuid) == 0;
	bool footer = pack_footer_read(fd, pack, &entries, &n, &at) == 0;
	free(entries);
	if (r == -EIO && !footer) /* with one the others have been seen */
		return r;
	*ret_weight = w.sound * 4 + header * 2 + footer;
	return 0;
}
