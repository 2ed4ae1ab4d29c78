// SPDX-License-Identifier: MIT
/* Files go as blocks, cut at multiples of REPLICA_BLOCK and where data ends, each an object named by its digest. So a
 * block that has not changed since it was last shipped costs reading it, and a file that has not changed not even that.
 */
#include "replica_ship.h"
#include "cleanup.h"
#include "clock.h"
#include "digests_format.h"
#include <errno.h>
#include <sys/stat.h>

/* Files whose time is that recent when they are read may have changed afterwards with the same time. */
#define RECENT_NS 2000000000
#define CALM_TRIES 3u

int replica_ship_object(struct replica_ship *s, struct slice data, uint64_t at,
			struct replica_root *root)
{
	struct replica_block b = { .at = at, .len = (uint32_t)data.len };
	char name[DEPOT_NAME_MAX];
	int r = atomic_load(s->stop) ? -ECANCELED : 0;
	if (r < 0)
		return r;
	digest_of(data.at, data.len, &b.digest);
	replica_object_name(s->epoch, &b.digest, name);
	if (!replica_held_has(&s->held, name, NULL)) {
		r = s->depot->ops->put(s->depot, name, data);
		if (r == 0)
			r = replica_held_add(&s->held, name, data.len);
		if (r == 0 && s->pace)
			s->pace(s->arg, data.len);
		s->bytes += data.len;
	}
	return r < 0 ? r : replica_root_add_block(root, &b);
}

/* The next data at or after *at; false: none. */
static bool next_data(int fd, uint64_t size, uint64_t *at, uint64_t *ret_end)
{
	off_t from = *at < size ? lseek(fd, (off_t)*at, SEEK_DATA) : -1;
	off_t end = from < 0 || (uint64_t)from >= size ? -1 : lseek(fd, from, SEEK_HOLE);
	if (end < 0)
		return false;
	*at = (uint64_t)from;
	*ret_end = (uint64_t)end < size ? (uint64_t)end : size;
	return true;
}

int replica_ship_file(struct replica_ship *s, struct replica_root *root, int fd,
		      const struct replica_item *item)
{
	CLEANUP_FREE uint8_t *data = malloc(REPLICA_BLOCK);
	int r = data ? replica_root_add(root, item) : -ENOMEM;
	uint64_t end;
	for (uint64_t at = 0; r == 0 && next_data(fd, item->size, &at, &end);) {
		uint64_t cut = (at / REPLICA_BLOCK + 1) * REPLICA_BLOCK;
		size_t len = (size_t)((cut < end ? cut : end) - at);
		ssize_t n = io_read(fd, data, len, (off_t)at);
		if (n <= 0)
			return n < 0 ? (int)n : 0; /* it has become shorter */
		r = replica_ship_object(s, slice_of(data, (size_t)n), at, root);
		at += (uint64_t)n;
	}
	return r;
}

static const struct replica_item *find_last(const struct replica_ship *s,
					    const struct replica_item *item)
{
	for (size_t i = 0; i < s->last.n_items; i++) {
		const struct replica_item *it = &s->last.items[i];
		if (it->kind == item->kind && it->a == item->a && it->b == item->b &&
		    it->size == item->size && it->mtime == item->mtime)
			return it;
	}
	return NULL;
}

static int look(int fd, struct replica_item *item)
{
	struct stat st;
	if (fstat(fd, &st))
		return -errno;
	item->size = (uint64_t)st.st_size;
	item->mtime = clock_ns_of(&st.st_mtim);
	return 0;
}

/* What is written meanwhile is there in part, as after a crash; so a file that is quiet for a moment is awaited. */
int replica_ship_changing(struct replica_ship *s, struct replica_root *root, int fd,
			  struct replica_item *item)
{
	size_t items = root->n_items, blocks = root->n_blocks;
	struct replica_item after;
	int r = look(fd, item);
	const struct replica_item *last = r == 0 ? find_last(s, item) : NULL;
	if (last && item->mtime + RECENT_NS < s->last_ns)
		return replica_root_copy(root, &s->last, (size_t)(last - s->last.items));
	for (unsigned i = 0; r == 0 && i < CALM_TRIES; i++) {
		root->n_items = items;
		root->n_blocks = blocks;
		r = replica_ship_file(s, root, fd, item);
		after = *item;
		if (r == 0)
			r = look(fd, &after);
		if (r == 0 && after.mtime == item->mtime && after.size == item->size)
			break;
		if (i + 1 < CALM_TRIES)
			*item = after;
	}
	return r;
}

static void put_row(struct buf *out, enum kv_table t, struct slice key, struct slice val)
{
	buf_put_u8(out, (uint8_t)t);
	buf_put_varint(out, key.len);
	buf_put_varint(out, val.len);
	buf_put(out, key.at, key.len);
	buf_put(out, val.at, val.len);
}

static int put_digests(struct replica_ship *s, struct replica_root *root, struct buf *rows)
{
	struct replica_item *item = &root->items[root->n_items - 1];
	if (rows->failed)
		return -ENOMEM;
	uint64_t at = item->size;
	item->size += rows->len;
	int r = rows->len ? replica_ship_object(s, slice_of(rows->data, rows->len), at, root) : 0;
	buf_reset(rows);
	return r;
}

/* The row with the watermarks comes first: what is loaded meanwhile is above them, and read again from frames. */
int replica_ship_digests(struct replica_ship *s, struct replica_root *root)
{
	struct replica_item item = { .kind = REPLICA_DIGESTS };
	CLEANUP_BUF struct buf rows = { 0 }, mark = { 0 };
	struct kv *kv = s->pool->kv;
	struct slice key = slice_of(DIGESTS_ROW, sizeof DIGESTS_ROW - 1), val;
	int r = kv_get(kv, KV_META, key.at, key.len, &mark);
	if (r < 0)
		return r == -ENOENT || r == -EUCLEAN ? 0 : r;
	put_row(&rows, KV_META, key, slice_of(mark.data, mark.len));
	r = replica_root_add(root, &item);
	struct kv_iter *it = r == 0 ? kv_iter_new(kv, KV_DIGEST, NULL, 0, false) : NULL;
	if (r == 0)
		r = it ? 1 : -ENOMEM;
	while (r > 0 && (r = kv_iter_next(it, &key, &val)) != 0) {
		if (r < 0 && (r != -EUCLEAN || !key.len))
			break;
		if (r > 0)
			put_row(&rows, KV_DIGEST, key, val);
		r = rows.len < REPLICA_BLOCK ? 0 : put_digests(s, root, &rows);
		r = r < 0 ? r : 1;
	}
	kv_iter_free(it);
	return r < 0 ? r : put_digests(s, root, &rows);
}
