// SPDX-License-Identifier: MIT
#include "replica_state.h"
#include "kv_batch.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Where the key is, or belongs. */
static size_t place_of(const void *v, size_t n, size_t size, uint64_t key)
{
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		uint64_t at;
		memcpy(&at, (const char *)v + mid * size, sizeof at); /* both rows begin with it */
		if (at < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool is_at(const void *v, size_t n, size_t size, size_t i, uint64_t key)
{
	uint64_t at = 0;
	if (i < n)
		memcpy(&at, (const char *)v + i * size, sizeof at);
	return i < n && at == key;
}

/* An empty place at i. */
static void *make_room(void *v, size_t n, size_t *cap, size_t size, size_t i)
{
	if (n == *cap) {
		size_t more = *cap ? *cap * 2 : 64;
		void *to = realloc(v, more * size);
		if (!to)
			return NULL;
		v = to;
		*cap = more;
	}
	memmove((char *)v + (i + 1) * size, (char *)v + i * size, (n - i) * size);
	return v;
}

static_assert(offsetof(struct pack_row, id) == 0, "place_of()");
static_assert(offsetof(struct inode_row, ino) == 0, "place_of()");

static int put_pack(struct replica_state *s, const struct pack_row *row)
{
	size_t i = place_of(s->packs, s->n_packs, sizeof *row, row->id);
	if (!is_at(s->packs, s->n_packs, sizeof *row, i, row->id)) {
		void *v = make_room(s->packs, s->n_packs, &s->cap_packs, sizeof *row, i);
		if (!v)
			return -ENOMEM;
		s->packs = v;
		s->n_packs++;
	}
	s->packs[i] = *row;
	return 0;
}

static void drop_pack(struct replica_state *s, uint64_t pack)
{
	size_t i = place_of(s->packs, s->n_packs, sizeof *s->packs, pack);
	if (!is_at(s->packs, s->n_packs, sizeof *s->packs, i, pack))
		return;
	s->n_packs--;
	memmove(s->packs + i, s->packs + i + 1, (s->n_packs - i) * sizeof *s->packs);
}

static int put_inode(struct replica_state *s, const struct inode_row *row)
{
	size_t i = place_of(s->staged, s->n_staged, sizeof *row, row->ino);
	if (!is_at(s->staged, s->n_staged, sizeof *row, i, row->ino)) {
		void *v = make_room(s->staged, s->n_staged, &s->cap_staged, sizeof *row, i);
		if (!v)
			return -ENOMEM;
		s->staged = v;
		s->n_staged++;
	}
	s->staged[i] = *row;
	return 0;
}

static void drop_inode(struct replica_state *s, uint64_t ino)
{
	size_t i = place_of(s->staged, s->n_staged, sizeof *s->staged, ino);
	if (!is_at(s->staged, s->n_staged, sizeof *s->staged, i, ino))
		return;
	s->n_staged--;
	memmove(s->staged + i, s->staged + i + 1, (s->n_staged - i) * sizeof *s->staged);
}

int replica_state_put(struct replica_state *s, enum kv_table t, struct slice key, struct slice val)
{
	struct pack_row pack;
	struct inode_row inode;
	if (t == KV_PACK) {
		int r = pack_decode_row(key, val, &pack);
		return r < 0 ? r : put_pack(s, &pack);
	}
	if (t != KV_INODE)
		return 0;
	int r = key.len == 8 ? inode_row_decode(get_be64(key.at), val, &inode) : -EUCLEAN;
	if (r < 0)
		return r;
	if (inode.staging_gen)
		return put_inode(s, &inode);
	drop_inode(s, inode.ino);
	return 0;
}

int replica_state_apply(struct replica_state *s, struct slice payload)
{
	struct kv_op op;
	int r;
	while ((r = kv_op_take(&payload, &op)) > 0) {
		if (!op.is_delete)
			r = replica_state_put(s, op.table, op.key, op.val);
		else if (op.table == KV_PACK && op.key.len == 8)
			drop_pack(s, get_be64(op.key.at));
		else if (op.table == KV_INODE && op.key.len == 8)
			drop_inode(s, get_be64(op.key.at));
		if (r < 0)
			return r;
	}
	return r;
}

const struct inode_row *replica_state_staged(const struct replica_state *s, uint64_t ino)
{
	size_t i = place_of(s->staged, s->n_staged, sizeof *s->staged, ino);
	return is_at(s->staged, s->n_staged, sizeof *s->staged, i, ino) ? &s->staged[i] : NULL;
}

void replica_state_reset(struct replica_state *s)
{
	s->n_packs = s->n_staged = 0;
}

void replica_state_done(struct replica_state *s)
{
	free(s->packs);
	free(s->staged);
	*s = (struct replica_state){ 0 };
}

bool replica_state_fits(const struct inode_row *had, const struct inode_row *now)
{
	return had->staging_gen == now->staging_gen && now->size >= had->size &&
	       (had->flags & (INODE_MAPPED | INODE_INLINE)) ==
		       (now->flags & (INODE_MAPPED | INODE_INLINE)) &&
	       had->mapped_bytes == now->mapped_bytes && had->pieces == now->pieces &&
	       !memcmp(had->recipe, now->recipe, had->pieces * sizeof *had->recipe);
}
