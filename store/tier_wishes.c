// SPDX-License-Identifier: MIT
/* From files to chunks: each file's pieces mark their chunks with its wish; of several the hottest stays.
 * From chunks to packs: one look at all rows of frames.
 *
 * Segments are shared: one that has been gone through for a wish as hot is not gone through again. Rows
 * that cannot be read ask for nothing: that is fsck's business. So are directories that are in themselves:
 * each is gone through once.
 */
#include "tier_wishes.h"
#include "chunk_row.h"
#include "cleanup.h"
#include "dirent_row.h"
#include "extent_row.h"
#include "inode_row.h"
#include "segment.h"
#include "xattr_row.h"
#include <errno.h>

/* A wish is kept as TIERS_MAX less its place in the order: the hotter the greater, 0 is none. */
#define WISH_OF(nth) ((uint8_t)(TIERS_MAX - (nth)))
#define NTH_OF(wish) (TIERS_MAX - (wish))

#define STOP_EVERY 1024u /* rows */

struct todo {
	uint64_t ino;
	uint8_t wish;
};

struct walk {
	struct kv *kv;
	const struct tiers *tiers; /* NULL: attributes are not asked */
	const struct wishes_stop *stop;
	uint64_t n_chunks, n_segments, n_inodes, rows;
	uint8_t *chunks, *segments; /* the wish, by id */
	uint8_t *dirs;		    /* a bit each: gone through */
	struct todo *todo;
	size_t n, cap;
	uint8_t wish; /* of the file at hand */
};

/* Called for each row. */
static int go_on(struct walk *w)
{
	return ++w->rows % STOP_EVERY == 0 && w->stop && w->stop->asked(w->stop->arg) ? -ECANCELED
										      : 0;
}

static int push(struct walk *w, uint64_t ino, uint8_t wish)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 256;
		struct todo *grown = realloc(w->todo, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		w->todo = grown;
		w->cap = cap;
	}
	w->todo[w->n++] = (struct todo){ ino, wish };
	return 0;
}

/* One past the largest id. */
static int end_of_ids(struct kv *kv, enum kv_table t, uint64_t *ret_end)
{
	static const uint8_t last[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	struct kv_iter *it = kv_iter_new(kv, t, last, sizeof last, true);
	struct slice key, val;
	*ret_end = 1;
	if (!it)
		return -ENOMEM;
	int r = kv_iter_next(it, &key, &val);
	if ((r > 0 || r == -EUCLEAN) && key.len >= 8)
		*ret_end = get_be64(key.at) + 1;
	kv_iter_free(it);
	return r < 0 && r != -EUCLEAN ? r : 0;
}

/* ---- from files to chunks ---- */

static void mark_chunk(void *arg, uint64_t chunk)
{
	struct walk *w = arg;
	if (chunk && chunk < w->n_chunks && w->chunks[chunk] < w->wish)
		w->chunks[chunk] = w->wish;
}

static int mark_segment(struct walk *w, uint64_t id)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct segment seg;
	uint8_t key[8];
	if (id >= w->n_segments || w->segments[id] >= w->wish)
		return 0;
	w->segments[id] = w->wish;
	put_be64(key, id);
	int r = kv_get(w->kv, KV_SEGMENT, key, sizeof key, &val);
	if (r == 0)
		r = segment_open(slice_of(val.data, val.len), &seg);
	if (r == 0)
		r = segment_marks(&seg, mark_chunk, w);
	return r == -ENOENT || r == -EUCLEAN ? 0 : r;
}

static int mark_extents(struct walk *w, uint64_t ino)
{
	uint8_t from[EXTENT_KEY_SIZE];
	struct slice key, val;
	struct extent_row row;
	uint64_t of;
	int r = 0, more;
	extent_key(ino, 0, from);
	struct kv_iter *it = kv_iter_new(w->kv, KV_EXTENT, from, sizeof from, false);
	if (!it)
		return -ENOMEM;
	while (r == 0 && (more = kv_iter_next(it, &key, &val)) != 0) {
		if (key.len >= 8 && get_be64(key.at) != ino)
			break;
		r = go_on(w);
		if (r == 0 && more > 0 && extent_decode(key, val, &of, &row) == 0)
			r = mark_segment(w, row.segment);
		else if (more < 0 && more != -EUCLEAN)
			r = more;
	}
	kv_iter_free(it);
	return r;
}

static int mark_file(struct walk *w, const struct inode_row *row)
{
	for (uint32_t i = 0; i < row->pieces; i++)
		mark_chunk(w, row->recipe[i].chunk);
	return row->flags & INODE_MAPPED ? mark_extents(w, row->ino) : 0;
}

static int push_children(struct walk *w, uint64_t dir)
{
	uint8_t wish = w->wish;
	struct dirent_iter *it = dirent_iter_new(w->kv, dir, 0);
	struct dirent_row e;
	int r = 0, more;
	if (!it)
		return -ENOMEM;
	while (r == 0 && (more = dirent_iter_next(it, &e)) != 0) {
		r = more > 0 ? push(w, e.ino, wish) : more;
		r = r ? r : go_on(w);
	}
	dirent_iter_free(it);
	return r == -EUCLEAN ? 0 : r;
}

/* The wish; 0: none, or one that is not understood; -errno. */
static int own_wish(struct walk *w, uint64_t ino)
{
	CLEANUP_BUF struct buf val = { 0 };
	char name[CONFIG_TIER_NAME];
	struct tier_info info;
	int r = xattr_get(w->kv, ino, TIER_XATTR, &val);
	if (r < 0 && r != -ENODATA && r != -EUCLEAN)
		return r;
	if (r < 0 || val.len >= sizeof name)
		return 0;
	if (val.len)
		memcpy(name, val.data, val.len);
	name[val.len] = 0;
	if (!strcmp(name, "pin"))
		return WISH_OF(0);
	for (unsigned i = 0; tiers_nth(w->tiers, i, &info); i++)
		if (!strcmp(info.name, name))
			return WISH_OF(i);
	return 0;
}

static bool is_first_visit(struct walk *w, uint64_t dir)
{
	uint8_t bit = (uint8_t)(1u << dir % 8);
	if (dir >= w->n_inodes || w->dirs[dir / 8] & bit)
		return false;
	w->dirs[dir / 8] |= bit;
	return true;
}

static int walk_all(struct walk *w, bool missing_is_error)
{
	int r = 0;
	size_t roots = w->n;
	while (r == 0 && w->n) {
		struct todo t = w->todo[--w->n];
		struct inode_row row;
		bool root = w->n < roots;
		roots = root ? w->n : roots;
		r = inode_row_get(w->kv, t.ino, &row);
		if (r == -ENOENT || r == -EUCLEAN) {
			r = r == -ENOENT && missing_is_error && root ? r : 0;
			continue;
		}
		if (r < 0)
			break;
		w->wish = t.wish;
		int own = w->tiers && !root && (row.flags & INODE_XATTRS) ? own_wish(w, t.ino) : 0;
		if (own > 0)
			continue; /* a root itself */
		r = own < 0 ? own : go_on(w);
		if (r == 0 && inode_is_dir(&row) && is_first_visit(w, t.ino))
			r = push_children(w, t.ino);
		else if (r == 0 && S_ISREG(row.mode))
			r = mark_file(w, &row);
	}
	return r;
}

/* ---- from chunks to packs ---- */

static int tally_order(const void *a, const void *b)
{
	uint64_t x = ((const struct wish_tally *)a)->pack, y = ((const struct wish_tally *)b)->pack;
	return (x > y) - (x < y);
}

const struct wish_tally *wishes_find(const struct wishes *w, uint64_t pack)
{
	struct wish_tally key = { .pack = pack };
	return w->n ? bsearch(&key, w->v, w->n, sizeof key, tally_order) : NULL;
}

static int add_pack(void *arg, uint64_t pack)
{
	struct wishes *out = arg;
	if ((out->n & (out->n - 1)) == 0) { /* full at each power of two */
		size_t cap = out->n ? out->n * 2 : 1;
		struct wish_tally *grown = realloc(out->v, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		out->v = grown;
	}
	out->v[out->n++] = (struct wish_tally){ .pack = pack };
	return 0;
}

static int list_packs(struct kv *kv, struct wishes *out)
{
	struct kv_iter *it = kv_iter_new(kv, KV_PACK, NULL, 0, false);
	struct slice key, val;
	int r = it ? 0 : -ENOMEM, more;
	while (r == 0 && (more = kv_iter_next(it, &key, &val)) != 0)
		r = more > 0 && key.len == 8 ? add_pack(out, get_be64(key.at))
		    : more == -EUCLEAN	     ? 0
					     : more;
	kv_iter_free(it);
	return r > 0 ? 0 : r;
}

static void count_row(const struct walk *w, struct wish_tally *t, const struct frame_row *row)
{
	t->stored += row->stored_len;
	for (uint32_t i = 0; i < row->n && row->decoded_len; i++) {
		uint64_t id = row->chunks[i].id;
		uint8_t wish = id < w->n_chunks ? w->chunks[id] : 0;
		uint64_t share =
			(uint64_t)row->stored_len * row->chunks[i].length / row->decoded_len;
		if (!wish)
			continue;
		t->wished += share;
		t->by[NTH_OF(wish)] += share;
	}
}

static int count_rows(struct walk *w, struct wishes *out)
{
	struct kv_iter *it = kv_iter_new(w->kv, KV_CHUNK, NULL, 0, false);
	struct wish_tally *last = NULL; /* rows of one pack come in runs */
	struct slice key, val;
	int r = it ? 0 : -ENOMEM, more;
	while (r == 0 && (more = kv_iter_next(it, &key, &val)) != 0) {
		struct frame_row row = { 0 };
		if (more > 0)
			more = frame_decode_row(key, val, &row);
		if (more == 0 && (!last || last->pack != row.pack))
			last = (struct wish_tally *)(uintptr_t)wishes_find(out, row.pack);
		if (more == 0 && last)
			count_row(w, last, &row);
		r = more < 0 && more != -EUCLEAN ? more : go_on(w);
		frame_row_done(&row);
	}
	kv_iter_free(it);
	return r;
}

static void drop_unasked(struct wishes *out)
{
	size_t kept = 0;
	for (size_t i = 0; i < out->n; i++)
		if (out->v[i].wished)
			out->v[kept++] = out->v[i];
	out->n = kept;
}

static int walk_begin(struct walk *w)
{
	uint64_t last;
	int r = end_of_ids(w->kv, KV_SEGMENT, &w->n_segments);
	if (r == 0)
		r = end_of_ids(w->kv, KV_INODE, &w->n_inodes);
	if (r == 0)
		r = chunk_last_id(w->kv, &last);
	if (r < 0)
		return r;
	w->n_chunks = last + 1;
	w->chunks = calloc(w->n_chunks, 1);
	w->segments = calloc(w->n_segments, 1);
	w->dirs = calloc(w->n_inodes / 8 + 1, 1); /* of which few pages are touched */
	return w->chunks && w->segments && w->dirs ? 0 : -ENOMEM;
}

static int walk_end(struct walk *w, int r, bool missing_is_error, struct wishes *ret_w)
{
	struct wishes out = { 0 };
	if (r == 0)
		r = walk_all(w, missing_is_error);
	if (r == 0)
		r = list_packs(w->kv, &out);
	if (r == 0)
		r = count_rows(w, &out);
	free(w->chunks);
	free(w->segments);
	free(w->dirs);
	free(w->todo);
	if (r < 0) {
		wishes_done(&out);
		return r;
	}
	drop_unasked(&out);
	*ret_w = out;
	return 0;
}

static int push_roots(struct walk *w)
{
	static const size_t len = sizeof TIER_XATTR - 1;
	struct kv_iter *it = kv_iter_new(w->kv, KV_XATTR, NULL, 0, false);
	struct slice key, val;
	int r = it ? 0 : -ENOMEM, more;
	while (r == 0 && (more = kv_iter_next(it, &key, &val)) != 0) {
		bool policy = key.len == 8 + len && !memcmp(key.at + 8, TIER_XATTR, len);
		uint64_t ino = policy ? get_be64(key.at) : 0;
		int wish = policy && more > 0 ? own_wish(w, ino) : 0;
		if (wish > 0)
			r = push(w, ino, (uint8_t)wish);
		else if (wish < 0)
			r = wish;
		else
			r = more < 0 && more != -EUCLEAN ? more : go_on(w);
	}
	kv_iter_free(it);
	return r;
}

int wishes_by_policy(struct kv *kv, const struct tiers *t, const struct wishes_stop *stop,
		     struct wishes *ret_w)
{
	struct walk w = { .kv = kv, .tiers = t, .stop = stop };
	int r = push_roots(&w);
	if (r == 0 && !w.n) { /* the common case costs no more than that */
		free(w.todo);
		*ret_w = (struct wishes){ 0 };
		return 0;
	}
	return walk_end(&w, r ? r : walk_begin(&w), false, ret_w);
}

int wishes_of_files(struct kv *kv, const uint64_t *inos, size_t n, const struct wishes_stop *stop,
		    struct wishes *ret_w)
{
	struct walk w = { .kv = kv, .stop = stop };
	int r = walk_begin(&w);
	for (size_t i = 0; i < n && r == 0; i++)
		r = push(&w, inos[i], WISH_OF(0));
	return walk_end(&w, r, true, ret_w);
}

void wishes_done(struct wishes *w)
{
	free(w->v);
	*w = (struct wishes){ 0 };
}
