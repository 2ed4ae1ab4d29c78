// SPDX-License-Identifier: MIT
/* Three passes. First each entry's tree is walked and its inodes noted; each of its segments and
 * inline recipes marks chunks as the entry's. Then all rows of extents and inodes that belong to no
 * entry do the same for "others". A chunk with two different marks belongs to several; at the end one
 * look at all frames shares their bytes out.
 *
 * Chunk ids and segment ids are dense at their upper end, and below are long stretches that no row
 * has any more: arrays indexed by id, from zeroed pages that are never touched there.
 */
#include "du.h"
#include "chunk_row.h"
#include "cleanup.h"
#include "dirent_row.h"
#include "extent_row.h"
#include "inode_row.h"
#include "segment.h"
#include <errno.h>
#include <fcntl.h>

#define OTHERS (DU_ENTRIES_MAX + 1)
#define SEVERAL (DU_ENTRIES_MAX + 2)

struct number_set {	/* of inodes and which entry they belong to */
	uint64_t *keys; /* 0 is free */
	uint16_t *owners;
	size_t n, cap;
};

struct du {
	struct pool *pool;
	struct du_entry *entries;
	struct number_set inodes;
	uint64_t chunks, segments; /* ids are below */
	uint16_t *owner;	   /* of chunks: entry + 1, OTHERS, SEVERAL */
	uint32_t *cost;		   /* of chunks */
	uint8_t *seen;		   /* of chunks, a bit each, by the present entry */
	uint8_t *walked;	   /* of segments, a bit each, by the present entry */
};

static bool test_and_set(uint8_t *bits, uint64_t i)
{
	bool was = bits[i / 8] >> (i % 8) & 1;
	bits[i / 8] |= (uint8_t)(1u << (i % 8));
	return was;
}

static size_t set_slot(const struct number_set *s, uint64_t key)
{
	size_t i = (size_t)(key * 0x9e3779b97f4a7c15ull >> 20) & (s->cap - 1);
	while (s->keys[i] && s->keys[i] != key)
		i = (i + 1) & (s->cap - 1);
	return i;
}

static int set_grow(struct number_set *s)
{
	struct number_set bigger = { .cap = s->cap ? s->cap * 2 : 1024, .n = s->n };
	bigger.keys = calloc(bigger.cap, sizeof *bigger.keys);
	bigger.owners = calloc(bigger.cap, sizeof *bigger.owners);
	if (!bigger.keys || !bigger.owners) {
		free(bigger.keys);
		free(bigger.owners);
		return -ENOMEM;
	}
	for (size_t i = 0; i < s->cap; i++)
		if (s->keys[i]) {
			size_t at = set_slot(&bigger, s->keys[i]);
			bigger.keys[at] = s->keys[i];
			bigger.owners[at] = s->owners[i];
		}
	free(s->keys);
	free(s->owners);
	*s = bigger;
	return 0;
}

/* 1 when it is new, 0 when it belongs to an entry already. */
static int set_add(struct number_set *s, uint64_t key, uint16_t owner)
{
	int r = s->n * 2 >= s->cap ? set_grow(s) : 0;
	if (r < 0)
		return r;
	size_t i = set_slot(s, key);
	if (s->keys[i])
		return 0;
	s->keys[i] = key;
	s->owners[i] = owner;
	s->n++;
	return 1;
}

static bool set_has(const struct number_set *s, uint64_t key)
{
	return s->n && s->keys[set_slot(s, key)];
}

/* One past the largest be64 id in a table. */
static int end_of_ids(struct kv *kv, enum kv_table t, uint64_t *ret_end)
{
	static const uint8_t last[10] = { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 };
	struct kv_iter *it = kv_iter_new(kv, t, last, sizeof last, true);
	struct slice key, val;
	*ret_end = 1;
	if (!it)
		return -ENOMEM;
	int r = kv_iter_next(it, &key, &val);
	if (r > 0 && t == KV_CHUNK) {
		struct frame_row row = { 0 };
		if (frame_decode_row(key, val, &row) == 0) {
			*ret_end = row.chunks[row.n - 1].id + 1;
			frame_row_done(&row);
		}
	} else if (r > 0 && key.len >= 8) {
		*ret_end = get_be64(key.at) + 1;
	}
	kv_iter_free(it);
	return r < 0 ? r : 0;
}

static void mark_chunk(struct du *d, uint64_t chunk, uint16_t who)
{
	if (chunk == 0 || chunk >= d->chunks)
		return;
	if (d->owner[chunk] == 0)
		d->owner[chunk] = who;
	else if (d->owner[chunk] != who)
		d->owner[chunk] = SEVERAL;
	if (who == OTHERS || test_and_set(d->seen, chunk))
		return;
	d->entries[who - 1].chunks++;
	d->entries[who - 1].stored += d->cost[chunk];
}

struct marking {
	struct du *du;
	uint16_t who;
};

static void mark_cb(void *arg, uint64_t chunk)
{
	struct marking *m = arg;
	mark_chunk(m->du, chunk, m->who);
}

static int mark_segment(struct du *d, uint64_t id, uint16_t who)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct marking m = { d, who };
	struct segment seg;
	uint8_t key[8];
	if (id >= d->segments || test_and_set(d->walked, id))
		return 0;
	put_be64(key, id);
	int r = kv_get(d->pool->kv, KV_SEGMENT, key, sizeof key, &val);
	if (r == 0)
		r = segment_open(slice_of(val.data, val.len), &seg);
	if (r == 0)
		r = segment_marks(&seg, mark_cb, &m);
	return r == -ENOENT || r == -EUCLEAN ? 0 : r; /* fsck's business */
}

static void mark_recipe(struct du *d, const struct inode_row *row, uint16_t who)
{
	for (uint32_t i = 0; i < row->pieces; i++)
		mark_chunk(d, row->recipe[i].chunk, who);
}

static int mark_extents(struct du *d, uint64_t ino, uint16_t who)
{
	uint8_t from[EXTENT_KEY_SIZE];
	struct slice key, val;
	struct extent_row row;
	uint64_t of;
	int r;
	extent_key(ino, 0, from);
	struct kv_iter *it = kv_iter_new(d->pool->kv, KV_EXTENT, from, sizeof from, false);
	if (!it)
		return -ENOMEM;
	while ((r = kv_iter_next(it, &key, &val)) > 0) {
		if (extent_decode(key, val, &of, &row) < 0)
			continue;
		if (of != ino || (r = mark_segment(d, row.segment, who)) < 0)
			break;
	}
	kv_iter_free(it);
	return r < 0 && r != -EUCLEAN ? r : 0;
}

static int add_file(struct du *d, const struct inode_row *row, uint16_t who)
{
	struct du_entry *e = &d->entries[who - 1];
	e->files++;
	if (!S_ISREG(row->mode))
		return 0;
	e->apparent += row->size;
	if (row->flags & INODE_INLINE)
		e->inlined += row->size;
	else
		e->mapped += row->mapped_bytes;
	if (row->staging_gen && d->pool->staging) {
		struct stat st;
		CLEANUP_CLOSE int fd =
			staging_file(d->pool->staging, row->ino, row->staging_gen, O_RDONLY);
		if (fd >= 0 && !fstat(fd, &st))
			e->staged += (uint64_t)st.st_blocks * 512;
	}
	mark_recipe(d, row, who);
	return row->flags & INODE_MAPPED ? mark_extents(d, row->ino, who) : 0;
}

struct stack {
	uint64_t *v;
	size_t n, cap;
};

static int stack_push(struct stack *s, uint64_t ino)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 256;
		uint64_t *v = realloc(s->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = ino;
	return 0;
}

static int push_children(struct du *d, uint64_t dir, struct stack *s)
{
	struct dirent_iter *it = dirent_iter_new(d->pool->kv, dir, 0);
	struct dirent_row e;
	int r;
	if (!it)
		return -ENOMEM;
	while ((r = dirent_iter_next(it, &e)) > 0 && r != -EUCLEAN)
		if ((r = stack_push(s, e.ino)) < 0)
			break;
	dirent_iter_free(it);
	return r == -EUCLEAN ? 0 : r;
}

static int walk(struct du *d, uint16_t who)
{
	struct stack stack = { 0 };
	struct inode_row row;
	int r = inode_row_get(d->pool->kv, d->entries[who - 1].ino, &row);
	if (r == 0)
		r = stack_push(&stack, row.ino);
	while (r == 0 && stack.n) {
		uint64_t ino = stack.v[--stack.n];
		r = set_add(&d->inodes, ino, who);
		if (r <= 0)
			continue;
		r = inode_row_get(d->pool->kv, ino, &row);
		if (r == -ENOENT || r == -EUCLEAN) {
			r = 0;
		} else if (r == 0 && inode_is_dir(&row)) {
			d->entries[who - 1].directories++;
			r = push_children(d, ino, &stack);
		} else if (r == 0) {
			r = add_file(d, &row, who);
		}
	}
	free(stack.v);
	return r;
}

/* Calls fn for each row that can be read. */
static int each_row(struct du *d, enum kv_table t,
		    int (*fn)(struct du *d, struct slice key, struct slice val))
{
	struct kv_iter *it = kv_iter_new(d->pool->kv, t, NULL, 0, false);
	struct slice key, val;
	int r;
	if (!it)
		return -ENOMEM;
	while ((r = kv_iter_next(it, &key, &val)) > 0 || r == -EUCLEAN) {
		r = r > 0 ? fn(d, key, val) : 0;
		if (r < 0 && r != -EUCLEAN)
			break;
	}
	kv_iter_free(it);
	return r;
}

static int others_extent(struct du *d, struct slice key, struct slice val)
{
	struct extent_row row;
	uint64_t ino;
	int r = extent_decode(key, val, &ino, &row);
	if (r < 0 || set_has(&d->inodes, ino))
		return r;
	return mark_segment(d, row.segment, OTHERS);
}

static int others_inode(struct du *d, struct slice key, struct slice val)
{
	struct inode_row row;
	int r = key.len == 8 ? inode_row_decode(get_be64(key.at), val, &row) : -EUCLEAN;
	if (r == 0 && !set_has(&d->inodes, row.ino))
		mark_recipe(d, &row, OTHERS);
	return r;
}

static int take_costs(struct du *d, struct slice key, struct slice val)
{
	struct frame_row row = { 0 };
	int r = frame_decode_row(key, val, &row);
	if (r < 0)
		return r;
	for (uint32_t i = 0; row.decoded_len && i < row.n; i++) {
		uint64_t id = row.chunks[i].id;
		uint64_t share = (uint64_t)row.stored_len * row.chunks[i].length / row.decoded_len;
		if (id < d->chunks)
			d->cost[id] += (uint32_t)share;
	}
	frame_row_done(&row);
	return 0;
}

static void share_out(struct du *d)
{
	for (uint64_t id = 1; id < d->chunks; id++)
		if (d->owner[id] && d->owner[id] <= DU_ENTRIES_MAX)
			d->entries[d->owner[id] - 1].exclusive += d->cost[id];
}

static int count(struct du *d, size_t n)
{
	int r = each_row(d, KV_CHUNK, take_costs);
	for (size_t i = 0; r == 0 && i < n; i++) {
		memset(d->seen, 0, d->chunks / 8 + 1);
		memset(d->walked, 0, d->segments / 8 + 1);
		r = walk(d, (uint16_t)(i + 1));
	}
	memset(d->walked, 0, d->segments / 8 + 1);
	if (r == 0)
		r = each_row(d, KV_EXTENT, others_extent);
	if (r == 0)
		r = each_row(d, KV_INODE, others_inode);
	if (r == 0)
		share_out(d);
	return r;
}

int du_count(struct pool *pool, struct du_entry *entries, size_t n)
{
	struct du d = { .pool = pool, .entries = entries };
	if (n > DU_ENTRIES_MAX)
		return -E2BIG;
	int r = end_of_ids(pool->kv, KV_CHUNK, &d.chunks);
	if (r == 0)
		r = end_of_ids(pool->kv, KV_SEGMENT, &d.segments);
	if (r == 0) {
		d.owner = calloc(d.chunks, sizeof *d.owner);
		d.cost = calloc(d.chunks, sizeof *d.cost);
		d.seen = calloc(d.chunks / 8 + 1, 1);
		d.walked = calloc(d.segments / 8 + 1, 1);
		r = d.owner && d.cost && d.seen && d.walked ? count(&d, n) : -ENOMEM;
	}
	free(d.owner);
	free(d.cost);
	free(d.seen);
	free(d.walked);
	free(d.inodes.keys);
	free(d.inodes.owners);
	return r;
}
