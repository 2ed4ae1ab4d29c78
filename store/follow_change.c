// SPDX-License-Identifier: MIT
#include "follow_change.h"
#include "chunk_row.h"
#include "cleanup.h"
#include "digests_format.h"
#include "dirent_row.h"
#include "inode_row.h"
#include "replica_format.h"
#include "tiers.h"
#include <errno.h>

#define BATCH_FULL (16u << 20)

/* Room for one more of `size` bytes in *v. */
static int make_room(void **v, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 64;
	void *bigger = reallocarray(*v, more, size);
	if (!bigger)
		return -ENOMEM;
	*v = bigger;
	*cap = more;
	return 0;
}

/* Unless it is the last of them already. */
static int note_number(uint64_t **v, size_t *n, size_t *cap, uint64_t number)
{
	if (*n && (*v)[*n - 1] == number)
		return 0;
	int r = make_room((void **)v, *n, cap, sizeof **v);
	if (r == 0)
		(*v)[(*n)++] = number;
	return r;
}

static int note_name(struct follow_change *c, struct slice key, struct slice val)
{
	struct dirent_row row;
	if (dirent_decode(key, val, &row) < 0)
		return -EUCLEAN;
	int r = make_room((void **)&c->moved, c->n_moved, &c->cap_moved, sizeof *c->moved);
	if (r < 0)
		return r;
	c->moved[c->n_moved++] = (struct follow_name){ get_be64(key.at), c->names.len };
	buf_put(&c->names, row.name, (size_t)row.name_len + 1);
	return c->names.failed ? -ENOMEM : 0;
}

/* The name that had this place until now. */
static int note_old_name(struct follow_change *c, struct slice key)
{
	CLEANUP_BUF struct buf val = { 0 };
	int r = kv_get(c->kv, KV_DIRENT, key.at, key.len, &val);
	if (r == 0)
		r = note_name(c, key, slice_of(val.data, val.len));
	return r == -ENOENT || r == -EUCLEAN ? 0 : r;
}

/* Whom does it concern that the row of this key becomes another one? */
static int note(struct follow_change *c, enum kv_table t, struct slice key, const struct slice *val)
{
	bool of_inode = t == KV_INODE || t == KV_DIRENT || t == KV_XATTR || t == KV_EXTENT ||
			t == KV_INLINE;
	if (!of_inode && t != KV_PACK)
		return 0;
	if (key.len < 8)
		return -EUCLEAN;
	uint64_t number = get_be64(key.at);
	if (t == KV_PACK)
		return note_number(&c->packs, &c->n_packs, &c->cap_packs, number);
	int r = note_number(&c->inodes, &c->n_inodes, &c->cap_inodes, number);
	if (r == 0 && t == KV_DIRENT)
		r = note_old_name(c, key);
	return r == 0 && t == KV_DIRENT && val ? note_name(c, key, *val) : r;
}

static struct kv_batch *batch_for(struct follow_change *c, size_t bytes)
{
	if (c->n_batches && c->filled + bytes <= BATCH_FULL) {
		c->filled += bytes;
		return c->batches[c->n_batches - 1];
	}
	if (make_room((void **)&c->batches, c->n_batches, &c->cap_batches, sizeof *c->batches) < 0)
		return NULL;
	struct kv_batch *b = kv_batch_new();
	if (b)
		c->batches[c->n_batches++] = b;
	c->filled = bytes;
	return b;
}

static bool begins_with(struct slice key, const char *text, size_t len)
{
	return key.len >= len && !memcmp(key.at, text, len);
}

/* Not what another pool says. */
static bool is_ours(enum kv_table t, struct slice key)
{
	return t == KV_DIGEST ||
	       (t == KV_META && (begins_with(key, TIER_KEY, sizeof TIER_KEY - 1) ||
				 begins_with(key, FOLLOW_STATE_KEY, sizeof FOLLOW_STATE_KEY - 1) ||
				 begins_with(key, DIGESTS_ROW, sizeof DIGESTS_ROW - 1)));
}

/* The row as it is here; 1: it is none here. */
static int adapt(enum kv_table t, struct slice key, struct slice *val, struct buf *out)
{
	struct pack_row row;
	if (t != KV_PACK)
		return 0;
	if (pack_decode_row(key, *val, &row) < 0)
		return -EUCLEAN;
	if (row.state == PACK_DOOMED)
		return 1;
	row.tier = row.state == PACK_SEALED ? REPLICA_TIER : TIER_HOT;
	pack_encode_row(&row, out);
	*val = slice_of(out->data, out->len);
	return out->failed ? -ENOMEM : 0;
}

int follow_change_delete(struct follow_change *c, enum kv_table t, struct slice key)
{
	if (is_ours(t, key))
		return 0;
	int r = note(c, t, key, NULL);
	struct kv_batch *b = r == 0 ? batch_for(c, key.len) : NULL;
	if (r == 0 && !b)
		return -ENOMEM;
	if (r == 0)
		kv_batch_delete(b, t, key.at, key.len);
	return r;
}

int follow_change_put(struct follow_change *c, enum kv_table t, struct slice key, struct slice val)
{
	CLEANUP_BUF struct buf adapted = { 0 };
	if (is_ours(t, key))
		return 0;
	int r = adapt(t, key, &val, &adapted);
	if (r > 0)
		return follow_change_delete(c, t, key);
	if (r == 0)
		r = note(c, t, key, &val);
	struct kv_batch *b = r == 0 ? batch_for(c, key.len + val.len) : NULL;
	if (r == 0 && !b)
		return -ENOMEM;
	if (r == 0)
		kv_batch_put(b, t, key.at, key.len, val.at, val.len);
	return r;
}

/* ---- comparing ---- */

static int next_old(struct follow_change *c)
{
	int r;
	while ((r = kv_iter_next(c->old, &c->old_key, &c->old_val)) > 0)
		if (!is_ours((enum kv_table)c->table, c->old_key))
			break;
	c->old_left = r > 0;
	return r < 0 ? r : 0;
}

static int compare_keys(struct slice a, struct slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int r = memcmp(a.at, b.at, n);
	return r ? r : (a.len > b.len) - (a.len < b.len);
}

/* What is noted of the pool's own (KV_META) is never taken back. */
static int drop_old(struct follow_change *c)
{
	int r = c->table == KV_META ? 0
				    : follow_change_delete(c, (enum kv_table)c->table, c->old_key);
	return r < 0 ? r : next_old(c);
}

static int end_table(struct follow_change *c)
{
	int r = 0;
	while (r == 0 && c->old && c->old_left)
		r = drop_old(c);
	kv_iter_free(TAKE_PTR(c->old));
	buf_reset(&c->last);
	return r;
}

static int begin_table(struct follow_change *c, enum kv_table t)
{
	int r = end_table(c);
	if (r < 0 || c->seen & 1u << t)
		return r < 0 ? r : -EUCLEAN;
	c->seen |= 1u << t;
	c->table = (int)t;
	c->old = kv_iter_new(c->kv, t, NULL, 0, false);
	return c->old ? next_old(c) : -ENOMEM;
}

static bool has_it(const struct follow_change *c, struct slice key, struct slice val)
{
	return c->old_left && compare_keys(c->old_key, key) == 0 && c->old_val.len == val.len &&
	       (!val.len || !memcmp(c->old_val.at, val.at, val.len));
}

int follow_change_compare(struct follow_change *c, enum kv_table t, struct slice key,
			  struct slice val)
{
	CLEANUP_BUF struct buf adapted = { 0 };
	int r = !c->old || c->table != (int)t ? begin_table(c, t) : 0;
	if (r < 0 || is_ours(t, key))
		return r;
	if (c->last.len && compare_keys(slice_of(c->last.data, c->last.len), key) >= 0)
		return -EUCLEAN;
	buf_reset(&c->last);
	buf_put(&c->last, key.at, key.len);
	r = adapt(t, key, &val, &adapted);
	if (r != 0)
		return r < 0 ? r : 0; /* the old row, if any, goes with those that are passed */
	while (r == 0 && c->old_left && compare_keys(c->old_key, key) < 0)
		r = drop_old(c);
	if (r < 0 || has_it(c, key, val))
		return r < 0 ? r : next_old(c);
	bool replaced = c->old_left && compare_keys(c->old_key, key) == 0;
	r = follow_change_put(c, t, key, val);
	return r == 0 && replaced ? next_old(c) : r;
}

int follow_change_compared(struct follow_change *c)
{
	int r = end_table(c);
	for (unsigned t = 0; r == 0 && t < KV_TABLES; t++) {
		if (c->seen & 1u << t || t == KV_DIGEST)
			continue;
		r = begin_table(c, (enum kv_table)t);
		r = r == 0 ? end_table(c) : r;
	}
	return r;
}

/* ---- the end ---- */

int follow_change_note_inode(struct follow_change *c, uint64_t ino)
{
	return note_number(&c->inodes, &c->n_inodes, &c->cap_inodes, ino);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

void follow_change_sort(struct follow_change *c)
{
	size_t n = 0;
	if (c->n_inodes)
		qsort(c->inodes, c->n_inodes, sizeof *c->inodes, by_value);
	for (size_t i = 0; i < c->n_inodes; i++)
		if (!n || c->inodes[n - 1] != c->inodes[i])
			c->inodes[n++] = c->inodes[i];
	c->n_inodes = n;
}

int64_t follow_change_count(const struct follow_change *c)
{
	struct inode_row row;
	int64_t n = 0;
	for (size_t i = 0; i < c->n_inodes; i++)
		n += inode_row_get(c->kv, c->inodes[i], &row) == 0;
	return n;
}

int follow_change_commit(struct follow_change *c)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < c->n_batches; i++)
		r = kv_commit(c->kv, TAKE_PTR(c->batches[i]), NULL);
	return r;
}

void follow_change_done(struct follow_change *c)
{
	for (size_t i = 0; i < c->n_batches; i++)
		kv_batch_free(c->batches[i]);
	kv_iter_free(c->old);
	free(c->batches);
	free(c->inodes);
	free(c->moved);
	free(c->packs);
	buf_done(&c->names);
	buf_done(&c->last);
	*c = (struct follow_change){ 0 };
}
