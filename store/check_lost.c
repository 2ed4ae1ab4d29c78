// SPDX-License-Identifier: MIT
/* Which bytes of which files cannot be read, because their chunks are gone. People know names, so
 * these are looked for at the end, for the files concerned only: one walk over all names finds one of
 * each file's, and its directories are climbed from there.
 */
#include "check_impl.h"
#include "cleanup.h"
#include "dirent_row.h"
#include "rows_format.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LOST_MOST 10000u /* remembered; beyond, they are counted */
#define DEPTH_MOST 128u

bool check_chunk_is_lost(struct check *k, uint64_t chunk)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t key[META_LOST_CHUNK_SIZE];
	memcpy(key, META_LOST_CHUNK, sizeof key - 8);
	put_be64(key + sizeof key - 8, chunk);
	return kv_get(k->pool->kv, KV_META, key, sizeof key, &val) == 0;
}

void check_remember_lost(struct check *k, uint64_t ino, uint64_t at, uint64_t len)
{
	struct check_lost *last = k->n_lost ? &k->lost[k->n_lost - 1] : NULL;
	if (last && last->ino == ino && last->at + last->len == at) {
		last->len += len;
		return;
	}
	k->res.lost++;
	if (k->n_lost == LOST_MOST)
		return;
	if (k->n_lost == k->cap_lost) {
		size_t cap = k->cap_lost ? k->cap_lost * 2 : 64;
		struct check_lost *v = realloc(k->lost, cap * sizeof *v);
		if (!v)
			return; /* it is told by the chunk's number, too */
		k->lost = v;
		k->cap_lost = cap;
	}
	k->lost[k->n_lost++] = (struct check_lost){ ino, at, len };
}

static int lost_order(const void *a, const void *b)
{
	const struct check_lost *x = a, *y = b;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

struct lost_file {
	uint64_t ino, parent; /* parent 0: no name was found */
	char *name;
};

static int place_order(const void *a, const void *b)
{
	uint64_t x = ((const struct lost_file *)a)->ino, y = ((const struct lost_file *)b)->ino;
	return (x > y) - (x < y);
}

/* Finds a name of each place. */
static int find_names(struct check *k, struct lost_file *places, size_t n)
{
	struct slice key, val;
	struct dirent_row row;
	int r;
	struct kv_iter *it = kv_iter_new(k->pool->kv, KV_DIRENT, NULL, 0, false);
	if (!it)
		return -ENOMEM;
	while ((r = kv_iter_next(it, &key, &val)) > 0 || r == -EUCLEAN) {
		if (r < 0 || key.len != 16 || dirent_decode(key, val, &row) < 0)
			continue;
		struct lost_file want = { .ino = row.ino };
		struct lost_file *p = bsearch(&want, places, n, sizeof want, place_order);
		if (p && !p->name) {
			p->name = strdup(row.name);
			p->parent = get_be64(key.at);
		}
	}
	kv_iter_free(it);
	return r;
}

/* What `dir` calls this inode. */
static bool name_in(struct check *k, uint64_t dir, uint64_t ino, struct dirent_row *ret_row)
{
	struct dirent_iter *it = dirent_iter_new(k->pool->kv, dir, 0);
	bool found = false;
	int r = it ? 1 : 0;
	while (!found && r != 0) {
		r = dirent_iter_next(it, ret_row);
		found = r > 0 && ret_row->ino == ino;
		if (r < 0 && r != -EUCLEAN)
			break;
	}
	dirent_iter_free(it);
	return found;
}

/* Puts "/" and the name before what *at leads to. False: there is no room. */
static bool prepend(char *text, size_t *at, const char *name)
{
	size_t len = strlen(name);
	if (len + 1 > *at)
		return false;
	*at -= len;
	memcpy(text + *at, name, len);
	text[--*at] = '/';
	return true;
}

static const char *path_of(struct check *k, const struct lost_file *p, char *text, size_t size)
{
	struct dirent_row row;
	struct inode_row dir;
	size_t at = size - 1;
	uint64_t ino = p->parent;
	text[at] = 0;
	if (!p->name || !prepend(text, &at, p->name))
		return "a file without a name";
	for (unsigned depth = 0; ino != INO_ROOT && depth < DEPTH_MOST; depth++) {
		if (inode_row_get(k->pool->kv, ino, &dir) < 0 || !dir.parent ||
		    !name_in(k, dir.parent, ino, &row) || !prepend(text, &at, row.name))
			break;
		ino = dir.parent;
	}
	return text + at;
}

static void tell(struct check *k, const struct check_lost *l, const char *path)
{
	char sentence[4608];
	snprintf(sentence, sizeof sentence,
		 "%s (inode %lu): the %lu bytes from %lu on cannot be read", path, l->ino, l->len,
		 l->at);
	if (k->opt->lost)
		k->opt->lost(k->opt->arg, sentence);
}

int check_tell_lost(struct check *k)
{
	char text[4096];
	size_t n = 0;
	if (!k->n_lost)
		return 0;
	CLEANUP_FREE struct lost_file *places = calloc(k->n_lost, sizeof *places);
	if (!places)
		return -ENOMEM;
	qsort(k->lost, k->n_lost, sizeof *k->lost, lost_order);
	for (size_t i = 0; i < k->n_lost; i++)
		if (!i || k->lost[i].ino != k->lost[i - 1].ino)
			places[n++].ino = k->lost[i].ino;
	int r = find_names(k, places, n);
	size_t p = 0;
	const char *path = NULL;
	for (size_t i = 0; r == 0 && i < k->n_lost; i++) {
		while (places[p].ino != k->lost[i].ino) {
			p++;
			path = NULL;
		}
		if (!path)
			path = path_of(k, &places[p], text, sizeof text);
		tell(k, &k->lost[i], path);
	}
	for (size_t i = 0; i < n; i++)
		free(places[i].name);
	return r;
}
