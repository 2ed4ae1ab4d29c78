// SPDX-License-Identifier: MIT
/* Inodes, and what hangs on them: orphan marks, inline content, attributes, staging files.
 *
 * An inode whose row is gone may still be known: by the names in it (a directory), by its map, its
 * inline content or its staging file, and its type by the names that lead to it. That evidence is
 * gathered first; then the row is made anew, as the pool's owner's and for nobody else. What then lacks its
 * content keeps its size and reads as an error.
 */
#include "repair_impl.h"
#include "cleanup.h"
#include "clock.h"
#include "dirent_row.h"
#include "extent_row.h"
#include "piece.h"
#include "xattr_row.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int staged_file(struct repair *r, uint64_t ino, uint64_t gen, struct stat *ret_st)
{
	char name[64];
	snprintf(name, sizeof name, "staging/%" PRIx64 ".%" PRIx64, ino, gen);
	return fstatat(r->pool->dirfd, name, ret_st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

/* ---- orphans, inline content, attributes: rows that hang on nothing ---- */

static int mend_orphan(struct repair *r, struct slice key, struct slice val)
{
	struct check_inode *in = key.len == 8 ? check_find_inode(&r->k, get_be64(key.at)) : NULL;
	if (in && val.len == 1)
		return 0;
	if (in && !in->nlink) {
		repair_put(r, KV_ORPHAN, key, slice_of("\1", 1));
		in->marks |= CHECK_ORPHAN;
		repair_say(r, "inode %lu, which has no name, waits to be deleted again", in->ino);
		return 0;
	}
	repair_delete(r, KV_ORPHAN, key);
	repair_say(r, "a mark that something waits to be deleted led to nothing, and is removed");
	return 0;
}

static int mend_inline(struct repair *r, struct slice key, struct slice val)
{
	struct inode_row row;
	struct check_inode *in = key.len == 8 ? check_find_inode(&r->k, get_be64(key.at)) : NULL;
	bool wanted = in && (in->type == DT_LNK || (in->flags & INODE_INLINE));
	if (!val.at || !wanted) {
		repair_delete(r, KV_INLINE, key);
		repair_say(r, "content of inode %lu %s, and is removed",
			   key.len == 8 ? get_be64(key.at) : 0,
			   val.at ? "belongs to no file" : "was damaged");
		return 0;
	}
	in->marks |= CHECK_HAS_INLINE;
	if (val.len == in->size || inode_row_get(r->pool->kv, in->ino, &row) < 0)
		return 0;
	row.size = in->size = val.len;
	repair_put_inode(r, &row);
	repair_say(r, "inode %lu has the %lu bytes that are there", in->ino, row.size);
	return 0;
}

static bool names_attribute(struct slice key, const char *what, bool whole)
{
	size_t len = strlen(what), have = key.len - 8;
	return have >= len && !memcmp(key.at + 8, what, len) && (!whole || have == len);
}

static int mend_xattr(struct repair *r, struct slice key, struct slice val)
{
	bool possible = key.len > 8 && key.len <= 8 + XATTR_NAME_MAX && val.len <= XATTR_VALUE_MAX;
	struct check_inode *in = key.len > 8 ? check_find_inode(&r->k, get_be64(key.at)) : NULL;
	struct inode_row row;
	if (!in || !val.at || !possible) {
		repair_delete(r, KV_XATTR, key);
		repair_say(r, "an attribute of inode %lu %s, and is removed",
			   key.len > 8 ? get_be64(key.at) : 0,
			   in ? "was damaged" : "belongs to nothing");
		return 0;
	}
	uint32_t want = INODE_XATTRS;
	want |= names_attribute(key, "system.posix_acl_", false) ? INODE_ACL : 0;
	want |= names_attribute(key, "security.capability", true) ? INODE_CAPS : 0;
	if ((in->flags & want) == want || inode_row_get(r->pool->kv, in->ino, &row) < 0)
		return 0;
	row.flags |= want | in->flags;
	in->flags |= (uint8_t)want;
	repair_put_inode(r, &row);
	repair_say(r, "inode %lu says again which attributes it has", in->ino);
	return 0;
}

/* ---- each inode's row by itself ---- */

/* The row's bytes are gone: all of them read as an error. */
static int lose_content(struct repair *r, struct inode_row *row)
{
	int n = repair_lost_pieces(r, row->size, row->recipe);
	if (n < 0)
		return n;
	row->pieces = (uint32_t)n;
	row->flags &= ~INODE_CONTENT_FLAGS;
	row->staging_gen = 0;
	return 0;
}

/* What the file was before its lost changes becomes a file of its own, without a name yet. */
static int keep_former(struct repair *r, const struct inode_row *row, uint64_t *ret_ino)
{
	struct inode_row former = *row;
	struct slice key, val;
	uint8_t from[EXTENT_KEY_SIZE], to[EXTENT_KEY_SIZE];
	int more = 0, e = repair_new_ino(r, &former.ino);
	former.staging_gen = 0;
	former.nlink = 0;
	former.flags &=
		(uint32_t) ~(INODE_NATIVE | INODE_INLINE | INODE_XATTRS | INODE_ACL | INODE_CAPS);
	repair_put_inode(r, &former);
	extent_key(row->ino, 0, from);
	struct kv_iter *it = e == 0 && (row->flags & INODE_MAPPED)
				     ? kv_iter_new(r->pool->kv, KV_EXTENT, from, sizeof from, false)
				     : NULL;
	while (it && (more = kv_iter_next(it, &key, &val)) != 0) {
		if (key.len != EXTENT_KEY_SIZE || get_be64(key.at) != row->ino)
			break;
		extent_key(former.ino, get_be64(key.at + 8), to);
		if (more > 0)
			repair_put(r, KV_EXTENT, slice_of(to, sizeof to), val);
		repair_delete(r, KV_EXTENT, key);
	}
	kv_iter_free(it);
	*ret_ino = former.ino;
	return e;
}

static int mend_staging(struct repair *r, struct inode_row *row, bool *changed)
{
	struct stat st;
	int e = staged_file(r, row->ino, row->staging_gen, &st);
	if (e != -ENOENT)
		return e;
	*changed = true;
	if (row->flags & INODE_INLINE) { /* is the content: the staging file was not looked at */
		row->staging_gen = 0;
		return 0;
	}
	uint64_t former = 0;
	e = row->pieces || (row->flags & INODE_MAPPED) ? keep_former(r, row, &former) : 0;
	if (e == 0)
		e = lose_content(r, row);
	if (e == 0 && former)
		repair_say(
			r,
			"the staging file of inode %lu is gone: it reads as an error, and what it "
			"was before its lost changes is inode %lu",
			row->ino, former);
	else if (e == 0)
		repair_say(r, "the staging file of inode %lu is gone: it reads as an error",
			   row->ino);
	return e;
}

static int mend_recipe(struct repair *r, struct inode_row *row, bool *changed)
{
	uint64_t bytes = 0;
	int e = 0;
	for (uint32_t i = 0; e == 0 && i < row->pieces; i++) {
		struct piece *p = &row->recipe[i];
		enum piece_state state = check_piece_state(&r->k, p);
		bytes += piece_bytes(p);
		if (state == PIECE_MISSING) {
			repair_mark_lost(r, p->chunk);
			repair_say(r, "chunk %lu, a part of inode %lu, is lost", p->chunk,
				   row->ino);
		} else if (state == PIECE_BEYOND) {
			e = repair_lose_piece(r, p);
			*changed = true;
			repair_say(r, "a part of inode %lu is lost", row->ino);
		}
	}
	if (bytes > row->size && !(row->flags & INODE_INLINE) && !row->staging_gen) {
		row->size = bytes;
		*changed = true;
		repair_say(r, "inode %lu is as long as its map: %lu bytes", row->ino, bytes);
	}
	return e;
}

/* A link that leads nowhere is none. */
static void remove_link(struct repair *r, const struct inode_row *row)
{
	inode_row_delete(r->batch, row->ino);
	r->ops++;
	repair_say(r, "the target of the symbolic link %lu is lost, and the link is removed",
		   row->ino);
}

static int mend_inode(struct repair *r, const struct check_inode *in)
{
	struct inode_row row;
	bool changed = false, has = in->marks & CHECK_HAS_INLINE;
	int e = inode_row_get(r->pool->kv, in->ino, &row);
	if (e < 0)
		return e == -ENOENT || e == -EUCLEAN ? 0 : e;
	if (S_ISLNK(row.mode) && !has) {
		remove_link(r, &row);
		return 0;
	}
	if ((row.flags & INODE_INLINE) && S_ISREG(row.mode) && !has) {
		e = lose_content(r, &row);
		changed = true;
		repair_say(r, "the content of inode %lu is lost", in->ino);
	}
	if (e == 0 && row.staging_gen)
		e = mend_staging(r, &row, &changed);
	if (e == 0)
		e = mend_recipe(r, &row, &changed);
	if ((row.flags & (INODE_ACL | INODE_CAPS)) && !(row.flags & INODE_XATTRS)) {
		row.flags &= (uint32_t) ~(INODE_ACL | INODE_CAPS);
		changed = true;
		repair_say(r, "inode %lu says again that it has no attributes", in->ino);
	}
	if (e == 0 && changed)
		repair_put_inode(r, &row);
	return e;
}

int repair_inodes(struct repair *r)
{
	int e = repair_look(r);
	if (e == 0)
		e = repair_lost_inodes(r);
	if (e == 0)
		e = repair_look(r);
	if (e == 0)
		e = repair_each(r, KV_ORPHAN, "orphans", mend_orphan);
	for (size_t i = 0; i < r->k.n_inodes; i++)
		r->k.inodes[i].marks &= (uint8_t)~CHECK_HAS_INLINE;
	if (e == 0)
		e = repair_each(r, KV_INLINE, "small files", mend_inline);
	if (e == 0)
		e = repair_commit(r);
	for (size_t i = 0; e == 0 && i < r->k.n_inodes; i++) {
		e = mend_inode(r, &r->k.inodes[i]);
		if (e == 0)
			e = repair_point(r);
	}
	if (e == 0)
		e = repair_look(r); /* links may have gone */
	return e < 0 ? e : repair_each(r, KV_XATTR, "attributes", mend_xattr);
}
