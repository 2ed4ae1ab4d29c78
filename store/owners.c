// SPDX-License-Identifier: MIT
/* Chunks -> segments that have them -> extents that show these -> files; short files have their chunks
 * in the inode's own row. Names are found by one walk over all of them; the directories above are
 * known by their parents, in which they are looked for. */
#include "owners.h"
#include "cleanup.h"
#include "dirent_row.h"
#include "extent_row.h"
#include "segment.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define DEPTH_MAX 1024

struct numbers {
	uint64_t *v;
	size_t n, cap;
};

struct search {
	struct kv *kv;
	struct numbers chunks, segments, inos;
	struct owner *owners;
	bool shown; /* answer of a walk over pieces */
};

static int add(struct numbers *l, uint64_t v)
{
	if (l->n && l->v[l->n - 1] == v)
		return 0;
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		uint64_t *grown = realloc(l->v, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		l->v = grown;
		l->cap = cap;
	}
	l->v[l->n++] = v;
	return 0;
}

static int order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void sort(struct numbers *l)
{
	size_t kept = 0;
	if (l->n)
		qsort(l->v, l->n, sizeof *l->v, order);
	for (size_t i = 0; i < l->n; i++)
		if (!kept || l->v[kept - 1] != l->v[i])
			l->v[kept++] = l->v[i];
	l->n = kept;
}

static const uint64_t *find(const struct numbers *l, uint64_t v)
{
	return l->n ? bsearch(&v, l->v, l->n, sizeof v, order) : NULL;
}

/* Calls fn for each row that can be read. */
static int each_row(struct search *s, enum kv_table t,
		    int (*fn)(struct search *s, struct slice key, struct slice val))
{
	struct kv_iter *it = kv_iter_new(s->kv, t, NULL, 0, false);
	struct slice key, val;
	int r;
	if (!it)
		return -ENOMEM;
	while ((r = kv_iter_next(it, &key, &val)) > 0 || (r == -EUCLEAN && key.len)) {
		r = r > 0 ? fn(s, key, val) : 0;
		if (r < 0 && r != -EUCLEAN)
			break;
	}
	kv_iter_free(it);
	return r;
}

static void show(void *arg, uint64_t chunk)
{
	struct search *s = arg;
	s->shown = s->shown || find(&s->chunks, chunk);
}

static int in_segment(struct search *s, struct slice key, struct slice val)
{
	struct segment seg;
	int r = key.len == 8 ? segment_open(val, &seg) : -EUCLEAN;
	s->shown = false;
	if (r == 0)
		r = segment_marks(&seg, show, s);
	return s->shown ? add(&s->segments, get_be64(key.at)) : r;
}

static int in_inode(struct search *s, struct slice key, struct slice val)
{
	struct inode_row row;
	int r = key.len == 8 ? inode_row_decode(get_be64(key.at), val, &row) : -EUCLEAN;
	for (uint32_t i = 0; r == 0 && i < row.pieces; i++)
		if (find(&s->chunks, row.recipe[i].chunk))
			r = add(&s->inos, row.ino);
	return r;
}

/* A segment may have the chunk where this file does not show it. */
static int in_extent(struct search *s, struct slice key, struct slice val)
{
	CLEANUP_BUF struct buf bytes = { 0 };
	struct extent_row row;
	struct segment seg;
	struct segment_iter it;
	struct piece piece;
	uint64_t ino, at = 0;
	uint8_t id[8];
	int r = extent_decode(key, val, &ino, &row);
	if (r < 0 || !find(&s->segments, row.segment))
		return r;
	put_be64(id, row.segment);
	r = kv_get(s->kv, KV_SEGMENT, id, sizeof id, &bytes);
	if (r == 0)
		r = segment_open(slice_of(bytes.data, bytes.len), &seg);
	if (r == 0)
		r = segment_seek(&seg, row.offset, &it);
	while (r == 0 && segment_next(&it, &piece, &at) == 1 && at < row.offset + row.len)
		if (find(&s->chunks, piece.chunk))
			return add(&s->inos, ino);
	return r == -ENOENT ? 0 : r;
}

/* ---- names ---- */

/* Puts "/name" before what is in path[*at ...]. */
static bool prepend(char path[PATH_MAX], size_t *at, const char *name)
{
	size_t n = strlen(name);
	if (n + 1 > *at)
		return false;
	*at -= n;
	memcpy(path + *at, name, n);
	path[--*at] = '/';
	return true;
}

static bool name_in(struct kv *kv, uint64_t parent, uint64_t ino, struct dirent_row *ret_row)
{
	struct dirent_iter *it = dirent_iter_new(kv, parent, 0);
	bool found = false;
	int r;
	while (it && !found && ((r = dirent_iter_next(it, ret_row)) > 0 || r == -EUCLEAN))
		found = r > 0 && ret_row->ino == ino;
	dirent_iter_free(it);
	return found;
}

static char *path_of(struct kv *kv, uint64_t parent, const char *name)
{
	char path[PATH_MAX];
	size_t at = sizeof path - 1;
	struct inode_row dir;
	struct dirent_row row;
	path[at] = 0;
	if (!prepend(path, &at, name))
		return NULL;
	for (unsigned depth = 0; parent != INO_ROOT && depth < DEPTH_MAX; depth++) {
		if (inode_row_get(kv, parent, &dir) || !dir.parent ||
		    !name_in(kv, dir.parent, parent, &row) || !prepend(path, &at, row.name))
			return NULL;
		parent = dir.parent;
	}
	return strdup(path + at);
}

static int in_dirent(struct search *s, struct slice key, struct slice val)
{
	struct dirent_row row;
	int r = key.len == 16 ? dirent_decode(key, val, &row) : -EUCLEAN;
	const uint64_t *ino = r == 0 ? find(&s->inos, row.ino) : NULL;
	if (ino && !s->owners[ino - s->inos.v].path)
		s->owners[ino - s->inos.v].path = path_of(s->kv, get_be64(key.at), row.name);
	return r;
}

void owners_free(struct owner *owners, size_t n)
{
	for (size_t i = 0; owners && i < n; i++)
		free(owners[i].path);
	free(owners);
}

static int collect(struct search *s)
{
	int r = s->chunks.n ? each_row(s, KV_SEGMENT, in_segment) : 0;
	sort(&s->segments);
	if (r == 0 && s->segments.n)
		r = each_row(s, KV_EXTENT, in_extent);
	if (r == 0 && s->chunks.n)
		r = each_row(s, KV_INODE, in_inode);
	sort(&s->inos);
	if (r < 0)
		return r;
	s->owners = calloc(s->inos.n + 1, sizeof *s->owners);
	if (!s->owners)
		return -ENOMEM;
	for (size_t i = 0; i < s->inos.n; i++)
		s->owners[i].ino = s->inos.v[i];
	return s->inos.n ? each_row(s, KV_DIRENT, in_dirent) : 0;
}

int owners_find(struct kv *kv, const uint64_t *chunks, size_t n_chunks, const uint64_t *inos,
		size_t n_inos, struct owner **ret_owners, size_t *ret_n)
{
	struct search s = { .kv = kv };
	int r = 0;
	for (size_t i = 0; i < n_chunks && r == 0; i++)
		r = add(&s.chunks, chunks[i]);
	for (size_t i = 0; i < n_inos && r == 0; i++)
		r = add(&s.inos, inos[i]);
	sort(&s.chunks);
	if (r == 0)
		r = collect(&s);
	free(s.chunks.v);
	free(s.segments.v);
	free(s.inos.v);
	if (r < 0) {
		owners_free(s.owners, s.inos.n);
		return r;
	}
	*ret_owners = s.owners;
	*ret_n = s.inos.n;
	return 0;
}
