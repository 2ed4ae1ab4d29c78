// SPDX-License-Identifier: MIT
/* Names first, one by one; then, with all of them counted, what has none and what cannot be reached
 * from the root: that gets a name in /lost+found, #INODE. Counts of links and entries come last.
 *
 * Of several names of one directory the one stays that lies where the directory says it lies. In a
 * circle of directories one loses its name, and so the circle hangs on /lost+found.
 */
#include "repair_impl.h"
#include "cleanup.h"
#include "clock.h"
#include "dirent_row.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LOST_FOUND "lost+found"

static void remove_name(struct repair *r, struct slice key, const char *name, const char *why)
{
	repair_delete(r, KV_DIRENT, key);
	repair_say(r, "the name '%s' in directory %lu %s, and is removed", name, get_be64(key.at),
		   why);
}

static void put_type(struct repair *r, struct slice key, const struct dirent_row *row, uint8_t type)
{
	CLEANUP_BUF struct buf val = { 0 };
	buf_put_u8(&val, type);
	buf_put_varint(&val, row->ino);
	buf_put(&val, row->name, row->name_len);
	if (val.failed)
		return; /* the next run does it */
	repair_put(r, KV_DIRENT, key, slice_of(val.data, val.len));
	repair_say(r, "the name '%s' in directory %lu says the type of inode %lu again", row->name,
		   get_be64(key.at), row->ino);
}

/* A name where nobody who looks for it would look. */
static int move_name(struct repair *r, struct slice key, const struct dirent_row *row, int looked)
{
	if (looked == 0) {
		remove_name(r, key, row->name, "is there twice");
		return 0;
	}
	uint64_t parent = get_be64(key.at);
	repair_delete(r, KV_DIRENT, key);
	int e = dirent_put(r->pool->kv, r->batch, parent, row->name, row->ino, row->type);
	repair_say(r, "the name '%s' in directory %lu can be found again", row->name, parent);
	/* at once: the next that is put must see which places are taken */
	return e < 0 ? e : repair_commit(r);
}

/* Would this name of a directory be one too many? */
static bool is_second_name(struct repair *r, struct check_inode *dir, uint64_t parent)
{
	struct inode_row row;
	bool true_home = inode_row_get(r->pool->kv, dir->ino, &row) == 0 && row.parent == parent;
	if (dir->marks & CHECK_WALKING) /* it has a name that stays */
		return true;
	if (!true_home && dir->names > 1) /* another may be the one; the last has to do */
		return dir->names-- > 1;
	dir->marks |= CHECK_WALKING;
	return false;
}

static int mend_name(struct repair *r, struct slice key, struct slice val)
{
	struct dirent_row row, found;
	if (!val.at || key.len != 16 || dirent_decode(key, val, &row) < 0) {
		repair_delete(r, KV_DIRENT, key);
		repair_say(r, "a name in directory %lu was damaged, and is removed",
			   key.len >= 8 ? get_be64(key.at) : 0);
		return 0;
	}
	uint64_t parent_ino = get_be64(key.at);
	struct check_inode *parent = check_find_inode(&r->k, parent_ino);
	struct check_inode *in = check_find_inode(&r->k, row.ino);
	const char *why = !parent || parent->type != DT_DIR ? "lies in no directory"
			  : !in				    ? "leads to nothing"
			  : row.ino == INO_ROOT		    ? "leads to the root"
							    : NULL;
	if (!why && in->type == DT_DIR && is_second_name(r, in, parent_ino))
		why = "is the second of its directory";
	if (why) {
		remove_name(r, key, row.name, why);
		return 0;
	}
	int e = r->look.full ? dirent_get(r->pool->kv, parent_ino, row.name, &found) : 0;
	if (r->look.full && (e == -ENOENT || (e == 0 && found.cookie != row.cookie))) {
		row.type = in->type;
		return move_name(r, key, &row, e);
	}
	if (in->type != row.type)
		put_type(r, key, &row, in->type);
	return 0;
}

/* ---- lost+found ---- */

static int make_lost_found(struct repair *r, const char *name, uint64_t *ret_ino)
{
	struct inode_row row = {
		.mode = S_IFDIR | 0700, .uid = r->uid, .gid = r->gid, .nlink = 2, .parent = INO_ROOT
	};
	row.atime = row.mtime = row.ctime = row.btime = clock_wall_ns();
	int e = repair_new_ino(r, &row.ino);
	if (e == 0)
		e = dirent_put(r->pool->kv, r->batch, INO_ROOT, name, row.ino, DT_DIR);
	if (e < 0)
		return e;
	repair_put_inode(r, &row);
	repair_say(r, "/%s is made", name);
	*ret_ino = row.ino;
	return repair_commit(r);
}

/* The directory, made if there is none; other things of that name stay what they are. */
static int find_lost_found(struct repair *r, uint64_t *ret_ino)
{
	char name[32] = LOST_FOUND;
	struct dirent_row row;
	for (unsigned i = 1;; i++) {
		int e = dirent_get(r->pool->kv, INO_ROOT, name, &row);
		if (e == -ENOENT)
			return make_lost_found(r, name, ret_ino);
		if (e < 0)
			return e;
		if (row.type == DT_DIR) {
			*ret_ino = row.ino;
			return 0;
		}
		snprintf(name, sizeof name, LOST_FOUND "-%u", i);
	}
}

static int hang(struct repair *r, const struct check_inode *in, uint64_t dir)
{
	char name[32];
	struct inode_row row;
	snprintf(name, sizeof name, "#%lu", in->ino);
	int e = inode_row_get(r->pool->kv, in->ino, &row);
	if (e == 0)
		e = dirent_put(r->pool->kv, r->batch, dir, name, in->ino, in->type);
	if (e < 0)
		return e;
	row.parent = in->type == DT_DIR ? dir : 0;
	if (in->type != DT_DIR)
		row.nlink = 1;
	repair_put_inode(r, &row);
	repair_say(r, "inode %lu, which had no name, is /" LOST_FOUND "/%s", in->ino, name);
	return repair_point(r);
}

static void unmark_orphan(struct repair *r, const struct check_inode *in)
{
	uint8_t key[8];
	put_be64(key, in->ino);
	repair_delete(r, KV_ORPHAN, slice_of(key, sizeof key));
	repair_say(r, "inode %lu does not wait to be deleted any more", in->ino);
}

/* ---- what cannot be reached ---- */

static int cut_name(struct repair *r, uint64_t parent, uint64_t ino)
{
	struct dirent_row row;
	struct dirent_iter *it = dirent_iter_new(r->pool->kv, parent, 0);
	int e = it ? 1 : -ENOMEM;
	while (e > 0 && (e = dirent_iter_next(it, &row)) > 0)
		if (row.ino == ino) {
			dirent_delete(r->batch, parent, row.cookie);
			r->ops++;
			repair_say(r, "directory %lu lay in itself: its name '%s' is removed", ino,
				   row.name);
			break;
		}
	dirent_iter_free(it);
	return e < 0 ? e : 0;
}

/* Climbs from a directory until something is known. `seen` holds, by index, the number of the walk
 * that was there. Returns whether a circle was found, at *ret_at. */
static bool in_circle(struct repair *r, size_t from, uint32_t *seen, uint32_t walk, size_t *ret_at)
{
	struct check *k = &r->k;
	size_t at = from;
	while (!seen[at]) {
		seen[at] = walk;
		if (k->inodes[at].ino == INO_ROOT || !k->inodes[at].parent)
			return false;
		at = k->inodes[at].parent - 1;
	}
	*ret_at = at;
	return seen[at] == walk;
}

static int open_circles(struct repair *r)
{
	struct check *k = &r->k;
	CLEANUP_FREE uint32_t *seen = calloc(k->n_inodes + 1, sizeof *seen);
	uint32_t walk = 0;
	size_t at;
	int e = seen ? 0 : -ENOMEM;
	for (size_t i = 0; e == 0 && i < k->n_inodes; i++) {
		if (k->inodes[i].type != DT_DIR || !in_circle(r, i, seen, ++walk, &at))
			continue;
		struct check_inode *in = &k->inodes[at];
		e = cut_name(r, k->inodes[in->parent - 1].ino, in->ino);
	}
	return e < 0 ? e : repair_commit(r);
}

static int recount(struct repair *r)
{
	int e = repair_look(r);
	return e < 0 ? e : check_names(&r->k);
}

static int name_the_nameless(struct repair *r)
{
	uint64_t dir = 0;
	int e = 0;
	for (size_t i = 0; e == 0 && i < r->k.n_inodes; i++) {
		const struct check_inode *in = &r->k.inodes[i];
		bool orphan = in->marks & CHECK_ORPHAN;
		if (orphan && (in->names || (in->type == DT_DIR && in->entries))) {
			unmark_orphan(r, in);
			orphan = false;
		}
		if (in->names || orphan || in->ino == INO_ROOT)
			continue;
		if (!dir)
			e = find_lost_found(r, &dir);
		if (e == 0)
			e = hang(r, in, dir);
	}
	return e;
}

static int count(struct repair *r, const struct check_inode *in)
{
	struct inode_row row, was;
	int e = inode_row_get(r->pool->kv, in->ino, &row);
	if (e < 0 || (in->marks & CHECK_ORPHAN && in->type == DT_DIR))
		return e == -ENOENT ? 0 : e;
	was = row;
	row.nlink = in->type == DT_DIR ? 2 + in->subdirs : in->names;
	if (in->type == DT_DIR) {
		row.size = in->entries;
		row.parent = in->parent ? r->k.inodes[in->parent - 1].ino : row.parent;
	}
	if (row.nlink == was.nlink && row.size == was.size && row.parent == was.parent)
		return 0;
	repair_put_inode(r, &row);
	if (row.nlink != was.nlink)
		repair_say(r, "inode %lu has the link count %u", in->ino, row.nlink);
	if (row.size != was.size)
		repair_say(r, "directory %lu has %lu entries", in->ino, row.size);
	if (row.parent != was.parent)
		repair_say(r, "directory %lu lies in %lu", in->ino, row.parent);
	return repair_point(r);
}

int repair_names(struct repair *r)
{
	int e = recount(r);
	for (size_t i = 0; i < r->k.n_inodes; i++)
		r->k.inodes[i].marks &= (uint8_t)~CHECK_WALKING;
	if (e == 0)
		e = repair_each(r, KV_DIRENT, "names", mend_name);
	if (e == 0)
		e = recount(r);
	if (e == 0)
		e = open_circles(r);
	if (e == 0)
		e = recount(r);
	if (e == 0)
		e = name_the_nameless(r);
	if (e == 0)
		e = recount(r);
	for (size_t i = 0; e == 0 && i < r->k.n_inodes; i++)
		e = count(r, &r->k.inodes[i]);
	return e;
}
