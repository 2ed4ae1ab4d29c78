// SPDX-License-Identifier: MIT
/* Each inode's row by itself, and the rows that hang on it: orphans, inline content, attributes. */
#include "check_impl.h"
#include "cleanup.h"
#include "piece.h"
#include "xattr_row.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

static void check_row(struct check *k, const struct inode_row *row)
{
	uint64_t ino = row->ino;
	mode_t type = row->mode & S_IFMT;
	bool known = type == S_IFREG || type == S_IFDIR || type == S_IFLNK || type == S_IFBLK ||
		     type == S_IFCHR || type == S_IFIFO || type == S_IFSOCK;
	if (!known)
		check_error(k, "inode %lu is of no known type (mode %o)", ino, row->mode);
	if (row->size > MAP_END_MAX)
		check_error(k, "inode %lu has the impossible size %lu", ino, row->size);
	if (type != S_IFREG &&
	    (row->staging_gen || row->pieces || (row->flags & (INODE_MAPPED | INODE_INLINE))))
		check_error(k, "inode %lu is no regular file, but has content as one", ino);
	if ((row->flags & INODE_MAPPED) && row->pieces)
		check_error(k, "inode %lu has both a map of its own and one in rows", ino);
	if ((row->flags & (INODE_ACL | INODE_CAPS)) && !(row->flags & INODE_XATTRS))
		check_error_safe(k,
				 "inode %lu is said to have an access list or capabilities, but no "
				 "attributes",
				 ino);
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < row->pieces; i++) {
		if (check_piece(k, &row->recipe[i], "inode", ino))
			check_remember_lost(k, ino, bytes, piece_bytes(&row->recipe[i]));
		bytes += piece_bytes(&row->recipe[i]);
	}
	if (bytes > row->size && !(row->flags & INODE_INLINE) && !row->staging_gen)
		check_error(k, "the map of inode %lu is longer than the file", ino);
}

static int take_inode(struct check *k, struct slice key, struct slice val)
{
	struct inode_row row;
	int r = key.len == 8 ? inode_row_decode(get_be64(key.at), val, &row) : -EUCLEAN;
	if (r < 0)
		return r;
	if (k->n_inodes == k->cap_inodes) {
		size_t cap = k->cap_inodes ? k->cap_inodes * 2 : 1024;
		struct check_inode *v = realloc(k->inodes, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		k->inodes = v;
		k->cap_inodes = cap;
	}
	k->inodes[k->n_inodes++] = (struct check_inode){
		.ino = row.ino,
		.size = row.size,
		.nlink = row.nlink,
		.type = (uint8_t)IFTODT(row.mode),
		.flags = (uint8_t)row.flags,
	};
	k->max_ino = row.ino > k->max_ino ? row.ino : k->max_ino;
	k->max_gen = row.staging_gen > k->max_gen ? row.staging_gen : k->max_gen;
	k->res.files += S_ISREG(row.mode);
	k->res.directories += S_ISDIR(row.mode);
	k->res.others += !S_ISREG(row.mode) && !S_ISDIR(row.mode);
	check_row(k, &row);
	return 0;
}

static int take_orphan(struct check *k, struct slice key, struct slice val)
{
	if (key.len != 8 || val.len != 1)
		return -EUCLEAN;
	struct check_inode *in = check_find_inode(k, get_be64(key.at));
	k->res.orphans++;
	if (!in)
		check_error_safe(k, "inode %lu waits to be deleted, but does not exist",
				 get_be64(key.at));
	else
		in->marks |= CHECK_ORPHAN;
	return 0;
}

static int take_inline(struct check *k, struct slice key, struct slice val)
{
	if (key.len != 8)
		return -EUCLEAN;
	uint64_t ino = get_be64(key.at);
	struct check_inode *in = check_find_inode(k, ino);
	if (!in || (in->type != DT_LNK && !(in->flags & INODE_INLINE))) {
		check_error(k, "there is content of inode %lu, which %s", ino,
			    in ? "has none there" : "does not exist");
		return 0;
	}
	in->marks |= CHECK_HAS_INLINE;
	if (val.len != in->size)
		check_error(k, "inode %lu has %lu bytes of content, not %lu", ino, val.len,
			    in->size);
	return 0;
}

static int take_xattr(struct check *k, struct slice key, struct slice val)
{
	if (key.len < 9 || key.len > 8 + XATTR_NAME_MAX || val.len > XATTR_VALUE_MAX)
		return -EUCLEAN;
	uint64_t ino = get_be64(key.at);
	struct slice name = slice_of(key.at + 8, key.len - 8);
	struct check_inode *in = check_find_inode(k, ino);
	if (!in) {
		check_error(k, "there is an attribute of inode %lu, which does not exist", ino);
		return 0;
	}
	in->marks |= CHECK_HAS_XATTR;
	static const char acl[] = "system.posix_acl_", caps[] = "security.capability";
	bool is_acl = name.len > sizeof acl - 1 && !memcmp(name.at, acl, sizeof acl - 1);
	bool is_caps = name.len == sizeof caps - 1 && !memcmp(name.at, caps, sizeof caps - 1);
	unsigned want = INODE_XATTRS | (is_acl ? INODE_ACL : 0) | (is_caps ? INODE_CAPS : 0);
	if ((in->flags & want) != want)
		check_error_safe(
			k, "inode %lu has the attribute %.*s, which its row does not announce", ino,
			(int)name.len, (const char *)name.at);
	return 0;
}

int check_inodes(struct check *k)
{
	int r = check_each(k, KV_INODE, "inodes", take_inode);
	if (r == 0)
		r = check_each(k, KV_ORPHAN, "orphans", take_orphan);
	if (r == 0)
		r = check_each(k, KV_INLINE, "small files", take_inline);
	if (r == 0)
		r = check_each(k, KV_XATTR, "attributes", take_xattr);
	for (size_t i = 0; r == 0 && i < k->n_inodes; i++) {
		const struct check_inode *in = &k->inodes[i];
		bool wanted = in->type == DT_LNK || (in->flags & INODE_INLINE);
		if (wanted && !(in->marks & CHECK_HAS_INLINE))
			check_error(k, "the content of inode %lu is missing", in->ino);
	}
	return r;
}
