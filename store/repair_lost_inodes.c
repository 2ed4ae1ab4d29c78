// SPDX-License-Identifier: MIT
/* Rows of inodes that are damaged or gone: what else is known of them is gathered from all tables,
 * one pass over each, and what is enough for a row becomes one. A directory needs names in it, a file
 * or a link needs content: without, there is nothing to make it from.
 */
#include "repair_impl.h"
#include "cleanup.h"
#include "clock.h"
#include "dirent_row.h"
#include "extent_row.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum trace_kind {
	TRACE_ROTTEN = 1,  /* a row that cannot be read */
	TRACE_NAME = 2,	   /* something leads to it */
	TRACE_ENTRIES = 4, /* names lie in it */
	TRACE_EXTENTS = 8, /* it has a map */
	TRACE_INLINE = 16, /* it has inline content */
	TRACE_STAGED = 32, /* it has a staging file */
	TRACE_ORPHAN = 64, /* it waits to be deleted */
	TRACE_BYTES = TRACE_EXTENTS | TRACE_INLINE | TRACE_STAGED,
};

struct trace {
	uint64_t ino, size, gen;
	uint8_t kinds, type; /* type: what a name says, DT_* */
};

struct traces {
	struct trace *v;
	size_t n, cap;
};

static int trace_add(struct repair *r, struct trace t)
{
	struct traces *all = r->traces;
	struct trace *last = all->n ? &all->v[all->n - 1] : NULL;
	if (check_find_inode(&r->k, t.ino))
		return 0;
	if (last && last->ino == t.ino && last->kinds == t.kinds) {
		last->size = t.size > last->size ? t.size : last->size;
		return 0;
	}
	if (all->n == all->cap) {
		size_t cap = all->cap ? all->cap * 2 : 256;
		struct trace *v = realloc(all->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		all->v = v;
		all->cap = cap;
	}
	all->v[all->n++] = t;
	return 0;
}

static int trace_row(struct repair *r, struct slice key, struct slice val)
{
	struct inode_row row;
	(void)val;
	if (key.len != 8) {
		repair_delete(r, KV_INODE, key);
		return 0;
	}
	uint64_t ino = get_be64(key.at);
	bool sound = val.at && inode_row_decode(ino, val, &row) == 0;
	return sound ? 0 : trace_add(r, (struct trace){ .ino = ino, .kinds = TRACE_ROTTEN });
}

static int trace_name(struct repair *r, struct slice key, struct slice val)
{
	struct dirent_row row;
	if (!val.at || key.len != 16 || dirent_decode(key, val, &row) < 0)
		return 0;
	int e = trace_add(r, (struct trace){ .ino = get_be64(key.at), .kinds = TRACE_ENTRIES });
	struct trace t = { .ino = row.ino, .kinds = TRACE_NAME, .type = row.type };
	return e < 0 ? e : trace_add(r, t);
}

static int trace_extent(struct repair *r, struct slice key, struct slice val)
{
	struct trace t = { .kinds = TRACE_EXTENTS };
	struct extent_row row;
	if (key.len != EXTENT_KEY_SIZE)
		return 0;
	if (val.at && extent_decode(key, val, &t.ino, &row) == 0)
		t.size = extent_end(&row);
	t.ino = get_be64(key.at);
	return trace_add(r, t);
}

static int trace_inline(struct repair *r, struct slice key, struct slice val)
{
	struct trace t = { .kinds = TRACE_INLINE, .size = val.len };
	if (!val.at || key.len != 8)
		return 0;
	t.ino = get_be64(key.at);
	return trace_add(r, t);
}

static int trace_orphan(struct repair *r, struct slice key, struct slice val)
{
	struct trace t = { .kinds = TRACE_ORPHAN };
	if (!val.at || key.len != 8)
		return 0;
	t.ino = get_be64(key.at);
	return trace_add(r, t);
}

/* A staging file alone says little: most that no inode knows were left by a crash. */
static int trace_staging(struct repair *r)
{
	int fd = openat(r->pool->dirfd, "staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int e = d ? 0 : -errno, more = 0;
	while (e == 0 && (more = io_next_entry(d, &entry)) > 0) {
		struct trace t = { .kinds = TRACE_STAGED };
		struct stat st;
		int len = 0;
		if (sscanf(entry->d_name, "%" SCNx64 ".%" SCNx64 "%n", &t.ino, &t.gen, &len) != 2 ||
		    entry->d_name[len] ||
		    fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		t.size = (uint64_t)st.st_size;
		e = trace_add(r, t);
	}
	return e ? e : more;
}

static int trace_order(const void *a, const void *b)
{
	uint64_t x = ((const struct trace *)a)->ino, y = ((const struct trace *)b)->ino;
	return (x > y) - (x < y);
}

static int row_type(const struct trace *t)
{
	if (t->kinds & TRACE_ENTRIES || t->ino == INO_ROOT)
		return DT_DIR;
	if (t->type == DT_LNK)
		return t->kinds & TRACE_INLINE ? DT_LNK : DT_UNKNOWN;
	bool file = t->type == DT_REG || t->type == DT_UNKNOWN;
	bool known = t->kinds & (TRACE_ROTTEN | TRACE_NAME | TRACE_EXTENTS | TRACE_INLINE);
	return file && known && (t->kinds & TRACE_BYTES) ? DT_REG : DT_UNKNOWN;
}

static void make_row(struct repair *r, const struct trace *t, int type)
{
	int64_t now = clock_wall_ns();
	struct inode_row row = {
		.ino = t->ino, .uid = r->uid, .gid = r->gid, .nlink = 1, .size = t->size
	};
	row.atime = row.mtime = row.ctime = row.btime = now;
	if (type == DT_DIR) {
		row.mode = S_IFDIR | (t->ino == INO_ROOT ? 0755 : 0700);
		row.nlink = 2; /* names tell how many, and where it lies */
		row.size = 0;
	} else if (type == DT_LNK) {
		row.mode = S_IFLNK | 0777;
	} else {
		row.mode = S_IFREG | 0600;
		row.staging_gen = t->gen;
		row.flags |= t->kinds & TRACE_EXTENTS ? INODE_MAPPED : 0;
		row.flags |= t->kinds & TRACE_INLINE ? INODE_INLINE : 0;
	}
	repair_put_inode(r, &row);
	char owner[32] = "root";
	if (r->uid)
		snprintf(owner, sizeof owner, "user %u", r->uid);
	repair_say(r, "the row of inode %lu was lost: it is a %s of %s's from now on", t->ino,
		   type == DT_DIR   ? "directory"
		   : type == DT_LNK ? "symbolic link"
				    : "file",
		   owner);
}

static void settle_trace(struct repair *r, const struct trace *t)
{
	uint8_t key[8];
	bool unwanted = (t->kinds & TRACE_ORPHAN) && !(t->kinds & TRACE_NAME);
	int type = unwanted ? DT_UNKNOWN : row_type(t);
	put_be64(key, t->ino);
	if (type != DT_UNKNOWN) {
		make_row(r, t, type);
	} else if (t->kinds & TRACE_ROTTEN) {
		repair_delete(r, KV_INODE, slice_of(key, sizeof key));
		repair_say(r,
			   "the row of inode %lu was damaged, and nothing else is known of it: "
			   "it is removed",
			   t->ino);
	}
}

/* Traces of one inode become one: the largest content, the latest staging file. */
static size_t merge(struct trace *v, size_t n)
{
	size_t out = 0;
	for (size_t i = 0; i < n; i++) {
		struct trace *t = out ? &v[out - 1] : NULL;
		if (!t || t->ino != v[i].ino) {
			v[out++] = v[i];
			continue;
		}
		bool staged = v[i].kinds & TRACE_STAGED, was = t->kinds & TRACE_STAGED;
		if ((staged && v[i].gen > t->gen) || (!was && v[i].size > t->size))
			t->size = v[i].size;
		t->gen = v[i].gen > t->gen ? v[i].gen : t->gen;
		t->type = t->type ? t->type : v[i].type;
		t->kinds |= v[i].kinds;
	}
	return out;
}

static int gather(struct repair *r)
{
	int e = repair_each(r, KV_INODE, "inodes", trace_row);
	if (e == 0)
		e = repair_each(r, KV_DIRENT, "names", trace_name);
	if (e == 0)
		e = repair_each(r, KV_EXTENT, "maps", trace_extent);
	if (e == 0)
		e = repair_each(r, KV_INLINE, "small files", trace_inline);
	if (e == 0)
		e = repair_each(r, KV_ORPHAN, "orphans", trace_orphan);
	return e < 0 ? e : trace_staging(r);
}

int repair_lost_inodes(struct repair *r)
{
	struct traces all = { 0 };
	r->traces = &all;
	int e = gather(r);
	if (e == 0 && !check_find_inode(&r->k, INO_ROOT))
		e = trace_add(r, (struct trace){ .ino = INO_ROOT, .kinds = TRACE_ENTRIES });
	if (all.n)
		qsort(all.v, all.n, sizeof *all.v, trace_order);
	all.n = merge(all.v, all.n);
	for (size_t i = 0; e == 0 && i < all.n; i++) {
		settle_trace(r, &all.v[i]);
		e = repair_point(r);
	}
	r->traces = NULL;
	free(all.v);
	return e;
}
