// SPDX-License-Identifier: MIT
#include "usage.h"
#include "chunk_row.h"
#include "inode_row.h"
#include <errno.h>

static void count_inode(struct usage *u, const struct inode_row *row)
{
	if (inode_is_dir(row)) {
		u->directories++;
		return;
	}
	if (!S_ISREG(row->mode)) {
		u->others++;
		return;
	}
	u->files++;
	u->apparent += row->size;
	if (row->staging_gen)
		u->staged_files++;
	if (row->flags & INODE_INLINE)
		u->inlined += row->size;
	else
		u->mapped += row->mapped_bytes;
}

/* Calls fn for each row of the table; rows that cannot be read, or that fn refuses, are counted. */
static int each(struct pool *pool, enum kv_table t, struct usage *u,
		int (*fn)(struct usage *u, struct slice key, struct slice val))
{
	struct kv_iter *it = kv_iter_new(pool->kv, t, NULL, 0, false);
	struct slice key, val;
	int r;
	if (!it)
		return -ENOMEM;
	while ((r = kv_iter_next(it, &key, &val)) > 0 || r == -EUCLEAN) {
		if (r > 0)
			r = fn(u, key, val);
		if (r == -EUCLEAN)
			u->damaged++;
		else if (r < 0)
			break;
	}
	kv_iter_free(it);
	return r;
}

static int take_inode(struct usage *u, struct slice key, struct slice val)
{
	struct inode_row row;
	int r = key.len == 8 ? inode_row_decode(get_be64(key.at), val, &row) : -EUCLEAN;
	if (r == 0)
		count_inode(u, &row);
	return r;
}

static int take_frame(struct usage *u, struct slice key, struct slice val)
{
	struct frame_row row = { 0 };
	int r = frame_decode_row(key, val, &row);
	if (r < 0)
		return r;
	u->frames++;
	u->chunks += row.part == 0 ? row.n : 0;
	u->unique += row.decoded_len;
	u->compressed += row.stored_len;
	frame_row_done(&row);
	return 0;
}

static int take_pack(struct usage *u, struct slice key, struct slice val)
{
	struct pack_row row;
	int r = pack_decode_row(key, val, &row);
	if (r == 0 && row.tier && row.state != PACK_DOOMED)
		u->elsewhere += row.bytes;
	return r;
}

int usage_count(struct pool *pool, struct usage *ret_usage)
{
	struct usage u = { 0 };
	int r = each(pool, KV_INODE, &u, take_inode);
	if (r == 0)
		r = each(pool, KV_CHUNK, &u, take_frame);
	if (r == 0)
		r = each(pool, KV_PACK, &u, take_pack);
	if (r < 0)
		return r;
	packs_bytes(pool->packs, &u.pack_bytes, &u.packs);
	*ret_usage = u;
	return 0;
}
