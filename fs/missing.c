// SPDX-License-Identifier: MIT
/* While a stretch is read the file may change. The bytes count only if its map still has the same pieces
 * there afterwards: a chunk's bytes never change, and no chunk gets the id of another.
 *
 * What cannot be explained without the lock is read with it, as who reads a map that is in use tells
 * damage from what was overwritten and collected meanwhile. So is what changes again and again.
 */
#include "missing.h"
#include "cleanup.h"
#include "content.h"
#include <errno.h>

#define ROUNDS_MAX 16u

static void forget_part(struct missing_part *p)
{
	map_vec_done(&p->map);
	free(TAKE_PTR(p->data));
}

void missing_done(struct missing *m)
{
	for (size_t i = 0; i < m->n; i++)
		forget_part(&m->v[i]);
	free(m->v);
	*m = (struct missing){ 0 };
}

static bool same_pieces(const struct map_vec *a, const struct map_vec *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		const struct mapped *x = &a->v[i], *y = &b->v[i];
		if (x->at != y->at || x->piece.chunk != y->piece.chunk ||
		    x->piece.offset != y->piece.offset || x->piece.length != y->piece.length ||
		    x->piece.repeat != y->piece.repeat)
			return false;
	}
	return true;
}

static int look_up(struct fs *fs, const struct inode *inode, const struct missing_part *p,
		   struct map_vec *ret_map)
{
	if (!content_has_map(&inode->row))
		return 0;
	return extents_map(fs->pool->extents, &inode->row, p->at, p->len, ret_map);
}

int missing_take(struct fs *fs, const struct inode *inode, struct missing *m, void *buf, size_t len,
		 uint64_t at)
{
	for (size_t i = 0; i < m->n; i++) {
		struct missing_part *p = &m->v[i];
		if (!p->data || at < p->at || at + len > p->at + p->len)
			continue;
		struct map_vec now = { 0 };
		int r = look_up(fs, inode, p, &now);
		bool same = r >= 0 && same_pieces(&now, &p->map);
		map_vec_done(&now);
		if (same)
			memcpy(buf, p->data + (at - p->at), len);
		else
			forget_part(p);
		if (same || r < 0)
			return r < 0 ? r : 1;
	}
	return 0;
}

int missing_add(struct missing *m, size_t len, uint64_t at)
{
	for (size_t i = 0; i < m->n; i++)
		if (at >= m->v[i].at && at + len <= m->v[i].at + m->v[i].len)
			return -EAGAIN;
	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 4;
		struct missing_part *v = realloc(m->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		m->v = v;
		m->cap = cap;
	}
	m->v[m->n++] = (struct missing_part){ .at = at, .len = len };
	return -EAGAIN;
}

static int fetch_part(struct fs *fs, struct inode *inode, struct missing_part *p)
{
	CLEANUP_FREE uint8_t *data = malloc(p->len);
	if (!data)
		return -ENOMEM;
	pthread_rwlock_rdlock(&inode->lock);
	int r = look_up(fs, inode, p, &p->map);
	pthread_rwlock_unlock(&inode->lock);
	if (r >= 0)
		r = chunks_read_past_map(fs->pool->chunks, &p->map, p->at, p->len, data);
	if (r < 0)
		map_vec_done(&p->map);
	else
		p->data = TAKE_PTR(data);
	return r < 0 ? r : 0;
}

int missing_fetch(struct fs *fs, struct inode *inode, struct missing *m)
{
	if (m->wait)
		return -EIO; /* was it not waited for? */
	m->wait = ++m->rounds > ROUNDS_MAX;
	for (size_t i = 0; i < m->n && !m->wait; i++) {
		int r = m->v[i].data ? 0 : fetch_part(fs, inode, &m->v[i]);
		if (r == -ENOENT || r == -EUCLEAN)
			m->wait = true;
		else if (r < 0)
			return r;
	}
	return 0;
}
